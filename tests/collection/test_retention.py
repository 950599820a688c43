# SPDX-License-Identifier: MIT
"""What retention cuts from the lines of refs, what it never touches, and how a cut is taken back."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import casstore
from casstore import KeepRule
from casstore.address import Address
from casstore.collection import RetentionPlan
from casstore.format.entry import snapshot_entry
from casstore.format.settings import decode_settings, encode_settings
from casstore.snapshots import shallow_ids
from casstore.testing.model import noise
from tests.snapshots.driving import collect, commit, open_backend, tree_of

HOUR = 3600 * 10**9


@pytest.fixture(params=["segments", "files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[casstore.Store]:
    with open_backend(request.param, tmp_path / "store") as opened:
        opened.configure(undo_keep_seconds=1000)
        yield opened


def line(
    store: casstore.Store, ref: str, count: int, scores: Sequence[float | None] = (), start: Address | None = None
) -> list[Address]:
    """Snapshots an hour apart, oldest first, each with a content of its own; ``ref`` names the last."""
    ids: list[Address] = [] if start is None else [start]
    for number in range(count):
        with store.storage.operation():
            seed = sum(ref.encode()) * 100 + number
            root = tree_of(store, {"a": noise(2000, seed), "same": noise(900, 5)})
            assert root is not None
            score = scores[number] if number < len(scores) else None
            made = store.add_snapshot(
                roots={"files": root},
                parents=ids[-1:],
                message=f"{ref} {number}",
                meta={} if score is None else {"score": score, "words": "many"},
                time_ns=(number + (100 if start else 0)) * HOUR,
            )
            ids.append(made.id)
    store.refs[ref] = made
    return ids if start is None else ids[1:]


def planned(store: casstore.Store, *rules: KeepRule) -> RetentionPlan:
    gc.collect()
    return store.plan_retention(rules)


def messages(store: casstore.Store, ref: str) -> list[str]:
    return [snapshot.message for snapshot in store.log(ref)]


def numbers(
    store: casstore.Store, ids: Sequence[Address], chosen: Sequence[Address] | dict[Address, list[str]]
) -> list[int]:
    return sorted(ids.index(snapshot) for snapshot in chosen if snapshot in ids)


def test_keep_last(store: casstore.Store) -> None:
    ids = line(store, "main", 6)
    plan = planned(store, KeepRule(last=2))
    assert numbers(store, ids, plan.kept) == [4, 5]
    assert plan.dropped == ids[3::-1]
    assert plan.cut == [ids[4]]
    assert plan.kept[ids[5]] == ["ref main", "last 2", "history of main"]
    assert plan.freed.bytes > 4 * 2000
    # Nothing happened so far.
    assert len(messages(store, "main")) == 6
    assert shallow_ids(store.storage) == set()
    report = plan.execute()
    assert (report.cut, report.dropped, report.made_refs) == ((ids[4],), 4, ())
    assert store.refs.id_of("main") == ids[5]
    # Undo still keeps it.
    assert store.plan_gc(grace_seconds=0).execute().deleted_objects == 0
    collect(store)
    assert messages(store, "main") == ["main 5", "main 4"]
    assert ids[3] not in store
    store.verify()


def test_what_comes_free_is_what_was_planned(store: casstore.Store) -> None:
    line(store, "main", 8)
    collect(store)
    plan = planned(store, KeepRule(last=3))
    plan.execute()
    gone = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
    assert sum(tally.objects for kind, tally in gone.dead.items() if kind != "event") == plan.freed.objects
    assert sum(tally.bytes for kind, tally in gone.dead.items() if kind != "event") == plan.freed.bytes
    gone.drop()


def test_a_cut_is_taken_back_by_undo(store: casstore.Store) -> None:
    ids = line(store, "main", 5)
    (name,) = planned(store, KeepRule(last=1)).execute().undo_refs
    store.plan_gc(grace_seconds=0).execute()
    store.refs.undo(name)
    collect(store)
    assert [snapshot.id for snapshot in store.log("main")] == ids[::-1]
    store.verify()
    # It is a ref like any other now: no rule for all refs cuts it again.
    assert planned(store, KeepRule(last=1)).dropped == []


def test_keep_within_is_counted_from_the_newest(store: casstore.Store) -> None:
    ids = line(store, "main", 6)
    plan = planned(store, KeepRule(within_seconds=2 * 3600))
    assert numbers(store, ids, plan.kept) == [3, 4, 5]
    assert plan.kept[ids[3]] == ["within 2h"]


def test_keep_best_takes_numbers_only_and_the_newer_of_equals(store: casstore.Store) -> None:
    ids = line(store, "main", 7, [1, 7.5, None, 7.5, -2, 3])
    plan = planned(store, KeepRule(best=2, by="score"))
    assert numbers(store, ids, plan.kept) == [1, 3, 6]
    assert plan.kept[ids[3]] == ["best 2 by score"]
    assert numbers(store, ids, planned(store, KeepRule(best=1, by="score")).kept) == [3, 6]
    assert numbers(store, ids, planned(store, KeepRule(best=9, by="words")).kept) == [6]
    assert numbers(store, ids, planned(store, KeepRule(best=0, by="score")).kept) == [6]


def test_what_stays_below_a_gap_gets_a_ref_until_no_rule_keeps_it(store: casstore.Store) -> None:
    ids = line(store, "main", 6, [9, 1, 8, 1, 1, 1])
    report = planned(store, KeepRule(last=1, best=2, by="score")).execute()
    assert set(report.made_refs) == {f"kept/main/{ids[place].hex()[:16]}" for place in (0, 2)}
    collect(store)
    assert [snapshot in store for snapshot in ids] == [True, False, True, False, False, True]
    store.verify()
    # A better one came; the line still knows what it kept.
    branch = store.branch("main")
    branch.commit("better", ref="main", score=8.5)
    del branch
    collect(store)
    plan = planned(store, KeepRule(last=1, best=2, by="score"))
    assert plan.deleted_refs == {f"kept/main/{ids[2].hex()[:16]}": ids[2]}
    plan.execute()
    collect(store)
    assert ids[2] not in store
    assert ids[0] in store
    assert sorted(store.refs) == [f"kept/main/{ids[0].hex()[:16]}", "main"]
    store.verify()


def test_what_others_rely_on_stays_as_long_as_they_do(store: casstore.Store) -> None:
    ids = line(store, "main", 6)
    plan = store.plan_retention([KeepRule(last=1)], keep={ids[2]: "base of a workspace", Address(bytes(32)): "nothing"})
    assert plan.kept[ids[2]] == ["base of a workspace"]
    plan.execute()
    collect(store)
    assert [snapshot in store for snapshot in ids] == [False, False, True, False, False, True]
    planned(store, KeepRule(last=1)).execute()
    collect(store)
    assert ids[2] not in store
    assert list(store.refs) == ["main"]


def test_rules_add_up(store: casstore.Store) -> None:
    ids = line(store, "main", 6, [9, 1, 1, 1, 1, 1])
    plan = planned(store, KeepRule(ref="m*", last=1, best=1, by="score"), KeepRule(ref="main", within_seconds=3600))
    assert numbers(store, ids, plan.kept) == [0, 4, 5]


def test_keep_bytes_is_for_all_lines_of_a_rule_together(store: casstore.Store) -> None:
    ids = line(store, "main", 5)
    others = line(store, "other", 5)
    total = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
    everything = sum(tally.bytes for tally in total.live.values())
    total.drop()
    assert planned(store, KeepRule(total_bytes=everything)).dropped == []
    plan = planned(store, KeepRule(total_bytes=everything // 2))
    assert 3 <= len(plan.dropped) <= 7
    assert ids[4] in plan.kept
    assert others[4] in plan.kept
    # The newest stay, whichever line they are of.
    assert abs(len(numbers(store, ids, plan.kept)) - len(numbers(store, others, plan.kept))) <= 1
    plan.execute()
    collect(store)
    after = store.plan_gc(grace_seconds=0, undo_keep_seconds=0)
    assert sum(tally.bytes for kind, tally in after.live.items() if kind != "event") <= everything // 2
    after.drop()
    # What refs name stays, however little room there is.
    assert numbers(store, ids, planned(store, KeepRule(total_bytes=0)).kept) == [4]


def test_refs_that_no_rule_is_for_keep_their_whole_history(store: casstore.Store) -> None:
    ids = line(store, "main", 6)
    ahead = line(store, "feature", 2, start=ids[3])
    plan = planned(store, KeepRule(ref="main", last=1))
    assert plan.dropped == [ids[4]]
    assert plan.kept[ids[2]] == ["refs that no rule is for"]
    plan.execute()
    collect(store)
    assert [snapshot.id for snapshot in store.log("feature")] == [*ahead[::-1], *ids[3::-1]]
    assert [snapshot.id for snapshot in store.log("main")] == [ids[5]]
    store.verify()
    # A line that lies wholly behind a ref without a rule is not cut at all.
    line(store, "above", 1, start=ids[5])
    assert planned(store, KeepRule(ref="main", last=1)).cut == []


def test_states_that_other_states_link_keep_their_history(store: casstore.Store) -> None:
    ids = line(store, "main", 4)
    tree = commit(store, {"link": snapshot_entry(ids[2])}, ref="tree")
    del tree
    assert planned(store, KeepRule(ref="main", last=1)).dropped == []
    # With a rule for both too: a saved search needs the history of its states.
    plan = planned(store, KeepRule(last=1))
    assert plan.kept[ids[1]] == ["linked by a state that stays"]
    assert (plan.dropped, plan.cut) == ([], [])
    planned(store, KeepRule(last=1)).execute()
    collect(store)
    assert all(snapshot in store for snapshot in ids)
    del store.refs["tree"]
    collect(store)
    planned(store, KeepRule(last=1)).execute()
    collect(store)
    assert [snapshot in store for snapshot in ids] == [False, False, False, True]
    store.verify()


def test_history_and_handles_are_not_touched(store: casstore.Store) -> None:
    ids = line(store, "main", 3)
    store.refs["main"] = store.snapshot(line(store, "next", 3, start=ids[2])[2])
    del store.refs["next"]
    handle = store.snapshot(ids[0])
    plan = planned(store, KeepRule(last=1))
    assert plan.kept[ids[2]] == ["history of main"]
    assert plan.kept[ids[0]] == ["snapshot handle"]
    assert ids[1] in plan.dropped
    plan.execute()
    store.plan_gc(grace_seconds=0).execute()
    assert store.snapshot(ids[2]).message == "main 2"
    assert handle.files["same"]
    store.refs.undo("main")
    assert store.refs.id_of("main") == ids[2]
    store.verify()


def test_merges_are_cut_on_both_sides(store: casstore.Store) -> None:
    ids = line(store, "main", 3, [1, 1, 5])
    side = line(store, "side", 3, [1, 1, 9])
    merged = store.add_snapshot(
        roots=store.snapshot(ids[2]).roots, parents=[ids[2], side[2]], message="merge", time_ns=200 * HOUR
    )
    store.refs["main"] = merged
    del store.refs["side"], merged
    collect(store)
    plan = planned(store, KeepRule(last=1, best=1, by="score"))
    assert numbers(store, side, plan.kept) == [2]
    assert numbers(store, ids, plan.kept) == []
    # One parent goes, so the merge becomes shallow, and the other parent needs a ref.
    assert list(plan.made_refs.values()) == [side[2]]
    plan.execute()
    collect(store)
    assert side[2] in store
    assert ids[2] not in store
    assert messages(store, "main") == ["merge", "side 2"]
    store.verify()


def test_a_second_run_cuts_no_more(store: casstore.Store) -> None:
    line(store, "main", 6, [9, 1, 1, 1, 1, 1])
    rule = KeepRule(last=2, best=1, by="score")
    planned(store, rule).execute()
    collect(store)
    again = planned(store, rule)
    assert (again.dropped, again.cut, again.made_refs, again.deleted_refs) == ([], [], {}, {})
    assert again.execute().undo_refs == ()


def test_without_rules_nothing_is_cut_and_rules_are_remembered(tmp_path: Path) -> None:
    rules = [KeepRule(ref="try/*", last=3), KeepRule(best=2, by="score", total_bytes=10)]
    with open_backend("segments", tmp_path / "store") as store:
        line(store, "main", 3)
        plan = store.plan_retention()
        assert (plan.dropped, plan.rules) == ([], ())
        plan.execute()
        assert store.configure(retention=rules).retention == tuple(rules)
    with open_backend("segments", tmp_path / "store") as store:
        assert store.settings.retention == tuple(rules)
        gc.collect()
        store.configure(undo_keep_seconds=0)
        assert len(store.plan_retention().dropped) == 2
        store.configure(retention=[])
    with open_backend("segments", tmp_path / "store") as store:
        assert store.settings.retention == ()


def test_settings_without_rules_are_as_they_were() -> None:
    plain = casstore.Settings()
    assert b"retention" not in encode_settings(plain)
    ruled = casstore.Settings(retention=(KeepRule(last=1),))
    assert decode_settings(encode_settings(ruled)) == ruled


def test_refused(store: casstore.Store, tmp_path: Path) -> None:
    for wrong in ({}, {"last": -1}, {"last": 1.5}, {"last": True}, {"best": 1}, {"by": "x"}, {"ref": "", "last": 1}):
        with pytest.raises(casstore.InvalidInputError):
            KeepRule(**wrong)
    for rules in ("x", [1], [{"first": 1}], 5):
        with pytest.raises(casstore.InvalidInputError):
            store.configure(retention=rules)  # type: ignore[arg-type]
    line(store, "main", 3)
    plan = planned(store, KeepRule(last=1))
    plan.execute()
    with pytest.raises(casstore.ConflictError):
        plan.execute()
    long = "x" * 240
    line(store, long, 3, [5, 1, 1])
    with pytest.raises(casstore.InvalidInputError) as refusal:
        planned(store, KeepRule(ref="x*", best=1, by="score"))
    assert refusal.value.path == long


def test_a_ref_that_moved_since_stops_it(store: casstore.Store) -> None:
    ids = line(store, "main", 4)
    plan = planned(store, KeepRule(last=1))
    store.refs["old"] = store.snapshot(ids[0])
    with pytest.raises(casstore.ConflictError):
        plan.execute()
    assert shallow_ids(store.storage) == set()
    assert sorted(store.refs) == ["main", "old"]


def test_read_only(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        line(store, "main", 3)
    with (
        casstore.open(tmp_path / "store", read_only=True) as reader,
        pytest.raises(casstore.ReadOnlyError),
    ):
        reader.plan_retention([KeepRule(last=1)])


def test_marks_survive_a_rebuild(tmp_path: Path) -> None:
    import shutil

    with open_backend("segments", tmp_path / "store") as store:
        ids = line(store, "main", 5, [9, 1, 1, 1, 1])
        store.configure(undo_keep_seconds=1000)
        planned(store, KeepRule(last=1, best=1, by="score")).execute()
    shutil.rmtree(tmp_path / "store" / "index")
    with open_backend("segments", tmp_path / "store") as store:
        assert shallow_ids(store.storage) == {ids[4]}
        collect(store)
        assert [snapshot in store for snapshot in ids] == [True, False, False, False, True]
        store.verify()


def test_every_crash_leaves_what_was_kept_before_or_would_be_after(tmp_path: Path) -> None:
    """The events of a cut, cut off after each: what the rules keep is there, with or without the cut."""
    with open_backend("memory", tmp_path) as store:
        ids = line(store, "main", 5, [9, 1, 8, 1, 1])
        store.configure(undo_keep_seconds=1000)
        plan = planned(store, KeepRule(last=1, best=2, by="score"))
        payloads: list[dict[bytes, bytes | None]] = []
        backend = store.storage.backend
        sync = backend.sync
        backend.sync = payloads.append  # type: ignore[method-assign, assignment]
        plan.execute()
        backend.sync = sync  # type: ignore[method-assign]
        (facts,) = payloads
        kept = [ids[0], ids[2], ids[4]]
        events = [(key, value) for key, value in facts.items() if key[:1] in b"he"]
        assert len(events) == 2 + 2 + 2
        numbered = sorted(events, key=lambda item: item[0][-8:])
        from casstore.format.event import event_facts

        for _, payload in numbered:
            assert payload is not None
            backend.sync(event_facts(payload))
            with store.plan_gc(grace_seconds=0, undo_keep_seconds=0) as made:
                for snapshot in kept:
                    assert made.explain(snapshot).is_kept


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs(seed: int) -> None:
    """Whatever the graph, the rules and the history: what was to stay stays whole, the rest goes, and it is sound."""
    chance = random.Random(seed)
    with open_backend("memory", Path()) as store:
        store.configure(undo_keep_seconds=0)
        ids: list[Address] = []
        for number in range(30):
            parents = chance.sample(ids, min(len(ids), chance.choice((0, 1, 1, 1, 2))))
            made = store.add_snapshot(
                roots=commit(store, {"a": noise(300, number)}).roots,
                parents=parents,
                message=str(number),
                meta={"score": chance.randrange(10)},
                time_ns=chance.randrange(100) * HOUR,
            )
            ids.append(made.id)
            if chance.random() < 0.2:
                store.refs[chance.choice(("main", "try/1", "try/2", "other"))] = made
        if not len(store.refs):
            store.refs["main"] = made
        del made
        collect(store)
        rules = [KeepRule(ref="try/*", last=2), KeepRule(ref="main", best=2, by="score")]
        others = [state.id for state in store.log("other")] if "other" in store.refs else []
        for _ in range(2):
            refs = {name: state for name, state in store.refs.ids() if not name.startswith("kept/")}
            plan = planned(store, *rules)
            plan.execute()
            collect(store)
            store.verify()
            # Refs are as they were, what was to stay is there, what was to go is not.
            assert {name: state for name, state in store.refs.ids() if not name.startswith("kept/")} == refs
            assert all(state in store for state in plan.kept)
            assert not any(state in store for state in plan.dropped)
            assert all(state in store for state in others)
        assert planned(store, *rules).dropped == []


def test_the_plan_shows_the_numbers_and_warns(store: casstore.Store) -> None:
    ids = line(store, "main", 4, [1, 7.5, None, 2])
    plan = planned(store, KeepRule(best=1, by="score"))
    assert plan.numbers == {ids[1]: {"score": 7.5}, ids[3]: {"score": 2}}
    assert f"keep {ids[1].hex()[:12]}  best 1 by score, score 7.5" in str(plan)
    assert plan.warnings == []
    wrong = KeepRule(ref="main", best=1, by="words")
    nowhere = KeepRule(ref="try/*", last=1)
    plan = planned(store, KeepRule(last=1), wrong, nowhere)
    assert ["'words'" in plan.warnings[0], "'try/*'" in plan.warnings[1], len(plan.warnings)] == [True, True, 2]
    assert plan.warning_of(wrong) == plan.warnings[0]
    assert plan.warning_of(KeepRule(last=1)) is None
    assert "warning: no ref is named 'try/*'" in str(plan)
    # An empty store is no mistake.
    store.refs.clear()
    assert planned(store, KeepRule(last=1)).warnings == []


def test_when_it_comes_free(store: casstore.Store) -> None:
    line(store, "main", 4)
    collect(store)
    store.configure(undo_keep_seconds=0, grace_seconds=600)
    plan = planned(store, KeepRule(last=1))
    # A hit renews a stamp only after half of the grace period, so a collection waits for that long in addition.
    assert 890 <= plan.free_in_seconds <= 902
    assert plan.freed_now.objects == 0
    assert "with a collection in " in str(plan)
    store.configure(undo_keep_seconds=5000)
    assert planned(store, KeepRule(last=1)).free_in_seconds == 5000
    store.configure(undo_keep_seconds=0, grace_seconds=0)
    plan = planned(store, KeepRule(last=1))
    assert plan.free_in_seconds == 0
    assert plan.freed_now == plan.freed
    assert "with this collection" in str(plan)
    assert planned(store, KeepRule(last=9)).free_in_seconds == 0
