# SPDX-License-Identifier: MIT
"""NumPy arrays: C order, little-endian, under a header of our own; no pickle.

::

    offset  bytes  field
         0      1  version, 1
         1      1  kind: one of b (bool), i, u, f, c
         2      1  bytes per item
         3      1  number of dimensions, 0 … 32
         4  8 × n  length of each dimension, little-endian
         …      …  items; a boolean is 0 or 1

NumPy is imported on use only.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.entry import Entry

if TYPE_CHECKING:
    import numpy

    from casstore.codecs.array_view import ArrayView

VERSION: Final = 1
MAX_DIMENSIONS: Final = 32
_ITEM_BYTES: Final = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
_HEAD = struct.Struct("<BcBB")
HEADER_BYTES: Final = _HEAD.size + 8 * MAX_DIMENSIONS
"""The longest header."""

MAX_ARRAY_BYTES: Final = 2**63 - 1

_ARRAY_BYTES: Final = 128
"""What an array takes beside its items."""


class ArrayFactory:
    """``numpy.ndarray`` of booleans and numbers; what is read is a read-only array over the stored bytes."""

    type_id: Final = "ndarray"
    version: Final = 1

    def encode(self, value: numpy.ndarray[Any, Any]) -> bytes:
        kind, item_bytes = value.dtype.kind, value.dtype.itemsize
        if item_bytes not in _ITEM_BYTES.get(kind, ()):
            raise InvalidInputError(
                f"arrays of {value.dtype} cannot be stored; use booleans, integers, floats or complex numbers "
                "of up to 8 bytes a part."
            )
        # NumPy takes any other byte for true as well, and equal arrays have equal contents.
        one_form = value.view("u1") != 0 if kind == "b" else value
        little = one_form.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
        head = _HEAD.pack(VERSION, kind.encode(), item_bytes, value.ndim)
        return head + struct.pack(f"<{value.ndim}Q", *value.shape) + little.tobytes(order="C")

    def decode(self, data: bytes) -> numpy.ndarray[Any, Any]:
        import numpy

        kind, item_bytes, shape, start = read_header(data)
        array = numpy.frombuffer(data, dtype=f"<{kind}{item_bytes}", offset=start)
        check_items(array)
        return array.reshape(shape)

    def estimate_size(self, entry: Entry) -> int:
        return _ARRAY_BYTES + entry.size

    def open(self, file: BinaryIO) -> ArrayView:
        """A view whose slices read only the chunks they need."""
        from casstore.codecs.array_view import ArrayView

        return ArrayView(file)


def read_header(data: bytes) -> tuple[str, int, tuple[int, ...], int]:
    """Kind, bytes per item, shape, and offset of the first item; needs no NumPy.

    Raises:
        CorruptionError: Not an array in its one valid form.
    """
    return parse_header(data, len(data))


def parse_header(data: bytes, size: int) -> tuple[str, int, tuple[int, ...], int]:
    """As ``read_header``, from the first ``HEADER_BYTES`` or more of a content of ``size`` bytes."""
    if len(data) < _HEAD.size:
        raise CorruptionError("an array is cut short.")
    version, letter, item_bytes, dimensions = _HEAD.unpack_from(data)
    kind = letter.decode("latin-1")
    start = _HEAD.size + 8 * dimensions
    if version != VERSION or item_bytes not in _ITEM_BYTES.get(kind, ()) or dimensions > MAX_DIMENSIONS:
        raise CorruptionError("an array's header is malformed.")
    if len(data) < start:
        raise CorruptionError("an array is cut short.")
    shape: tuple[int, ...] = struct.unpack_from(f"<{dimensions}Q", data, _HEAD.size)
    if math.prod(shape) * item_bytes != size - start:
        raise CorruptionError("an array's items do not fill its shape.")
    # Lengths beside a 0 say nothing of the size, and NumPy takes no larger ones.
    if math.prod(length or 1 for length in shape) * item_bytes > MAX_ARRAY_BYTES:
        raise CorruptionError("an array's shape is too large.")
    return kind, item_bytes, shape, start


def check_items(array: numpy.ndarray[Any, Any]) -> None:
    """Refuses booleans that are neither 0 nor 1, which NumPy takes for one or the other. Cost: one pass over them.

    Raises:
        CorruptionError: There are some.
    """
    if array.dtype.kind == "b" and array.size and array.view("u1").max() > 1:
        raise CorruptionError("an array of booleans holds something else; run `casstore verify`.")
