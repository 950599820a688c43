# SPDX-License-Identifier: MIT
"""What a collection says about itself: what keeps what, alone and with others, for how long, and what comes free."""

from __future__ import annotations

import gc
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.address import Address
from casstore.collection import Explanation, GcPlan
from casstore.collection import explain as explain_module
from casstore.collection.explain_report import Amount, Share
from casstore.format.chunk_list import decode_chunk_list
from casstore.format.entry import snapshot_entry
from casstore.format.kinds import CHUNK_LIST, KIND_NAMES, NODE, SNAPSHOT
from casstore.format.node import decode_node
from casstore.format.snapshot import decode_snapshot
from casstore.testing.model import noise
from tests.collection.test_gc import age
from tests.snapshots.driving import collect, commit, open_backend, tree_of


def below(store: casstore.Store, start: Address) -> set[Address]:
    """Everything that an address leads to, itself included: plain, slow, of its own making."""
    found: set[Address] = set()
    waiting = [start]
    while waiting:
        address = waiting.pop()
        entry = store.storage.backend.find(address)
        assert entry is not None
        if address in found:
            continue
        found.add(address)
        if entry.base is not None:
            waiting.append(entry.base)
        raw = store.storage.get_record(entry.kind, address)
        if entry.kind == SNAPSHOT:
            fields = decode_snapshot(raw)
            waiting += [*fields.roots.values(), *fields.parents]
        elif entry.kind == NODE:
            node = decode_node(raw)
            waiting += [*node.children, *node.contents, *node.snapshots]
        elif entry.kind == CHUNK_LIST:
            waiting += [piece for piece, _ in decode_chunk_list(address, raw).pieces]
    return found


def amount(store: casstore.Store, addresses: set[Address]) -> Amount:
    sizes = []
    for address in addresses:
        entry = store.storage.backend.find(address)
        assert entry is not None
        sizes.append(entry.record_bytes)
    return Amount(len(sizes), sum(sizes))


def plan(store: casstore.Store, grace: int = 0, undo: int = 0) -> GcPlan:
    return store.plan_gc(grace_seconds=grace, undo_keep_seconds=undo)


def explained(store: casstore.Store, grace: int = 0, undo: int = 0) -> Explanation:
    with plan(store, grace, undo) as made:
        return made.explain()


def share(found: Explanation, sort: str, name: str = "") -> Share:
    (match,) = [item for item in (*found.sorts, *found.roots) if item.sort == sort and item.name == name]
    return match


def random_store(store: casstore.Store, seed: int) -> list[casstore.Snapshot]:
    """Refs, histories, links, merges and handles at random, all over the same few contents."""
    chance = random.Random(seed)
    made: list[casstore.Snapshot] = []
    for number in range(10):
        files: dict[str, Any] = {
            f"f{place}": noise(chance.choice((300, 3000, 9000)), chance.randrange(12)) for place in range(4)
        }
        if made and chance.random() < 0.3:
            files["link"] = snapshot_entry(chance.choice(made).id)
        parents = chance.sample(made, min(len(made), chance.choice((0, 1, 1, 2))))
        ref = chance.choice((None, "main", "try/1", "try/2"))
        made.append(commit(store, files, parents=parents, ref=ref, message=str(number)))
    if "try/1" in store.refs:
        del store.refs["try/1"]
    return chance.sample(made, 3)


