# SPDX-License-Identifier: MIT
"""Fuzzes one target: with atheris (coverage-guided, libFuzzer) where it is installed, else with a loop of its own.

``python -m tests.fuzz TARGET --seconds N``; ``all`` shares the time among all targets. What breaks a property is kept
below ``tests/fuzz/corpus/TARGET`` as ``found-…``, once for each place it comes from, and the run goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import pkgutil
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

CORPUS: Final = Path(__file__).parent / "corpus"
ADDRESS_SPACE: Final = 6 * 1024**3
"""Bytes that a run may map; above it, MemoryError is a finding."""
MEASURED_EVERY: Final = 32


class Findings:
    """Inputs that broke a property, one for each place."""

    def __init__(self, name: str, target: Any, folder: Path) -> None:
        self.name = name
        self.target = target
        self.folder = folder
        self.places: dict[str, int] = {}
        self.runs = 0

    def summary(self) -> str:
        return f"{self.name}: {self.runs:,} runs, {len(self.places)} findings"

    def exit_code(self) -> int:
        return 1 if self.places else 0

    def check(self, data: bytes) -> None:
        """Runs the target and keeps ``data`` where it breaks a property and is shorter than what did before."""
        from tests.fuzz.target import measured, place_of, timed

        self.runs += 1
        try:
            (timed if self.runs % MEASURED_EVERY else measured)(self.target, data)
        except Exception as error:
            place = place_of(error)
            if len(data) < self.places.get(place, 1 << 60):
                new = place not in self.places
                self.places[place] = len(data)
                name = f"found-{blake2b(place.encode(), digest_size=5).hexdigest()}"
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes(data)
                if new:
                    print(f"{self.name}: {place}: {error!s:.300} ({name}, {len(data)} bytes)", flush=True)


def plain_loop(findings: Findings, inputs: list[bytes], seconds: float, seed: int) -> None:
    """Mutates inputs at random; what reaches lines of the library that none reached before becomes an input."""
    from tests.fuzz.mutate import Coverage, mutated

    draw = random.Random(seed)
    coverage = Coverage()
    for data in inputs:
        with coverage:
            findings.check(data)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(inputs, draw)
        with coverage:
            findings.check(data)
        if coverage.grew:
            inputs.append(data)


def atheris_loop(findings: Findings, corpora: list[Path], seconds: float, seed: int) -> None:
    """As libFuzzer does it; ends the process, as libFuzzer would, but with an exit code that tells of findings."""
    import atheris  # type: ignore[import-not-found]

    end = time.monotonic() + seconds

    def one(data: bytes) -> None:
        findings.check(data)
        if time.monotonic() >= end:
            print(findings.summary(), flush=True)
            os._exit(findings.exit_code())

    work = Path(tempfile.gettempdir()) / f"casstore-fuzz-{findings.name}"
    work.mkdir(exist_ok=True)
    options = [
        f"-seed={seed}",
        "-max_len=4096",
        "-timeout=60",
        "-rss_limit_mb=4096",
        "-len_control=0",
        "-verbosity=1",
        f"-artifact_prefix={work}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(work), *map(str, corpora)], one)
    atheris.Fuzz()


@contextlib.contextmanager
def instrumented(wanted: bool) -> Iterator[bool]:
    """Imports within are instrumented by atheris, where it is there."""
    if not wanted:
        yield False
        return
    try:
        import atheris
    except ImportError:
        yield False
        return
    with atheris.instrument_imports(include=["casstore", "casstore_cli"]):
        yield True


def _import_everything() -> None:
    """Modules that are imported on use would stay without instruments."""
    import casstore_cli

    import casstore

    for package in (casstore, casstore_cli):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__") and ".testing" not in module.name:
                importlib.import_module(module.name)


def main(arguments: list[str]) -> int:
    """The exit code: 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", default="all", help="a target, or all")
    parser.add_argument("--seconds", type=float, default=60, help="how long, in all")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices; 0: from the clock")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--keep", type=Path, default=CORPUS, help="where to keep what is found")
    parser.add_argument("--list", action="store_true", help="the names of the targets")
    parser.add_argument("--write-seeds", action="store_true", help="write the seeds anew")
    options = parser.parse_args(arguments)
    with instrumented(not options.plain and options.target != "all") as guided:
        from tests.fuzz.targets import TARGETS

        if guided:
            _import_everything()
    if options.list:
        print(*TARGETS, sep="\n")
        return 0
    if options.write_seeds:
        from tests.fuzz.seeds import write

        print(f"{write()} seeds")
        return 0
    if options.target == "all":
        each = max(options.seconds / len(TARGETS), 1)
        flags = ["--plain"] if options.plain else []
        command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(each), "--keep", str(options.keep), *flags]
        return max(subprocess.run([*command, name], check=False).returncode for name in TARGETS)
    if options.target not in TARGETS:
        parser.error(f"there is no target {options.target!r}; --list names them")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    seed = options.seed or time.time_ns() % 2**31
    findings = Findings(options.target, TARGETS[options.target], options.keep / options.target)
    folder = CORPUS / options.target
    print(f"{options.target}: {'atheris' if guided else 'plain'}, seed {seed}", flush=True)
    if guided:
        atheris_loop(findings, [folder], options.seconds, seed)
    inputs = [path.read_bytes() for path in sorted(folder.iterdir())] or [b""]
    plain_loop(findings, inputs, options.seconds, seed)
    print(findings.summary())
    return findings.exit_code()
