# SPDX-License-Identifier: MIT
"""The soak runs, and notices what is lost: a soak that cannot fail shows nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

import casstore
from benchmarks import soak
from benchmarks.options import Options
from benchmarks.soak_child import Child, Fault
from benchmarks.soak_model import FOLDER, Model
from benchmarks.soak_oracle import Oracle
from benchmarks.soak_run import Soak
from benchmarks.soak_samples import MOST_SAMPLES, Samples, Times, slope, store_figures
from benchmarks.soak_search import Known, Search
from benchmarks.soak_values import EMPTY, Edit, Spec, State, digest_of, expected_digest, memory, merged, value
from casstore.mcts import StateTree, best


def options(folder: Path) -> Options:
    return Options(folder, folder / "work", 1, None, (), 2**20, 10, quiet=True, quick=True, hours=2 / 3600)


@pytest.mark.skipif(sys.platform != "linux", reason="its figures come from /proc")
def test_it_runs(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    result = soak.run(options(tmp_path))
    counts, times = result.figures["counts"], result.figures["times"]
    for name in ("commit", "fork", "merge", "read", "collections", "kills of the writer", "refs compared"):
        assert counts[name] > 0, name
    for name in ("commit", "read", "gc, no grace", "opening a reader", "opening after a kill", "verify"):
        assert times[name]["count"] > 0, name
    last = result.figures["samples"][-1]
    assert last["fds"] > 0
    assert last["rss"] > last["anon"] > 2**20
    assert last["store"] >= last["segments"] > 0
    assert last["live"] > 0
    assert last["events"] > 0
    assert "| lost, wrong, or left behind | none" in result.render()
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="its figures come from /proc")
@pytest.mark.parametrize(
    "hurt",
    ["ref", pytest.param("contents", marks=pytest.mark.slow), pytest.param("search", marks=pytest.mark.slow)],
)
def test_what_is_lost_is_noticed_and_kept_for_whoever_looks(
    hurt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()

    def finish(self: Soak) -> None:
        model = self.model
        while not model.searches:
            self.do(model.plan())
        if hurt == "ref":
            model.sids["agent/0003"] = model.sids["agent/0004"]
        elif hurt == "contents":
            state = model.refs["agent/0003"]
            model.refs["agent/0003"] = Edit({"own/more": Spec(1, 1, 1)}, [], None).of(state)
        else:
            ref = sorted(model.searches)[0]
            search = model.searches[ref]
            worse = search.nodes[search.root]._replace(state=EMPTY)
            model.searches[ref] = search._replace(nodes={**search.nodes, search.root: worse})
        plain_finish(self)

    plain_finish = Soak.finish
    monkeypatch.setattr(Soak, "finish", finish)
    monkeypatch.setattr(soak, "BRANCHES", 10)
    with pytest.raises(Fault, match=r"differ|refs are wrong|another state id"):
        soak.run(options(tmp_path))
    (kept,) = tmp_path.glob("soak-fault-*")
    assert (kept / "store" / "superblock").exists()
    assert list((tmp_path / "work").iterdir()) == []


def test_a_child_that_dies_or_fails_is_a_fault(tmp_path: Path) -> None:
    words = [str(tmp_path / "store"), str(tmp_path), str(2**20), "when asked"]
    child = Child("benchmarks.soak_writer", words, tmp_path / "err")
    assert child.ask({"op": "table"})["refs"] == {}
    with pytest.raises(Fault, match="KeyError"):
        child.ask({"op": "read", "ref": "never", "keys": []})
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(Fault, match="died by itself"):
        child.ask({"op": "table"})
    child.stop()


def test_a_file_with_several_names_takes_space_once(tmp_path: Path) -> None:
    """A reader links the tables of the index; those that the writer has removed since are the reader's."""
    for part in ("segments", "index", "readers/one/index"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "segments" / "00000001.seg").write_bytes(bytes(1000))
    (tmp_path / "index" / "000005.ldb").write_bytes(bytes(300))
    os.link(tmp_path / "index" / "000005.ldb", tmp_path / "readers" / "one" / "index" / "000005.ldb")
    (tmp_path / "readers" / "one" / "index" / "000004.ldb").write_bytes(bytes(70))
    (tmp_path / "reserve").write_bytes(bytes(20))
    (tmp_path / "superblock").write_bytes(bytes(4))
    assert store_figures(tmp_path) == {
        "segments": 1000,
        "index": 300,
        "readers": 70,
        "workspaces": 0,
        "reserve": 20,
        "store": 1394,
        "segment_files": 1,
    }


