# SPDX-License-Identifier: MIT
"""A survey in a process of its own, so that writers keep the interpreter to themselves.

``main`` is that process. It gets the task on its standard input and answers on its standard output, each one value in
MessagePack. It opens the store read-only, as any reader: its pin keeps the segments that it reads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from casstore.address import Address
from casstore.collection.survey import Addresses, Survey, Tally, Task, survey
from casstore.config import MIB, Config
from casstore.errors import CorruptionError, StorageError
from casstore.osfile import OsFiles
from casstore.storage.watch import Bitmap

if TYPE_CHECKING:
    from casstore.storage import Storage

FEW_RECORDS: Final = 20_000
"""A store of no more is surveyed in a quarter of a second, where it is: a process takes half of that to begin."""
_START: Final = "import sys; sys.path[:] = {path!r}; from casstore.collection.survey_process import main; main()"
_CACHE_BYTES: Final = 4 * MIB


def make_survey(storage: Storage, task: Task, path: str | None) -> Survey:
    """The survey of a store, from where it is made quickest for all.

    Args:
        storage: The store's.
        task: What to start from.
        path: Its folder; None for a store in memory.

    Raises:
        CorruptionError: Something that roots lead to is missing or damaged; nothing may be deleted then.
        StorageError: The process could not be run, or ended without an answer.
    """
    if path is None or sum(info.records for info in storage.backend.segments()) <= FEW_RECORDS:
        return survey(storage, task)
    return survey_elsewhere(storage, task, path)


def survey_elsewhere(storage: Storage, task: Task, path: str) -> Survey:
    """The survey as another process makes it; see ``make_survey``."""
    import msgspec

    # What is not yet durable is new to the other process, and older than the task says.
    storage.sync()
    sent = msgspec.msgpack.encode(
        {
            "path": os.path.abspath(path),
            "references": list(task.references),
            "relied_on": list(task.relied_on),
            "chunks": task.chunks.parts(),
            "shallow": list(task.shallow),
            "oldest": task.oldest,
            "start": task.start,
        }
    )
    command = [sys.executable, "-c", _START.format(path=sys.path)]
    try:
        done = subprocess.run(command, input=sent, capture_output=True, check=False)
    except OSError as error:
        raise StorageError(f"the process that marks cannot be started ({error}); nothing was deleted.") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise StorageError(f"the process that marks ended without an answer ({lines[-1]}); nothing was deleted.")
    answer = msgspec.msgpack.decode(done.stdout)
    if "error" in answer:
        address = answer["address"]
        raise CorruptionError(answer["error"], address=None if address is None else Address(address))
    return _decoded(answer)


def main(source: BinaryIO | None = None, target: BinaryIO | None = None) -> None:
    """The other process."""
    import msgspec

    from casstore.storage.opening import open_storage

    source = sys.stdin.buffer if source is None else source
    target = sys.stdout.buffer if target is None else target
    asked = msgspec.msgpack.decode(source.read())
    task = Task(
        references=[(kind, Address(address)) for kind, address in asked["references"]],
        relied_on=[(kind, Address(address)) for kind, address in asked["relied_on"]],
        chunks=Bitmap(asked["chunks"]),
        shallow={Address(address) for address in asked["shallow"]},
        oldest=asked["oldest"],
        start=tuple(asked["start"]),
    )
    config = Config(cache_bytes=_CACHE_BYTES)
    opened = open_storage(asked["path"], read_only=True, timeout=0.0, config=config, files=OsFiles())
    try:
        answer = _encoded(survey(opened.storage, task))
    except CorruptionError as error:
        answer = {"error": error.message, "address": error.address}
    finally:
        opened.close()
    target.write(msgspec.msgpack.encode(answer))
    target.flush()


def _encoded(found: Survey) -> dict[str, Any]:
    return {
        "live": found.live.parts(),
        "live_bases": found.live_bases.parts(),
        "young": found.young.parts(),
        "young_bases": found.young_bases.parts(),
        "dead": {kind: addresses.data for kind, addresses in found.dead.items()},
        "dead_deltas": found.dead_deltas.data,
        "lonely": found.lonely.data,
        "tallies": {
            part: {kind: (tally.objects, tally.bytes) for kind, tally in tallies.items()}
            for part, tallies in found.tallies.items()
        },
        "kept_bytes": dict(found.kept_bytes),
    }


def _decoded(answer: dict[str, Any]) -> Survey:
    found = Survey(
        live=Bitmap(answer["live"]),
        live_bases=Bitmap(answer["live_bases"]),
        young=Bitmap(answer["young"]),
        young_bases=Bitmap(answer["young_bases"]),
        dead={kind: Addresses(data) for kind, data in answer["dead"].items()},
        dead_deltas=Addresses(answer["dead_deltas"]),
        lonely=Addresses(answer["lonely"]),
        tallies={part: _tallies(kinds) for part, kinds in answer["tallies"].items()},
    )
    found.kept_bytes.update(answer["kept_bytes"])
    return found


def _tallies(kinds: dict[str, tuple[int, int]]) -> dict[str, Tally]:
    return {kind: Tally(objects, size) for kind, (objects, size) in kinds.items()}
