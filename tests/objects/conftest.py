# SPDX-License-Identifier: MIT
"""What the tests of objects begin with: a materializer, a branch, and a state with something of every sort."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import casstore
from casstore.branches import Branch
from casstore.objects import Materializer
from casstore.objects.tracking import StateTracker
from tests.objects.samples import sample


@pytest.fixture
def branch(store: casstore.Store) -> Branch:
    return store.branch()


@pytest.fixture
def snapshot(store: casstore.Store) -> casstore.Snapshot:
    branch = store.branch()
    branch.objects["memory"] = {"step": 3, "notes": ["a", "b"]}
    branch.objects["blob"] = b"x" * 20_000
    branch.objects["short"] = "text"
    branch.objects["none"] = None
    return branch.commit(ref="main")


@pytest.fixture
def home(store: casstore.Store) -> Iterator[Materializer]:
    found = Materializer(store)
    yield found
    found.close(discard=True)


@pytest.fixture
def tracker() -> StateTracker:
    return StateTracker(sample())
