# SPDX-License-Identifier: MIT
"""Migration: an existing store is brought up to what this version writes.

Invariants. A store is opened by what its superblock says and by nothing else, so a step is over when the superblock
says so, and that is the last thing that a step does. The superblock is replaced under the writer's lock, by one rename:
a crash at any point leaves the old one or the new one, and running the migration again goes on from there.

A later migration is one more entry of ``STEPS``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import casstore.layout as layout
from casstore.errors import FormatVersionError, InvalidInputError, StorageError
from casstore.format.superblock import BACKEND_NAMES, DELTAS, FORMAT_VERSION, Superblock, encode_superblock
from casstore.osfile import OsFiles
from casstore.storage.lock import FileLock
from casstore.storage.opening import MEMORY, read_superblock


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that this version writes and a store may lack.

    Attributes:
        name: A word for it.
        brings: What the store has afterwards, for people.
        is_done: Whether a superblock says that the store has it.
        mark: The superblock that says so.
        prepare: What must be durable in the store's folder before that; None where nothing must. It is called with the
            writer's lock held, and again after a crash, so it must bear being run twice. A store that has been prepared
            and not marked must be one that earlier versions read and write.
    """

    name: str
    brings: str
    is_done: Callable[[Superblock], bool]
    mark: Callable[[Superblock], Superblock]
    prepare: Callable[[str, OsFiles], None] | None = None


STEPS: Final[tuple[Step, ...]] = (
    Step(
        name="deltas",
        brings="chunks may be stored as what differs from the version before",
        is_done=lambda block: bool(block.features & DELTAS),
        mark=lambda block: replace(block, features=block.features | DELTAS),
    ),
)
"""All migrations, in the order in which they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What became of one step.

    Attributes:
        name: A word for it.
        brings: What the store has where the step is made.
        state: ``"there"`` before, ``"made"`` now, or ``"missing"`` in a dry run.
    """

    name: str
    brings: str
    state: Literal["there", "made", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What a store has and lacks.

    Attributes:
        path: The store's folder.
        store_id: 32 hex digits.
        backend: ``"segments"`` or ``"files"``.
        format_version: Of the superblock.
        features: The bits that whoever opens the store must know, as they are now.
        write_features: The bits that only a writer must know.
        steps: Every migration that there is, in order.
        dry_run: Nothing was changed because that was asked for.
    """

    path: str
    store_id: str
    backend: str
    format_version: int
    features: int
    write_features: int
    steps: tuple[StepReport, ...]
    dry_run: bool

    @property
    def changed(self) -> bool:
        """Whether anything is not as it was before."""
        return any(step.state == "made" for step in self.steps)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the steps that are still to be made."""
        return tuple(step.name for step in self.steps if step.state == "missing")


def migrate(path: str | os.PathLike[str], *, dry_run: bool = False, timeout: float = 0.0) -> MigrationReport:
    """What the store at ``path`` has and lacks, after it was brought up to what this version writes.

    There is no way back: earlier versions refuse the store afterwards. Where there is nothing to do, nothing is
    touched, not even the lock. Run again after a crash, it goes on.

    Args:
        path: The store's folder.
        dry_run: Only say what would be done; works beside a writer and where nothing can be written.
        timeout: Seconds to wait for a writer.

    Raises:
        NotFoundError: ``path`` is no store.
        LockedError: Another process has it open for writing.
        FormatVersionError: A store of a later format, or with features that this version lacks. It is left as it is.
        CorruptionError: Its superblock is damaged or lost; ``casstore repair`` says what can be done.
        InvalidInputError: A store in memory.
        StorageError: It could not be written; the store is as before, or migrated.

    *Durability*: durable on return. *Cost*: one small file, whatever the store's size.
    """
    return run_steps(os.fspath(path), STEPS, OsFiles(), dry_run=dry_run, timeout=timeout)


def run_steps(
    path: str, steps: Sequence[Step], files: OsFiles, *, dry_run: bool = False, timeout: float = 0.0
) -> MigrationReport:
    """``migrate`` with these steps and these files."""
    if path == MEMORY:
        raise InvalidInputError("a store in memory is always as this version makes it; name a folder.")
    block = _read(path)
    lacking = [step for step in steps if not step.is_done(block)]
    if lacking and not dry_run:
        try:
            lock = FileLock(os.path.join(path, layout.LOCK), timeout)
        except OSError as error:
            raise StorageError(
                f"the lock of {path} cannot be taken ({error.strerror}); migrate as a user who may write the store.",
                path=os.path.join(path, layout.LOCK),
            ) from error
        try:
            # Somebody else may have migrated it, or taken it further than this version can, before the lock was ours.
            block = _read(path)
            lacking = [step for step in steps if not step.is_done(block)]
            for step in lacking:
                block = _make(path, step, block, files)
        finally:
            lock.release()
    return _report(path, steps, block, {step.name for step in lacking}, dry_run)


def _read(path: str) -> Superblock:
    block = read_superblock(path)
    if block.write_features:
        raise FormatVersionError(
            f"writers of this store need features {block.write_features:#x} that this casstore lacks; "
            "migrate it with the later version that made it so.",
            path=path,
        )
    return block


def _make(path: str, step: Step, block: Superblock, files: OsFiles) -> Superblock:
    marked = step.mark(block)
    place = os.path.join(path, layout.SUPERBLOCK)
    try:
        if step.prepare is not None:
            step.prepare(path, files)
        files.replace_file(place, encode_superblock(marked))
    except OSError as error:
        with contextlib.suppress(OSError):
            files.unlink(f"{place}.tmp")
        raise StorageError(
            f"the migration '{step.name}' was not finished ({error.strerror or error}); make room or mend what the "
            "system says, then run `casstore migrate` again. The store is whole, with the migration or without it.",
            path=place,
        ) from error
    return marked


def _report(path: str, steps: Sequence[Step], block: Superblock, lacking: set[str], dry_run: bool) -> MigrationReport:
    def state(step: Step) -> Literal["there", "made", "missing"]:
        if step.name not in lacking:
            return "there"
        return "missing" if dry_run else "made"

    return MigrationReport(
        path=path,
        store_id=block.store_id.hex(),
        backend=BACKEND_NAMES[block.backend],
        format_version=FORMAT_VERSION,
        features=block.features,
        write_features=block.write_features,
        steps=tuple(StepReport(name=step.name, brings=step.brings, state=state(step)) for step in steps),
        dry_run=dry_run,
    )
