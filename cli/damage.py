# SPDX-License-Identifier: MIT
"""What a verification found, as lines: one for each record that is to blame, with some of the places that it hurts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .units import format_count
from .views import MAX_LISTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casstore.collection import VerifyReport
    from casstore.collection.verify import Damage

MAX_PLACES: Final = 3


def shortened(items: Sequence[str], limit: int = MAX_PLACES) -> str:
    """``a, b, c and 12 more``."""
    more = f" and {len(items) - limit:,} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def damage_lines(report: VerifyReport) -> Iterator[str]:
    """A line for each damaged record, with up to three of the places that need it; for 20 of them.

    *Cost*: memory for what the report names.
    """
    groups = _groups(report.damage)
    yield f"{format_count(len(groups), 'thing')} {'is' if len(groups) == 1 else 'are'} damaged:"
    for members in groups[:MAX_LISTED]:
        yield f"  {_line(members)}"
    if len(groups) > MAX_LISTED:
        yield f"  and {len(groups) - MAX_LISTED:,} more; --json has all"


def _groups(damage: Sequence[Damage]) -> list[list[Damage]]:
    """What one record is to blame for, together; what names none stands alone. In the order of the report."""
    groups: dict[bytes | int, list[Damage]] = {}
    for number, one in enumerate(damage):
        groups.setdefault(one.record or one.address or number, []).append(one)
    return list(groups.values())


def _line(members: Sequence[Damage]) -> str:
    first = members[0]
    record = first.record or first.address
    places = list(dict.fromkeys(place for one in members for place in one.where))
    if record is None:
        text = first.message
    else:
        at = next(((one.segment, one.offset) for one in members if one.segment is not None), None)
        where = "lost" if at is None else f"segment {at[0]}, offset {at[1]:,}"
        # "content" says more than "record", where the record is all of it and not a piece.
        kinds = [one.what for one in members if one.address == record and one.what != "record"]
        text = f"{kinds[0] if kinds else 'record'} {record.hex()} ({where})"
    return f"{text} at {shortened(places)}" if places else text
