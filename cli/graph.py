# SPDX-License-Identifier: MIT
"""Drawing a graph of snapshots as text: one lane per line of descent, children above parents.

Invariant: a lane waits for one snapshot. A parent that several children wait for ends all their lanes but the first.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

Identity = TypeVar("Identity", bound=Hashable)
SnapshotId = TypeVar("SnapshotId", bound=bytes)


def newest_first(
    parents: Mapping[SnapshotId, Sequence[SnapshotId]], times: Mapping[SnapshotId, int]
) -> Iterator[SnapshotId]:
    """All snapshots, none before its children; among those that could be next, the newest."""
    waiting = dict.fromkeys(parents, 0)
    for above in parents.values():
        for parent in set(above):
            waiting[parent] += 1
    ready = [(-times[identity], identity) for identity, children in waiting.items() if not children]
    heapq.heapify(ready)
    while ready:
        _, identity = heapq.heappop(ready)
        yield identity
        for parent in set(parents[identity]):
            waiting[parent] -= 1
            if not waiting[parent]:
                heapq.heappush(ready, (-times[parent], parent))


def draw(
    order: Iterable[Identity], parents: Mapping[Identity, Sequence[Identity]]
) -> Iterator[tuple[str, Identity | None]]:
    """Lines of the graph: what to print before a snapshot, and the snapshot; None on a line that only connects.

    Args:
        order: Every snapshot, none before its children.
        parents: Snapshot → its parents.
    """
    lanes: list[Identity | None] = []
    for identity in order:
        mine = [number for number, lane in enumerate(lanes) if lane == identity]
        if not mine:
            mine = [_free_lane(lanes, 0)]
            lanes[mine[0]] = identity
        main, *others = mine
        for other in others:
            yield _connect(lanes, main, other, "/"), None
            lanes[other] = None
        yield (
            "".join("* " if n == main else "| " if lane is not None else "  " for n, lane in enumerate(lanes)),
            identity,
        )
        above = list(dict.fromkeys(parents[identity]))
        lanes[main] = above[0] if above else None
        for parent in above[1:]:
            other = _free_lane(lanes, main + 1)
            lanes[other] = parent
            yield _connect(lanes, main, other, "\\"), None
        while lanes and lanes[-1] is None:
            lanes.pop()


def _free_lane(lanes: list[Identity | None], start: int) -> int:
    for number in range(start, len(lanes)):
        if lanes[number] is None:
            return number
    lanes += [None] * max(1, start + 1 - len(lanes))
    return len(lanes) - 1


def _connect(lanes: Sequence[object], main: int, other: int, corner: str) -> str:
    cells = ["|" if lane is not None else " " for lane in lanes]
    line = list(" ".join(cells))
    line[2 * other] = " "
    for column in range(2 * main + 1, 2 * other - 1):
        if line[column] == " ":
            line[column] = "-"
    line[2 * other - 1] = corner
    return "".join(line)
