# SPDX-License-Identifier: MIT
"""stats --types: objects by type, of one state or of all refs, in bounded memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casstore
from casstore.codecs import Members
from casstore.collection import type_stats
from casstore.collection.type_stats import TypeStats, gather_type_stats
from casstore.errors import InvalidInputError
from casstore.format.entry import object_entry, snapshot_entry


@pytest.fixture
def typed(command: Any) -> Any:
    """Two refs of overlapping states, with several types."""
    with casstore.open(command.store) as store:
        branch = store.branch()
        for number in range(10):
            branch.objects[f"n{number}"] = number % 3
        branch.objects["text"] = "x" * 1000
        branch.objects["parts"] = Members(a=1, b="y")
        branch.objects.set_entry("blob", object_entry("app.blob", 3, 3, None, b"abc"), b"abc")
        first = branch.commit(ref="one")
        branch.objects["n0"] = "now a text"
        branch.objects.set_entry("blob2", object_entry("app.blob", 4, 3, None, b"abc"), b"abc")
        branch.objects.set_entry("link", snapshot_entry(first.id))
        branch.commit(ref="two")
    return command


def rows(found: dict[str, Any]) -> dict[tuple[str, int], tuple[int, int, int]]:
    return {
        (item["type_id"], item["version"]): (item["count"], item["bytes"], item["distinct"])
        for item in found["types"]["types"]
    }


def test_types_of_one_state(typed: Any) -> None:
    found = typed.json("stats", "--types", "one")
    assert rows(found) == {
        ("text", 1): (2, 1001, 2),
        ("json", 1): (11, 11, 3),
        ("app.blob", 3): (1, 3, 1),
        ("members", 1): (1, 0, 0),
    }
    assert (found["state"], found["types"]["states"], found["types"]["bytes"]) == ("one", 1, 1015)
    shares = [item["share"] for item in found["types"]["types"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)


def test_types_of_all_refs_count_each_state(typed: Any) -> None:
    found = typed.json("stats", "--types")
    assert rows(found) == {
        ("text", 1): (5, 2012, 3),
        ("json", 1): (21, 21, 3),
        ("app.blob", 3): (2, 6, 1),
        ("app.blob", 4): (1, 3, 1),
        ("members", 1): (2, 0, 0),
        ("snapshot", 0): (1, 0, 0),
    }
    assert (found["state"], found["types"]["states"]) == (None, 2)
    one, two = (rows(typed.json("stats", "--types", name)) for name in ("one", "two"))
    counts = Counter({key: row[0] for key, row in one.items()}) + Counter({key: row[0] for key, row in two.items()})
    assert counts == {key: row[0] for key, row in rows(found).items()}


def test_types_as_text(typed: Any) -> None:
    lines = typed.text("stats", "--types", "one").splitlines()
    assert lines[0] == "text\tversion 1\t2 objects\t1001 B\t2 distinct\t98.6%"
    assert lines[-1] == "one: 15 objects, 1015 B"
    assert typed.text("stats", "--types").splitlines()[-1] == "2 refs: 32 objects, 2.0 KiB"
    assert "dedup ratio" in typed.text("stats")


def test_no_objects_at_all(history: Any) -> None:
    assert history.json("stats", "--types")["types"]["types"] == []
    assert history.text("stats", "--types", "main") == "main: 0 objects, 0 B\n"
    history("stats", "main", code=2)
    assert history.error("stats", "--types", "none", code=3)["kind"] == "not-found"


def gathered(values: list[list[int]], **options: Any) -> TypeStats:
    """The figures of states whose keys have these contents: an even one is of type a, an odd one of type b."""
    with casstore.open(":memory:") as store:
        roots = []
        for state in values:
            branch = store.branch()
            for place, value in enumerate(state):
                data = b"%d" % value
                entry = object_entry("ab"[value % 2], 1, len(data), None, data)
                branch.objects.set_entry(f"k{place}", entry, data)
            roots.append(branch.commit("state").roots.get("objects"))
        return gather_type_stats(store.nodes, roots, **options)


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 20), max_size=12), max_size=4))
def test_a_plain_count_agrees(values: list[list[int]]) -> None:
    found = gathered(values)
    everything = [value for state in values for value in state]
    assert found.states == len(values)
    assert found.count == len(everything)
    for figures in found.types:
        mine = [value for value in everything if "ab"[value % 2] == figures.type_id]
        assert figures.count == len(mine)
        assert figures.bytes == sum(len(str(value)) for value in mine)
        assert figures.exact
        assert figures.distinct == len(set(mine))
        assert figures.distinct_bytes == sum(len(str(value)) for value in set(mine))


def test_with_more_contents_than_are_kept_the_numbers_are_estimates() -> None:
    state = [1, 3, 5, *range(0, 6000, 2)]
    found = {figures.type_id: figures for figures in gathered([state], max_samples=500).types}
    assert not found["a"].exact
    assert found["a"].distinct == pytest.approx(3000, rel=0.25)
    assert found["a"].count == 3000
    # Where one type has many, those with few stay exact.
    assert (found["b"].exact, found["b"].distinct) == (True, 3)


def test_types_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_stats, "MAX_TYPES", 1)
    found = {figures.type_id: figures.count for figures in gathered([[0, 1, 2, 3, 5]]).types}
    assert found == {"a": 2, type_stats.OTHER: 3}


def test_samples_are_one_at_least() -> None:
    with pytest.raises(InvalidInputError):
        gathered([], max_samples=0)
