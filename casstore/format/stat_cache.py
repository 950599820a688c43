# SPDX-License-Identifier: MIT
"""The stat cache of a directory: what its folders and files looked like when a snapshot had their content.

It lies in the index under ``c`` and a directory's identity (device and inode, 8 bytes each, big-endian)::

    identity | 00                   the head:  version u8 | flags u8 | snapshot 32 | selection 16 | place 16
    identity | 2f | folder          one record per folder, its path with a slash behind it, nothing for the top

A folder's record, little-endian::

    version u8 | flags u8 | inode u64 | mtime i64 | ctime i64 | rules 16 | members u32 | folders u32 | left out u32
    members times: inode u64 | size u64 | mtime i64 | ctime i64 | mode u32
    members times: name | 00
    folders times: name | 00
    left out times: name | 00 | reason, UTF-8 | 00

or, where that is smaller: 02 | length of the record u32 | the record as a zstandard frame with ``PACKED_PREFIX`` as its
prefix.

Head's flag 1: the snapshot holds POSIX metadata. Folder's flag 1: the list of names may be trusted while inode and
times stay. A member whose content must be read again has bit 31 of its mode set. ``selection`` and ``rules`` say what
was to be left out, ``place`` where the directory was; all may hold any 16 bytes. Times are nanoseconds since 1970.

All of this is a cache: whoever cannot read it does without.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from casstore.address import ADDRESS_BYTES, Address
from casstore.errors import CorruptionError

VERSION: Final = 1
PACKED: Final = b"\x02"
"""What the value of a compressed record begins with."""
_SOME_NS: Final = 1_763_650_000_000_000_000
UNSETTLED: Final = 1 << 31
"""Bit of a member's mode: nothing else about it may be trusted."""
NO_RULES: Final = bytes(16)
IDENTITY_BYTES: Final = 16

_NO_NAMES: Final = frozenset({b"", b".", b".."})
_FIRST_NS, _LAST_NS = -(2**63), 2**63 - 1
_POSIX: Final = 1
_LISTED: Final = 1
_HEAD: Final = struct.Struct(f"<BB{ADDRESS_BYTES}s16s16s")
_FOLDER: Final = struct.Struct("<BBQqq16sIII")
_MEMBER: Final = struct.Struct("<QQqqI")

PACKED_PREFIX: Final = b"".join(
    [
        _FOLDER.pack(VERSION, _LISTED, 2_000_000, _SOME_NS, _SOME_NS, NO_RULES, 2, 0, 0),
        _MEMBER.pack(2_000_001, 5_000, _SOME_NS, _SOME_NS, 0o100644),
        _MEMBER.pack(2_000_002, 300, _SOME_NS, _SOME_NS, 0o100644),
        b"LC_MESSAGES\0__init__.py\0formats.py\0locale\0templates\0tests\0README.md\0index.html\0",
    ]
)
"""What compressed records are taken to follow: a folder of two files, and names that folders often have."""

Stat = tuple[int, int, int, int, int]
"""Inode, size, mtime_ns, ctime_ns, mode of a member."""


class CacheHead(NamedTuple):
    """What the cache of a directory is about."""

    snapshot: Address
    selection: bytes
    place: bytes
    posix: bool


class FolderRecord:
    """One folder as it was; lists are sorted by name.

    Attributes:
        inode, mtime_ns, ctime_ns: The folder's own.
        listed: The names hold as long as these three stay.
        rules: 16 bytes that change with the rules in force there.
        members: Names of files and symlinks that are kept.
        stats: What they looked like, in the same order.
        folders: Names of the folders that are kept.
        left_out: Names that are not kept, each with the reason; a folder's has a slash behind it.
    """

    __slots__ = ("ctime_ns", "folders", "inode", "left_out", "listed", "members", "mtime_ns", "rules", "stats")

    def __init__(
        self,
        inode: int,
        mtime_ns: int,
        ctime_ns: int,
        listed: bool,
        rules: bytes,
        members: list[bytes],
        stats: list[Stat],
        folders: list[bytes],
        left_out: list[tuple[bytes, str]],
    ) -> None:
        self.inode = inode
        self.mtime_ns = mtime_ns
        self.ctime_ns = ctime_ns
        self.listed = listed
        self.rules = rules
        self.members = members
        self.stats = stats
        self.folders = folders
        self.left_out = left_out


