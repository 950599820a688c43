# SPDX-License-Identifier: MIT
"""What a key of a tree maps to: a file, a link, an empty directory, a snapshot, a Python value, or metadata bytes.

::

    FILE, EXECUTABLE, SYMLINK   kind u8 | size varint | content
    DIRECTORY                   kind u8
    SNAPSHOT                    kind u8 | address 32
    OBJECT                      kind u8 | type id length varint | type id | type version varint | size varint | content
    VALUE                       kind u8 | size varint | bytes

    content = the bytes themselves when size <= INLINE_BYTES, else the 32-byte address of the content

Invariant: equal entries have equal bytes. So content of at most ``INLINE_BYTES`` is always inline, numbers have their
shortest form, and the decoder refuses anything else. An encoding knows nothing of its key or its neighbours.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from casstore.address import ADDRESS_BYTES, Address
from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.varint import decode_varint, encode_varint

FILE: Final = 1
EXECUTABLE: Final = 2
SYMLINK: Final = 3
DIRECTORY: Final = 4
"""A directory that holds nothing; others exist through their keys."""
SNAPSHOT: Final = 5
OBJECT: Final = 6
VALUE: Final = 7
"""Metadata bytes, always inline."""

KIND_NAMES: Final = {
    FILE: "file",
    EXECUTABLE: "executable",
    SYMLINK: "symlink",
    DIRECTORY: "directory",
    SNAPSHOT: "snapshot",
    OBJECT: "object",
    VALUE: "value",
}

INLINE_BYTES: Final = 127
"""Content up to this size lives in the entry. On disk for ever: every root depends on it. Below 128, so that the
first byte of a size says whether its content is inline."""

MAX_VALUE_BYTES: Final = 64 * 1024
MAX_TYPE_ID_BYTES: Final = 255


class Entry(NamedTuple):
    """What a key maps to. Make one with the functions below; equal entries compare equal.

    Attributes:
        kind: ``FILE`` to ``VALUE``.
        size: Bytes of the content (a symlink's is its target); 0 for directories and snapshots.
        address: 32 bytes: the content's, or the snapshot's id. None when the content is inline or there is none.
        inline: The content itself. Always set when a content has at most ``INLINE_BYTES``, else None.
        type_id: ASCII name of an object's type, ``""`` for other kinds.
        type_version: Version of that type's encoding.
    """

    kind: int
    size: int
    address: Address | None
    inline: bytes | None
    type_id: str = ""
    type_version: int = 0


_make = tuple.__new__


def _content_entry(kind: int, size: int, address: Address | None, inline: bytes | None) -> Entry:
    entry: Entry = _make(Entry, (kind, size, address, inline, "", 0))
    return entry


def file_entry(
    size: int, address: Address | None = None, inline: bytes | None = None, executable: bool = False
) -> Entry:
    """A regular file. Give ``inline`` when ``size <= INLINE_BYTES``, else ``address``; encoding checks it."""
    return _content_entry(EXECUTABLE if executable else FILE, size, address, inline)


def symlink_entry(size: int, address: Address | None = None, inline: bytes | None = None) -> Entry:
    """A symbolic link whose target is the content."""
    return _content_entry(SYMLINK, size, address, inline)


def directory_entry() -> Entry:
    """A directory that holds nothing."""
    return _content_entry(DIRECTORY, 0, None, None)


def snapshot_entry(snapshot_id: Address) -> Entry:
    """A link to a snapshot, which the collector follows."""
    return _content_entry(SNAPSHOT, 0, snapshot_id, None)


def object_entry(
    type_id: str, type_version: int, size: int, address: Address | None = None, inline: bytes | None = None
) -> Entry:
    """A Python value, encoded by the factory of ``type_id``."""
    return Entry(OBJECT, size, address, inline, type_id, type_version)


def value_entry(data: bytes) -> Entry:
    """Metadata bytes, at most ``MAX_VALUE_BYTES``."""
    return _content_entry(VALUE, len(data), None, data)


def encode_entry(entry: Entry) -> bytes:
    """The bytes of ``entry``.

    Raises:
        InvalidInputError: No reader would accept them (wrong size, inline and address mixed up, unknown kind …).
    """
    kind, size, address, inline, type_id, type_version = entry
    if kind != OBJECT and not FILE <= kind <= SYMLINK:
        return _encode_other(entry)
    if kind != OBJECT:
        if type_id or type_version:
            raise _bad(entry, "only an object has a type")
        head = b""
    else:
        name = _encode_type_id(entry)
        head = encode_varint(len(name)) + name + encode_varint(type_version)
    if inline is None:
        if address is None or len(address) != ADDRESS_BYTES or size <= INLINE_BYTES:
            raise _bad(entry, f"content of more than {INLINE_BYTES} bytes has an address, smaller content is inline")
        if size < 16384 and not head:  # the most frequent case, at half the price
            return bytes((kind, size & 127 | 128, size >> 7)) + address
        return bytes((kind,)) + head + encode_varint(size) + address
    if address is not None or size != len(inline) or size > INLINE_BYTES:
        raise _bad(entry, f"content of at most {INLINE_BYTES} bytes is inline and its size is its length")
    return bytes((kind,)) + head + bytes((size,)) + inline


def decode_entry(data: bytes, at: int = 0, end: int | None = None) -> Entry:
    """The entry whose bytes are ``data[at:end]``.

    Raises:
        CorruptionError: They are not an entry in its one valid form.
    """
    if end is None:
        end = len(data)
    if not at < end <= len(data):
        raise CorruptionError("an entry is cut short; run `casstore verify`.")
    kind = data[at]
    type_id, type_version = "", 0
    start = at + 1
    if kind == OBJECT:
        length, start = decode_varint(data, start)
        name = data[start : start + length]
        if not 1 <= length <= MAX_TYPE_ID_BYTES or not name.isascii():
            raise CorruptionError("an object's type id is not ASCII of 1 to 255 bytes; run `casstore verify`.")
        type_id = name.decode("ascii")
        if not type_id.isprintable():
            raise CorruptionError("an object's type id is not printable; run `casstore verify`.")
        type_version, start = decode_varint(data, start + length)
    size = 0
    address: Address | None = None
    inline: bytes | None = None
    if kind in (FILE, EXECUTABLE, SYMLINK, OBJECT):
        size, start = decode_varint(data, start)
        if size <= INLINE_BYTES:
            inline = data[start : start + size]
            start += size
        else:
            address = Address(data[start : start + ADDRESS_BYTES])
            start += ADDRESS_BYTES
    elif kind == VALUE:
        size, start = decode_varint(data, start)
        if size > MAX_VALUE_BYTES:
            raise CorruptionError("a value is too large; run `casstore verify`.")
        inline = data[start : start + size]
        start += size
    elif kind == SNAPSHOT:
        address = Address(data[start : start + ADDRESS_BYTES])
        start += ADDRESS_BYTES
    elif kind != DIRECTORY:
        raise CorruptionError(f"{kind} is no kind of entry; run `casstore verify`.")
    if start != end:
        raise CorruptionError("an entry has bytes too many or too few; run `casstore verify`.")
    entry: Entry = _make(Entry, (kind, size, address, inline, type_id, type_version))
    return entry


def entry_end(data: bytes, at: int) -> tuple[int, int]:
    """Where the entry at ``data[at]`` ends, and its size in bytes; checks the form, not that ``data`` is long enough.

    Raises:
        CorruptionError: It is no entry.
        IndexError: ``at`` is past the end of ``data``.
    """
    kind = data[at]
    start = at + 1
    if kind == OBJECT:
        length, start = decode_varint(data, start)
        name = data[start : start + length]
        if not 1 <= length <= MAX_TYPE_ID_BYTES or not name.isascii() or not name.decode("ascii").isprintable():
            raise CorruptionError("an object's type id is not 1 to 255 printable ASCII letters; run `casstore verify`.")
        _, start = decode_varint(data, start + length)
    if kind == DIRECTORY:
        return start, 0
    if kind == SNAPSHOT:
        return start + ADDRESS_BYTES, 0
    if not FILE <= kind <= VALUE:
        raise CorruptionError(f"{kind} is no kind of entry; run `casstore verify`.")
    size, start = decode_varint(data, start)
    if kind == VALUE:
        if size > MAX_VALUE_BYTES:
            raise CorruptionError("a value is too large; run `casstore verify`.")
        return start + size, size
    return start + (size if size <= INLINE_BYTES else ADDRESS_BYTES), size


def _encode_other(entry: Entry) -> bytes:
    kind, size, address, inline, type_id, type_version = entry
    if type_id or type_version:
        raise _bad(entry, "only an object has a type")
    if kind == VALUE:
        if inline is None or address is not None or size != len(inline) or size > MAX_VALUE_BYTES:
            raise _bad(entry, f"a value is at most {MAX_VALUE_BYTES} inline bytes and its size is their number")
        return bytes((kind,)) + encode_varint(size) + inline
    if size or inline is not None:
        raise _bad(entry, "a directory or a snapshot has no size and no bytes")
    if kind == DIRECTORY and address is None:
        return bytes((kind,))
    if kind == SNAPSHOT and address is not None and len(address) == ADDRESS_BYTES:
        return bytes((kind,)) + address
    raise _bad(entry, "a snapshot entry has a 32-byte id, a directory no address, and kinds are 1 to 7")


def _encode_type_id(entry: Entry) -> bytes:
    type_id = entry.type_id
    if not 1 <= len(type_id) <= MAX_TYPE_ID_BYTES or not type_id.isascii() or not type_id.isprintable():
        raise _bad(entry, f"a type id is 1 to {MAX_TYPE_ID_BYTES} printable ASCII letters")
    return type_id.encode("ascii")


def _bad(entry: Entry, why: str) -> InvalidInputError:
    return InvalidInputError(f"this entry cannot be stored: {why}; it is kind {entry.kind}, {entry.size} bytes.")
