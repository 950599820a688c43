# SPDX-License-Identifier: MIT
"""Everything that a store writes, in steps that may each meet a full disk, and what must hold afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import casstore
from casstore.testing.model import noise
from casstore.workspace import Workspace, import_directory
from tests.full_disk.disk import Disk

CONFIG = casstore.Config(
    chunk_min_bytes=256, chunk_avg_bytes=1024, chunk_max_bytes=4096, segment_bytes=64 * 1024, threads=1
)
Files = dict[str, bytes]


def files_of(snapshot: casstore.Snapshot) -> Files:
    return {path: bytes(snapshot.files[path]) for path in snapshot.files}


class Session:
    """A run on a disk that may be full from some step on.

    Attributes:
        states: Ref → the files that it may lead to; None among them: it may be gone. A step that failed may have been
            done, or not.
        refused: The steps that raised, with what they said.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        self.disk = disk
        self.place = str(disk.path / "store")
        self.folder = folder
        self.states: dict[str, list[Files | None]] = {}
        self.kept: dict[casstore.Address, bytes] = {}
        self.refused: list[tuple[str, str]] = []
        self.max_bytes: list[int | None] = [None]
        self.store = casstore.open(self.place, config=CONFIG)

    # -- steps

    def steps(self) -> list[Callable[[], None]]:
        """All of them, in order."""
        return [
            self.put,
            self.commit,
            self.commit,
            self.take_directory,
            self.configure,
            self.save_workspace,
            self.switch,
            self.undo,
            self.delete,
            self.collect,
            self.reopen,
            self.commit,
            self.rename,
            self.move_many,
            self.collect,
            self.commit,
        ]

    def prepare(self) -> None:
        """What was there before the disk was full: much of it dead when the ref ``big`` goes."""
        self.store.configure(undo_keep_seconds=0)
        for number in range(3):
            self._write("main", {f"{number}/{i}": noise(2500, number * 100 + i) for i in range(8)})
        self._write("big", {f"big/{i}": noise(4000, 7000 + i) for i in range(30)})
        self._write("side", {f"side/{i}": noise(4000, 8000 + i) for i in range(4)})
        self.folder.mkdir()
        for i in range(6):
            (self.folder / f"file{i}").write_bytes(noise(3000, 9000 + i))
        report = import_directory(self.store, self.folder, ref="dir")
        self.states["dir"] = [files_of(report.snapshot)]
        with Workspace(self.store, self.folder) as workspace:
            workspace.snapshot(ref="dir")

    def run(self, first_full: int, left: int) -> None:
        """All steps; before step ``first_full`` somebody else fills the disk up to ``left`` bytes."""
        for number, step in enumerate(self.steps()):
            if number == first_full:
                self.disk.fill(left)
            try:
                step()
            except casstore.CasstoreError as error:
                self.refused.append((step.__name__, str(error)))
        self.close()

    def close(self) -> None:
        try:
            self.store.close()
        except casstore.StorageError as error:
            self.refused.append(("close", str(error)))

    def _write(self, ref: str, files: Files) -> None:
        branch = self.store.branch(ref if ref in self.store.refs else None)
        for path, data in files.items():
            branch.files[path] = data
        before = files_of(self.store.refs[ref]) if ref in self.store.refs else None
        self.states[ref] = [before, {**(before or {}), **files}]
        branch.commit("more", ref=ref)
        self.states[ref] = self.states[ref][1:]

    def put(self) -> None:
        data = noise(30_000, 5000)
        address = self.store.put(data)
        self.store.sync()
        self.kept[address] = data

    def commit(self) -> None:
        number = len(self.states["main"][0] or ())
        self._write("main", {f"more/{number + i}": noise(2500, 6000 + number + i) for i in range(6)})

    def take_directory(self) -> None:
        (self.folder / "new").write_bytes(noise(20_000, 9100))
        found = {name: (self.folder / name).read_bytes() for name in os.listdir(self.folder)}
        self.states["dir"].append(found)
        import_directory(self.store, self.folder, ref="dir")
        self.states["dir"] = [found]

    def configure(self) -> None:
        self.max_bytes.append(10**12)
        self.store.configure(max_bytes=10**12)
        self.max_bytes = [10**12]

    def save_workspace(self) -> None:
        (self.folder / "file0").write_bytes(noise(9000, 9200))
        found = {name: (self.folder / name).read_bytes() for name in os.listdir(self.folder)}
        self.states["dir"].append(found)
        with Workspace(self.store, self.folder) as workspace:
            workspace.snapshot(ref="dir")
        self.states["dir"] = [found]

    def switch(self) -> None:
        """Changes that nobody saved are there after it, in the safety snapshot, or in the directory still."""
        unsaved = noise(5000, 9300)
        (self.folder / "file1").write_bytes(unsaved)
        try:
            with Workspace(self.store, self.folder) as workspace:
                workspace.switch("side")
        except casstore.CasstoreError:
            if (self.folder / "file1").exists() and (self.folder / "file1").read_bytes() == unsaved:
                raise
            self._saved(unsaved)
            raise
        self._saved(unsaved)

    def _saved(self, data: bytes) -> None:
        names = [name for name in self.store.refs if name.startswith("workspace/")]
        assert any(files_of(self.store.refs[name]).get("file1") == data for name in names)

    def undo(self) -> None:
        with Workspace(self.store, self.folder) as workspace:
            workspace.undo()

    def delete(self) -> None:
        self.states["side"].append(None)
        if "side" in self.store.refs:
            self.store.refs.delete("side")
        self.states["side"] = [None]

    def collect(self) -> None:
        # No ref leads to what was only put.
        self.kept.clear()
        self.store.plan_gc(grace_seconds=0).execute()

    def reopen(self) -> None:
        self.close()
        self.store = casstore.open(self.place, config=CONFIG)

    def rename(self) -> None:
        if "renamed" not in self.states:
            files = self.states["main"][0]
            assert files is not None
            self.states["renamed"] = [None, files]
            self.store.refs["again"] = self.store.refs["main"]
            self.store.refs.rename("again", "renamed")

    def move_many(self) -> None:
        for _ in range(30):
            self.store.refs["moved"] = self.store.refs["main"]

    # -- afterwards

    def check(self) -> None:
        """With not a byte free: it opens, everything durable is there, and a collection gets space back."""
        self.disk.fill()
        with casstore.open(self.place, read_only=True, config=CONFIG) as reader:
            self.check_states(reader)
        with casstore.open(self.place, config=CONFIG) as store:
            self.check_states(store)
            assert store.settings.max_bytes in self.max_bytes
            store.verify()
            store.refs.delete("big")
        # Another opening, as the command line does it; somebody else takes what the one before gave back.
        self.disk.fill()
        with casstore.open(self.place, config=CONFIG) as store:
            before = self.taken()
            report = store.plan_gc(grace_seconds=0).execute()
            assert report.freed_bytes > 60_000, report
            self.compare_with_df(before, report.freed_bytes)
            self.check_states(store, without="big")
            store.verify()
            # What was freed goes to the reserve first; with room for both, anything can be put again.
            self.disk.empty()
            address = store.put(b"there is room again")
        with casstore.open(self.place, config=CONFIG) as store:
            assert store.get(address) == b"there is room again"
            self.check_states(store, without="big")
            store.verify()

    def taken(self) -> tuple[int, int]:
        """Free bytes, and bytes of what is no record: index and reserve."""
        apart = [Path(self.place, "reserve"), *Path(self.place, "index").iterdir()]
        return self.disk.free(), sum(item.stat().st_blocks * 512 for item in apart if item.exists())

    def compare_with_df(self, before: tuple[int, int], freed: int) -> None:
        free, apart = self.taken()
        gained = free - before[0] + apart - before[1]
        # Whole pages for each segment that came or went; the index moves by itself.
        assert abs(gained - freed) <= 4096 * 24, (gained, freed)

    def check_states(self, store: casstore.Store, without: str = "") -> None:
        for name, allowed in self.states.items():
            if name != without:
                found = files_of(store.refs[name]) if name in store.refs else None
                assert found in allowed, f"{name} has {None if found is None else len(found)} files"
        if not without:
            for address, data in self.kept.items():
                assert store.get(address) == data
