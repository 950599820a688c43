# SPDX-License-Identifier: MIT
"""Contents: bytes of any length over chunks and chunk lists.

Nothing here takes more than a few MiB, whatever the content's length.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from blake3 import blake3

from casstore.address import Address, content_address
from casstore.errors import ClosedError, CorruptionError
from casstore.format.chunk_list import MAX_DEPTH, MAX_PIECES, ChunkList, encode_chunk_list
from casstore.format.kinds import CHUNK, CHUNK_LIST

BUFFER_BYTES: Final = 128 * 1024
_HASH_BYTES: Final = 1024 * 1024

Piece = tuple[Address, int]
Resolve = Callable[[Address], bytes | ChunkList]
"""The verified bytes of a chunk, or the pieces of a list, by the record's own kind."""


class _Level:
    """One level of lists under construction: the pieces of the group that is being filled, and the group's hash."""

    __slots__ = ("hasher", "pieces")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        # None while the group starts where the content starts: then the content's own hash is the group's.
        self.hasher: Any | None = None


class ListBuilder:
    """Builds the lists of a content while its chunks pass by.

    A group of ``MAX_PIECES`` pieces becomes a list of its own, under the address of just those bytes, so lists stay
    small however long the content is. Content of up to ``MAX_PIECES`` chunks is hashed once; each further level of
    groups hashes what lies behind the first group once more.
    """

    __slots__ = ("_content", "_levels", "_put_list", "_unhashed", "_unhashed_bytes")

    def __init__(self, put_list: Callable[[Address, list[Piece]], None]) -> None:
        self._content = blake3()
        self._levels = [_Level()]
        self._put_list = put_list
        self._unhashed: list[bytes | memoryview] = []
        self._unhashed_bytes = 0

    def add(self, chunk: bytes | memoryview, address: Address) -> None:
        """Takes the next chunk."""
        # The list grows while groups close: a group that becomes full by that is closed as well.
        for height, level in enumerate(self._levels):
            if len(level.pieces) == MAX_PIECES:
                self._close_group(height)
        self._unhashed.append(chunk)
        self._unhashed_bytes += len(chunk)
        if self._unhashed_bytes >= _HASH_BYTES:
            self._hash()
        self._levels[0].pieces.append((address, len(chunk)))

    def _hash(self) -> None:
        """Hashes what has come in, many chunks in one call: short ones cost more in calls than in hashing."""
        data = b"".join(self._unhashed)
        self._unhashed, self._unhashed_bytes = [], 0
        self._content.update(data)
        for level in self._levels:
            if level.hasher is not None:
                level.hasher.update(data)

    def _close_group(self, height: int) -> None:
        self._hash()
        level = self._levels[height]
        if height + 1 == len(self._levels):
            self._levels.append(_Level())
        above = self._levels[height + 1]
        digest = (self._content if level.hasher is None else level.hasher).digest()
        above.pieces.append(self._list(Address(digest), level.pieces))
        level.pieces = []
        level.hasher = blake3()

    def _list(self, address: Address, pieces: list[Piece]) -> Piece:
        if len(pieces) == 1:
            return pieces[0]
        self._put_list(address, pieces)
        return address, sum(length for _, length in pieces)

    def finish(self) -> Address:
        """Address of the whole content; the lists it needs are stored. At least one chunk was added."""
        self._hash()
        address = Address(self._content.digest())
        for height in range(len(self._levels) - 1):
            level = self._levels[height]
            if level.pieces:
                digest = (self._content if level.hasher is None else level.hasher).digest()
                self._levels[height + 1].pieces.append(self._list(Address(digest), level.pieces))
        top = self._levels[-1].pieces
        if len(top) > 1:
            self._put_list(address, top)
        return address


Item = tuple[int, Address, bytes, Address | None]
"""Kind, address and raw bytes of a record, and a chunk that it is probably like."""


