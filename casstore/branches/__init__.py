# SPDX-License-Identifier: MIT
"""Branches: mutable states in memory, forked by copying two references, merged as values."""

from __future__ import annotations

from casstore.branches.branch import Branch
from casstore.branches.context import BranchContext
from casstore.branches.files import Files
from casstore.branches.merging import Conflict, MergeReport, Resolver
from casstore.branches.objects import Objects
from casstore.branches.sharing_handles import Shared
from casstore.branches.sharing_report import SharedContent, SharingReport

__all__ = [
    "Branch",
    "BranchContext",
    "Conflict",
    "Files",
    "MergeReport",
    "Objects",
    "Resolver",
    "Shared",
    "SharedContent",
    "SharingReport",
]