# -- the model against the store


def test_the_model_merges_as_the_store_does(tmp_path: Path) -> None:
    rng = random.Random(3)
    model = Model(rng, 1, tmp_path)
    with casstore.open(":memory:") as store:
        for number in range(60):
            base = model._edit(EMPTY, 30).of(EMPTY)
            ours, theirs = model._edit(base, 9), model._edit(base, 9)
            side = ("ours", "theirs")[number % 2]
            branch = store.branch()
            Edit(dict(base.files), [], base.objects.get("memory")).to(branch)
            branch.commit("base")
            other = branch.fork()
            ours.to(branch)
            theirs.to(other)
            branch.commit("ours")
            other.commit("theirs")
            branch.merge(other, resolve=side)  # type: ignore[arg-type]
            wanted = merged(base, ours.of(base), theirs.of(base), side)
            assert branch.state_id().hex() == Oracle().state_id(wanted)
            objects = branch.objects
            assert digest_of(dict(branch.files), {name: objects[name] for name in objects}) == expected_digest(wanted)


def test_the_model_prunes_as_the_store_does() -> None:
    rng = random.Random(5)
    search = Search(-1, {-1: Known(None, EMPTY, 0.0)})
    with casstore.open(":memory:") as store:
        tree = StateTree(store)
        nodes = {-1: tree.root}
        for number in range(200):
            parent = rng.choice(list(search.nodes))
            score = rng.random()
            search = search.grown([(number, parent, Edit({}, [], number), score)])
            nodes[number] = tree.create_node(nodes[parent], lambda branch: None, action=number, score=score)
            if number % 9 == 0:
                search = search.pruned(12)
                tree.prune_unreachable(best(12, by="score"))
            if number % 50 == 49:
                top = max((each for each in search.nodes if each != search.root), key=lambda n: search.nodes[n].score)
                root = search.path(top)[-2]
                search = search.collapsed(root)
                tree.collapse(nodes[root])
            assert {number for number in nodes if nodes[number] in tree} == set(search.nodes)


def test_the_folder_is_what_the_model_says(tmp_path: Path) -> None:
    model = Model(random.Random(7), 1, tmp_path)
    for _ in range(60):
        (state,) = model._import().moves[FOLDER]
        assert state is not None
        found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert found == {name: value(spec) for name, spec in state.files.items()}


def test_versions_of_a_value_are_alike() -> None:
    first, second = (value(Spec(4, version, 50)).split(b"\n") for version in (7, 8))
    same = sum(a == b for a, b in zip(first, second))
    assert 10 < same < 50
    assert value(Spec(4, 7, 50)).split(b"\n") == first
    assert json.loads(json.dumps(memory(5))) == memory(5)


# -- what it measures


def test_percentiles_of_times() -> None:
    times = Times()
    for number in range(1, 1001):
        times.add(number / 1000)
    for share, wanted in ((0.5, 0.5), (0.95, 0.95), (0.999, 0.999)):
        assert times.at(share) == pytest.approx(wanted, rel=0.05)
    assert times.longest == 1.0
    assert times.at(1.0) == 1.0
    assert len(times.buckets) < 300


def test_samples_do_not_grow() -> None:
    samples = Samples()
    for number in range(20_000):
        samples.add({"hours": float(number), "rss": 2.0 * number})
    assert MOST_SAMPLES // 2 <= len(samples.kept) <= MOST_SAMPLES
    assert samples.kept[0]["hours"] == 0
    assert samples.kept[-1]["hours"] > 19_000
    assert slope(samples.line("rss")) == pytest.approx(2.0)
    assert slope([(1.0, 1.0)]) == 0.0


def test_states_are_compared_to_the_last_byte() -> None:
    state = State({"a": Spec(1, 0, 3)}, {"memory": 3})
    for other in (
        State({"b": Spec(1, 0, 3)}, {"memory": 3}),
        State({"a": Spec(1, 1, 3)}, {"memory": 3}),
        State({"a": Spec(1, 0, 3)}, {"memory": 4}),
        State({"a": Spec(1, 0, 3)}, {}),
    ):
        assert expected_digest(other) != expected_digest(state)
