# SPDX-License-Identifier: MIT
"""Directories that show a frozen base and a delta of their own, through overlayfs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casstore.workspace.overlay.bases import ensure_base, hold_base, list_bases, remove_base, unused_bases
    from casstore.workspace.overlay.mounting import Mounted, OverlayMount, list_mounts, unmount
    from casstore.workspace.overlay.probing import Choice, choose
    from casstore.workspace.overlay.running import run_private
    from casstore.workspace.overlay.upper import Upper
    from casstore.workspace.overlay.writing import small_delta

_MODULES = {
    **dict.fromkeys(("ensure_base", "hold_base", "list_bases", "remove_base", "unused_bases"), "bases"),
    **dict.fromkeys(("Mounted", "OverlayMount", "list_mounts", "unmount"), "mounting"),
    **dict.fromkeys(("Choice", "choose"), "probing"),
    "run_private": "running",
    "Upper": "upper",
    "small_delta": "writing",
}
"""Imported on use: few commands need an overlay."""

__all__ = [
    "Choice",
    "Mounted",
    "OverlayMount",
    "Upper",
    "choose",
    "ensure_base",
    "hold_base",
    "list_bases",
    "list_mounts",
    "remove_base",
    "run_private",
    "small_delta",
    "unmount",
    "unused_bases",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
