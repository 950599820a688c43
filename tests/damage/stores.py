# SPDX-License-Identifier: MIT
"""A store with everything that damage can meet: refs, history, lists, deltas, objects, a workspace, a bundle."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import casstore
from casstore.osfile import OsFiles
from casstore.workspace import checkout, import_directory

CONFIG: Final = casstore.Config(
    segment_bytes=8192,
    chunk_min_bytes=256,
    chunk_avg_bytes=1024,
    chunk_max_bytes=4096,
    cache_bytes=0,
    threads=1,
    sync="off",
)
OPENING: Final = casstore.Config(segment_bytes=8192, cache_bytes=0, threads=1, sync="off")
BUNDLE: Final = "bundle"
PROJECT: Final = "project"
STORE: Final = "store"
PRISTINE: Final = "pristine"

Files = dict[str, bytes]


class NoSync(OsFiles):
    """Leaves out every sync: nothing here loses power."""

    __slots__ = ()

    def sync(self, fd: int) -> None:
        pass


@dataclass(frozen=True)
class Expected:
    """What the store holds: the states of its refs, and all states that were ever imported."""

    refs: Mapping[str, Files]
    states: tuple[Files, ...]
    value: object


def text(seed: int, lines: int) -> bytes:
    draw = random.Random(seed)
    return b"".join(b"line %d says %d\n" % (number, draw.randrange(10**9)) for number in range(lines))


def _states() -> list[Files]:
    noise = random.Random(5).randbytes
    first: Files = {f"docs/{number:02d}.txt": text(number, 20) for number in range(20)}
    first |= {"large.bin": noise(20_000), "empty": b"", "small": b"inline", "code/a.py": text(90, 60)}
    second = dict(first)
    for number in range(0, 20, 3):
        second[f"docs/{number:02d}.txt"] = first[f"docs/{number:02d}.txt"].replace(b"line 7", b"LINE 7")
    second["large.bin"] = first["large.bin"][:9000] + noise(300) + first["large.bin"][9000:]
    third = {**second, "code/b.py": text(91, 50), "docs/01.txt": second["docs/01.txt"] + b"more\n"}
    return [first, second, third]


def write(folder: Path, files: Files) -> None:
    if folder.exists():
        for item in folder.iterdir():
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def make(base: Path, *, killed: bool = False, backend: str = "segments") -> Expected:
    """A store below ``base``, with a bundle and a pristine copy beside it; ``killed``: as kill -9 would leave it."""
    states = _states()
    value = {"memory": list(range(300)), "plan": "x" * 400}
    path, project = base / STORE, base / PROJECT
    fields = {name: getattr(CONFIG, name) for name in ("segment_bytes", "chunk_min_bytes", "chunk_avg_bytes")}
    config = casstore.Config(backend=backend, chunk_max_bytes=4096, cache_bytes=0, threads=1, sync="off", **fields)  # type: ignore[arg-type]
    with casstore.open(path, config=config) as store:
        write(project, states[0])
        import_directory(store, str(project), ref="first")
        import_directory(store, str(project), ref="main")
        write(project, states[1])
        import_directory(store, str(project), ref="main")
        branch = store.branch("main")
        branch.objects["state"] = value
        store.refs["with"] = branch.commit("objects")
    store = casstore.open(path, config=OPENING)
    store.configure(grace_seconds=60)
    write(project, states[2])
    import_directory(store, str(project), ref="main")
    store.export_bundle(str(base / BUNDLE), ["main", "first", "with"])
    checkout(store, "main", base / "tree")
    if backend == "segments":
        assert any(entry.base for _, entry in store.storage.backend.scan()), "no deltas"
        assert store.storage.chunk_list(store.snapshot("main").files.entry("large.bin").address) is not None
        assert len(os.listdir(path / "segments")) > 3
    if killed:
        shutil.copytree(path, base / "copy")
    store.close()
    # What a reader that was killed leaves.
    (path / "readers" / f"{'ab' * 16}.pin").write_bytes(b"12345\n")
    if killed:
        (base / "copy" / "readers" / f"{'ab' * 16}.pin").write_bytes(b"12345\n")
        shutil.rmtree(path)
        (base / "copy").rename(path)
    shutil.copytree(path, base / PRISTINE)
    return Expected({"first": states[0], "main": states[2], "with": states[1]}, tuple(states), value)


def damageable(base: Path) -> dict[str, list[Path]]:
    """Files by what they are."""
    store = base / STORE
    found: dict[str, list[Path]] = {"bundle": [base / BUNDLE]}
    for path in sorted(store.rglob("*")):
        name = str(path.relative_to(store))
        if not path.is_file() or name.endswith(("LOCK", "lock", "LOG", "reserve")):
            continue
        kind = name.split("/")[0]
        if kind == "index":
            kind = name.split("/")[1].split("-")[0].rpartition(".")[2]
        found.setdefault(kind, []).append(path)
    return found


def damage(path: Path, draw: random.Random) -> str:
    """Damages a file in one of several ways; says how."""
    size = path.stat().st_size
    how = draw.choice(("flip", "flip", "cut", "zero", "delete", "append"))
    if how == "delete":
        path.unlink()
        return "deleted"
    if how == "append" or not size:
        with path.open("ab") as file:
            file.write(draw.randbytes(draw.randrange(1, 200)))
        return "appended to"
    place = draw.randrange(size)
    if how == "cut":
        os.truncate(path, place)
        return f"cut at {place}"
    length = 1 if how == "flip" else min(size - place, draw.choice((16, 512, 4096)))
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(length)
        file.seek(place)
        file.write(bytes([old[0] ^ (1 << draw.randrange(8))]) if how == "flip" else bytes(length))
    return f"{how} at {place}"


def read_all(store: casstore.Store, expected: Expected, *, older: bool = False) -> Iterator[tuple[str, str | None]]:
    """Ref and path of everything that cannot be read; None where the whole ref cannot. What can be read must be right.

    With ``older`` a ref may name a state that it named before.
    """
    for name, files in expected.refs.items():
        try:
            view = store.refs[name].files
        except casstore.CorruptionError:
            yield name, None
            continue
        except casstore.NotFoundError:
            assert name not in store.refs
            yield name, None
            continue
        with contextlib.suppress(casstore.CorruptionError):
            branch = store.branch(name)
            assert "state" not in branch.objects or branch.objects["state"] == expected.value
        for path, data in files.items():
            if older and path not in view:
                continue
            try:
                found = view[path]
                good = {state.get(path) for state in expected.states} if older else {data}
                assert found in good, f"{name}:{path} is wrong"
            except casstore.CorruptionError:
                yield name, path
            except casstore.NotFoundError as error:
                if error.address is None:
                    # A key that is there never turns into one that is not.
                    raise
                yield name, path


def heal(store: casstore.Store, base: Path, expected: Expected) -> None:
    """Imports all states again, and commits the object again."""
    for number, files in enumerate(expected.states):
        write(base / "again", files)
        import_directory(store, str(base / "again"), ref=f"healed/{number}")
    branch = store.branch("healed/1")
    branch.objects["state"] = expected.value
    store.refs["healed/objects"] = branch.commit("objects")
