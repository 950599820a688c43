# SPDX-License-Identifier: MIT
"""What POSIX knows of a path beyond its content: the values of the side root ``posix``.

``state_id`` does not see this root, so two states whose files are equal stay equal whenever and whoever wrote them.

Keys. No key may be a path prefix of another, and a directory has metadata as well as what is in it. So each component
of the path gets ``=`` in front, and a directory's own metadata is the member ``@`` below it, a name that nothing else
can have:

===============================  ============================
the directory itself             ``@``
directory ``src``                ``=src/@``
file or symlink ``src/a.py``     ``=src/=a.py``
===============================  ============================

Values. One value has one encoding, at most 65,536 bytes::

    version u8 | mode | uid | gid | seconds | nanoseconds | count | count times: name length | name | length | value

Numbers are varints, as everywhere in format 1.

* ``version``: 1. A reader refuses any other.
* ``mode``: permission bits with set-user-id, set-group-id and sticky, at most 07777. The file type is the entry's kind.
* ``uid``, ``gid``: below 2**32.
* ``seconds``: of the modification time, since 1970, zigzag (0, -1, 1, -2 are 0, 1, 2, 3), at most 2**63 - 1.
* ``nanoseconds``: what is added to them, below 10**9.
* ``count``: extended attributes, at most 1024, sorted by name; a name has 1 to 255 bytes and no NUL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.entry import MAX_VALUE_BYTES
from casstore.format.varint import decode_varint, encode_varint

VERSION: Final = 1
"""On disk for ever, as are the limits below."""
MAX_MODE: Final = 0o7777
MAX_ID: Final = 2**32 - 1
MAX_SECONDS: Final = 2**63 - 1
MAX_XATTRS: Final = 1024
MAX_XATTR_NAME_BYTES: Final = 255

_SECOND: Final = 10**9


@dataclass(frozen=True, slots=True)
class PosixMetadata:
    """The metadata of one path.

    Attributes:
        mode: Permission bits, at most ``0o7777``.
        uid: User id of the owner.
        gid: Group id.
        mtime_ns: Time of the last change, nanoseconds since 1970.
        xattrs: Extended attributes as (name, value), sorted by name.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


def posix_key(path: bytes, *, directory: bool) -> bytes:
    """The key that holds the metadata of ``path`` (``b""`` is the top directory)."""
    if not path:
        return b"@"
    key = b"=" + path.replace(b"/", b"/=")
    return key + b"/@" if directory else key


def posix_path(key: bytes) -> tuple[bytes, bool]:
    """The path that a key is about, and whether it is a directory: what ``posix_key`` was given."""
    if key == b"@":
        return b"", True
    directory = key.endswith(b"/@")
    path = key[:-2] if directory else key
    return path[1:].replace(b"/=", b"/"), directory


def encode_posix(metadata: PosixMetadata) -> bytes:
    """The one encoding of ``metadata``.

    Raises:
        InvalidInputError: A member is beyond its limit, or the extended attributes are not sorted by name.
    """
    seconds, nanoseconds = divmod(metadata.mtime_ns, _SECOND)
    zigzag = seconds << 1 if seconds >= 0 else (-seconds << 1) - 1
    xattrs = metadata.xattrs
    if not (
        0 <= metadata.mode <= MAX_MODE
        and 0 <= metadata.uid <= MAX_ID
        and 0 <= metadata.gid <= MAX_ID
        and zigzag <= MAX_SECONDS
        and len(xattrs) <= MAX_XATTRS
    ):
        raise InvalidInputError(f"{metadata!r} is beyond what POSIX metadata can hold; import with metadata='basic'.")
    parts = [bytes((VERSION,))]
    parts += map(encode_varint, (metadata.mode, metadata.uid, metadata.gid, zigzag, nanoseconds, len(xattrs)))
    before = b""
    for name, value in xattrs:
        if not before < name or len(name) > MAX_XATTR_NAME_BYTES or b"\0" in name:
            raise InvalidInputError(f"the extended attribute {name!r} is out of order or too long; leave it out.")
        parts += (encode_varint(len(name)), name, encode_varint(len(value)), value)
        before = name
    encoded = b"".join(parts)
    if len(encoded) > MAX_VALUE_BYTES:
        raise InvalidInputError(f"extended attributes take {len(encoded)} bytes, too many; leave some out.")
    return encoded


def decode_posix(data: bytes) -> PosixMetadata:
    """The metadata that ``data`` is the one encoding of. Cost: O(bytes).

    Raises:
        CorruptionError: ``data`` is no such encoding.
        FormatVersionError: It is of a later version.
    """
    if not data or len(data) > MAX_VALUE_BYTES:
        raise _malformed("it is empty or too long")
    if data[0] != VERSION:
        raise FormatVersionError(
            f"the POSIX metadata of a path has version {data[0]}, this casstore reads {VERSION}; update casstore."
        )
    mode, at = decode_varint(data, 1)
    uid, at = decode_varint(data, at)
    gid, at = decode_varint(data, at)
    zigzag, at = decode_varint(data, at)
    nanoseconds, at = decode_varint(data, at)
    count, at = decode_varint(data, at)
    if mode > MAX_MODE or uid > MAX_ID or gid > MAX_ID or zigzag > MAX_SECONDS or nanoseconds >= _SECOND:
        raise _malformed("a number is too large")
    if count > MAX_XATTRS:
        raise _malformed("it has too many extended attributes")
    xattrs: list[tuple[bytes, bytes]] = []
    before = b""
    for _ in range(count):
        length, at = decode_varint(data, at)
        name = data[at : at + length]
        size, start = decode_varint(data, at + length)
        at = start + size
        if at > len(data) or length > MAX_XATTR_NAME_BYTES or not before < name or b"\0" in name:
            raise _malformed("its extended attributes are cut short, too long or out of order")
        xattrs.append((name, data[start:at]))
        before = name
    if at != len(data):
        raise _malformed("it does not end where it should")
    seconds = -(zigzag + 1 >> 1) if zigzag & 1 else zigzag >> 1
    return PosixMetadata(mode, uid, gid, seconds * _SECOND + nanoseconds, tuple(xattrs))


def _malformed(why: str) -> CorruptionError:
    return CorruptionError(f"the POSIX metadata of a path is malformed: {why}; run `casstore verify`.")
