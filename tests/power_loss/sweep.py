# SPDX-License-Identifier: MIT
"""One run and many power losses in it. Started with the recorder preloaded, so that openings can be cut off too."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import casstore.layout as layout
from tests.power_loss.check import Lost, check, check_sticks
from tests.power_loss.disk import Disk
from tests.power_loss.expected import Expected
from tests.power_loss.loss import Choice, Rule, choose, write_out
from tests.power_loss.mutants import STORE, apply_mutant
from tests.power_loss.record import Run, points_of, record
from tests.power_loss.trace import Kind, Line, note, read_trace, start, stop

NESTED: Final = 0.1
"""The share of points at which power is lost once more, while the store is opened again."""
MODES: Final = ("power", "bad-log", "lying")
"""Power is lost; also one byte of LevelDB's log is flipped; the disk lied of what it had synced."""
_LYING: Final = Choice(Rule.JOURNAL, 1.0, "none", 4096)
_AGAIN: Final = 2


@dataclass(slots=True)
class Result:
    """What became of the points of one run."""

    points: int = 0
    again: int = 0
    seconds: float = 0.0
    rules: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def memory_folder() -> str | None:
    """A folder in memory, where there is one: nothing here needs a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="power-loss-", dir=memory_folder()) as name:
        yield Path(name)


def chosen_points(lines: list[Line], seed: int, number: int) -> list[tuple[int, int]]:
    """So many pairs of a line and a variant, in order: each line once before any is taken twice."""
    places = points_of(lines)
    rounds, rest = divmod(number, len(places))
    random = Random(f"{seed}/points")
    pairs = [(place, variant) for variant in range(rounds) for place in places]
    return sorted(pairs + [(place, rounds) for place in random.sample(places, rest)])


class Sweep:
    """The points of one trace, tried one after the other in the order of the trace."""

    def __init__(self, run: Run, lines: list[Line], folder: Path, rules: tuple[Rule, ...], mode: str) -> None:
        self.run = run
        self.mode = mode
        self.lines = lines
        self.folder = folder
        self.rules = rules
        self.result = Result()
        self._disk = Disk()
        self._expected = Expected()
        self._place = 0

    def go_to(self, place: int) -> None:
        """Applies all lines up to and with ``place``."""
        for line in self.lines[self._place : place + 1]:
            self._disk.apply(line)
            if line.kind is Kind.NOTE:
                self._expected.take(line.note)
        self._place = place + 1

    def try_point(self, place: int, variant: int) -> None:
        """Loses power after line ``place`` in one way.

        Raises:
            Lost: Something is not as it must be.
        """
        self.go_to(place)
        print(f"at point {place}, variant {variant}", file=sys.stderr, flush=True)
        random = Random(f"{self.run.seed}/{place}/{variant}")
        choice = choose(random, self.rules) if self.mode != "lying" else _LYING
        self.result.points += 1
        self.result.rules[choice.rule.name] += 1
        image = self.folder / "image"
        write_out(self._disk.lost(choice, random), image)
        try:
            if self.mode == "lying":
                check_sticks(image / STORE, self.run.backend, self._expected)
                return
            if self.mode == "bad-log":
                flip_in_log(image / STORE, random)
            elif random.random() < NESTED:
                self._twice(image, random, choice)
                return
            doubt = self.mode == "bad-log" or may_doubt(choice)
            check(image / STORE, self.run.backend, self._expected, random, doubt=doubt)
        except Lost as error:
            raise Lost(f"{choice}: {error}") from error
        finally:
            shutil.rmtree(image)

    def _twice(self, image: Path, random: Random, first: Choice) -> None:
        """Opens what was left, loses power on the way, and opens again."""
        before = Disk.of(image)
        trace = self.folder / "again"
        start(image, trace)
        try:
            check(image / STORE, self.run.backend, self._expected, random, note, doubt=may_doubt(first))
        finally:
            stop()
            lines = read_trace(trace)
            trace.unlink()
        expected = self._expected.copy()
        # The second disk begins as the first one was left, and nothing in it waits.
        places = points_of(lines)
        second = self.folder / "second"
        done = 0
        for place in sorted(random.sample(places, min(len(places), _AGAIN))):
            for line in lines[done : place + 1]:
                before.apply(line)
                if line.kind is Kind.NOTE:
                    expected.take(line.note)
            done = place + 1
            choice = choose(random, self.rules)
            self.result.again += 1
            write_out(before.lost(choice, random), second)
            try:
                doubt = may_doubt(first) or may_doubt(choice)
                check(second / STORE, self.run.backend, expected, random, doubt=doubt)
            except Lost as error:
                raise Lost(f"a second loss after call {place} of the opening, {choice}: {error}") from error
            finally:
                shutil.rmtree(second)


def may_doubt(choice: Choice) -> bool:
    """Whether LevelDB may be unable to open what is left, so that the index is made anew over a torn tail.

    It renames CURRENT and then removes the old MANIFEST without a sync of the folder between. Where the disk does not
    keep this order, CURRENT may name a file that is gone.
    """
    return choice.rule is not Rule.JOURNAL


def flip_in_log(store: Path, random: Random) -> None:
    """Flips a bit in the first half of LevelDB's newest log, as a medium may in the course of time."""
    logs = sorted((store / layout.INDEX).glob("*.log"))
    if logs and logs[-1].stat().st_size > 1:
        data = bytearray(logs[-1].read_bytes())
        data[random.randrange(len(data) // 2)] ^= 1 << random.randrange(8)
        logs[-1].write_bytes(data)


def sweep(
    run: Run,
    number: int,
    rules: tuple[Rule, ...],
    recorder: Path,
    *,
    keep: Path | None,
    mode: str,
    most: int,
) -> Result:
    """Makes a run and loses power at ``number`` points of it; the trace of one with failures goes to ``keep``."""
    began = time.monotonic()
    with scratch() as folder:
        trace = record(run, folder, recorder)
        lines = read_trace(trace)
        # Faults in recovery are put into the openings after the loss, too.
        apply_mutant(run.mutant)
        tries = Sweep(run, lines, folder, rules, mode)
        result = tries.result
        kept = None if keep is None else keep / f"power-loss-{run.backend}-{run.seed}.trace"
        for place, variant in chosen_points(lines, run.seed, number):
            try:
                tries.try_point(place, variant)
            except Lost as error:
                command = f"python -m tests.power_loss --backend {run.backend} --seed {run.seed}"
                command += f" --lives {run.lives} --steps {run.steps}{' --calm' * run.calm}"
                command += f" --mode {mode} --mutant '{run.mutant}'" if mode != "power" or run.mutant else ""
                command += f" --point {place} --variant {variant} --rules {','.join(rule.name for rule in rules)}"
                if kept is not None:
                    shutil.copyfile(trace, kept)
                    command += f" --trace {kept}"
                result.failures.append(f"seed {run.seed}, point {place}, variant {variant}: {error}\n    {command}")
                if len(result.failures) >= most:
                    break
        result.seconds = time.monotonic() - began
    return result


def main() -> None:
    """One job, as the command starts it; prints its result as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--backend", default="segments")
    parser.add_argument("--points", type=int, default=1)
    parser.add_argument("--rules", default=",".join(rule.name for rule in Rule))
    parser.add_argument("--mutant", default="")
    parser.add_argument("--mode", choices=MODES, default="power")
    parser.add_argument("--calm", action="store_true")
    parser.add_argument("--lives", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--most", type=int, default=10)
    parser.add_argument("--recorder", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--point", type=int)
    parser.add_argument("--variant", type=int, default=0)
    given = parser.parse_args()
    rules = tuple(Rule[name] for name in given.rules.split(","))
    run = Run(
        seed=given.seed,
        backend=given.backend,
        mutant=given.mutant,
        lives=given.lives,
        steps=given.steps,
        calm=given.calm,
    )
    if given.point is None:
        result = sweep(run, given.points, rules, given.recorder, keep=given.keep, mode=given.mode, most=given.most)
    else:
        with scratch() as folder:
            trace = given.trace or record(run, folder, given.recorder)
            apply_mutant(run.mutant)
            tries = Sweep(run, read_trace(trace), folder, rules, given.mode)
            result = tries.result
            try:
                tries.try_point(given.point, given.variant)
            except Lost as error:
                result.failures.append(str(error))
    print(json.dumps({name: getattr(result, name) for name in Result.__slots__}))


if __name__ == "__main__":
    main()
