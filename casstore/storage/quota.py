# SPDX-License-Identifier: MIT
"""The quota: how many bytes a store may keep, and what counts.

Stored bytes are the bytes of all records with their headers, the dead among them until a collection gives them back;
with segments that is the length of all segment files. The index, the reserve, and what readers and workspaces keep do
not count: they are reported apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from casstore.errors import QuotaExceededError
from casstore.format.record import HEADER_BYTES
from casstore.storage.backend import Prepared


def effective(*limits: int | None) -> int | None:
    """The strictest of several quotas, or None where none is set."""
    return min((limit for limit in limits if limit is not None), default=None)


def check_room(max_bytes: int, used_bytes: int, prepared: Sequence[Prepared]) -> None:
    """Returns where records fit below a quota.

    Raises:
        QuotaExceededError: They do not; none of them may be kept.
    """
    wanted = sum([HEADER_BYTES + len(record.stored) for record, _ in prepared])
    if used_bytes + wanted > max_bytes:
        raise QuotaExceededError(
            f"{wanted:,} more bytes would pass the quota: {used_bytes:,} of {max_bytes:,} bytes are used. Delete refs "
            "that are not needed and run `casstore gc`, or allow more with `casstore config max_bytes SIZE`.",
            max_bytes=max_bytes,
            used_bytes=used_bytes,
        )
