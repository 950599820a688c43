# SPDX-License-Identifier: MIT
"""Every sequence of forks, writes, deletions, merges and commits on 3 branches and 3 keys, up to a stated length."""

from __future__ import annotations

from typing import Any

import pytest

import casstore
from casstore.branches import Branch
from tests.model.branches import Trial


@pytest.mark.parametrize("fold_keys", [1, 1000])
@pytest.mark.parametrize(
    "length",
    [4, pytest.param(5, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow)],
)
def test_every_sequence_behaves_like_dicts(length: int, fold_keys: int) -> None:
    with casstore.open(":memory:") as store:
        store.branches.fold_keys = fold_keys
        trial = Trial(store)
        found = trial.run(length)
        print(found)
        assert found.problem is None, str(found)
        assert found.depth == length
        assert trial.ids_are_distinct
        store.verify()


def test_a_branch_that_its_forks_share_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Branch, "fork", lambda self: self)
    with casstore.open(":memory:") as store:
        found = Trial(store).run(2)
    assert found.problem is not None
    assert found.trace


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_merge_that_sees_no_conflicts_is_caught(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    merge: Any = Branch.merge
    monkeypatch.setattr(Branch, "merge", lambda self, other: merge(self, other, resolve=side))
    with casstore.open(":memory:") as store:
        found = Trial(store).run(4)
    assert found.problem == "a conflict was not seen"
    assert len(found.trace) == 4
    assert found.trace[-1].startswith("merge")
