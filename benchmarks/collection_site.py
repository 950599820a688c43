# SPDX-License-Identifier: MIT
"""Stores for ``collection``: half of what is in them is kept by a ref, half by nothing."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import casstore
from casstore.format.entry import file_entry
from casstore.tree import build

CONTENT_BYTES = 200
FOLDER_FILES = 100


def fill(path: Path, objects: int) -> casstore.Store:
    """A store with about ``objects`` objects; half are dead."""
    store = casstore.open(path)
    for half, name in enumerate(("kept", "dropped")):
        with store.storage.operation():
            entries = []
            with store.storage.ingest() as ingest:
                chance = random.Random(half)
                for number in range(objects // 2):
                    key = b"%06d/%02d" % divmod(number, FOLDER_FILES)
                    address = ingest.add(chance.randbytes(CONTENT_BYTES))
                    entries.append((key, file_entry(CONTENT_BYTES, address, None, False)))
            root = build(store.nodes, entries, tree=True)
            assert root is not None
            store.refs[name] = store.add_snapshot(roots={"files": root})
    del store.refs["dropped"]
    store.sync()
    return store


def count(store: casstore.Store) -> int:
    """Objects in a store."""
    return sum(info.records for info in store.storage.backend.segments())


def status_bytes(name: str, process: int | str = "self") -> int:
    """A figure of a process from ``/proc``; 0 where it has ended."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(f"{name}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


OWN, RESIDENT = "RssAnon", "VmRSS"
"""Fields of ``/proc/PID/status``: memory of the process's own, and with the files that it maps."""


class Watching:
    """Looks every few milliseconds, from a thread, at what a collection takes; use it as a context.

    Attributes:
        own_bytes: Most memory of this process's own.
        child_bytes: The same of the processes that it started.
        resident_bytes: Most memory of this process, with the files that it maps.
        child_resident_bytes: The same of the processes that it started.
        disk_bytes: Most bytes that segment files took at once.
    """

    def __init__(self, path: Path) -> None:
        self.own_bytes = self.child_bytes = self.disk_bytes = 0
        self.resident_bytes = self.child_resident_bytes = 0
        self._segments = path / "segments"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        children = Path("/proc/self/task")
        while not self._stop.wait(0.02):
            self.own_bytes = max(self.own_bytes, status_bytes(OWN))
            self.resident_bytes = max(self.resident_bytes, status_bytes(RESIDENT))
            found = " ".join(file.read_text() for file in children.glob("*/children"))
            for process in found.split():
                self.child_bytes = max(self.child_bytes, status_bytes(OWN, process))
                self.child_resident_bytes = max(self.child_resident_bytes, status_bytes(RESIDENT, process))
            self.disk_bytes = max(self.disk_bytes, self.used_bytes())

    def used_bytes(self) -> int:
        """Bytes of the segment files now."""
        total = 0
        for file in self._segments.iterdir():
            try:
                total += file.stat().st_size
            except FileNotFoundError:
                continue
        return total
