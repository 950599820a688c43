# SPDX-License-Identifier: MIT
"""A crash after every step of a collection, a commit and a recovery, with an index that may have lost batches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model.recovery import COLLECT, COMMIT, SAFEGUARDS, Setup, run

SETUPS = {
    "a collection, then a commit": Setup(COLLECT + COMMIT),
    "a commit, then a collection": Setup(COMMIT + COLLECT),
    "a damaged index": Setup(COMMIT + COLLECT, damage=True),
    "a damaged index after a collection": Setup(COLLECT + COMMIT, damage=True),
    "a lost index": Setup(COLLECT + COMMIT, lose_index=True, damage=True),
    "a lost index after a commit": Setup(COMMIT + COLLECT, lose_index=True, damage=True),
}

WRONG_SCRIPTS = {
    "lists before chunks": ("delete b", "delete m", *COLLECT[2:]),
    "batch before unlink": ("delete m", "delete b", "copy c", "fsync", "unlink", "condemn", "forget"),
}

CAUGHT_BY = {
    "fsync before the batch": "a collection, then a commit",
    "lists before chunks": "a collection, then a commit",
    "batch before unlink": "a collection, then a commit",
    "numbers of batches": "a damaged index",
    "missing segments": "a damaged index",
    "cut before adoption": "a commit, then a collection",
    "incomplete lists": "a lost index",
    "the batch holds the ref": "a commit, then a collection",
}


@pytest.mark.parametrize("name", SETUPS)
def test_what_was_durable_is_there(name: str) -> None:
    found = run(SETUPS[name])
    print(found)
    assert found.problem is None, str(found)
    assert found.complete


def test_every_safeguard_has_its_case() -> None:
    assert list(CAUGHT_BY) == list(SAFEGUARDS)


@pytest.mark.parametrize("safeguard", CAUGHT_BY)
def test_leaving_out_a_safeguard_is_caught(safeguard: str) -> None:
    setup = SETUPS[CAUGHT_BY[safeguard]]
    if safeguard in WRONG_SCRIPTS:
        setup = replace(setup, script=(*WRONG_SCRIPTS[safeguard], *COMMIT))
    found = run(replace(setup, without=frozenset([safeguard])))
    print(f"without {safeguard!r} ({SAFEGUARDS[safeguard]}):", found)
    assert found.problem is not None
