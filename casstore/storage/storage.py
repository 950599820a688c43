# SPDX-License-Identifier: MIT
"""Storage: contents and typed records by address, verified whenever they are read.

This is the layer's face. Below it a backend keeps records without knowing what they mean; above it nobody handles
chunks, frames or segments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Final

from blake3 import blake3

from casstore.address import (
    Address,
    check_address,
    content_address,
    event_address,
    node_address,
    snapshot_address,
)
from casstore.chunking import Chunker
from casstore.compression import compress, decompress
from casstore.config import Config
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError, ReadOnlyError
from casstore.format.chunk_list import ChunkList, decode_chunk_list, encode_chunk_list
from casstore.format.index_entry import DAMAGED_FLAG
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, KIND_NAMES, MAX_RAW_BYTES, NODE, RAW, SNAPSHOT, ZSTD_BASE
from casstore.format.record import Record
from casstore.storage.backend import Backend
from casstore.storage.content import ContentFile, ListBuilder, Piece, RawContent, cut_content, join_content, walk_chunks
from casstore.storage.deltas import delta_of, is_readable, pieces_of, read_delta
from casstore.storage.hot_cache import HotCache
from casstore.storage.ingest import BUSY_LEVEL, Ingest, Previous
from casstore.storage.pins import PinHandle, PinTable
from casstore.storage.watch import Watch

_ADDRESS_OF: Final[dict[int, Callable[[bytes], Address]]] = {
    CHUNK: content_address,
    NODE: node_address,
    SNAPSHOT: snapshot_address,
    EVENT: event_address,
}


@dataclass(frozen=True, slots=True)
class RecordInfo:
    """Where and how an object is stored; ``segment`` and ``offset`` mean little for backends without segments."""

    address: Address
    kind: int
    encoding: int
    stored_bytes: int
    raw_bytes: int
    segment: int
    offset: int
    stamp: int
    damaged: bool
    base: Address | None


class Storage:
    """Objects of one store. Thread-safe.

    Args:
        backend: Where records are kept.
        chunker: How content is cut.
        config: Cache size, threads, compression.
        deltas: Whether chunks may be stored against those of the version before.
    """

    __slots__ = ("__weakref__", "backend", "cache", "chunker", "config", "deltas", "pins", "renew_after_seconds")

    def __init__(self, backend: Backend, chunker: Chunker, config: Config, *, deltas: bool = False) -> None:
        self.backend = backend
        self.chunker = chunker
        self.config = config
        self.deltas = deltas
        self.cache = HotCache(config.cache_bytes - config.cache_bytes // 4)
        self.pins = PinTable()
        self.renew_after_seconds = 1800
        """A hit renews a record's stamp when it is older than this: half the grace period."""

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""
        return self.backend.read_only

    # -- reading

    def get(self, address: Address) -> bytes:
        """The whole content of ``address``.

        Raises:
            NotFoundError: Nothing has that address.
            CorruptionError: Its bytes on disk are damaged.

        Cost: about 2 µs when hot; else one look-up, one read, decompression and BLAKE3 of each chunk.
        """
        try:
            data = self.cache.get(address)
        except TypeError:
            # Not even hashable; the check below says what it should be.
            data = None
        if data is not None:
            return data  # type: ignore[no-any-return]
        found = self._resolve(check_address(address))
        if not isinstance(found, bytes):
            found = join_content(address, walk_chunks(address, self._resolve))
        self.cache.put(address, found, len(found))
        return found

    def get_many(self, addresses: Iterable[Address]) -> Iterator[bytes]:
        """The whole contents of ``addresses``, in order, verified; not kept in the hot cache."""
        for address in addresses:
            found = self.cache.get(check_address(address))
            if found is None:
                found = self._resolve(address)
                if not isinstance(found, bytes):
                    found = self._joined(address)
            yield found

    def _joined(self, address: Address) -> bytes:
        # BLAKE3 takes a third of the time, or less, for a whole content than for its chunks.
        try:
            data = b"".join([chunk for _, chunk in walk_chunks(address, self._unpacked)])
            if blake3(data).digest() == address:
                return data
        except CorruptionError:
            pass
        # Chunk by chunk tells which of them it is, and marks it.
        return join_content(address, walk_chunks(address, self._resolve))

    def _unpacked(self, address: Address) -> bytes | ChunkList:
        """As ``_resolve``, but a full chunk is not compared with its address."""
        record = self.backend.get(address)
        if record.kind == CHUNK and record.encoding != ZSTD_BASE:
            stored = record.stored
            return stored if record.encoding == RAW else decompress(record.encoding, stored, record.raw_bytes)
        return self._resolve(address)

    def open_content(self, address: Address) -> ContentFile:
        """The content as a seekable, read-only, buffered binary file that reads only the chunks it needs.

        Raises:
            NotFoundError: Nothing has that address.
            CorruptionError: Also later, by any read that meets damage.
        """
        pin = PinHandle(self.pins, "content", check_address(address))
        file = ContentFile(RawContent(address, self._resolve, pin))
        # A sweep that has decided by now has not seen the pin; the hit tells it, or tells us that it is too late.
        entry = self.backend.find(address)
        if entry is None or not self.backend.hit(address, entry):
            file.close()
            raise NotFoundError(f"the content {address.hex()} was collected just now.", address=address)
        return file

    def check_content(self, address: Address) -> None:
        """Reads a content chunk by chunk and compares it with its address, with bounded memory.

        Raises:
            CorruptionError: A chunk is damaged, or the chunks make another content.
        """
        hasher = blake3()
        for _, chunk in walk_chunks(check_address(address), self._resolve):
            hasher.update(chunk)
        if hasher.digest() != address:
            raise CorruptionError(f"the chunk list of {address.hex()} leads to another content.", address=address)

    def content_size(self, address: Address) -> int:
        """Length of a content in bytes; reads at most one chunk list."""
        entry = self.backend.find(check_address(address))
        if entry is not None and entry.kind == CHUNK:
            return entry.raw_bytes
        found = self._resolve(address)
        return len(found) if isinstance(found, bytes) else found.size

    def contains(self, address: Address) -> bool:
        """Whether an object with that address is there and not known to be damaged."""
        return self.backend.contains(check_address(address))

    def get_record(self, kind: int, address: Address) -> bytes:
        """The raw bytes of a node, snapshot, event, chunk or chunk list.

        Raises:
            NotFoundError: No object of that kind has the address.
            CorruptionError: Its bytes on disk are damaged.
        """
        record = self.backend.get(check_address(address))
        if record.kind != kind:
            raise NotFoundError(
                f"{address.hex()} is a {KIND_NAMES[record.kind]}, no {KIND_NAMES[kind]}.", address=address
            )
        return self._verified_list(record)[0] if kind == CHUNK_LIST else self.verified(record)

    def chunk_list(self, address: Address) -> ChunkList | None:
        """The pieces of a content that is stored as a list; None where it is one chunk."""
        found = self._resolve(address)
        return None if isinstance(found, bytes) else found

    def locate(self, address: Address) -> RecordInfo:
        """Where an object is stored.

        Raises:
            NotFoundError: Nothing has that address.
        """
        entry = self.backend.find(check_address(address))
        if entry is None:
            raise NotFoundError(f"nothing has the address {address.hex()}.", address=address)
        return RecordInfo(
            address,
            entry.kind,
            entry.encoding,
            entry.stored_bytes,
            entry.raw_bytes,
            entry.segment,
            entry.offset,
            entry.stamp,
            bool(entry.flags & DAMAGED_FLAG),
            entry.base,
        )

    def _resolve(self, address: Address) -> bytes | ChunkList:
        record = self.backend.get(address)
        if record.kind == CHUNK:
            return self.verified(record)
        if record.kind == CHUNK_LIST:
            return self._verified_list(record)[1]
        raise NotFoundError(f"{address.hex()} is a {KIND_NAMES[record.kind]}, no content.", address=address)

    def verified(self, record: Record) -> bytes:
        """The raw bytes of a record that lies in the store.

        Raises:
            CorruptionError: They do not have the record's address; it is marked damaged.
        """
        kind, encoding, address, raw_bytes, stored = record
        if encoding == ZSTD_BASE:
            return read_delta(self, record)
        try:
            raw = stored if encoding == RAW else decompress(encoding, stored, raw_bytes)
        except CorruptionError as error:
            raise self.backend.damaged(address) from error
        if _ADDRESS_OF[kind](raw) != address:
            raise self.backend.damaged(address)
        return raw

    def _verified_list(self, record: Record) -> tuple[bytes, ChunkList]:
        try:
            raw = decompress(record.encoding, record.stored, record.raw_bytes)
            return raw, decode_chunk_list(record.address, raw)
        except CorruptionError as error:
            raise self.backend.damaged(record.address) from error

    # -- writing

    def put(self, source: bytes | bytearray | memoryview | BinaryIO, like: Address | None = None) -> Address:
        """Keeps content and returns its address: BLAKE3 of the bytes, as ``b3sum`` prints it.

        Args:
            source: The bytes, or a binary file that is read to its end with bounded memory.
            like: A content that bytes are probably like, such as the version before; they may be stored against it.

        Raises:
            InvalidInputError: ``source`` is neither.
            StorageError: It could not be written.

        *Durability*: durable once ``sync`` returned or a ref leads to it.
        """
        self._check_writable()
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
            address = content_address(data)
            if not self.known(address):
                if like is not None or len(data) > self.chunker.whole_bytes:
                    # Pieces and bases that are there already must stay until what needs them is.
                    with self.operation():
                        self.backend.put(self.records_of(address, data, like))
                else:
                    self.backend.put([self.record(CHUNK, address, data)])
            return address
        if not hasattr(source, "read"):
            raise InvalidInputError(
                f"cannot store {type(source).__name__}; give bytes or a file opened in binary mode."
            )
        return self._put_stream(source)

    def put_record(self, kind: int, address: Address, raw: bytes) -> bool:
        """Keeps a typed record under its address; whether it was new."""
        if self.known(address):
            return False
        self._check_writable()
        self.backend.put([self.record(kind, address, raw)])
        return True

    def record(self, kind: int, address: Address, raw: bytes) -> Record:
        """``raw`` as it is to be stored."""
        if len(raw) > MAX_RAW_BYTES:
            raise InvalidInputError(f"a {KIND_NAMES[kind]} of {len(raw)} bytes; the limit is {MAX_RAW_BYTES}.")
        level = self.config.compression_level
        if kind != CHUNK:
            # Metadata is mostly addresses: better levels take twice the time for one percent.
            level = min(level, BUSY_LEVEL)
        encoding, stored = compress(raw, level)
        return Record(kind, encoding, address, len(raw), stored)

    def records_of(self, address: Address, data: bytes, like: Address | None = None) -> list[Record]:
        """The records that are missing to keep ``data``, compressed, chunks before lists; see ``put`` for ``like``."""
        items = cut_content(address, data, self.chunker.lengths(data), self.known, self.pieces_like(like))
        records = []
        for kind, piece, raw, base in items:
            delta = None if base is None else delta_of(self, piece, raw, base)
            records.append(delta or self.record(kind, piece, raw))
        return records

    def pieces_like(self, like: Address | None) -> list[Address]:
        """The chunks of the content ``like``, in order, where new ones may be stored against them."""
        return [] if like is None or not self.deltas else pieces_of(self, like)

    def _put_stream(self, source: BinaryIO) -> Address:
        with self.ingest() as ingest:
            return ingest.add_stream(source)

    def list_builder(self, put: Callable[[Record], None]) -> ListBuilder:
        """A builder of chunk lists that hands what is not yet stored to ``put``."""

        def put_list(address: Address, pieces: Sequence[Piece]) -> None:
            if not self.known(address):
                put(self.record(CHUNK_LIST, address, encode_chunk_list(address, pieces)))

        return ListBuilder(put_list)

    def known(self, address: Address) -> bool:
        """Whether a put of ``address`` can be left out, because its record is there and sound.

        A hit counts as use: it renews the record's stamp, and every running operation and collection learns of it.
        """
        backend = self.backend
        # Before the look-up: a sweep that begins and ends between it and the hit must be noticed.
        sweeps = backend.sweeps
        entry = backend.find(address)
        if entry is None or entry.flags & DAMAGED_FLAG:
            return False
        if entry.kind == CHUNK_LIST and backend.doubtful and not self._list_is_sound(address):
            return False
        if entry.base is not None and not is_readable(self, entry):
            return False
        now = int(time.time())
        if now - entry.stamp > self.renew_after_seconds:
            backend.touch(address, now)
        return backend.hit(address, entry, sweeps)

    def _list_is_sound(self, address: Address) -> bool:
        """Whether no piece of a list is missing or marked damaged, so that its content needs no healing."""
        try:
            found = self.chunk_list(address)
        except (CorruptionError, NotFoundError):
            return False
        for piece, _ in () if found is None else found.pieces:
            entry = self.backend.find(piece)
            if entry is None or entry.flags & DAMAGED_FLAG:
                return False
            if entry.base is not None and not is_readable(self, entry):
                return False
            if entry.kind == CHUNK_LIST and not self._list_is_sound(piece):
                return False
        return True

    def _check_writable(self) -> None:
        if self.backend.read_only:
            raise ReadOnlyError("the store is open read-only; open it without read_only to change it.")

    def ingest(self, previous: Previous | None = None) -> Ingest:
        """A bulk writer, to use as a context; see ``Ingest``."""
        self._check_writable()
        return Ingest(self, previous)

    def pin(self, what: str, address: Address) -> PinHandle:
        """Keeps what lies under ``address`` from the collector for as long as the handle lives."""
        return PinHandle(self.pins, what, address)

    def operation(self) -> AbstractContextManager[Watch]:
        """Everything put or hit until the context ends is kept from the collector."""
        return self.backend.watch()

    def sync(self) -> None:
        """Makes everything that was put durable."""
        self.backend.sync()

    def close(self) -> None:
        """Syncs and ends the use of the storage."""
        self.backend.close()
        self.cache.clear()
