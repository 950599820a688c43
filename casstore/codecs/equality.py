# SPDX-License-Identifier: MIT
"""Whether two values are the same, as a store means it: by type and content, arrays and NaN included."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from casstore.errors import CasstoreError, FactoryError

Equal = Callable[[Any, Any], bool]


def same_value(a: Any, b: Any) -> bool:
    """Whether the two are of one type and hold the same: 1 is not True, NaN is NaN, arrays go by shape, dtype, items.

    Raises:
        FactoryError: A ``==`` that had to be asked failed, or gave no bool.
    """
    return _same(a, b, {})


def _same(a: Any, b: Any, seen: dict[tuple[int, int], object]) -> bool:
    if type(a) is not type(b):
        return False
    if a is b:
        return True
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    if isinstance(a, (str, bytes, int)):
        return bool(a == b)
    # Values may hold themselves; what is being compared already counts as the same.
    if (id(a), id(b)) in seen:
        return True
    seen[id(a), id(b)] = (a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y, seen) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key], seen) for key in a)
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a) if field.compare]
        return all(_same(getattr(a, name), getattr(b, name), seen) for name in names)
    if hasattr(a, "__struct_fields__"):
        return all(_same(getattr(a, name), getattr(b, name), seen) for name in a.__struct_fields__)
    if hasattr(a, "tobytes") and hasattr(a, "dtype") and hasattr(a, "shape"):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    return _asked(a, b)


def _asked(a: Any, b: Any) -> bool:
    try:
        found = a == b
    except (CasstoreError, MemoryError):
        raise
    except Exception as error:
        raise FactoryError(f"{type(a).__qualname__} could not be compared: {error!r}; give equal=….") from error
    if type(found) is not bool:
        raise FactoryError(
            f"comparing {type(a).__qualname__} gave {type(found).__qualname__}, no bool; give equal=… to compare."
        )
    return found
