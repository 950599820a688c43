# SPDX-License-Identifier: MIT
"""Every kept input through its target, below its bounds of memory and time, and a short search beside them.

``python -m tests.fuzz TARGET --seconds N`` searches longer, guided by coverage where atheris is installed.
"""

from __future__ import annotations

import io
import random
import sys
import time
from pathlib import Path

import pytest

from casstore.codecs.array_view import ArrayView
from casstore.codecs.arrays import ArrayFactory
from casstore.errors import CorruptionError, InvalidInputError
from tests.fuzz.mutate import Coverage, mutated
from tests.fuzz.run import CORPUS, Findings, main, plain_loop
from tests.fuzz.target import MIB, Finding, Target, attempt, measured, place_of, same, timed
from tests.fuzz.targets import TARGETS

SEARCH_SECONDS = 0.05
"""Processor time for each target."""


def inputs_of(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name: str) -> None:
    target = TARGETS[name]
    accepted = 0
    # The first run imports what is imported on use.
    target.run(inputs_of(name)[-1])
    for path in sorted((CORPUS / name).iterdir()):
        data = path.read_bytes()
        start = time.thread_time()
        accepted += measured(target, data)
        # Measuring memory takes longer than running.
        if time.thread_time() - start > target.seconds / 2:
            timed(target, data)
    # A target that refuses all its seeds would test nothing but the first check.
    assert accepted


@pytest.mark.parametrize("name", TARGETS)
def test_short_search(name: str) -> None:
    target, inputs, draw = TARGETS[name], inputs_of(name), random.Random(name)
    end = time.thread_time() + SEARCH_SECONDS
    while time.thread_time() < end:
        data = mutated(inputs, draw)
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"{place_of(error)} with {data.hex()}") from error


def test_corpus_has_no_stray_folder() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    total = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file())
    assert total < 64 * 1024


# -- the harness itself: a property that is broken is found


def _raises(data: bytes) -> bool:
    raise IndexError("out")


def _hoards(data: bytes) -> bool:
    return len(bytearray(2 * MIB + len(data))) > 0


def _dawdles(data: bytes) -> bool:
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass
    return True


def test_each_broken_property_is_found(tmp_path: Path) -> None:
    with pytest.raises(Finding, match="memory"):
        measured(Target(run=_hoards), b"x")
    measured(Target(run=_hoards, base_bytes=3 * MIB), b"x")
    with pytest.raises(Finding, match="took"):
        timed(Target(run=_dawdles, seconds=0.01), b"x")
    with pytest.raises(Finding):
        same(1, 2, "numbers")
    with pytest.raises(IndexError):
        attempt(_raises, b"")
    with pytest.raises(Finding, match="nothing"):
        attempt(_silent)
    # An error that the decoder does not name is a finding, even one of casstore's.
    with pytest.raises(InvalidInputError):
        attempt(_invalid)
    findings = Findings("record", Target(run=_raises), tmp_path / "record")
    tracing = sys.gettrace()
    plain_loop(findings, [b"abc"], 0.05, 1)
    assert sys.gettrace() is tracing
    (kept,) = (tmp_path / "record").iterdir()
    assert len(kept.read_bytes()) <= 3
    assert findings.runs > 1


def _silent() -> None:
    raise CorruptionError("")


def _invalid() -> None:
    raise InvalidInputError("give another")


def test_coverage_grows_with_new_lines_only() -> None:
    coverage = Coverage()
    for data, grew in ((b"", True), (b"", False), (inputs_of("varint")[0], True)):
        with coverage:
            TARGETS["varint"].run(data)
        assert coverage.grew is grew


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.setrlimit", lambda *limits: None)
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(TARGETS)
    assert main(["varint", "--seconds", "0.1", "--plain", "--keep", str(tmp_path)]) == 0
    assert "0 findings" in capsys.readouterr().out


# -- what was found, by name


def test_booleans_are_zero_or_one() -> None:
    numpy = pytest.importorskip("numpy")
    good = ArrayFactory().encode(numpy.zeros((40, 60), bool))
    bad = good[:-1] + b"\x80"
    for read in (ArrayFactory().decode, lambda data: ArrayView(io.BytesIO(data))[...]):
        assert not read(good).any()
        with pytest.raises(CorruptionError):
            read(bad)
    view = ArrayView(io.BytesIO(bad))
    assert not view[:39].any()
    with pytest.raises(CorruptionError):
        view[39:, ::7]
