# SPDX-License-Identifier: MIT
"""Keep rules: which snapshots of a ref's line retention keeps; members of the store's settings.

One rule is a JSON object with ``ref`` (a pattern) and at least one of ``last``, ``within_seconds``, ``total_bytes``,
and ``best`` with ``by``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from casstore.errors import InvalidInputError
from casstore.format.canonical import JsonValue
from casstore.quantities import duration, size

_NUMBERS: Final = ("last", "within_seconds", "total_bytes", "best")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """What to keep of the lines of some refs; what any of its parts keeps, stays, and the refs themselves always do.

    Attributes:
        ref: Which refs: a name, with ``*`` for any letters, ``?`` for one and ``[…]`` for one of some.
        last: Keep the newest so many.
        within_seconds: Keep what is at most so much older than the newest of the line.
        total_bytes: Keep the newest that together take no more than this.
        best: Keep so many with the highest numbers ``by``.
        by: Name of a number in ``snapshot.meta``.
    """

    ref: str = "*"
    last: int | None = None
    within_seconds: int | None = None
    total_bytes: int | None = None
    best: int | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        if type(self.ref) is not str or not self.ref:
            raise InvalidInputError(f"{self.ref!r} is no pattern of refs; give a name such as 'main' or 'try/*'.")
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 0 <= value < 2**62):
                raise InvalidInputError(f"{name} is {value!r}; give a whole number, 0 or more.")
        if all(getattr(self, name) is None for name in _NUMBERS):
            raise InvalidInputError("a keep rule that keeps nothing; give last, within_seconds, total_bytes or best.")
        if (self.best is None) != (self.by is None) or (self.by is not None and type(self.by) is not str):
            raise InvalidInputError(
                "best and by go together: give how many, and the name of a number in snapshot.meta."
            )

    def to_json(self) -> dict[str, JsonValue]:
        """The rule as it is kept."""
        members = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in members.items() if value is not None}

    def __str__(self) -> str:
        parts = [f"last {self.last}"] if self.last is not None else []
        if self.within_seconds is not None:
            parts.append(f"within {duration(self.within_seconds)}")
        if self.total_bytes is not None:
            parts.append(f"newest in {size(self.total_bytes)}")
        if self.best is not None:
            parts.append(f"best {self.best} by {self.by}")
        return f"{self.ref}: keep {', '.join(parts)}"


def parse_rules(value: object) -> tuple[KeepRule, ...]:
    """The rules that a value stands for: rules, or their JSON objects.

    Raises:
        InvalidInputError: It is no list of rules.
    """
    if not isinstance(value, (list, tuple)):
        raise InvalidInputError(f"{value!r} is no list of keep rules; give [KeepRule(…), …].")
    found = []
    for member in value:
        if isinstance(member, KeepRule):
            found.append(member)
        elif isinstance(member, dict) and member.keys() <= {item.name for item in fields(KeepRule)}:
            found.append(KeepRule(**member))
        else:
            raise InvalidInputError(f"{member!r} is no keep rule; give KeepRule(…).")
    return tuple(found)
