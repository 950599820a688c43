# SPDX-License-Identifier: MIT
"""Everything casstore raises, grouped by what the caller can do about it.

Each class has a ``kind``: a short code that never changes its meaning (the CLI prints it in JSON and maps it to an
exit code). An error carries what is needed to act, as attributes that are ``None`` where they do not apply, and its
message ends with the next step.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CasstoreError(Exception):
    """Base of every error that casstore raises on purpose.

    Attributes:
        kind: Stable code of the class, for example ``"not-found"``.
        address: 32 bytes, the object concerned.
        segment: Number of the segment file concerned.
        offset: Byte offset in that segment or file.
        path: File system path, or key, concerned.
        pid: Process that holds what was asked for.
        report: A structured report (``verify`` attaches its ``VerifyReport``).
    """

    kind: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        address: bytes | None = None,
        segment: int | None = None,
        offset: int | None = None,
        path: str | None = None,
        pid: int | None = None,
        report: object | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.address = address
        self.segment = segment
        self.offset = offset
        self.path = path
        self.pid = pid
        self.report = report

    def __str__(self) -> str:
        return self.message


class NotFoundError(CasstoreError, KeyError):
    """Nothing has that address, key, ref or snapshot id."""

    kind = "not-found"


class CorruptionError(CasstoreError):
    """Bytes on disk are not those that were written."""

    kind = "corruption"


class FormatVersionError(CasstoreError):
    """The store was written by a later format, or needs a feature this version does not have."""

    kind = "format-version"


class ConflictError(CasstoreError):
    """Somebody else changed it first: a ref moved, a plan was overtaken."""

    kind = "conflict"


class LockedError(CasstoreError):
    """Another process holds the store (``pid`` names it)."""

    kind = "locked"


class ReadOnlyError(CasstoreError):
    """A change was asked of a store that was opened read-only."""

    kind = "read-only"


class ClosedError(CasstoreError):
    """The store, branch or file was closed, or belongs to the parent of a forked process."""

    kind = "closed"


class InvalidInputError(CasstoreError, ValueError):
    """What the caller passed cannot be used; nothing was changed."""

    kind = "invalid-input"


class QuotaExceededError(CasstoreError):
    """The write would pass the store's ``max_bytes``; nothing new became reachable, and the store goes on working.

    Attributes:
        max_bytes: The quota in force.
        used_bytes: Bytes that counted when the write was refused.
    """

    kind = "quota"

    def __init__(
        self, message: str, *, max_bytes: int | None = None, used_bytes: int | None = None, **where: Any
    ) -> None:
        super().__init__(message, **where)
        self.max_bytes = max_bytes
        self.used_bytes = used_bytes


class FactoryError(CasstoreError):
    """A type's factory failed or is not registered."""

    kind = "factory"


class DeadlineError(CasstoreError, TimeoutError):
    """It was not done in the time allowed."""

    kind = "deadline"


class StorageError(CasstoreError):
    """The operating system refused a read or a write.

    The store takes no more writes until it is reopened, except where the message says that the disk is full: then
    nothing of the write was kept, and the store goes on.
    """

    kind = "storage"
