# SPDX-License-Identifier: MIT
"""Directories: importing one, checking a state out, and workspaces that do both at the cost of what changed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from casstore.workspace.report import CheckoutReport, ImportReport, LeftOut
from casstore.workspace.selection import Selection

if TYPE_CHECKING:
    from casstore.workspace.checking_out import checkout
    from casstore.workspace.finding import find_workspace, list_workspaces, plan_prune_workspaces
    from casstore.workspace.forking import fork_to
    from casstore.workspace.importing import import_directory
    from casstore.workspace.scanning.preflight import survey
    from casstore.workspace.status import WorkspaceStatus
    from casstore.workspace.switching import SwitchPlan, SwitchReport
    from casstore.workspace.workspace import Workspace

__all__ = [
    "CheckoutReport",
    "ImportReport",
    "LeftOut",
    "Selection",
    "SwitchPlan",
    "SwitchReport",
    "Workspace",
    "WorkspaceStatus",
    "checkout",
    "find_workspace",
    "fork_to",
    "import_directory",
    "list_workspaces",
    "plan_prune_workspaces",
    "survey",
]

_MODULES = {
    "checkout": "checking_out",
    "find_workspace": "finding",
    "fork_to": "forking",
    "import_directory": "importing",
    "list_workspaces": "finding",
    "plan_prune_workspaces": "finding",
    "survey": "scanning.preflight",
    "SwitchPlan": "switching",
    "SwitchReport": "switching",
    "Workspace": "workspace",
    "WorkspaceStatus": "status",
}
"""Imported on use: one direction need not pay for the other at the start of a command."""


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
