# SPDX-License-Identifier: MIT
"""A stored array that is not in memory: a slice reads only the chunks that hold its items.

Items lie in C order. Where a step along an axis is short, the bytes between two items are read with them, as no chunk
fits into so small a gap; where it is long, each index along that axis is read by itself.
"""

from __future__ import annotations

import io
import math
import operator
import threading
from collections.abc import Iterator
from types import EllipsisType
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from casstore.codecs.arrays import HEADER_BYTES, check_items, parse_header
from casstore.errors import ClosedError, CorruptionError, InvalidInputError

if TYPE_CHECKING:
    import numpy

GAP_BYTES: Final = 1024
"""Steps of up to so many bytes are read through; the default chunks are larger."""

BLOCK_BYTES: Final = 1024 * 1024
"""Read at once where gaps are read through."""

Index = int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]


class ArrayView:
    """An array in a seekable file, read by slices: ``view[10:20, ::2]``. Close it, or use it as a context manager.

    Indexing takes integers, slices and ``...``, and gives a fresh NumPy array, or a NumPy scalar;
    ``numpy.asarray(view)`` reads all of it. An index out of range raises ``IndexError``, as sequences do.

    Args:
        file: The content, as ``store.open_content`` gives it. The view owns it.

    Raises:
        CorruptionError: It is no array. Later also by any read that meets damage.

    *Thread safety*: any number of threads may read; they take turns at the file.
    *Cost*: one read for each run of items that lie together, at most 1 MiB beyond the result in memory.
    """

    __slots__ = ("_file", "_lock", "_start", "dtype", "shape")

    def __init__(self, file: BinaryIO) -> None:
        import numpy

        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        kind, item_bytes, shape, start = parse_header(_read(file, min(size, HEADER_BYTES)), size)
        self._file: BinaryIO | None = file
        self._lock = threading.Lock()
        self._start = start
        self.shape: Final = shape
        self.dtype: Final[Any] = numpy.dtype(f"<{kind}{item_bytes}")

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of items."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all items."""
        return self.size * int(self.dtype.itemsize)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without dimensions has no length; read it with view[()].")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, index: Index) -> Any:
        import numpy

        ranges, dropped = self._ranges(index)
        found = numpy.empty([len(one) for one in ranges], self.dtype)
        if found.size:
            # Along each axis from low to high, as the file is read; turned round at the end.
            rising = [one if one.step > 0 else one[::-1] for one in ranges]
            with self._lock:
                if self._file is None:
                    raise ClosedError("the view is closed; open the object again.")
                self._fill(self._file, found, rising, 0, self._start)
            turned = tuple(slice(None, None, 1 if one.step > 0 else -1) for one in ranges)
            found = found[turned]
        # With dots, NumPy gives an array even where no dimension is left.
        parts = index if isinstance(index, tuple) else (index,)
        dots = (Ellipsis,) if any(part is Ellipsis for part in parts) else ()
        return found[(*(0 if drop else slice(None) for drop in dropped), *dots)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray[Any, Any]:
        if copy is False:
            raise InvalidInputError("a view is not in memory, so an array of it is a copy; ask for one.")
        found: numpy.ndarray[Any, Any] = self[...]
        return found if dtype is None else found.astype(dtype, copy=False)

    def _ranges(self, index: Index) -> tuple[list[range], list[bool]]:
        """Which places of each axis are asked for, and which axes an integer drops."""
        parts = list(index) if isinstance(index, tuple) else [index]
        dots = [place for place, part in enumerate(parts) if part is Ellipsis]
        missing = self.ndim - len(parts) + len(dots)
        if missing < 0 or len(dots) > 1:
            raise IndexError(f"{len(parts)} indices for an array of {self.ndim} dimensions, and `...` once at most.")
        place = dots[0] if dots else len(parts)
        parts[place : place + len(dots)] = [slice(None)] * missing
        ranges, dropped = [], []
        for part, length in zip(parts, self.shape, strict=True):
            if isinstance(part, slice):
                ranges.append(range(length)[part])
                dropped.append(False)
                continue
            try:
                where = range(length)[operator.index(_no_bool(part))]
            except TypeError:
                raise InvalidInputError(
                    f"a view is indexed with integers, slices and `...`, not {type(part).__qualname__}; read a slice "
                    "and index that."
                ) from None
            ranges.append(range(where, where + 1))
            dropped.append(True)
        return ranges, dropped

    def _fill(self, file: BinaryIO, into: numpy.ndarray[Any, Any], ranges: list[range], axis: int, base: int) -> None:
        """Reads what ``ranges`` ask for, from ``axis`` on, into an array of just that shape."""
        inner = self.shape[axis:]
        whole = [one.step == 1 and len(one) == length for one, length in zip(ranges[axis:], inner, strict=True)]
        if all(whole[1:]) and (axis == self.ndim or ranges[axis].step == 1 or len(ranges[axis]) == 1):
            start = 0 if axis == self.ndim else ranges[axis].start * self._stride(axis)
            file.seek(base + start)
            into[...] = self._items(file, into.size).reshape(into.shape)
            return
        one, stride = ranges[axis], self._stride(axis)
        if one.step * stride > GAP_BYTES:
            for place, where in enumerate(one):
                self._fill(file, into[place], ranges, axis + 1, base + where * stride)
            return
        import numpy

        rest = tuple(slice(other.start, other.stop, other.step) for other in ranges[axis + 1 :])
        step = max(1, BLOCK_BYTES // (one.step * stride))
        for first in range(0, len(one), step):
            block = one[first : first + step]
            file.seek(base + block.start * stride)
            read = numpy.frombuffer(_read(file, (block[-1] + 1 - block.start) * stride), self.dtype)
            check_items(read)
            rows = read.reshape(-1, *self.shape[axis + 1 :])
            into[first : first + len(block)] = rows[(slice(None, None, one.step), *rest)]

    def _items(self, file: BinaryIO, number: int) -> numpy.ndarray[Any, Any]:
        import numpy

        found = numpy.empty(number, self.dtype)
        view = memoryview(found.view(numpy.uint8))  # type: ignore[arg-type, unused-ignore]
        done = 0
        while done < len(view):
            taken = file.readinto(view[done:])  # type: ignore[attr-defined]
            if not taken:
                raise _short()
            done += taken
        check_items(found)
        return found

    def _stride(self, axis: int) -> int:
        return math.prod(self.shape[axis + 1 :]) * int(self.dtype.itemsize)

    def close(self) -> None:
        """Ends the use of the file."""
        with self._lock:
            file, self._file = self._file, None
        if file is not None:
            file.close()

    def __enter__(self) -> ArrayView:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ArrayView of {self.dtype}, shape {self.shape}>"


def _no_bool(index: Any) -> Any:
    # For NumPy a mask, for Python an integer.
    if isinstance(index, bool):
        raise TypeError
    return index


def _read(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise _short()
    return data


def _short() -> CorruptionError:
    return CorruptionError("an array ends before its items do; run `casstore verify`.")
