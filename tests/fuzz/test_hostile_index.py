# SPDX-License-Identifier: MIT
"""An index whose own checksums are right and whose keys and values somebody chose: named errors, little memory, and
`repair` brings every ref back from the segments."""

from __future__ import annotations

import contextlib
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import casstore
from casstore.address import Address
from casstore.errors import CasstoreError, CorruptionError
from casstore.format.index_entry import (
    BASE_FLAG,
    CLEAN,
    DAMAGED,
    NEXT_EVENT,
    NEXT_ORDINAL,
    NEXT_SEGMENT,
    OBJECT,
    SegmentState,
    batch_key,
    decode_entry,
    encode_entry,
    encode_number,
    encode_segment,
    segment_key,
)
from casstore.format.kinds import ZSTD_BASE
from casstore.storage.index import LevelIndex
from tests.fuzz.reading import read_everything
from tests.fuzz.target import MIB
from tests.fuzz.targets_store import BASE, OPENING

LAST = 2**32 - 1
Items = list[tuple[bytes, bytes]]
Change = Callable[[Items], dict[bytes, bytes | None]]


def entry(**fields: object) -> Change:
    """One object's entry with other fields."""

    def change(items: Items) -> dict[bytes, bytes | None]:
        key, value = [item for item in items if item[0][:1] == OBJECT][3]
        return {key: encode_entry(decode_entry(value)._replace(**fields))}  # type: ignore[arg-type]

    return change


def own_base(items: Items) -> dict[bytes, bytes | None]:
    key, value = [item for item in items if item[0][:1] == OBJECT][3]
    changed = decode_entry(value)._replace(flags=BASE_FLAG, encoding=ZSTD_BASE, base=Address(key[1:]))
    return {key: encode_entry(changed)}


def put(key: bytes, value: bytes | None) -> Change:
    return lambda items: {key: value}


CASES: dict[str, Change] = {
    **{
        f"{name} {LAST}": entry(**{name: LAST})
        for name in ("ordinal", "segment", "offset", "stored_bytes", "raw_bytes", "stamp")
    },
    "kind": entry(kind=77),
    "no kind": entry(kind=0),
    "dictionary": entry(encoding=2),
    "encoding": entry(encoding=9),
    "flags": entry(flags=255, base=Address(b"\1" * 32)),
    "lost": entry(segment=0),
    "lost with an ordinal": entry(segment=0, ordinal=LAST),
    "own base": own_base,
    **{
        f"{key[1:].decode()} {number}": put(key, encode_number(number))
        for key in (NEXT_EVENT, NEXT_SEGMENT, NEXT_ORDINAL, DAMAGED, CLEAN)
        for number in (0, LAST, 2**63 - 1, 2**63, 2**64 - 1)
    },
    "segment too long": put(segment_key(1), encode_segment(SegmentState(2**64 - 1, LAST, False))),
    "segment condemned": put(segment_key(1), encode_segment(SegmentState(0, 0, True))),
    "no such segment": put(segment_key(LAST), encode_segment(SegmentState(2**64 - 1, LAST, False))),
    "segment's key": put(b"s" + bytes(40), encode_segment(SegmentState(1, 1, False))),
    "segment's long key": put(b"s" + b"\xff" * 40, encode_segment(SegmentState(1, 1, False))),
    "segment's value": put(segment_key(1), b"x"),
    "short object": put(b"oabc", encode_entry(decode_entry(bytes(24) + b"\1\0\0"))),
    "long object": put(b"o" + bytes(50), encode_entry(decode_entry(bytes(24) + b"\1\0\0"))),
    "empty object": put(b"o" + bytes(32), b""),
    "ref's name": put(b"r\xff\xfe", bytes(40)),
    "ref without a name": put(b"r", bytes(40)),
    "ref's value": put(b"rmain", b"abc"),
    "ref to nothing": put(b"rmain", bytes(40)),
    "evil ref": put(b"r../x\x1b[0m\n", bytes(40)),
    "history": put(b"hmain\0abc", b"xx"),
    "history's name": put(b"h\xff\0abcdefgh", b"{}"),
    "event": put(b"eabc", b"{}"),
    "batch": put(b"babc", b""),
    "last batch": put(batch_key(2**64 - 1), b""),
    "empty key": put(b"", b""),
    "unknown namespace": put(b"zz", b"{}"),
}


NOT_HEALED: tuple[str, ...] = ("segment condemned",)
"""What `repair` cannot know better: it takes the word of the index that all of a condemned segment was moved out."""


def explain(store: casstore.Store) -> None:
    with store.plan_gc(grace_seconds=0) as plan:
        plan.explain()


@pytest.mark.parametrize("name", CASES)
def test_values_of_the_index(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    shutil.copytree(BASE, path)
    index = LevelIndex(str(path / "index"))
    index.write(CASES[name](list(index.scan(b""))))
    index.close(clean=True)
    tracemalloc.start()
    try:
        with contextlib.suppress(CasstoreError), casstore.open(path, config=OPENING) as store:
            read_everything(store)
            for action in (
                lambda: store.put(b"new" * 600),
                lambda: store.refs.__setitem__("new", store.snapshot("main")),
                lambda: explain(store),
                store.sync,
            ):
                with contextlib.suppress(CasstoreError):
                    action()
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()
    if name in NOT_HEALED:
        return
    check_repaired(path)


def check_repaired(path: Path) -> None:
    casstore.repair(str(path))
    with casstore.open(path, config=OPENING) as store:
        store.verify()
        assert {"main", "try/1"} <= set(store.refs)
        assert store.snapshot("main").files["d/small"] == b"inline"
        assert len(store.snapshot("main").files["large"]) == 2500
        assert store.branch("try/1").objects["memory"]["step"] == 3


def test_a_counter_is_refused_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "store"
    shutil.copytree(BASE, path)
    index = LevelIndex(str(path / "index"))
    index.write({NEXT_EVENT: encode_number(2**63 + 1)})
    index.close(clean=True)
    with pytest.raises(CorruptionError, match="repair"):
        casstore.open(path, config=OPENING)
