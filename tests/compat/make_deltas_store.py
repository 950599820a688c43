# SPDX-License-Identifier: MIT
"""Made the stores with deltas: ``python -m tests.compat.make_deltas_store FOLDER``.

As ``make_store.py``, whose contents they hold too: run once, with the first version that wrote deltas, and never again.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import casstore
from casstore.format.kinds import ZSTD_BASE
from casstore.testing.model import noise
from tests.compat.make_store import BACKENDS, describe, fill

VERSIONS = 4
"""How often the files of ``versions`` changed a little."""


def letter(number: int) -> bytes:
    """A text of one chunk that differs a little from that of any other number."""
    lines = [b"line %04d of a letter, %s\n" % (line, noise(6, line).hex().encode()) for line in range(24)]
    lines[number] = b"changed in version %d, " % number + lines[number]
    return b"".join(lines)


def log_file(number: int) -> bytes:
    """A text of many chunks; each version has a line more in the middle."""
    lines = [b"%04d %s\n" % (line, noise(20, 1000 + line).hex().encode()) for line in range(200)]
    lines[100:100] = [b"added in version %d: %s\n" % (n, noise(12, n).hex().encode()) for n in range(number)]
    return b"".join(lines)


def add_versions(store: casstore.Store) -> list[casstore.Snapshot]:
    """States that differ from one to the next by some lines of two files, under the ref ``versions``."""
    made = []
    branch = store.branch()
    for number in range(VERSIONS):
        branch.files["letter.txt"] = letter(number)
        branch.files["logs/log.txt"] = log_file(number)
        branch.objects["step"] = {"step": number, "text": letter(number).decode()}
        made.append(branch.commit(f"version {number}", ref="versions"))
    return made


def deltas(store: casstore.Store) -> dict[str, str]:
    """Address → base of every record that is a delta, in hex."""
    return {
        address.hex(): entry.base.hex()
        for address, entry in store.storage.backend.scan()
        if entry.encoding == ZSTD_BASE and entry.base is not None
    }


def main(folder: Path) -> None:
    """Makes a store of each backend, and beside each what is in it."""
    folder.mkdir()
    for backend in BACKENDS:
        path = folder / backend
        config = casstore.Config(
            backend=backend, chunk_min_bytes=256, chunk_avg_bytes=1024, chunk_max_bytes=4096, actor="compat"
        )
        with casstore.open(path, config=config) as store:
            expected = fill(store)
            versions = add_versions(store)
            expected["refs"] = {name: snapshot.id.hex() for name, snapshot in store.refs.items()}
            expected["versions"] = {snapshot.id.hex(): describe(snapshot) for snapshot in versions}
            expected["deltas"] = deltas(store)
            store.configure(max_bytes=10**9, undo_keep_seconds=3 * 86_400)
            store.verify()
        for name in ("index/LOG", "index/LOG.old", "index/LOCK", "lock", "reserve"):
            (path / name).unlink(missing_ok=True)
        for name in ("readers", "workspaces"):
            shutil.rmtree(path / name, ignore_errors=True)
        (folder / f"{backend}.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
