# SPDX-License-Identifier: MIT
"""Reading a bundle record by record, twice where it must be: once to verify it, once more to take it.

A small bundle is read into memory once. Of a larger one the first pass remembers a digest of each MiB, so that the
second pass takes nothing but what the first one saw, whoever writes to the file meanwhile.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Final

from blake3 import blake3

from casstore.address import event_address
from casstore.compression import decompress
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError
from casstore.format.bundle import MAX_MANIFEST_BYTES, MAX_RECORDS, Manifest, decode_manifest
from casstore.format.kinds import EVENT
from casstore.format.record import HEADER_BYTES, RecordHeader, check_record, decode_header

MEMORY_BYTES: Final = 16 * 1024 * 1024
"""A bundle up to this size is held in memory while it is adopted."""
_RUN_BYTES: Final = 1024 * 1024

Source = str | os.PathLike[str] | BinaryIO
Item = tuple[int, RecordHeader, bytes]
"""Offset, header and stored bytes of a record."""


def is_binary(file: object, method: str) -> bool:
    """Whether ``file`` is a file of bytes that has ``method``."""
    return hasattr(file, method) and not isinstance(file, io.TextIOBase)


class BundleFile:
    """A bundle, open for reading. Use it as a context manager.

    Args:
        source: Its path, or a binary file that can seek (one that cannot may hold up to 16 MiB). A file is read from
            its beginning and stays open.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It cannot be read.

    Attributes:
        size: Its length in bytes.
        manifest: What it says about itself, once ``records`` came to its end.
    """

    def __init__(self, source: Source) -> None:
        self.manifest: Manifest | None = None
        self._fd = -1
        self._file: BinaryIO | None = None
        self._data: bytes | None = None
        self._runs: list[tuple[int, int, bytes]] = []
        self.path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        self.size = 0
        try:
            if isinstance(source, (str, os.PathLike)):
                self._open(os.fspath(source))
            else:
                self._measure(source)
            self._data = self._read(0, self.size) if self.size <= MEMORY_BYTES else None
        except OSError as error:
            self.close()
            raise InvalidInputError(f"the bundle cannot be read ({error}).", path=self.path) from None
        except BaseException:
            self.close()
            raise

    def _open(self, path: str) -> None:
        try:
            # A pipe in place of the file must not make us wait for ever.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"there is no bundle {path}.", path=path) from None
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInputError(f"{path} is no file, so no bundle.", path=path)
        self.size = found.st_size

    def _measure(self, file: BinaryIO) -> None:
        if not is_binary(file, "seekable"):
            raise InvalidInputError(f"{type(file).__name__} is no bundle; give a path, or a file in binary mode.")
        self._file = file
        if file.seekable():
            self.size = file.seek(0, os.SEEK_END)
            return
        parts = []
        while self.size <= MEMORY_BYTES and (part := file.read(MEMORY_BYTES + 1 - self.size)):
            parts.append(part)
            self.size += len(part)
        if self.size > MEMORY_BYTES:
            raise InvalidInputError(
                f"a bundle of more than {MEMORY_BYTES} bytes is read twice; give its path, or a file that can seek."
            )
        self._file = io.BytesIO(b"".join(parts))

    def _read(self, offset: int, length: int) -> bytes:
        parts = []
        while length:
            if self._file is None:
                part = os.pread(self._fd, length, offset)
            else:
                self._file.seek(offset)
                part = self._file.read(length)
            if not part:
                raise CorruptionError("the bundle became shorter while it was read.", offset=offset, path=self.path)
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``, as they are now.

        Raises:
            CorruptionError: The file does not have them.
        """
        if self._data is not None:
            return self._data[offset : offset + length]
        try:
            return self._read(offset, length)
        except OSError as error:
            raise InvalidInputError(f"the bundle cannot be read ({error}).", path=self.path) from None

    def records(self) -> Iterator[Item]:
        """Every record but the manifest; that is in ``manifest`` when the iteration ends.

        Raises:
            CorruptionError: Torn, damaged, or not a bundle; ``offset`` says where.
            FormatVersionError: A bundle of a later format.
        """
        self.manifest, self._runs = None, []
        hasher = blake3()
        count = 0
        for start, data in self._cut():
            place, end = 0, len(data)
            if self._data is None:
                self._runs.append((start, end, blake3(data).digest()))
            while place < end:
                if self.manifest is not None:
                    raise self._error("bytes follow the manifest of the bundle", start + place)
                try:
                    header = check_record(data, place)
                except CorruptionError:
                    raise self._error("the bundle is torn or damaged", start + place) from None
                after = place + HEADER_BYTES + header.stored_bytes
                if header.kind == EVENT:
                    hasher.update(data[:place])
                    self.manifest = self._manifest(header, data[place + HEADER_BYTES : after], start + place)
                    if self.manifest.records != count or self.manifest.digest != hasher.digest():
                        raise self._error("the bundle is not what its manifest says", start + place)
                else:
                    count += 1
                    if count > MAX_RECORDS:
                        raise self._error(f"the bundle has more than {MAX_RECORDS} records", start + place)
                    yield start + place, header, data[place + HEADER_BYTES : after]
                place = after
            if self.manifest is None:
                hasher.update(data)
        if self.manifest is None:
            raise self._error("the bundle is torn: it ends without a manifest", self.size)

    def again(self) -> Iterator[Item]:
        """The records that ``records`` gave, once more: the same bytes or an error.

        Raises:
            CorruptionError: The file has changed since.
        """
        runs = [(0, self.size, b"")] if self._data is not None else self._runs
        for start, length, digest in runs:
            data = self.read(start, length)
            if digest and blake3(data).digest() != digest:
                raise self._error("the bundle was changed while it was adopted", start)
            place = 0
            while place < length:
                header = decode_header(data, place)
                after = place + HEADER_BYTES + header.stored_bytes
                if header.kind == EVENT:
                    return
                yield start + place, header, data[place + HEADER_BYTES : after]
                place = after

    def _cut(self) -> Iterator[tuple[int, bytes]]:
        """The file in parts of whole records, about a MiB each; a small bundle is one part."""
        if self._data is not None:
            yield 0, self._data
            return
        start = 0
        while start < self.size:
            data = self.read(start, min(_RUN_BYTES, self.size - start))
            place = 0
            while len(data) - place >= HEADER_BYTES:
                try:
                    wanted = HEADER_BYTES + decode_header(data, place).stored_bytes
                except CorruptionError:
                    raise self._error("the bundle is torn or damaged", start + place) from None
                if wanted > len(data) - place:
                    if place:
                        break
                    if wanted > self.size - start:
                        raise self._error("the bundle is torn: a record is cut short", start)
                    data = self.read(start, wanted)
                place += wanted
            if not place:
                raise self._error("the bundle is torn: a record is cut short", start)
            yield start, data[:place]
            start += place

    def _manifest(self, header: RecordHeader, stored: bytes, offset: int) -> Manifest:
        if header.raw_bytes > MAX_MANIFEST_BYTES:
            raise self._error("a bundle's manifest is too large", offset)
        payload = decompress(header.encoding, stored, header.raw_bytes)
        if event_address(payload) != header.address:
            raise self._error("a bundle's manifest is damaged", offset)
        return decode_manifest(payload)

    def _error(self, what: str, offset: int) -> CorruptionError:
        return CorruptionError(f"{what}; have the bundle made again.", offset=offset, path=self.path)

    def close(self) -> None:
        """Ends the reading; a file that was given stays open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._file = self._data = None

    def __enter__(self) -> BundleFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
