# SPDX-License-Identifier: MIT
"""What tells that a file is the one that was read before: its inode, size, times and mode.

A write changes the change time, which no program can set; but only as finely as the file system keeps time. So what
was changed within ``SLACK_NS`` before it was read may have changed again unseen, and is not trusted.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

SLACK_NS: Final = 20_000_000
"""Two ticks of the kernel's clock at 100 Hz: within one, two writes get the same time."""
COARSE_SLACK_NS: Final = 2_100_000_000
"""The same where a file system keeps whole seconds, or even ones (FAT)."""
_SECOND_NS: Final = 10**9


class Fingerprint(NamedTuple):
    """Inode, bytes, nanoseconds since 1970 of the last change of content and of anything, and mode with file type."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int


def fingerprint_of(status: os.stat_result) -> Fingerprint:
    """The fingerprint of what ``status`` describes."""
    return Fingerprint(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode)


def is_settled(mtime_ns: int, ctime_ns: int, read_ns: int) -> bool:
    """Whether a change after ``read_ns`` would show in the times, given those that were seen then."""
    slack = SLACK_NS if ctime_ns % _SECOND_NS or mtime_ns % _SECOND_NS else COARSE_SLACK_NS
    return max(mtime_ns, ctime_ns) < read_ns - slack
