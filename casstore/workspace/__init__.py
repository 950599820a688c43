# SPDX-License-Identifier: MIT
"""Directories: importing one into a store, and checking a state out into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casstore.workspace.report import CheckoutReport, ImportReport, LeftOut

if TYPE_CHECKING:
    from casstore.workspace.checking_out import checkout
    from casstore.workspace.importing import import_directory

__all__ = ["CheckoutReport", "ImportReport", "LeftOut", "checkout", "import_directory"]


def __getattr__(name: str) -> object:
    # Imported on use: one direction need not pay for the other at the start of a command.
    if name == "checkout":
        from casstore.workspace.checking_out import checkout

        return checkout
    if name == "import_directory":
        from casstore.workspace.importing import import_directory

        return import_directory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