@pytest.mark.parametrize(("seed", "word"), [(0, 64), (1, 8)])
def test_shares_are_those_of_a_plain_walk(
    store: casstore.Store, seed: int, word: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With words of 8 bits everything takes several passes, as it does for more than 58 roots.
    monkeypatch.setattr(explain_module, "_WORD", word)
    monkeypatch.setattr(explain_module, "_ONES", 2**word - 1)
    handles = random_store(store, seed)
    found = explained(store, undo=1000)
    groups: dict[tuple[str, str], set[Address]] = {}
    for name, snapshot in store.refs.ids():
        groups["ref", name] = below(store, snapshot)
    for name in ("main", "try/1", "try/2"):
        moves = [state for move in store.refs.history(name) for state in (move.old, move.new) if state]
        groups["history", name] = set().union(*(below(store, state) for state in moves))
    for handle in handles:
        groups["pin", handle.id.hex()] = below(store, handle.id)
    seen = {(item.sort, item.address.hex() if item.address else item.name): item for item in found.roots}
    assert seen.keys() == {key for key, addresses in groups.items() if addresses}
    for key, item in seen.items():
        others = set().union(*(reach for other, reach in groups.items() if other != key))
        assert item.reached == amount(store, groups[key])
        assert item.exclusive == amount(store, groups[key] - others)
        if key[0] == "ref":
            line = groups[key] | groups["history", key[1]]
            others = set().union(*(reach for other, reach in groups.items() if other not in (key, ("history", key[1]))))
            assert item.with_history == amount(store, line - others)
    for sort in ("ref", "history", "pin"):
        mine = set().union(*(reach for key, reach in groups.items() if key[0] == sort))
        others = set().union(*(reach for key, reach in groups.items() if key[0] != sort))
        assert share(found, sort).reached == amount(store, mine)
        assert share(found, sort).exclusive == amount(store, mine - others)
    with plan(store, undo=1000) as made:
        for kind in found.kinds:
            for part, tallies in ((kind.live, made.live), (kind.young, made.young), (kind.dead, made.dead)):
                tally = tallies.get(kind.kind)
                assert part == (Amount(tally.objects, tally.bytes) if tally else Amount())
    # Everything that is chained is chained by what is there, and what is dead has no chain.
    with plan(store, undo=1000) as made:
        live = set().union(*groups.values())
        for address, entry in list(store.storage.backend.scan())[::9]:
            kept = made.explain(address)
            if KIND_NAMES[entry.kind] != "event":
                assert kept.is_kept == (address in live)
            for chain in kept.chains:
                assert chain.steps[-1].address == address
                for upper, lower in zip(chain.steps, chain.steps[1:]):
                    assert lower.address in below(store, upper.address)
    del handles


def test_roots_beyond_the_limit_are_told_of_together(store: casstore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        commit(store, {"a": noise(2000, number), "same": noise(3000, 99)}, ref=f"r{number:02}")
    full = explained(store)
    one = share(full, "ref", "r00")
    assert one.exclusive.bytes > 2000
    monkeypatch.setattr(explain_module, "MAX_GROUPS", 12)
    found = explained(store)
    rest = share(found, "ref", "(further ones)")
    named = [item for item in found.roots if item is not rest]
    assert len(named) < 12
    assert rest.roots + len(named) == 12
    # What is shared between a named one and the rest belongs to neither alone.
    assert all(item.exclusive == share(full, "ref", item.name).exclusive for item in named)
    assert sum(item.exclusive.bytes for item in found.roots) < share(found, "ref").exclusive.bytes


def test_what_a_handle_keeps_is_free_when_the_handle_goes(store: casstore.Store) -> None:
    handle: casstore.Snapshot | None = commit(store, {"a": noise(9000, 1)}, ref="main")
    assert handle is not None
    commit(store, {"b": noise(500, 2)}, ref="main")
    found = share(explained(store), "pin", "snapshot handle")
    assert found.address == handle.id
    assert found.exclusive == found.reached
    freed = found.exclusive
    del handle
    with plan(store) as made:
        # A move of a ref that expired goes too: it is an event, which no handle keeps.
        gone = {kind: tally for kind, tally in made.dead.items() if kind != "event"}
        assert sum(tally.objects for tally in gone.values()) == freed.objects
        assert sum(tally.bytes for tally in gone.values()) == freed.bytes


def test_an_address_is_explained(store: casstore.Store) -> None:
    first = commit(store, {"a/b": noise(9000, 1)}, ref="main").id
    commit(store, {"c": noise(500, 2)}, parents=[first], ref="main")
    content = store.snapshots.get(first).files.entry("a/b").address
    assert content is not None
    with plan(store) as made:
        kept = made.explain(content)
    assert (kept.kind, kept.is_kept, kept.free_in_seconds, kept.more_roots, kept.deltas) == (
        "chunk list",
        True,
        None,
        0,
        0,
    )
    (chain,) = kept.chains
    assert (chain.root, chain.free_in_seconds) == ("ref main", None)
    assert [step.how for step in chain.steps] == ["keeps", "parent", "files", "a/b"]
    assert [step.kind for step in chain.steps] == ["snapshot", "snapshot", "node", "chunk list"]
    assert chain.steps[1].address == first
    assert "ref main → keeps: snapshot" in str(kept)


def test_the_shortest_way_comes_first_and_their_number_is_bounded(store: casstore.Store) -> None:
    base = commit(store, {"a": noise(900, 1)})
    middle = commit(store, {"b": b"1"}, parents=[base])
    commit(store, {"b": b"2"}, parents=[middle], ref="far")
    commit(store, {"b": b"3"}, parents=[base], ref="near")
    for number in range(12):
        commit(store, {"b": b"4", "n": str(number).encode()}, parents=[middle], ref=f"x{number}")
    wanted = base.id
    del base, middle
    with plan(store) as made:
        kept = made.explain(wanted)
        assert [chain.root for chain in kept.chains][:2] == ["ref near", "ref far"]
        assert [len(chain.steps) for chain in kept.chains] == [2, *[3] * 7]
        assert kept.more_roots == 6
        assert len(made.explain(wanted, limit=100).chains) == 14


@pytest.mark.parametrize("long_way_first", [True, False])
def test_of_two_ways_from_one_root_the_shorter_is_told(store: casstore.Store, long_way_first: bool) -> None:
    base = commit(store, {"a": noise(900, 1)})
    middle = commit(store, {"b": b"1"}, parents=[base])
    both = [middle, base] if long_way_first else [base, middle]
    commit(store, {"b": b"2"}, parents=both, ref="main")
    wanted = base.id
    del base, middle, both
    with plan(store) as made:
        (chain,) = made.explain(wanted).chains
        assert [step.how for step in chain.steps] == ["keeps", "parent"]


def test_what_nothing_keeps_and_what_is_not_there(store: casstore.Store) -> None:
    loose = store.put(noise(500, 1))
    with plan(store) as made:
        kept = made.explain(loose)
        assert (kept.is_kept, kept.free_in_seconds, kept.chains) == (False, 0, ())
        assert "it goes with this collection" in str(kept)
        absent = made.explain(Address(bytes(32)))
        assert (absent.kind, absent.is_kept) == ("", False)
        assert "not in the store" in str(absent)
        with pytest.raises(casstore.InvalidInputError):
            made.explain(b"short")  # type: ignore[call-overload]
        made.execute()
        with pytest.raises(casstore.ConflictError):
            made.explain()
    assert loose not in store


def test_when_what_is_young_goes(store: casstore.Store) -> None:
    store.configure(grace_seconds=600)
    old = store.put(noise(9000, 1))
    age(store, 500)
    with store.storage.operation():
        root = tree_of(store, {"a": noise(9000, 1), "b": noise(9000, 2)})
    assert root is not None
    loose = store.put(noise(700, 3))
    age(store, 60)
    with plan(store, grace=600) as made:
        kept = made.explain(loose)
        assert kept.free_in_seconds is not None
        assert 535 <= kept.free_in_seconds <= 541
        assert kept.chains[0].root.startswith("grace period (put or met 6")
        # The list itself is 560 s old, but the node above it is not.
        held = made.explain(old)
        assert held.free_in_seconds is not None
        assert 535 <= held.free_in_seconds <= 541
        assert [step.how for step in held.chains[-1].steps] == ["keeps", "a"]
        found = made.explain()
    assert sum(soon.bytes for soon in found.soon) == share(found, "grace period").exclusive.bytes
    assert [soon.within_seconds for soon in found.soon] == [600]
    with plan(store) as made:
        assert made.explain(loose).free_in_seconds == 0
        assert made.explain().soon == ()


def test_history_says_how_long(store: casstore.Store) -> None:
    first = commit(store, {"a": noise(2000, 1)}, ref="main").id
    commit(store, {"a": noise(2000, 2)}, ref="main")
    with plan(store, undo=500) as made:
        kept = made.explain(first)
        assert {chain.root for chain in kept.chains} == {"history main@1", "history main@2"}
        assert kept.free_in_seconds is not None
        assert 490 <= kept.free_in_seconds <= 500
        found = share(made.explain(), "history", "main")
        assert found.roots == 3
        assert found.exclusive.bytes > 2000
        assert found.free_in_seconds is not None
        assert 490 <= found.free_in_seconds <= 500
    with plan(store) as made:
        assert not made.explain(first).is_kept


def test_pins_say_who_they_are(store: casstore.Store) -> None:
    first = commit(store, {"a": noise(2000, 1)}, ref="main").id
    branch = store.branch("main")
    commit(store, {"a": noise(2000, 2)}, ref="main")
    content = store.put(noise(5000, 3))
    opened = store.open_content(content)
    entry = store.snapshots.fields(first)
    with plan(store) as made:
        roots = {chain.root for chain in made.explain(entry.roots["files"]).chains}
        assert roots == {"live branch or view", "snapshot handle"}
        assert [chain.root for chain in made.explain(content).chains] == ["open content, or value of a branch"]
    opened.close()
    del branch
    gc.collect()
    with plan(store) as made:
        assert not made.explain(first).is_kept
        assert not made.explain(content).is_kept


def test_running_operations_keep_what_they_met(store: casstore.Store) -> None:
    met = store.put(noise(5000, 1))
    small = store.put(noise(200, 2))
    with store.storage.operation():
        store.put(noise(5000, 1))
        store.put(noise(200, 2))
        new = store.put(noise(300, 3))
        with plan(store) as made:
            assert [chain.root for chain in made.explain(met).chains] == ["operation that met it"]
            assert [chain.root for chain in made.explain(small).chains] == ["operation that wrote or met it"]
            assert [chain.root for chain in made.explain(new).chains] == ["operation that wrote or met it"]
            found = made.explain()
            assert share(found, "operation", "running operation 1").exclusive.bytes > 5500
            late = store.put(noise(400, 4))
            name = "what was put or met since the plan was made"
            assert share(made.explain(), "operation", name).exclusive == Amount()  # the operation met it too
            assert made.explain(late).is_kept
    with plan(store) as made:
        assert not made.explain(met).is_kept


def test_segments_add_up_and_free_bytes_are_the_plans(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        commit(store, {f"{number}": noise(5000, number) for number in range(6)}, ref="main")
        commit(store, {f"{number}": noise(5000, number + 3) for number in range(6)}, ref="main")
        store.sync()
        with plan(store) as made:
            found = made.explain()
            assert len(found.segments) > 1
            for segment in found.segments:
                assert segment.live_bytes + segment.young_bytes + segment.dead_bytes == segment.total_bytes
            assert sum(segment.dead_bytes for segment in found.segments) == made.dead_bytes
            assert {item.segment: item.free_bytes for item in found.segments if item.free_bytes} == made.segments
            assert found.freed_bytes == made.freed_bytes
            assert str(found)


def test_readers_are_named_with_their_process(tmp_path: Path) -> None:
    with open_backend("segments", tmp_path / "store") as store:
        commit(store, {"a": noise(50_000, 1)}, ref="main")
        store.sync()
        assert explained(store).readers == ()
        with casstore.open(tmp_path / "store", read_only=True):
            (reader,) = explained(store).readers
            assert reader.pid == os.getpid()
            assert reader.for_seconds < 5
            del store.refs["main"]
            collect(store)
            found = explained(store)
            assert found.reader_bytes > 40_000
            assert f"process {os.getpid()}" in str(found)


def test_bases_of_deltas_say_so(store: casstore.Store) -> None:
    base, delta = noise(3000, 1), noise(3000, 2)
    kept_base = store.put(base)
    commit(store, {"a": delta}, ref="main")
    store.sync()
    backend: Any = store.storage.backend
    address = store.snapshot("main").files.entry("a").address
    assert address is not None
    (chunk,) = [a for a in below(store, address) if backend.find(a).kind not in (NODE, SNAPSHOT, CHUNK_LIST)][:1]
    (only,) = [a for a in below(store, kept_base) if backend.find(a).kind not in (NODE, SNAPSHOT, CHUNK_LIST)][:1]
    # As the index says of a record that is stored against another.
    backend._pending[chunk] = backend.find(chunk)._replace(base=only, flags=2)
    gc.collect()
    with plan(store) as made:
        kept = made.explain(only)
        assert kept.deltas == 1
        assert kept.chains[0].steps[-1].how == "base that it is stored against"
        assert "held by 1 delta stored" in str(kept)
        assert made.explain(chunk).base == only
        entry = backend.find(only)
        assert made.explain().bases == Amount(1, entry.record_bytes)
        # A handle that leads there too: it is not kept as a base alone.
        opened = store.open_content(kept_base)
    with plan(store) as made:
        assert made.explain().bases == Amount()
    opened.close()


def test_a_base_that_only_deltas_hold_is_in_use() -> None:
    with casstore.open(":memory:") as store:
        branch = store.branch()
        for number in range(6):
            content = bytearray(noise(6000, 1))
            content[100 * number : 100 * number + 20] = noise(20, 50 + number)
            branch.files["x"] = bytes(content)
            branch.commit(str(number), ref="main")
        del branch
        gc.collect()
        bases = {entry.base for _, entry in store.storage.backend.scan() if entry.base is not None}
        (base,) = bases
        assert base is not None
        store.configure(undo_keep_seconds=0)
        assert explained(store).bases == Amount()
        store.plan_retention([casstore.KeepRule(last=1)]).execute()
        with plan(store) as made:
            found = made.explain()
            assert found.bases.objects == 1
            for kind in found.kinds:
                for part, tallies in ((kind.live, made.live), (kind.dead, made.dead)):
                    tally = tallies.get(kind.kind)
                    assert part == (Amount(tally.objects, tally.bytes) if tally else Amount())
            kept = made.explain(base)
            assert (kept.deltas, len(kept.chains)) == (5, 1)
            assert [step.how for step in kept.chains[0].steps][-2:] == ["x", "base that it is stored against"]


def test_nothing_changes_and_nothing_is_pinned(store: casstore.Store) -> None:
    handle: Any = commit(store, {"a": noise(9000, 1)}, ref="main")
    del handle
    before = sorted(store.storage.backend.scan()), store.pins()
    made = plan(store)
    found: Any = made.explain()
    address = store.refs.id_of("main")
    assert address is not None
    made.explain(address)
    made.drop()
    assert (sorted(store.storage.backend.scan()), store.pins()) == before
    assert found.memory_bytes > 0
    assert found.seconds >= 0


def test_a_long_history_takes_little_memory() -> None:
    with casstore.open(":memory:") as store:
        made: casstore.Snapshot | None = commit(store, {"a": b"1"})
        for number in range(1500):
            assert made is not None
            made = store.add_snapshot(roots=made.roots, parents=[made.id], message=str(number))
        assert made is not None
        store.refs["main"] = made
        first, made = made.roots["files"], None
        with plan(store) as planned:
            tracemalloc.start()
            explained_bytes = planned.explain().memory_bytes
            kept = planned.explain(first)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert len(kept.chains[0].steps) == 2
        # A step for each ancestor would take some 600 bytes of each; the arrays take 50 of each.
        assert peak < explained_bytes + 300_000


def test_memory_is_bounded_by_the_number_of_records() -> None:
    """17 bytes and some bits for each record, 32 for each that refers to others."""
    with casstore.open(":memory:") as store:
        branch = store.branch()
        for number in range(6_000):
            branch.files[f"{number:05}"] = b"%080d" % number * 2
        branch.commit(ref="main")
        del branch
        found = explained(store)
        records = sum(kind.live.objects for kind in found.kinds)
        assert records > 6_000
        parents = records - found.kinds[0].live.objects
        assert found.memory_bytes < records * 18 + parents * 32 + 50_000
