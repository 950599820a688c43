# SPDX-License-Identifier: MIT
"""Every interleaving of the small model of a collection, with all safeguards and without each of them.

What must hold in every state: what a ref or a pin leads to is there; what a put took for known, or kept, is there down
to its chunks for as long as its operation runs (or the grace period); a reader's view stays whole; after a crash all
that was durable is there; no list stands in the index without its pieces; no delta is taken for a content without its
base.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model.collection import run
from tests.model.protocol import SAFEGUARDS, Setup
from tests.model.setups import (
    AT_ONCE_ONLY,
    CAUGHT_BY,
    DELTAS,
    DOOMED_ONLY,
    LARGE,
    LARGE_DELTAS,
    SETUPS,
    STANDS_IN,
)

ALL = SETUPS | DELTAS
DESIGNS = pytest.mark.parametrize("doomed", [False, True], ids=["at once", "doomed"])
CASES = [
    (safeguard, doomed)
    for doomed, others in ((False, DOOMED_ONLY), (True, AT_ONCE_ONLY))
    for safeguard in CAUGHT_BY
    if safeguard not in others
]


def check(setup: Setup) -> None:
    found = run(setup)
    print(found)
    assert found.problem is None, str(found)
    assert found.complete
    assert found.ends


@DESIGNS
@pytest.mark.parametrize("name", ALL)
def test_nothing_is_lost(name: str, doomed: bool) -> None:
    check(replace(ALL[name], doomed=doomed))


@pytest.mark.slow
@DESIGNS
@pytest.mark.parametrize("name", LARGE | LARGE_DELTAS)
def test_nothing_is_lost_in_a_larger_model(name: str, doomed: bool) -> None:
    check(replace((LARGE | LARGE_DELTAS)[name], doomed=doomed))


def test_every_safeguard_has_its_case() -> None:
    assert list(CAUGHT_BY) == list(SAFEGUARDS)


@pytest.mark.parametrize(("safeguard", "doomed"), CASES)
def test_leaving_out_a_safeguard_is_caught(safeguard: str, doomed: bool) -> None:
    without = frozenset([safeguard, STANDS_IN.get((safeguard, doomed), safeguard)])
    found = run(replace(ALL[CAUGHT_BY[safeguard]], without=without, doomed=doomed))
    print(f"without {safeguard!r} ({SAFEGUARDS[safeguard]}):", found)
    assert found.problem is not None
    assert found.trace


@pytest.mark.parametrize(("safeguard", "doomed"), STANDS_IN)
def test_one_of_two_that_stand_in_for_each_other_is_enough(safeguard: str, doomed: bool) -> None:
    check(replace(ALL[CAUGHT_BY[safeguard]], without=frozenset([safeguard]), doomed=doomed))
