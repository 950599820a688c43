# SPDX-License-Identifier: MIT
"""Long work in the background that lets other threads through."""

from __future__ import annotations

import threading
import time
from typing import Final

_SECONDS: Final = 0.00005


def give_way() -> None:
    """Lets another thread have the interpreter, where there is one.

    A thread that wants it from one that computes waits for 5 ms each time; from one that sleeps, not at all.
    """
    if threading.active_count() > 1:
        time.sleep(_SECONDS)
