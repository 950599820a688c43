# SPDX-License-Identifier: MIT
"""Decodes contents and encodes them again in another process, whose ``hash()`` has another seed.

``main`` is that process. It reads a task as JSON and then the contents from its standard input, each after its length
(u64, little-endian), and writes the contents in the same way.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

from casstore.errors import FactoryError

_START: Final = "import sys; sys.path[:] = {path!r}; from casstore.codecs.other_process import main; main()"
_LENGTH: Final = struct.Struct("<Q")
_MAIN_NAME: Final = "__casstore_check__"
_TIMEOUT_SECONDS: Final = 600.0


def reencode_elsewhere(cls: type, type_id: str, version: int, contents: Sequence[bytes], hash_seed: int) -> list[bytes]:
    """Each content as the other process encodes what it decoded.

    Args:
        cls: A class whose module registers the factory when it is imported, or the factory's own class.
        type_id: Of the factory.
        version: Of the factory.
        contents: What to decode there.
        hash_seed: Of the other process, from 0 to 4294967295.

    Raises:
        FactoryError: The factory is not found there, or it fails there.
    """
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None) if cls.__module__ == "__main__" else None
    if "<locals>" in cls.__qualname__ or (cls.__module__ == "__main__" and script is None):
        raise FactoryError(
            f"another process cannot import {cls.__qualname__}; define it at the top of a module, or give "
            "hash_seeds=()."
        )
    task = json.dumps(
        {"module": cls.__module__, "script": script, "name": cls.__qualname__, "type": type_id, "version": version}
    ).encode()
    sent = b"".join([_LENGTH.pack(len(part)) + part for part in (task, *contents)])
    # `env` sets the seed beside what this process has, without reading it here.
    command = ["/usr/bin/env", f"PYTHONHASHSEED={hash_seed}", sys.executable, "-c", _START.format(path=sys.path)]
    try:
        done = subprocess.run(command, input=sent, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FactoryError(f"the other process did not answer: {error}; give hash_seeds=() to do without.") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise FactoryError(f"{type_id!r} failed in another process: {lines[-1]}.")
    # What the user's module prints comes before the answer.
    answer = done.stdout[done.stdout.find(_MARK) + len(_MARK) :]
    found = list(_parts(answer))
    if len(found) != len(contents):
        raise FactoryError(f"{type_id!r} failed in another process: it gave {len(found)} of {len(contents)} contents.")
    return found


_MARK: Final = b"\n--- casstore contents ---\n"


def _parts(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        yield data[at : at + length]
        at += length


def main(source: BinaryIO | None = None, target: BinaryIO | None = None) -> None:
    """The other process."""
    source = sys.stdin.buffer if source is None else source
    target = sys.stdout.buffer if target is None else target
    task, *contents = _parts(source.read())
    registry, type_id, version = _registry_for(json.loads(task))
    again = []
    for data in contents:
        value = registry.decode(type_id, version, data)
        factory = registry.factory_for(type_id, version)
        if factory is not None:
            registry.register(factory, [type(value)])
        again.append(registry.encode(value).data)
    target.write(_MARK + b"".join([_LENGTH.pack(len(part)) + part for part in again]))
    target.flush()


def _registry_for(task: dict[str, Any]) -> tuple[Any, str, int]:
    """A registry that has the factory, by importing the module where it is made known."""
    import importlib
    import runpy

    from casstore.codecs.default import default_registry
    from casstore.codecs.registry import Registry

    if task["script"] is None:
        names = vars(importlib.import_module(task["module"]))
    else:
        # As multiprocessing does it: the script under another name, so that its main part does not run.
        names = runpy.run_path(task["script"], run_name=_MAIN_NAME)
    registry = Registry(default_registry())
    type_id, version = str(task["type"]), int(task["version"])
    if registry.factory_for(type_id, version) is None:
        first, *rest = str(task["name"]).split(".")
        found = names[first]
        for name in rest:
            found = getattr(found, name)
        registry.register(found())
    return registry, type_id, version
