# SPDX-License-Identifier: MIT
"""Reading segment files: by position, and record after record.

Segments are read with ``pread``, never mapped: a file that is cut under a mapping kills the process.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from casstore.errors import CorruptionError, FormatVersionError
from casstore.format.record import HEADER_BYTES, MAGIC, RecordHeader, check_record, decode_header
from casstore.layout import SEGMENTS, SegmentId, parse_segment_name, segment_name

_WINDOW_BYTES: Final = 1024 * 1024
_MAX_OPEN: Final = 128


class OpenSegment:
    """A segment open for reading. The descriptor is closed when the last user lets go of the object."""

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class SegmentFiles:
    """The segment files of a store, a bounded number of them open."""

    __slots__ = ("_open", "folder", "store")

    def __init__(self, store: str) -> None:
        self.store = store
        self.folder = os.path.join(store, SEGMENTS)
        self._open: OrderedDict[int, OpenSegment] = OrderedDict()

    def path(self, segment: int) -> str:
        """Path of a segment's file."""
        return os.path.join(self.folder, segment_name(segment))

    def reader(self, segment: int) -> OpenSegment:
        """The segment, open; raises ``FileNotFoundError`` where there is none."""
        found = self._open.get(segment)
        if found is None:
            found = self._open[segment] = OpenSegment(self.path(segment))
            while len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
        return found

    def read(self, segment: int, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``; fewer at the end of the file."""
        # The name holds the segment open: another thread may let go of it meanwhile, and its number be given again.
        reader = self.reader(segment)
        return os.pread(reader.fd, length, offset)

    def forget(self, segment: int) -> None:
        """Lets go of a segment that is about to be removed."""
        self._open.pop(segment, None)

    def close(self) -> None:
        """Lets go of all segments."""
        self._open.clear()

    def on_disk(self) -> dict[SegmentId, int]:
        """Length in bytes of each segment file, by number."""
        found: dict[SegmentId, int] = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    segment = parse_segment_name(entry.name)
                    if segment is not None:
                        found[segment] = entry.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return dict(sorted(found.items()))

    def walk(self, segment: int, start: int = 0) -> Iterator[tuple[int, RecordHeader, bytes]]:
        """Offset, header and whole bytes of each intact record from ``start`` on; ends at the first that is not."""
        fd = OpenSegment(self.path(segment))
        buffer, base, place = b"", start, 0
        while True:
            if len(buffer) - place < HEADER_BYTES:
                buffer, base, place = self._fill(fd.fd, buffer, base, place, HEADER_BYTES)
            try:
                header = decode_header(buffer, place)
                wanted = HEADER_BYTES + header.stored_bytes
                if len(buffer) - place < wanted:
                    buffer, base, place = self._fill(fd.fd, buffer, base, place, wanted)
                check_record(buffer, place)
            except (CorruptionError, FormatVersionError):
                return
            yield base + place, header, buffer[place : place + wanted]
            place += wanted

    def walk_past_damage(self, segment: int) -> Iterator[tuple[int, RecordHeader, bytes]]:
        """The same for all intact records of a segment; damaged stretches are stepped over."""
        place: int | None = 0
        while place is not None:
            for offset, header, data in self.walk(segment, place):
                yield offset, header, data
                place = offset + len(data)
            place = self.resume(segment, place)

    @staticmethod
    def _fill(fd: int, buffer: bytes, base: int, place: int, wanted: int) -> tuple[bytes, int, int]:
        rest = buffer[place:]
        more = os.pread(fd, max(_WINDOW_BYTES, wanted), base + place + len(rest))
        return rest + more, base + place, 0

    def resume(self, segment: int, damaged: int) -> int | None:
        """Offset of the first intact record behind the damaged one at ``damaged``; None where there is none.

        The damaged header's own length is believed where an intact record follows: a content may hold whole records,
        of this store or another, which must not be taken for the store's.
        """
        fd = OpenSegment(self.path(segment))
        try:
            following = damaged + HEADER_BYTES + decode_header(os.pread(fd.fd, HEADER_BYTES, damaged)).stored_bytes
            length = HEADER_BYTES + decode_header(os.pread(fd.fd, HEADER_BYTES, following)).stored_bytes
            check_record(os.pread(fd.fd, length, following))
            return following
        except (CorruptionError, FormatVersionError):
            return self.find_record(segment, damaged + 1)

    def find_record(self, segment: int, start: int) -> int | None:
        """Offset of the first intact record at or after ``start``, past damaged bytes; None where there is none."""
        fd = OpenSegment(self.path(segment))
        offset = start
        while data := os.pread(fd.fd, _WINDOW_BYTES, offset):
            place = data.find(MAGIC)
            while place >= 0:
                head = os.pread(fd.fd, HEADER_BYTES, offset + place)
                try:
                    length = HEADER_BYTES + decode_header(head).stored_bytes
                    check_record(os.pread(fd.fd, length, offset + place))
                    return offset + place
                except (CorruptionError, FormatVersionError):
                    place = data.find(MAGIC, place + 1)
            offset += max(1, len(data) - len(MAGIC) + 1)
        return None
