# SPDX-License-Identifier: MIT
"""Power is lost at many points of random runs: ``python -m tests.power_loss --points 100000 --seed 0``.

With ``--point`` it is lost at one point, as a failure says it; with ``--mutant`` the store has a fault that is to be
found (``tests/power_loss/mutants.py``). Exit code 1 where anything was lost or wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.power_loss.jobs import Job, start
from tests.power_loss.record import Run
from tests.power_loss.trace import build, why_not


def main() -> int:
    """What the shell gets."""
    parser = argparse.ArgumentParser(prog="python -m tests.power_loss", description=__doc__)
    parser.add_argument("--points", type=int, default=5000, help="how often power is lost")
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the others have the next ones")
    parser.add_argument("--each", type=int, default=500, help="points in each run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--backend", choices=("segments", "files"), default="segments")
    parser.add_argument("--rules", default="JOURNAL,LOOSE,POSIX", help="how changes of names reach the disk")
    parser.add_argument("--mode", choices=("power", "bad-log", "lying"), default="power")
    parser.add_argument("--mutant", default="", help="a fault to put into the store")
    parser.add_argument("--lives", type=int, default=4, help="processes in each run")
    parser.add_argument("--steps", type=int, default=60, help="operations in each process")
    parser.add_argument("--calm", action="store_true", help="no collections and openings")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()), help="for traces of failures")
    parser.add_argument("--point", type=int, help="lose power after this line of the trace only")
    parser.add_argument("--variant", type=int, default=0, help="in this way")
    parser.add_argument("--trace", type=Path, help="a trace that was kept")
    given = parser.parse_args()
    if why_not():
        print(why_not(), file=sys.stderr)
        return 2

    def job(seed: int, points: int) -> Job:
        run = Run(seed=seed, **{name: getattr(given, name) for name in ("backend", "lives", "steps", "mutant", "calm")})
        only = {"trace": given.trace, "point": given.point, "variant": given.variant}
        return Job(run=run, points=points, rules=given.rules, mode=given.mode, keep=given.keep, **only)

    number = 1 if given.point is not None else given.points
    jobs = [job(given.seed + place, min(given.each, number - done)) for place, done in _parts(number, given.each)]
    began = time.monotonic()
    points = again = wrong = 0
    with tempfile.TemporaryDirectory(prefix="power-loss-") as folder, ThreadPoolExecutor(given.jobs) as pool:
        recorder = build(Path(folder))
        for future in as_completed([pool.submit(start, one, recorder) for one in jobs]):
            outcome = future.result()
            points += outcome.points
            again += outcome.again
            wrong += len(outcome.failures)
            for failure in outcome.failures:
                print(failure, flush=True)
            seconds = time.monotonic() - began
            print(f"{points} points, {again} with a second loss, {wrong} wrong, {seconds:.0f} s", flush=True)
    return 1 if wrong else 0


def _parts(number: int, each: int) -> list[tuple[int, int]]:
    return list(enumerate(range(0, number, each)))


if __name__ == "__main__":
    sys.exit(main())
