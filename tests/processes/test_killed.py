# SPDX-License-Identifier: MIT
"""Every command killed anywhere, with a reader open: what was durable is there, the reader notices nothing, the next
run of the command completes.

The whole sweep: ``pytest -m slow tests/processes/test_killed.py``.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import casstore
from casstore.storage.readers import live_pins
from casstore.workspace import Workspace, import_directory
from tests.processes.killing import COMMANDS, CONFIG, KILLED, STEPS, Killer, Outcome
from tests.snapshots.driving import commit
from tests.storage.stores import noise
from tests.workspace.switching import become, state_of, temporary_names
from tests.workspace.trees import Tree, read_tree, with_folders

TEXT = b"".join(b"line %d of a text\n" % number for number in range(120))
DIRECTORY: Tree = {
    b"same": b"s" * 300,
    b"edited": noise(20, 3000),
    b"deleted": b"d" * 200,
    b"folder/a": b"2" * 500,
    b"file to folder": b"1" * 150,
    b"link": ("->", b"same"),
}
TARGET: Tree = {
    b"same": b"s" * 300,
    b"edited": noise(21, 3000),
    b"folder/b": b"3" * 500,
    b"file to folder/in": b"9" * 500,
    b"link": ("->", b"edited"),
}


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    made = Killer()
    yield made
    made.close()


def shown(store: casstore.Store) -> dict[str, object]:
    """All that refs lead to: ids, history, contents."""
    found: dict[str, object] = {}
    for name, snapshot in store.refs.items():
        found[name] = [one.id for one in store.log(snapshot)]
        found[f"{name} files"] = {path: snapshot.files[path] for path in snapshot.files}
        found[f"{name} moves"] = [(move.old, move.new) for move in store.refs.history(name)]
    return found


class Scene:
    """A store in which there is something to do for every command, as often as it is wanted."""

    def __init__(self, top: Path) -> None:
        self.store, self.directory, self.template = top / "store", top / "work", top / "template"
        self.directory.mkdir()
        become(self.directory, DIRECTORY)
        with casstore.open(self.store, config=replace(CONFIG, deltas=False)) as store:
            old = [
                commit(
                    store, {"text": TEXT, "big": noise(number, 9000), f"own/{number}": noise(number, 700)}, ref="main"
                )
                for number in range(3)
            ]
            store.refs["other"] = old[0]
            for number in range(4):
                commit(store, {f"gone/{n}": noise(100 * number + n, 900) for n in range(12)}, ref="gone")
            del store.refs["gone"]
            store.refs["target"] = state_of(store, TARGET, top / "target tree")
            import_directory(store, self.directory, ref="imported")
            with Workspace(store, self.directory) as workspace:
                workspace.snapshot(ref="before")
        become(self.directory, {**DIRECTORY, b"edited": noise(22, 4000), b"mine": b"m" * 700})
        self.local = read_tree(self.directory)
        shutil.copytree(self.store, self.template, ignore=shutil.ignore_patterns("reserve"))

    def kill(self, killer: Killer, command: str, number: int) -> Outcome:
        """Runs a command that is killed, on the store as it was; then looks at all that is promised."""
        shutil.rmtree(self.store)
        shutil.copytree(self.template, self.store)
        if command in ("switch", "import"):
            become(self.directory, {**DIRECTORY, b"edited": noise(22, 4000), b"mine": b"m" * 700})
        with casstore.open(self.store, read_only=True, config=CONFIG) as reader:
            before = shown(reader)
            # Where nobody reads, a collection also removes what it condemned.
            watched = number % 3 != 2
            if not watched:
                reader.close()
            outcome = killer.run(command, self.store, self.directory, number)
            assert outcome.killed or outcome.code == 0
            assert not watched or shown(reader) == before
            with casstore.open(self.store, read_only=True, config=CONFIG) as beside:
                # Nobody has recovered the store yet.
                beside.verify()
            with casstore.open(self.store, config=CONFIG) as store:
                store.verify()
                self.look_at(store, command, outcome, before)
            COMMANDS[command](str(self.store), str(self.directory), lambda _: None)
            if watched:
                assert shown(reader) == before
                reader.verify()
        with casstore.open(self.store, config=CONFIG) as store:
            store.verify()
            self.look_at(store, command, Outcome(0, STEPS, 0, ""), before)
            store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
            store.verify()
        if command != "gc elsewhere":
            # There an orphan of the killed process may still be marking.
            assert live_pins(str(self.store)) == set()
            assert list((self.store / "readers").iterdir()) == []
        assert list(self.store.rglob("*.tmp")) == []
        return outcome

    def look_at(self, store: casstore.Store, command: str, outcome: Outcome, before: dict[str, object]) -> None:
        """Fails unless all refs are those from before, but for what the command moved, and that is whole."""
        now = shown(store)
        moving = {"import": "imported", "commit": "main", "migrate": "main"}.get(command)
        for name, value in before.items():
            if name.split(" ")[0] != moving and not (command.startswith("gc") and name.endswith(" moves")):
                assert now[name] == value, name
        if command == "commit":
            messages = [one.message for one in store.log("main")]
            done = [f"step {number}" for number in range(STEPS)][::-1]
            assert messages[0] in ("", *done)
            files = store.refs["main"].files
            for number in range(outcome.acknowledged):
                assert files[f"step/{number}"] == b"%d " % number * 400
        elif command == "import":
            files = store.refs["imported"].files
            if outcome.acknowledged:
                assert files["mine"] == b"m" * 700
            assert len(files["edited"]) == (4000 if "mine" in files else 3000)
        elif command == "migrate":
            assert store.format_fields["deltas"] in ((True,) if outcome.acknowledged else (True, False))
            assert (b"line five" not in store.refs["main"].files["text"]) or store.format_fields["deltas"]
        elif command == "switch":
            found = read_tree(self.directory)
            if outcome.code == 0:
                assert found == with_folders(TARGET)
                assert temporary_names(self.directory) == []


def points(calls: int, wanted: int) -> list[int]:
    """So many of the calls, spread evenly, the first and the last among them."""
    return sorted({1 + round(number * (calls - 1) / (wanted - 1)) for number in range(wanted)})


def sweep(scene: Scene, killer: Killer, command: str, wanted: int | None) -> None:
    whole = scene.kill(killer, command, 0)
    assert whole.code == 0
    assert whole.calls > 8
    numbers = points(whole.calls, whole.calls if wanted is None else wanted)
    if command == "migrate":
        # All of those of the migration itself; what follows is a commit.
        numbers = sorted({*range(1, 10), *numbers[1:]})
    for number in numbers:
        outcome = scene.kill(killer, command, number)
        # Without a reader there may be fewer calls.
        assert outcome.code == KILLED or outcome.calls < number, (number, outcome)


@pytest.mark.parametrize(
    ("command", "wanted"), [("import", 6), ("commit", 8), ("gc", 9), ("gc elsewhere", 2), ("switch", 5), ("migrate", 2)]
)
def test_a_command_that_is_killed_at_some_points(tmp_path: Path, killer: Killer, command: str, wanted: int) -> None:
    sweep(Scene(tmp_path), killer, command, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_at_every_point(tmp_path: Path, killer: Killer, command: str) -> None:
    sweep(Scene(tmp_path), killer, command, None)


def test_commands_that_are_killed_by_the_system(tmp_path: Path, killer: Killer) -> None:
    by_time(Scene(tmp_path), killer, 1, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_commands_that_are_often_killed_by_the_system(tmp_path: Path, killer: Killer, seed: int) -> None:
    by_time(Scene(tmp_path), killer, 60, seed=seed)


def by_time(scene: Scene, killer: Killer, times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        for command in COMMANDS:
            scene.kill(killer, command, -chance.randrange(1_000, 60_000))


def test_a_command_that_is_killed_again_and_again(tmp_path: Path, killer: Killer) -> None:
    """Each run is killed a little later than the one before, on what that one left."""
    scene = Scene(tmp_path)
    with casstore.open(scene.store, read_only=True, config=CONFIG) as reader:
        before = shown(reader)
        for number in (6, 11, 16, 21, 26):
            for command in ("commit", "gc", "import"):
                assert killer.run(command, scene.store, scene.directory, number).killed
        assert shown(reader) == before
    with casstore.open(scene.store, config=CONFIG) as store:
        store.verify()
        assert store.refs["other"].id == before["other"][0]  # type: ignore[index]
    for command in ("commit", "gc", "import"):
        COMMANDS[command](str(scene.store), str(scene.directory), lambda _: None)
    with casstore.open(scene.store, config=CONFIG) as store:
        store.verify()
