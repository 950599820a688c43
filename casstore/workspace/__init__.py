# SPDX-License-Identifier: MIT
"""Directories: importing one into a store, and checking a state out into one."""

from __future__ import annotations

from casstore.workspace.checking_out import checkout
from casstore.workspace.importing import import_directory
from casstore.workspace.report import CheckoutReport, ImportReport, LeftOut

__all__ = ["CheckoutReport", "ImportReport", "LeftOut", "checkout", "import_directory"]
