# SPDX-License-Identifier: MIT
"""What is explored: for each question a setup of a few parts, small enough for every interleaving."""

from __future__ import annotations

from typing import Final

from tests.model.protocol import CHUNK, LIST, NESTED, SMALL, SNAPSHOT, TREE, WIDE, Setup, graph

Program = tuple[tuple[str, int], ...]


def commit(content: int, *records: int) -> Program:
    """A content, what refers to it, and a ref to the last, in one operation."""
    return (
        ("begin", 0),
        ("content", content),
        *[("record", one) for one in records],
        ("ref", records[-1]),
        ("end", 0),
    )


def put(content: int) -> Program:
    """A content in an operation that ends without a ref."""
    return (("begin", 0), ("content", content), ("end", 0))


SPLIT = graph(a=(CHUNK, ""), x=(CHUNK, ""), l=(LIST, "a"), s=(SNAPSHOT, "l"))
"""One chunk that nothing needs lies before a list, so that compaction brings the other chunk behind it."""

PAIR = graph(b=(CHUNK, ""), d=(CHUNK, ""), l=(LIST, "d"))
"""A chunk that is needed, and one that it may be stored against."""

PAIR_NAMED = graph(b=(CHUNK, ""), d=(CHUNK, ""), s=(SNAPSHOT, "d"))

TRIPLE = graph(b=(CHUNK, ""), d=(CHUNK, ""), e=(CHUNK, ""), k=(LIST, "e"), s=(SNAPSHOT, "d"), t=(SNAPSHOT, "k"))
"""A chunk that two others may be stored against, one of them below a list."""

REFER: Final[Program] = (("begin", 0), ("use", 2), ("record", 3), ("ref", 3), ("end", 0))

SETUPS: Final = {
    "a commit": Setup(graph=TREE, programs=(commit(1, 2, 3),)),
    "a commit of two chunks": Setup(graph=WIDE, programs=(commit(2, 3),)),
    "a commit of two chunks, backwards": Setup(graph=WIDE, programs=(commit(2, 3),), backwards=True),
    "a ref to what is there": Setup(graph=TREE, programs=((("ref", 3),),)),
    "a reference to what is there": Setup(graph=TREE, programs=(REFER,)),
    "an open content": Setup(graph=SMALL, programs=((("pin", 1), ("unpin", 1)),)),
    "a put and the grace period": Setup(graph=SMALL, programs=((("content", 1),),), ticks=1, collections=2),
    "a commit and the grace period": Setup(
        graph=SMALL, programs=(commit(1, 2),), ticks=1, collections=2, begin_with=(0b111,)
    ),
    "a commit and an open content": Setup(
        graph=SMALL, programs=(commit(1, 2), (("pin", 1), ("unpin", 1))), begin_with=(0b011, 0b111)
    ),
    "a commit and a ref": Setup(graph=SMALL, programs=(commit(1, 2), (("ref", 2),)), begin_with=(0b011, 0b111)),
    "two puts": Setup(graph=SMALL, programs=(put(1),) * 2, begin_with=(0b001, 0b011)),
    "a crash, and the same again": Setup(
        graph=NESTED, programs=(commit(2, 3), commit(2, 3)), crashes=1, last_waits=True
    ),
    "a crash, and a ref to what was there": Setup(
        graph=TREE, programs=((), (("ref", 3),)), crashes=1, last_waits=True, begin_with=(0b1111,)
    ),
    "two crashes": Setup(graph=SMALL, programs=(commit(1, 2),), collections=0, crashes=2),
    "compaction and a crash": Setup(graph=SMALL, programs=(commit(1, 2),), compact=True, crashes=1),
    "compaction and a reader": Setup(
        graph=SMALL, programs=(commit(1, 2),), compact=True, reader=True, begin_with=(0b011, 0b111)
    ),
    "a disk that lies": Setup(
        graph=SMALL, programs=(commit(1, 2),) * 2, collections=0, crashes=1, last_waits=True, lying_disk=True
    ),
    "a disk that lies about compaction": Setup(
        graph=SPLIT,
        programs=((), (("begin", 0), ("content", 2), ("end", 0))),
        compact=True,
        crashes=1,
        last_waits=True,
        lying_disk=True,
        begin_with=(0b1111,),
        begin_refs=0b1000,
        begin_ends=(2, 3, 4),
    ),
}

LARGE: Final = {
    "a commit and a put of what is there": Setup(graph=SMALL, programs=(commit(1, 2), put(1)), begin_with=(0b111,)),
    "two commits of what is there": Setup(graph=SMALL, programs=(commit(1, 2),) * 2, begin_with=(0b111,)),
    "two commits": Setup(graph=SMALL, programs=(commit(1, 2),) * 2),
    "two commits of two chunks that are there": Setup(
        graph=WIDE, programs=(commit(2, 3),) * 2, begin_with=(0b0111, 0b1111)
    ),
    "two commits of a tree that is there": Setup(
        graph=TREE, programs=(commit(1, 2, 3),) * 2, begin_with=(0b0111, 0b1111)
    ),
    "a commit and a reference": Setup(
        graph=SMALL,
        programs=(commit(1, 2), (("begin", 0), ("use", 1), ("record", 2), ("ref", 2), ("end", 0))),
        begin_with=(0b011, 0b111),
    ),
    "two commits and the grace period": Setup(
        graph=SMALL, programs=(commit(1, 2), (("content", 1),)), ticks=1, begin_with=(0b011, 0b111)
    ),
    "compaction, a reader and a crash": Setup(
        graph=SMALL, programs=(commit(1, 2),), compact=True, reader=True, crashes=1, collections=2
    ),
    "all at once": Setup(
        graph=SMALL, programs=(put(1), commit(1, 2)), compact=True, reader=True, crashes=1, begin_with=(0b111,)
    ),
}

