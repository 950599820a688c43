# SPDX-License-Identifier: MIT
"""Recorded traces: which objects a program read, one after the other, and what it did in between.

A file holds JSON lines. The first is an object: ``example``, ``run``, ``command``, ``keys`` (texts), ``contents``
(pairs of raw and compressed size in bytes). Every other is one read, five whole numbers: the state it was read from,
the key and the content (places in the two lists), and what came before it since the read before: microseconds of
computing, and of waiting.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.process import BenchmarkError

FOLDER = Path(__file__).resolve().parent / "traces"
RUNS = ("learn", "measure")
EXAMPLES = ("agent_memory", "puzzle", "workspace_search")


class Read(NamedTuple):
    """One read."""

    state: int
    key: int
    content: int
    busy_us: int
    idle_us: int


@dataclass(slots=True)
class Trace:
    """What one run of an example read."""

    example: str
    run: str
    command: str
    keys: list[str]
    contents: list[tuple[int, int]]
    """Raw and compressed bytes of each."""
    reads: list[Read]

    @property
    def raw_bytes(self) -> int:
        """Size of all contents."""
        return sum(raw for raw, _ in self.contents)

    @property
    def thought_seconds(self) -> float:
        """Time between reads."""
        return sum(read.busy_us + read.idle_us for read in self.reads) / 1e6


def file_of(example: str, run: str, folder: Path = FOLDER) -> Path:
    return folder / f"{example}-{run}.jsonl"


def save(trace: Trace, path: Path) -> None:
    head = {
        "example": trace.example,
        "run": trace.run,
        "command": trace.command,
        "keys": trace.keys,
        "contents": trace.contents,
    }
    lines = [json.dumps(one, separators=(",", ":")) for one in (head, *trace.reads)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def load(path: Path) -> Trace:
    """The trace in a file.

    Raises:
        BenchmarkError: It is not there, or is none.
    """
    try:
        first, *others = path.read_text("utf-8").splitlines()
        head: dict[str, Any] = json.loads(first)
        reads = [Read(*json.loads(line)) for line in others]
        contents = [(raw, compressed) for raw, compressed in head["contents"]]
        return Trace(head["example"], head["run"], head["command"], head["keys"], contents, reads)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BenchmarkError(f"{path} is no trace: {error}; record it: python -m benchmarks.objects_record.") from error