def cut_content(
    address: Address,
    data: bytes,
    lengths: Sequence[int],
    known: Callable[[Address], bool],
    before: Sequence[Address] = (),
) -> list[Item]:
    """What each record needs that is missing to keep ``data``; chunks come before their lists.

    ``lengths`` are the chunks'; ``known`` tells which addresses need no record; ``before`` are the chunks of a content
    that ``data`` is probably like. A new chunk is taken to be like the one that, there, follows what it follows here.
    """
    if len(lengths) <= 1:
        return [(CHUNK, address, data, before[0] if before else None)]
    items: list[Item] = []
    places = {piece: place for place, piece in enumerate(before)}
    beside = -1
    pieces: list[Piece] = []
    taken: set[Address] = set()
    view = memoryview(data)
    start = 0
    for length in lengths:
        chunk = bytes(view[start : start + length])
        piece = content_address(chunk)
        beside = places.get(piece, beside + 1)
        if piece not in taken and not known(piece):
            taken.add(piece)
            items.append((CHUNK, piece, chunk, before[min(beside, len(before) - 1)] if before else None))
        pieces.append((piece, length))
        start += length
    if len(pieces) <= MAX_PIECES:
        items.append((CHUNK_LIST, address, encode_chunk_list(address, pieces), None))
        return items

    def put_list(part: Address, members: list[Piece]) -> None:
        if not known(part):
            items.append((CHUNK_LIST, part, encode_chunk_list(part, members), None))

    builder = ListBuilder(put_list)
    start = 0
    for piece, length in pieces:
        builder.add(view[start : start + length], piece)
        start += length
    builder.finish()
    return items


def walk_chunks(address: Address, resolve: Resolve, depth: int = 0) -> Iterator[tuple[Address, bytes]]:
    """Address and verified bytes of each chunk of a content, in order.

    Raises:
        CorruptionError: A piece is damaged, has another length than its list says, or lists nest too deep.
    """
    found = resolve(address)
    if isinstance(found, bytes):
        yield address, found
        return
    if depth >= MAX_DEPTH:
        raise CorruptionError(f"the chunk lists of {address.hex()} nest too deep.", address=address)
    for piece, length in found.pieces:
        done = 0
        for chunk, data in walk_chunks(piece, resolve, depth + 1):
            done += len(data)
            if done > length:
                break
            yield chunk, data
        if done != length:
            raise CorruptionError(f"a piece of {address.hex()} is not as long as its list says.", address=piece)


def join_content(address: Address, chunks: Iterable[tuple[Address, bytes]]) -> bytes:
    """The whole content, compared with its address.

    Raises:
        CorruptionError: The pieces make another content.
    """
    data = b"".join([chunk for _, chunk in chunks])
    if blake3(data).digest() != address:
        raise CorruptionError(f"the chunk list of {address.hex()} leads to another content.", address=address)
    return data


class RawContent(io.RawIOBase):
    """A content as an unbuffered file: seekable, read-only; reads only the chunks it needs, each verified."""

    def __init__(self, address: Address, resolve: Resolve, pin: object) -> None:
        """``pin`` is held until the file is closed."""
        super().__init__()
        self._resolve = resolve
        self._pin: object | None = pin
        self._top = resolve(address)
        self._address = address
        self._size = len(self._top) if isinstance(self._top, bytes) else self._top.size
        self._position = 0
        self._chunk = b""
        self._chunk_start = 0
        # The list last used at each depth, with the offsets at which its pieces end.
        self._path: list[tuple[Address, ChunkList, list[int]]] = []

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("the content is closed; open it again.")

    def readable(self) -> bool:
        self._check_open()
        return True

    def seekable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check_open()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}.get(whence)
        if base is None:
            raise ValueError(f"whence is {whence}; use 0, 1 or 2.")
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the content begins.")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        if not view or self._position >= self._size:
            return 0
        start = self._position - self._chunk_start
        if not 0 <= start < len(self._chunk):
            self._load_chunk()
            start = self._position - self._chunk_start
        # No further than this chunk: the buffer above asks for more than its reader may ever want.
        part = memoryview(self._chunk)[start : start + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _load_chunk(self) -> None:
        address, found, base = self._address, self._top, 0
        for depth in range(MAX_DEPTH + 1):
            if isinstance(found, bytes):
                self._chunk, self._chunk_start = found, base
                return
            if depth == len(self._path) or self._path[depth][0] != address:
                del self._path[depth:]
                self._path.append((address, found, list(accumulate(length for _, length in found.pieces))))
            ends = self._path[depth][2]
            place = bisect_right(ends, self._position - base)
            piece, length = found.pieces[place]
            base += ends[place] - length
            address = piece
            deeper = self._path[depth + 1] if depth + 1 < len(self._path) else None
            found = deeper[1] if deeper is not None and deeper[0] == piece else self._resolve(piece)
            size = len(found) if isinstance(found, bytes) else found.size
            if size != length:
                raise CorruptionError(
                    f"a piece of {self._address.hex()} is not as long as its list says.", address=piece
                )
        raise CorruptionError(f"the chunk lists of {self._address.hex()} nest too deep.", address=self._address)

    def close(self) -> None:
        self._pin = None
        self._chunk = b""
        super().close()


class ContentFile(io.BufferedReader):
    """A content as a seekable, read-only, buffered binary file."""

    def __init__(self, raw: RawContent) -> None:
        super().__init__(raw, BUFFER_BYTES)
