# SPDX-License-Identifier: MIT
"""A survey in a process of its own, so that writers keep the interpreter to themselves.

``main`` is that process. It gets the task on its standard input and answers on a pipe: a length, so many bytes of
MessagePack, and the lists of addresses as they are. It opens the store read-only, as any reader: its pin keeps the
segments that it reads.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from io import BufferedReader
from typing import TYPE_CHECKING, Any, Final

from casstore.address import Address
from casstore.collection.survey import Survey, Tally, Task, survey
from casstore.config import MIB, Config
from casstore.errors import CorruptionError
from casstore.osfile import OsFiles
from casstore.storage.watch import Bitmap

if TYPE_CHECKING:
    from casstore.storage import Storage

FEW_RECORDS: Final = 20_000
"""A store of no more is surveyed in a quarter of a second, where it is: a process takes half of that to begin."""
_START: Final = (
    "import sys; sys.path[:] = {path!r}; from casstore.collection.survey_process import main; main({answer})"
)
_CACHE_BYTES: Final = 4 * MIB
_LENGTH: Final = struct.Struct("<Q")


def make_survey(storage: Storage, task: Task, path: str | None) -> Survey:
    """The survey of a store, from where it is made best: elsewhere where that can be, here where it cannot.

    Args:
        storage: The store's.
        task: What to start from.
        path: Its folder; None for a store in memory.

    Raises:
        CorruptionError: Something that roots lead to is missing or damaged; nothing may be deleted then.
    """
    if path is not None and sum(info.records for info in storage.backend.segments()) > FEW_RECORDS:
        found = survey_elsewhere(storage, task, path)
        if found is not None:
            return found
    return survey(storage, task)


def survey_elsewhere(storage: Storage, task: Task, path: str) -> Survey | None:
    """The survey as another process makes it; None where there is no such process, or it did not answer.

    Raises:
        CorruptionError: As ``make_survey``.
    """
    import msgspec

    if not sys.executable or getattr(sys, "frozen", False):
        # A program that was frozen would start itself.
        return None
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
    try:
        return _ask(sent)
    except (OSError, EOFError, MemoryError, LookupError, TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        # No answer, or none that makes sense.
        return None


def _ask(sent: bytes) -> Survey:
    """What the other process answers, on a descriptor of its own: anything may print when Python starts."""
    answers, theirs = os.pipe()
    with open(answers, "rb") as answer:
        try:
            command = [sys.executable, "-c", _START.format(path=sys.path, answer=theirs)]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs,),
            )
        finally:
            os.close(theirs)
        try:
            stdin = process.stdin
            if stdin is not None:
                with stdin:
                    stdin.write(sent)
            return _read(answer)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()


def main(answer: int) -> None:
    """The other process: the task on its standard input, the answer to the descriptor ``answer``."""
    import msgspec

    from casstore.storage.opening import open_storage

    asked = msgspec.msgpack.decode(sys.stdin.buffer.read())
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
    found = Survey()
    head: dict[str, Any]
    try:
        found = survey(opened.storage, task)
        head = _head(found)
    except CorruptionError as error:
        head = {"error": error.message, "address": error.address}
    finally:
        opened.close()
    encoded = msgspec.msgpack.encode(head)
    with open(answer, "wb") as target:
        target.write(_LENGTH.pack(len(encoded)) + encoded)
        for addresses in found.lists():
            target.write(addresses.data)


def _head(found: Survey) -> dict[str, Any]:
    return {
        "lengths": [len(addresses.data) for addresses in found.lists()],
        "live": found.live.parts(),
        "live_bases": found.live_bases.parts(),
        "young": found.young.parts(),
        "young_bases": found.young_bases.parts(),
        "tallies": {
            part: {kind: (tally.objects, tally.bytes) for kind, tally in tallies.items()}
            for part, tallies in found.tallies.items()
        },
        "kept_bytes": dict(found.kept_bytes),
        "gaps": found.gaps,
    }


def _read(answer: BufferedReader) -> Survey:
    """The survey as ``main`` writes it; addresses go where they stay, as there may be many.

    Raises:
        EOFError: It ends too early.
        CorruptionError: The other process met it.
    """
    import msgspec

    (length,) = _LENGTH.unpack(_exactly(answer, _LENGTH.size))
    head = msgspec.msgpack.decode(_exactly(answer, length))
    if "error" in head:
        address = head["address"]
        raise CorruptionError(head["error"], address=None if address is None else Address(address))
    found = Survey(
        live=Bitmap(head["live"]),
        live_bases=Bitmap(head["live_bases"]),
        young=Bitmap(head["young"]),
        young_bases=Bitmap(head["young_bases"]),
        tallies={part: _tallies(kinds) for part, kinds in head["tallies"].items()},
        gaps=head["gaps"],
    )
    found.kept_bytes.update(head["kept_bytes"])
    for addresses, length in zip(found.lists(), head["lengths"], strict=True):
        addresses.data = _exactly(answer, length)
    return found


def _exactly(answer: BufferedReader, length: int) -> bytearray:
    data = bytearray(length)
    if answer.readinto(data) != length:
        raise EOFError
    return data


def _tallies(kinds: dict[str, tuple[int, int]]) -> dict[str, Tally]:
    return {kind: Tally(objects, size) for kind, (objects, size) in kinds.items()}
