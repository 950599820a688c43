# SPDX-License-Identifier: MIT
"""Any sequence of edits, forks, deduplications, commits and folds agrees with plain dicts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

import casstore
from casstore.branches import Branch
from casstore.branches.sharing_handles import Shared
from tests.branches.sharing import cells, collect, used
from tests.test_branch_machine import CONTENTS as MACHINE_CONTENTS
from tests.test_branch_machine import KEYS as MACHINE_KEYS
from tests.test_branch_machine import VALUES as MACHINE_VALUES
from tests.test_branch_machine import BranchMachine, fits, set_path

KEYS = st.sampled_from(["a", "b", "c/d", "c/e"])
VALUES = st.sampled_from([1, 1.0, True, None, b"r" * 300, "r" * 300, ["r" * 300], b"r" * 200, "s" * 300, b"", ""])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "file", "share", "del", "fork", "dedup", "commit", "fold", "drop", "gc"]),
        st.integers(0, 7),
        KEYS,
        VALUES,
    ),
    max_size=40,
)


def sort_of(values: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Tells 1, 1.0 and True apart, as the store does."""
    return {key: (type(value).__name__, value) for key, value in values.items()}


@settings(max_examples=120, deadline=None)
@given(STEPS, st.sampled_from([500, 10**6]))
def test_any_sequence_agrees_with_dicts(steps: list[tuple[str, int, str, Any]], pending_bytes: int) -> None:
    with casstore.open(":memory:", config=casstore.Config(pending_bytes=pending_bytes)) as store:
        pairs: list[tuple[Branch, dict[str, Any], dict[str, bytes]]] = [(store.branch(), {}, {})]
        handles: list[Any] = []
        for step, at, key, value in steps:
            branch, objects, files = pairs[at % len(pairs)]
            if step == "set":
                branch.objects[key] = value
                objects[key] = value
            elif step == "file" and isinstance(value, bytes):
                branch.files[key] = value if at % 2 else store.share(value)
                files[key] = value
            elif step == "share":
                handles.append(store.share(value))
                branch.objects[key] = handles[-1]
                objects[key] = value
            elif step == "del":
                assert (objects.pop(key, handles) is handles) == (branch.objects.pop(key, handles) is handles)
            elif step == "fork" and len(pairs) < 6:
                pairs.append((branch.fork(), dict(objects), dict(files)))
            elif step == "drop":
                handles.clear()
                if len(pairs) > 1:
                    pairs.pop(at % len(pairs))
            elif step == "commit":
                branch.commit()
            elif step == "fold":
                branch.fold()
            elif step == "gc":
                collect(store)
            elif step == "dedup":
                del branch
                states = [(one.state_id(), list(one.changes())) for one, _, _ in pairs]
                before = used(store)
                report = store.deduplicate([one for one, _, _ in pairs])
                assert before - used(store) == report.saved_bytes
                assert [(one.state_id(), list(one.changes())) for one, _, _ in pairs] == states
                assert_one_cell_for_each_value([one for one, _, _ in pairs])
        for branch, objects, files in pairs:
            assert sort_of(dict(branch.objects)) == sort_of(objects)
            assert dict(branch.files) == files
        store.verify()


def assert_one_cell_for_each_value(branches: list[Branch]) -> None:
    entries: dict[Any, int] = {}
    for branch in branches:
        for cell in cells(branch).values():
            if cell is not None:
                assert entries.setdefault(cell.addressed(), id(cell)) == id(cell)
    assert len(set(entries.values())) == len(entries)


class SharingMachine(BranchMachine):
    """The histories of branches, with deduplications and shared values among their steps."""

    def __init__(self) -> None:
        super().__init__()
        self.handles: list[Shared] = []

    def teardown(self) -> None:
        self.handles.clear()
        super().teardown()

    @rule()
    def deduplicate(self) -> None:
        before = used(self.store)
        report = self.store.deduplicate({f"branch {at}": branch for at, (branch, _) in enumerate(self.pairs)})
        assert before - used(self.store) == report.saved_bytes
        assert report.skipped == 0
        assert_one_cell_for_each_value([branch for branch, _ in self.pairs])

    @rule(data=st.data(), key=MACHINE_KEYS, value=MACHINE_VALUES)
    def set_shared(self, data: st.DataObject, key: str, value: object) -> None:
        branch, model = self.pick(data)
        self.handles.append(self.store.share(value))
        branch.objects[key] = self.handles[-1]
        model.objects[key] = value

    @rule(data=st.data(), key=MACHINE_KEYS, content=MACHINE_CONTENTS)
    def set_shared_file(self, data: st.DataObject, key: str, content: bytes) -> None:
        branch, model = self.pick(data)
        if fits(model.files, key):
            branch.files[key] = self.store.share(content)
            kind = "run" if model.files.get(key, ("", b""))[0] == "run" else "file"
            set_path(model.files, key, (kind, content))

    @rule()
    def drop_handles(self) -> None:
        self.handles.clear()


@pytest.mark.parametrize("examples", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_histories_with_sharing_behave_like_dicts(examples: int) -> None:
    run_state_machine_as_test(SharingMachine, settings=settings(max_examples=examples, stateful_step_count=30))
