# SPDX-License-Identifier: MIT
"""How much two stored arrays differ, in bounded memory whatever their size. NumPy is imported on use only.

NaN equals NaN, and differs from every number. Where the lengths of the first dimension alone differ, the items that
both have are compared: an array that grew is one with rows added.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from casstore.codecs.describe_values import ArrayHeader
from casstore.errors import CorruptionError

if TYPE_CHECKING:
    import numpy

_BLOCK_BYTES: Final = 4 * 1024 * 1024
"""A multiple of every item's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayDifference:
    """How much two arrays differ.

    Attributes:
        old: What the old one is.
        new: What the new one is.
        compared: Items that were compared; 0 where shape or dtype do not allow it, or NumPy is missing.
        differing: Of these, how many differ.
        largest: Largest difference of two of them, an int for integers; None where there is none (booleans, NaN alone).
        nan: Of those that differ, how many have NaN on one side.
        numpy: Whether NumPy was there.
    """

    old: ArrayHeader
    new: ArrayHeader
    compared: int = 0
    differing: int = 0
    largest: float | int | None = None
    nan: int = 0
    numpy: bool = True


def compare_arrays(
    old: ArrayHeader, old_file: BinaryIO, new: ArrayHeader, new_file: BinaryIO
) -> ArrayDifference:  # fmt: skip
    """How much two arrays differ, whose contents the files hold; both are read once, a few MiB at a time.

    Raises:
        CorruptionError: A file ends before its items do, or is damaged.
    """
    if (old.kind, old.item_bytes) != (new.kind, new.item_bytes) or old.shape[1:] != new.shape[1:]:
        return ArrayDifference(old=old, new=new)
    if len(old.shape) != len(new.shape):
        return ArrayDifference(old=old, new=new)
    if importlib.util.find_spec("numpy") is None:
        return ArrayDifference(old=old, new=new, numpy=False)
    import numpy

    items = min(old.items, new.items)
    dtype = numpy.dtype(f"<{old.kind}{old.item_bytes}")
    differing = nan = 0
    largest: float | int | None = None
    old_file.seek(old.start)
    new_file.seek(new.start)
    left = items * old.item_bytes
    with numpy.errstate(all="ignore"):
        while left:
            size = min(left, _BLOCK_BYTES)
            left -= size
            first, second = _read(old_file, size), _read(new_file, size)
            if first == second:
                continue
            count, missing, most = _block(numpy.frombuffer(first, dtype), numpy.frombuffer(second, dtype))
            differing += count
            nan += missing
            if most is not None:
                largest = most if largest is None else max(largest, most)
    return ArrayDifference(old=old, new=new, compared=items, differing=differing, largest=largest, nan=nan)


def _block(a: numpy.ndarray[Any, Any], b: numpy.ndarray[Any, Any]) -> tuple[int, int, float | int | None]:
    """How many items differ, how many of them for a NaN on one side, and the largest difference of the others."""
    import numpy

    differ = a != b
    kind = a.dtype.kind
    if kind not in "fc":
        a, b = a[differ], b[differ]
        if kind == "b" or not len(a):
            return len(a), 0, None
        # Wrapped around, the difference of two signed numbers is right as an unsigned one.
        apart = numpy.where(a > b, a - b, b - a).view(f"u{a.dtype.itemsize}")
        return len(a), 0, int(apart.max())
    nan_a, nan_b = numpy.isnan(a), numpy.isnan(b)
    differ &= ~(nan_a & nan_b)
    one_sided = differ & (nan_a | nan_b)
    numbers = differ & ~one_sided
    most: float | None = None
    if numbers.any():
        wide = numpy.complex128 if kind == "c" else numpy.float64
        apart = numpy.abs(a[numbers].astype(wide) - b[numbers].astype(wide))
        found = float(apart.max())
        # Two complex infinities may be NaN apart.
        most = math.inf if math.isnan(found) else found
    return int(numpy.count_nonzero(differ)), int(numpy.count_nonzero(one_sided)), most


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise CorruptionError("an array ends before its items do; run `casstore verify`.")
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFigures:
    """What an array holds, in short.

    Attributes:
        first: The first items, as Python numbers.
        minimum: The smallest; None without items, of complex numbers, and of NaN alone.
        maximum: The largest; the same.
        nan: How many are NaN.
    """

    first: tuple[Any, ...]
    minimum: float | int | bool | None = None
    maximum: float | int | bool | None = None
    nan: int = 0


def array_figures(header: ArrayHeader, file: BinaryIO, *, first: int = 8) -> ArrayFigures | None:
    """What the array in a file holds, read once, a few MiB at a time; None without NumPy.

    Raises:
        CorruptionError: The file ends before the items do, or is damaged.
    """
    if importlib.util.find_spec("numpy") is None:
        return None
    import numpy

    dtype = numpy.dtype(f"<{header.kind}{header.item_bytes}")
    file.seek(header.start)
    left = header.items * header.item_bytes
    shown: tuple[Any, ...] = ()
    lows: list[Any] = []
    highs: list[Any] = []
    nan = 0
    while left:
        size = min(left, _BLOCK_BYTES)
        block = numpy.frombuffer(_read(file, size), dtype)
        left -= size
        shown = shown or tuple(block[:first].tolist())
        if header.kind in "fc":
            missing = numpy.isnan(block)
            nan += int(numpy.count_nonzero(missing))
            block = block[~missing]
        if header.kind != "c" and len(block):
            lows.append(block.min().item())
            highs.append(block.max().item())
    return ArrayFigures(
        first=shown, minimum=min(lows, default=None), maximum=max(highs, default=None), nan=nan
    )  # fmt: skip
