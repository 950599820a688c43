# SPDX-License-Identifier: MIT
"""What a factory is, and a value as it is stored.

A factory has the four members of ``Factory``. Each of these it may have as well; the registry asks for them by name:

``max_bytes: int``
    Contents of more bytes are neither written nor read.
``estimate_size(entry) -> int``
    Bytes of memory that the decoded value takes, from the tree's entry alone.
``open(file) -> view``
    A view over a seekable binary file that reads only what it is asked for. The view owns the file.
``encode_within(value, registry) -> bytes`` and ``decode_within(data, version, registry) -> value``
    For values that hold other values, and for factories that read older versions of their encoding: these two are
    called instead of ``encode`` and ``decode``, and ``decode_within`` gets every version up to the factory's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Factory(Protocol):
    """Encodes and decodes the values of one type.

    ``type_id`` is 1 to 255 printable ASCII letters, the same for ever; a factory decodes its own ``version`` of the
    encoding, a whole number. Plain class attributes will do for both.
    """

    @property
    def type_id(self) -> str:
        """The type's name on disk."""

    @property
    def version(self) -> int:
        """The encoding's version."""

    def encode(self, value: Any) -> bytes:
        """Canonical bytes: equal values give equal bytes."""

    def decode(self, data: bytes) -> Any:
        """A value that is fresh or immutable; never one that another reader could change."""


class Encoded(NamedTuple):
    """A value as it is stored."""

    type_id: str
    version: int
    data: bytes