DELTAS: Final = {
    "a delta is put": Setup(graph=PAIR, programs=(put(2),), deltas=True),
    "a delta is committed": Setup(graph=PAIR_NAMED, programs=(commit(1, 2),), deltas=True),
    "a delta is committed, backwards": Setup(
        graph=PAIR_NAMED, programs=(commit(1, 2),), deltas=True, backwards=True, begin_with=(0b001, 0b011, 0b111)
    ),
    "a ref to a delta": Setup(graph=PAIR_NAMED, programs=((("ref", 2),),), deltas=True),
    "an open delta": Setup(graph=PAIR, programs=((("pin", 2), ("unpin", 2)),), deltas=True),
    "a delta and the grace period": Setup(
        graph=PAIR, programs=((("content", 0),), (("content", 1),)), deltas=True, ticks=3, grace=(1, 2), begin_with=(0,)
    ),
    "a delta, a crash, and the same again": Setup(
        graph=PAIR_NAMED, programs=(commit(1, 2),) * 2, deltas=True, crashes=1, last_waits=True
    ),
    "a delta in use becomes full": Setup(
        graph=PAIR_NAMED,
        programs=((), put(1)),
        deltas=True,
        crashes=1,
        last_waits=True,
        begin_with=(0b111,),
        begin_refs=0b100,
    ),
    "one of two deltas is in use": Setup(
        graph=TRIPLE, programs=(put(3),), deltas=True, begin_with=(0b010011, 0b011111), begin_refs=0b010000
    ),
    "two deltas are in use": Setup(
        graph=TRIPLE, programs=((("ref", 4),),), deltas=True, begin_with=(0b111111,), begin_refs=0b110000
    ),
}

LARGE_DELTAS: Final = {
    "two writers put a delta and its base": Setup(graph=PAIR_NAMED, programs=(commit(1, 2), put(0)), deltas=True),
    "two writers put two deltas": Setup(graph=TRIPLE, programs=(commit(1, 4), put(3)), deltas=True, begin_with=(0, 1)),
    "deltas, compaction, a reader and a crash": Setup(
        graph=PAIR_NAMED, programs=(commit(1, 2),), deltas=True, compact=True, crashes=1, reader=True
    ),
}

CAUGHT_BY: Final = {
    "barrier": "a commit",
    "hit revives": "a commit",
    "revival is transitive": "a reference to what is there",
    "recheck": "a commit",
    "sweep counter": "a commit",
    "decide under the lock": "a ref to what is there",
    "parents before chunks": "a crash, and the same again",
    "parents in one step": "a commit",
    "lists in one batch": "a crash, and the same again",
    "young below": "a put and the grace period",
    "watches of operations": "a commit",
    "pins": "an open content",
    "a pin hits": "an open content",
    "grace": "a put and the grace period",
    "children first": "two crashes",
    "fsync before the batch": "two crashes",
    "batch before unlink": "compaction and a crash",
    "pins after the batch": "compaction and a reader",
    "readers' pins": "compaction and a reader",
    "cut before adoption": "two crashes",
    "reachable": "a disk that lies",
    "lists are checked": "a disk that lies about compaction",
    "a base is whole": "one of two deltas is in use",
    "a put hits its base": "a delta is put",
    "a delta counts with its base": "a delta is committed",
    "a hit on a delta hits its base": "a delta is put",
    "a mark on a delta marks its base": "a ref to a delta",
    "a young delta keeps its base": "a delta and the grace period",
    "deltas before bases": "a delta, a crash, and the same again",
    "only the last delta": "two deltas are in use",
    "full before its base goes": "a delta in use becomes full",
    "the doomed are refused": "a commit",
    "a renewal hits": "a put and the grace period",
    "a sweep is remembered": "a crash, and the same again",
    "deletions in order": "a crash, and a ref to what was there",
}
"""In which setup the model shows what happens without a safeguard."""

AT_ONCE_ONLY: Final = {"decide under the lock", "parents before chunks", "parents in one step", "lists in one batch"}
"""Safeguards of a sweep that deletes all that refers to others in one step."""
DOOMED_ONLY: Final = {"the doomed are refused", "a renewal hits", "a sweep is remembered", "deletions in order"}
"""Those of a sweep that settles in one step what goes, and deletes it later."""

STANDS_IN: Final = {
    ("a delta counts with its base", False): "deltas before bases",
    ("a delta counts with its base", True): "deltas before bases",
    ("deltas before bases", False): "a delta counts with its base",
    ("deltas before bases", True): "a delta counts with its base",
    ("only the last delta", False): "a young delta keeps its base",
}
"""Safeguards, and whether what goes is doomed first, for which another one stands in: only leaving out both loses."""
