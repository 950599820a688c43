# SPDX-License-Identifier: MIT
"""``casstore migrate``: the library's report as text and JSON; what it does is tested in ``tests/compat``."""

from __future__ import annotations

from typing import Any

import pytest

import casstore
from tests.compat.stores import copy_of, on_disk, write_superblock


@pytest.fixture
def old(command: Any) -> Any:
    """The command on a store from before deltas."""
    copy_of("format-1/segments", command.store.parent)
    (command.store.parent / "store").rename(command.store)
    return command


def test_it_says_what_is_missing_makes_it_and_has_nothing_more_to_do(old: Any) -> None:
    before = on_disk(old.store)
    text = old.text("migrate", "--dry-run")
    assert "deltas\tmissing\tchunks may be stored as what differs" in text
    assert text.endswith("dry run: nothing was changed\n")
    assert old.json("migrate", "--dry-run")["report"]["missing"] == ["deltas"]
    assert on_disk(old.store) == before
    report = old.json("migrate")["report"]
    assert (report["changed"], report["missing"], report["features"]) == (True, [], 1)
    assert report["steps"] == [
        {"name": "deltas", "brings": report["steps"][0]["brings"], "state": "made"},
    ]
    before = on_disk(old.store)
    assert old.text("migrate").endswith("nothing to do\n")
    assert old.json("migrate")["report"]["changed"] is False
    assert on_disk(old.store) == before
    assert old.json("inspect")["format"]["deltas"] is True


def test_it_waits_for_a_writer_and_names_it(old: Any) -> None:
    import os

    with casstore.open(old.store):
        error = old.error("migrate", "--timeout", "0.05", code=7)
        assert error["pid"] == os.getpid()
        assert old.json("migrate", "--dry-run")["report"]["missing"] == ["deltas"]


def test_later_stores_and_none_are_refused(old: Any) -> None:
    write_superblock(old.store, 12, 6)
    assert old.error("migrate", code=5)["kind"] == "format-version"
    assert old.error("migrate", "--dry-run", code=5)["kind"] == "format-version"
    (old.store / "superblock").rename(old.store.parent / "superblock")
    assert "casstore repair" in old.error("migrate", code=4)["message"]
    old.store.rename(old.store.parent / "moved")
    assert old.error("migrate", code=3)["kind"] == "not-found"
    assert not old.store.exists()
