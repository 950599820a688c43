# SPDX-License-Identifier: MIT
"""Numbers that callers give: statistics and weights."""

from __future__ import annotations

import math

from casstore.errors import InvalidInputError


def check_weight(name: str, value: object) -> None:
    """Raises ``InvalidInputError`` where ``value`` is no finite number of 0 or more."""
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise InvalidInputError(f"{name} is {value!r}; give a finite number, 0 or more.")


def check_number(name: str, value: object) -> None:
    """Raises ``InvalidInputError`` where ``value`` is no number that JSON has."""
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise InvalidInputError(f"the statistic {name!r} is {value!r}; give a finite int or float.")
