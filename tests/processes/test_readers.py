# SPDX-License-Identifier: MIT
"""Many readers beside a writer that commits and collects; what dead ones leave goes."""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path

import pytest

import casstore
from casstore.storage.readers import live_pins
from tests.snapshots.driving import SMALL, collect, commit
from tests.storage.stores import noise
from tests.workspace.switching import child

READER = """
import hashlib, json, random, time, casstore
path, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
chance = random.Random(seed)

def view(store):
    found = {}
    for name, snapshot in store.refs.items():
        found[name] = [one.id.hex() for one in store.log(snapshot)]
        for path in snapshot.files:
            data = snapshot.files[path]
            # Each file says in its name what it must hold.
            if path.startswith("sum/"):
                assert hashlib.sha256(data).hexdigest()[:16] == path[4:], path
            found[name, path] = hashlib.sha256(data).digest()
    return found

looks = views = 0
numbers = []
end = time.monotonic() + seconds
with casstore.open(path, read_only=True) as store:
    print("ready", flush=True)
    while time.monotonic() < end:
        first = view(store)
        old = store.refs["main"]
        numbers.append(int(old.message))
        for _ in range(chance.randrange(1, 4)):
            store.storage.cache.clear()
            assert view(store) == first, "the view changed"
            looks += 1
        if chance.random() < 0.2:
            store.verify()
        store.refresh()
        assert {path: old.files[path] for path in old.files}
        del old
        views += 1
assert numbers == sorted(numbers), "a refresh went back in time"
print(json.dumps([looks, views, len(set(numbers))]), flush=True)
"""


def run(path: Path, readers: int, seconds: float) -> tuple[int, int, int, int]:
    """Commits and collects for some time beside so many readers; their looks, their views, commits, collections."""
    import hashlib

    chance = random.Random(7)

    def files() -> dict[str, bytes]:
        bodies = [noise(chance.randrange(200), chance.randrange(200, 4000)) for _ in range(12)]
        return {f"sum/{hashlib.sha256(body).hexdigest()[:16]}": body for body in bodies}

    with casstore.open(path, config=SMALL) as writer:
        commit(writer, files(), ref="main", message="0")
        children = [child(READER, str(path), str(number), str(seconds)) for number in range(readers)]
        for process in children:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said == b"ready\n", process.stderr and process.stderr.read().decode()
        commits = collections = 0
        while any(process.poll() is None for process in children):
            commits += 1
            commit(writer, files(), ref="main", message=str(commits))
            if commits % 7 == 0:
                collect(writer)
                collections += 1
            # So that readers have a share of a small machine.
            time.sleep(0.01)
        looks = views = 0
        for process in children:
            out, error = process.communicate()
            assert process.returncode == 0, error.decode()
            more_looks, more_views, different = json.loads(out)
            assert different > 1
            looks, views = looks + more_looks, views + more_views
        assert live_pins(str(path)) == set()
        collect(writer)
        writer.verify()
        # Nothing that only readers kept is left.
        live = sum(info.total_bytes for info in writer.storage.backend.segments())
        assert live < 400_000
        assert not [info for info in writer.storage.backend.segments() if info.condemned]
    return looks, views, commits, collections


def test_readers_beside_a_writer_that_commits_and_collects(tmp_path: Path) -> None:
    looks, views, commits, collections = run(tmp_path / "store", 3, 1.5)
    assert looks >= 3
    assert views >= 3
    assert commits > 3
    assert collections >= 1


@pytest.mark.slow
def test_many_readers_beside_a_writer_for_long(tmp_path: Path) -> None:
    looks, views, commits, collections = run(tmp_path / "store", 16, 60)
    print(f"{looks} looks, {views} views, {commits} commits, {collections} collections")
    assert views > 100


HOLDER = """
import casstore
store = casstore.open(sys.argv[1], read_only=True)
kept = store.snapshot("main")
print("ready", flush=True)
sys.stdin.readline()
assert all(kept.files[path] for path in kept.files)
print("same", flush=True)
sys.stdin.readline()
"""


def said_by(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_pins_keep_while_their_owners_live_and_go_with_them(tmp_path: Path) -> None:
    """Stopped for a long time is alive; killed is dead at once, whatever its pid is used for afterwards."""
    import os
    import signal

    path = tmp_path / "store"
    with casstore.open(path, config=SMALL) as writer:
        commit(writer, {"f": noise(1, 30_000)}, ref="main", message="1")
        readers = [child(HOLDER, str(path)) for _ in range(3)]
        assert [said_by(process) for process in readers] == [b"ready\n"] * 3
        os.kill(readers[0].pid, signal.SIGSTOP)
        commit(writer, {"f": noise(2, 3000)}, ref="main", message="2")
        report = collect(writer)
        assert report.waiting_segments > 0
        before = writer.storage.backend.used_bytes()
        assert len(live_pins(str(path))) == 3
        for process in readers[1:]:
            process.kill()
            process.communicate()
        assert len(live_pins(str(path))) == 1
        collect(writer)
        assert writer.storage.backend.used_bytes() == before
        os.kill(readers[0].pid, signal.SIGCONT)
        assert readers[0].stdin is not None
        readers[0].stdin.write(b"\n")
        readers[0].stdin.flush()
        assert said_by(readers[0]) == b"same\n"
        readers[0].kill()
        readers[0].communicate()
        collect(writer)
        assert writer.storage.backend.used_bytes() < before / 2
        assert live_pins(str(path)) == set()
        assert list((path / "readers").iterdir()) == []
        writer.verify()


def test_a_condemned_segment_that_goes_while_a_reader_opens_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of the index still names it, and nothing in it; ``verify`` of that reader called it cut off."""
    from casstore.storage import opening

    path = tmp_path / "store"
    with casstore.open(path, config=SMALL) as writer:
        commit(writer, {"f": noise(1, 30_000)}, ref="main", message="1")
        first = casstore.open(path, read_only=True)
        commit(writer, {"f": noise(2, 3000)}, ref="main", message="2")
        assert collect(writer).waiting_segments > 0
        real = opening.SegmentBackend

        def late(*arguments: object, **options: object) -> object:
            monkeypatch.undo()
            first.close()
            writer.storage.backend.compact([])
            return real(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(opening, "SegmentBackend", late)
        with casstore.open(path, read_only=True) as reader:
            assert [info for info in reader.storage.backend.segments() if info.condemned and not info.total_bytes]
            assert reader.refs["main"].files["f"] == noise(2, 3000)
            reader.verify()
            assert not reader.storage.backend.hurt
