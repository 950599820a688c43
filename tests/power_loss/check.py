# SPDX-License-Identifier: MIT
"""Opens what a power loss left, and sees whether everything durable is there, and nothing is half there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

import casstore
from casstore.format.index_entry import SUSPECT
from tests.power_loss.expected import Expected, address, content

CONFIG: Final = casstore.Config(
    chunk_min_bytes=128,
    chunk_avg_bytes=512,
    chunk_max_bytes=2048,
    segment_bytes=8 * 1024,
    cache_bytes=256 * 1024,
    pending_bytes=64 * 1024,
    compression_level=1,
    threads=1,
    actor="nobody",
)
"""Chunks and segments so small that a short run has many of them."""

Tell = Callable[..., None]


class Lost(Exception):
    """Something is not as it must be after a power loss."""


def config_of(backend: str) -> casstore.Config:
    """``CONFIG`` for one of the backends on disk."""
    return replace(CONFIG, backend="files" if backend == "files" else "segments")


def refs_of(store: casstore.Store) -> dict[str, str]:
    """Ref → name of the state it names."""
    return {name: store.refs[name].message for name in store.refs}


def settings_of(store: casstore.Store) -> dict[str, int | None]:
    """The settings that the runs change."""
    return {"max_bytes": store.settings.max_bytes, "grace_seconds": store.settings.grace_seconds}


def _silent(**_: Any) -> None:
    pass


def check(
    path: Path, backend: str, expected: Expected, random: Random, tell: Tell = _silent, *, doubt: bool = False
) -> None:
    """Does nothing where the store at ``path`` is as it must be.

    Args:
        path: A store's folder, or where one was being made.
        backend: Of which kind it is.
        expected: What was durable, or was being done.
        random: Chooses what is put again.
        tell: Called with notes of what is durable from then on, for a power loss during the check itself.
        doubt: Whether refs may count as in doubt, because the index may have been hurt too.

    Raises:
        Lost: Something durable is missing, or something is half there, or a later put does not stick.
    """
    try:
        _check(path, backend, expected, random, tell, doubt)
    except Lost:
        raise
    except (casstore.CasstoreError, OSError) as error:
        report = getattr(error, "report", None)
        damage = "; ".join(one.message for one in report.damage[:4]) if report else ""
        raise Lost(f"{type(error).__name__}: {error} {damage}") from error


def _check(path: Path, backend: str, expected: Expected, random: Random, tell: Tell, doubt: bool) -> None:
    config = config_of(backend)
    with casstore.open(path, create=not expected.made, config=config) as store:
        refs = refs_of(store)
        _demand(refs in expected.refs, f"the refs are {refs}, and may be {expected.refs}")
        # What an opening for writing shows is durable from then on.
        tell(note="synced", contents=[])
        tell(note="moved", refs=refs)
        settings = settings_of(store)
        _demand(
            not expected.settings or settings in expected.settings,
            f"the settings are {settings}, and may be {expected.settings}",
        )
        check_states(store, expected)
        _check_contents(store, expected)
        _check_history(store, expected)
        suspect = store.storage.backend.fact(SUSPECT) is not None
        _demand(doubt or not suspect, "the refs count as in doubt, so that nothing is collected")
        store.verify()
        numbers = sorted(expected.known)
        again = random.sample(numbers, min(len(numbers), 8))
        tell(note="put", contents=again)
        for number in again:
            _demand(store.put(content(number)) == address(number), f"content {number} has another address")
        store.sync()
        tell(note="synced", contents=again)
    with casstore.open(path, create=False, config=config) as store:
        _demand(refs_of(store) == refs, f"the refs were {refs}, and are {refs_of(store)} after a second opening")
        for number in again:
            _demand(store.get(casstore.Address(address(number))) == content(number), f"content {number} did not stick")
        if random.random() < 0.3:
            tell(note="collecting")
            store.plan_gc(grace_seconds=0, undo_keep_seconds=0, accept_refs=True).execute()
            check_states(store, expected)
            store.verify()


def check_sticks(path: Path, backend: str, expected: Expected) -> None:
    """Does nothing where, after a loss of what was called durable, everything that is put again is there to stay.

    Raises:
        Lost: A put took something for present of which the end is gone.
    """
    config = config_of(backend)
    try:
        with casstore.open(path, config=config) as store:
            for number in sorted(expected.known):
                store.put(content(number))
        with casstore.open(path, config=config) as store:
            for number in sorted(expected.known):
                found = store.get(casstore.Address(address(number)))
                _demand(found == content(number), f"content {number} has other bytes")
    except (casstore.CasstoreError, OSError) as error:
        raise Lost(f"{type(error).__name__}: {error}") from error


def check_states(store: casstore.Store, expected: Expected) -> None:
    """Whether every ref leads to exactly the files and objects of its state."""
    for name in store.refs:
        snapshot = store.refs[name]
        files = expected.states[snapshot.message]
        wanted = {path: content(number) for path, number in files.items()}
        _demand(dict(snapshot.files) == wanted, f"the files of {name!r} ({snapshot.message}) are not those committed")
        step = store.branch(snapshot).objects["state"]
        _demand(step == {"name": snapshot.message}, f"the object of {name!r} is {step!r}")


def _check_contents(store: casstore.Store, expected: Expected) -> None:
    for number in sorted(expected.known):
        found = casstore.Address(address(number))
        if number in expected.loose:
            _demand(found in store, f"content {number} was synced, and is gone")
        elif found not in store or (store.config.backend == "files" and not _whole(store, found)):
            continue
        _demand(store.get(found) == content(number), f"content {number} has other bytes")


def _whole(store: casstore.Store, found: casstore.Address) -> bool:
    try:
        store.get(found)
    except casstore.NotFoundError:
        return False
    return True


def _check_history(store: casstore.Store, expected: Expected) -> None:
    for name, moves in expected.moves.items():
        found = [move.new.hex() if move.new else "" for move in reversed(store.refs.history(name))]
        # Moves that a kill or a power loss met under way may stand between those that are known.
        rest = iter(found)
        _demand(
            all(move in rest for move in moves),
            f"the history of {name!r} lacks moves: it is {found}, and must have {moves}",
        )


def _demand(good: bool, otherwise: str) -> None:
    if not good:
        raise Lost(otherwise)