def cache_key(device: int, inode: int) -> bytes:
    """What all keys of a directory's cache begin with, without the namespace."""
    return (device & 2**64 - 1).to_bytes(8, "big") + (inode & 2**64 - 1).to_bytes(8, "big")


def head_key(identity: bytes) -> bytes:
    """Key of the head."""
    return identity + b"\0"


def folder_key(identity: bytes, prefix: bytes) -> bytes:
    """Key of a folder's record; ``prefix`` is its path and a slash, or nothing for the top."""
    return identity + b"/" + prefix


def encode_head(head: CacheHead) -> bytes:
    """The bytes of a head."""
    return _HEAD.pack(VERSION, _POSIX if head.posix else 0, head.snapshot, head.selection, head.place)


def decode_head(data: bytes) -> CacheHead:
    """The head that ``data`` holds.

    Raises:
        CorruptionError: It is none, or one of another version.
    """
    if len(data) != _HEAD.size or data[0] != VERSION:
        raise _malformed()
    _, flags, snapshot, selection, place = _HEAD.unpack(data)
    return CacheHead(Address(snapshot), selection, place, bool(flags & _POSIX))


def encode_folder(record: FolderRecord) -> bytes:
    """The bytes of a folder's record."""
    pack = _MEMBER.pack
    try:
        members = b"".join([pack(*stat) for stat in record.stats])
    except struct.error:
        # Beyond the years 1677 to 2262: such a member never looks the same and is read each time.
        members = b"".join(
            [
                pack(inode, size, _clamp(mtime_ns), _clamp(ctime_ns), mode)
                for inode, size, mtime_ns, ctime_ns, mode in record.stats
            ]
        )
    names = record.members + record.folders
    for name, why in record.left_out:
        names.append(name)
        names.append(why.encode("utf-8", "replace").replace(b"\0", b"?"))
    names.append(b"")
    head = _FOLDER.pack(
        VERSION,
        _LISTED if record.listed else 0,
        record.inode,
        _clamp(record.mtime_ns),
        _clamp(record.ctime_ns),
        record.rules,
        len(record.members),
        len(record.folders),
        len(record.left_out),
    )
    return head + members + b"\0".join(names)


def decode_folder(data: bytes) -> FolderRecord:
    """The record that ``data`` holds. Cost: O(bytes).

    Raises:
        CorruptionError: It is none, or one of another version.
    """
    if len(data) < _FOLDER.size or data[0] != VERSION:
        raise _malformed()
    _, flags, inode, mtime_ns, ctime_ns, rules, members, folders, left_out = _FOLDER.unpack_from(data)
    end = _FOLDER.size + members * _MEMBER.size
    if end > len(data):
        raise _malformed()
    names = data[end:].split(b"\0")
    first_left_out = members + folders
    if len(names) != first_left_out + 2 * left_out + 1 or names[-1]:
        raise _malformed()
    kept = names[:first_left_out]
    # They are opened as they are here: none may lead anywhere but into the folder.
    if b"/" in b"".join(kept) or not _NO_NAMES.isdisjoint(kept):
        raise _malformed()
    return FolderRecord(
        inode,
        mtime_ns,
        ctime_ns,
        bool(flags & _LISTED),
        rules,
        names[:members],
        list(_MEMBER.iter_unpack(data[_FOLDER.size : end])),
        names[members:first_left_out],
        [
            (name, why.decode("utf-8", "replace"))
            for name, why in zip(names[first_left_out:-1:2], names[first_left_out + 1 :: 2])
        ],
    )


def _clamp(time_ns: int) -> int:
    return min(max(time_ns, _FIRST_NS), _LAST_NS)


def _malformed() -> CorruptionError:
    return CorruptionError("a stat cache is malformed; the next import with --paranoid makes it anew.")
