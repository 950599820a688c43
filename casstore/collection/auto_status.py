# SPDX-License-Identifier: MIT
"""What an ``AutoCollector`` tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from casstore.errors import CasstoreError

Reason = Literal["dead", "quota", "idle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoCollectStatus:
    """What an ``AutoCollector`` did and sees.

    Attributes:
        is_running: Whether its thread lives.
        is_collecting: Whether a collection of its own is under way.
        used_bytes: Bytes of all records, as of the last look.
        expected_bytes: What was thought to be dead then.
        trust: How much of what may be dead turned out to be, 0 to 1.
        surveys: How often the store was looked at.
        collections: How often something was deleted after that.
        last_reason: Why the last survey was made: ``"dead"``, ``"quota"``, ``"idle"``; None before the first.
        deleted_bytes: Bytes of records that are gone.
        freed_bytes: Bytes that the file system got back.
        given_up_bytes: About what givers gave up.
        seconds: What all that took.
        rest_seconds: How long nothing will be begun, except that space becomes short.
        conflicts: How often it gave way to another collection.
        failures: How often it failed.
        last_error: The last error; None where there was none.
    """

    is_running: bool
    is_collecting: bool
    used_bytes: int
    expected_bytes: int
    trust: float
    surveys: int
    collections: int
    last_reason: Reason | None
    deleted_bytes: int
    freed_bytes: int
    given_up_bytes: int
    seconds: float
    rest_seconds: float
    conflicts: int
    failures: int
    last_error: CasstoreError | MemoryError | None
