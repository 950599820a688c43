# SPDX-License-Identifier: MIT
"""``casstore deduplicate``: what states share on disk, counted in chunks; nothing is changed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.branches.sharing_states import compare_states

NOISE = random.Random(7).randbytes(300_000)


@pytest.fixture
def shared(command: Any) -> Any:
    """Three states: ``main``; ``try``, which has main's content twice and one of its own; ``other``, with nothing."""
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.files["a"] = NOISE[:1000]
        branch.files["short"] = b"s" * 100
        branch.objects["value"] = NOISE[1000:3000]
        branch.commit(ref="main")
        branch.files["again"] = NOISE[:1000]
        branch.objects["own"] = NOISE[3000:7000]
        branch.commit(ref="try")
        other = store.branch()
        other.files["x"] = NOISE[7000:15_000]
        other.commit(ref="other")
    return command


def contents(store: Path) -> set[tuple[str, bytes]]:
    return {(path.name, path.read_bytes()) for path in store.rglob("*") if path.suffix == ".seg"}


def test_states_are_compared_with_each_other(shared: Any) -> None:
    before = contents(shared.store)
    said = shared.json("deduplicate")
    assert contents(shared.store) == before
    assert said["changed"] is False
    sharing = said["sharing"]
    rows = {
        one["name"]: (one["values"], one["bytes"], one["distinct_bytes"], one["unique_bytes"])
        for one in sharing["states"]
    }
    assert rows == {"main": (2, 3000, 3000, 0), "other": (1, 8000, 8000, 8000), "try": (4, 8000, 7000, 4000)}
    assert (sharing["contents"], sharing["bytes"], sharing["content_bytes"]) == (4, 19_000, 15_000)
    assert (sharing["distinct_bytes"], sharing["saved_bytes"]) == (15_000, 4000)
    pairs = [(one["first"], one["second"], one["bytes"]) for one in sharing["pairs"]]
    assert pairs == [("main", "try", 3000), ("main", "other", 0), ("other", "try", 0)]


def test_some_states_can_be_named(shared: Any) -> None:
    sharing = shared.json("deduplicate", "try", "main")["sharing"]
    assert [one["name"] for one in sharing["states"]] == ["try", "main"]
    assert [one["unique_bytes"] for one in shared.json("deduplicate", "main")["sharing"]["states"]] == [3000]
    assert shared.error("deduplicate", "nowhere", code=3)["kind"] == "not-found"


def test_it_says_so_as_text(shared: Any) -> None:
    said = shared.text("deduplicate")
    assert "19,000 bytes" in said
    assert "4,000 bytes" in said
    rows = [line.split("\t") for line in said.splitlines() if "\t" in line]
    assert [(row[0], row[2]) for row in rows[:3]] == [("main", "2 values"), ("other", "1 value"), ("try", "4 values")]
    assert rows[2][-1] == "3.9 KiB of its own"
    assert rows[3] == ["main", "try", "2.9 KiB shared"]
    assert "only reports" in shared.text("deduplicate", "--help")


def test_an_empty_store_shares_nothing(command: Any) -> None:
    command("init")
    sharing = command.json("deduplicate")["sharing"]
    assert (sharing["states"], sharing["pairs"], sharing["bytes"], sharing["stored_bytes"]) == ([], [], 0, 0)
    command("deduplicate")


def test_contents_that_are_equal_in_part_share_chunks() -> None:
    config = casstore.Config(chunk_min_bytes=256, chunk_avg_bytes=1024, chunk_max_bytes=4096)
    with casstore.open(":memory:", config=config) as store:
        one, two = store.branch(), store.branch()
        one.files["x"] = NOISE
        two.files["x"] = NOISE + b"more" * 100
        states = {"one": one.commit(), "two": two.commit()}
        report = compare_states(store.storage, store.nodes, states)
        assert report.content_bytes == 2 * len(NOISE) + 400
        assert len(NOISE) < report.distinct_bytes < len(NOISE) + 10_000
        assert report.pairs[0].bytes > len(NOISE) - 10_000
        assert report.states[0].unique_bytes + report.pairs[0].bytes == len(NOISE)
        assert sum(one.unique_bytes for one in report.states) + report.pairs[0].bytes == report.distinct_bytes
        assert 0 < report.stored_bytes <= report.distinct_bytes


def test_it_agrees_with_a_plain_count_on_large_trees() -> None:
    """Trees of several levels, most of whose nodes are shared."""
    rng = random.Random(3)
    with casstore.open(":memory:") as store:
        branch = store.branch()
        states = {}
        for at in range(4):
            for _ in range(700):
                branch.files[f"d{rng.randrange(9)}/{rng.randrange(900)}"] = b"%04d" % rng.randrange(500) * 40
            states[f"s{at}"] = branch.commit()
        states["same"] = states["s3"]
        wanted = {
            name: {value for value in snapshot.files.values() if len(value) > 127} for name, snapshot in states.items()
        }
        report = compare_states(store.storage, store.nodes, states)
        for one in report.states:
            others = set().union(*(found for name, found in wanted.items() if name != one.name))
            assert one.values == len(states[one.name].files)
            assert one.bytes == sum(map(len, states[one.name].files.values()))
            assert one.distinct_bytes == sum(map(len, wanted[one.name]))
            assert one.unique_bytes == sum(map(len, wanted[one.name] - others))
        for pair in report.pairs:
            assert pair.bytes == sum(map(len, wanted[pair.first] & wanted[pair.second]))
        assert len(report.pairs) == 10
        assert report.distinct_bytes == sum(map(len, set().union(*wanted.values())))


def test_many_states_are_not_paired() -> None:
    with casstore.open(":memory:") as store:
        branch = store.branch()
        states = {}
        for at in range(13):
            branch.objects["x"] = NOISE[at : at + 500]
            states[str(at)] = branch.commit()
        report = compare_states(store.storage, store.nodes, states)
        assert report.pairs == ()
        assert [one.unique_bytes for one in report.states] == [500] * 13
        states.pop("12")
        assert len(compare_states(store.storage, store.nodes, states).pairs) == 66
