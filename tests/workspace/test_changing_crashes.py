# SPDX-License-Identifier: MIT
"""Errors and kills in the middle of changes: nothing is stranded, and what remains completes them."""

from __future__ import annotations

import errno
import itertools
import os
import random
import signal
import time
from pathlib import Path

import pytest

import casstore
from casstore.address import content_address
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError, StorageError
from casstore.format.entry import file_entry, symlink_entry
from casstore.tree.diff import Change
from casstore.workspace.changing.changer import clear_temporaries
from tests.workspace.plain_diff import (
    LONG,
    SWEPT,
    TOKEN,
    Counted,
    changer,
    entry_of,
    finish,
    names_left,
    run_killed,
    switch,
)
from tests.workspace.trees import Tree, read_tree, with_folders, write_tree

# -- errors in the middle


def looks(path: Path) -> tuple[int, ...]:
    """What a rewritten file would not have; a mere read moves its access time."""
    status = path.stat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def test_missing_or_damaged_content_changes_nothing(store: casstore.Store, top: Path) -> None:
    write_tree(top, {b"a": b"1", b"gone": b"2"})
    address = store.storage.put(LONG)
    for number, (entry, error) in enumerate(
        [
            (file_entry(500, content_address(b"never stored" * 50)), NotFoundError),
            (file_entry(500, address), CorruptionError),
            (file_entry(5 << 20, address), CorruptionError),
            (symlink_entry(0, None, b""), CorruptionError),
            (symlink_entry(3, None, b"a\0b"), CorruptionError),
        ]
    ):
        changes = [
            Change(b"a", entry_of(store, b"1"), entry_of(store, b"new")),
            Change(b"gone", entry_of(store, b"2"), None),
            Change(b"new/folder/f", None, entry_of(store, LONG)),
            Change(b"z", None, entry),
        ]
        with changer(store, top, changes=changes) as made, pytest.raises(error):
            made.run()
        assert read_tree(top) == {b"a": b"1", b"gone": b"2"}, number


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_an_error_at_any_call_strands_nothing(
    store: casstore.Store, tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = SWEPT

    def fail() -> None:
        raise OSError(code, os.strerror(code))

    untouched = 0
    for stop in itertools.count(1):
        top = tmp_path / str(stop)
        write_tree(top, old)
        same = looks(top / "o")
        with changer(store, top, new) as made:
            made.check()
            with monkeypatch.context() as patch:
                counted = Counted(patch, stop, fail)
                said = ""
                try:
                    made.run()
                except StorageError as error:
                    said = str(error)
                counted.active = False
        if counted.count >= stop:
            # Where the tidying up after another error fails, that other error is told.
            assert "epeat the command" in said, stop
            assert code != errno.ENOSPC or "free some space" in said
        if "Nothing was changed" in said:
            untouched += 1
            assert read_tree(top) == with_folders(old), stop
        finish(store, top, new)
        assert looks(top / "o") == same
        if counted.count < stop:
            break
    assert stop > 30
    assert untouched > 10


@pytest.mark.usefixtures("every_way")
def test_kill_at_any_call_strands_nothing(store: casstore.Store, tmp_path: Path) -> None:
    old, new = SWEPT
    for stop in itertools.count(1):
        top = tmp_path / str(stop)
        write_tree(top, old)
        same = looks(top / "o")
        with changer(store, top, new) as made:
            made.check()
            killed = run_killed(made, stop)
        if not killed:
            assert read_tree(top) == with_folders(new)
        finish(store, top, new)
        assert looks(top / "o") == same
        if not killed:
            break
    assert stop > 30


def test_kill_at_random_times_strands_nothing(store: casstore.Store, tmp_path: Path) -> None:
    random.seed(4)
    killed = 0
    old, new = SWEPT
    many = {b"many/%d/%d" % (number % 7, number): b"%d" % number for number in range(200)}
    for attempt in range(25):
        top = tmp_path / str(attempt)
        write_tree(top, old)
        with changer(store, top, {**new, **many}) as made:
            made.check()
            child = os.fork()
            if child == 0:
                try:
                    made.run()
                    os._exit(0)
                finally:
                    os._exit(1)
            time.sleep(random.random() * 0.03)
            os.kill(child, signal.SIGKILL)
            killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        fd = os.open(top, os.O_RDONLY)
        clear_temporaries(fd, TOKEN, [path.rpartition(b"/")[0] for path in (*old, *new, *many)])
        os.close(fd)
        assert not names_left(top)
        switch(store, top, {**new, **many})
        assert read_tree(top) == with_folders({**new, **many})
    assert killed


def test_only_temporaries_of_the_token_are_cleared(tmp_path: Path) -> None:
    mine: Tree = {
        b".casstore-ffff-1": b"",
        b".casstore-0123456789abcdef-1x": b"",
        b".casstore-0123456789abcdef-": b"",
        b"d/.casstore-0123456789abcdef": b"",
        b"other/.casstore-0123456789abcdef-7": b"not on a changed path",
    }
    write_tree(
        tmp_path,
        {
            **mine,
            b".casstore-0123456789abcdef-1": b"",
            b"d/.casstore-0123456789abcdef-22/x/y": b"",
            b"d/.casstore-0123456789abcdef-22/l": ("->", b"/etc"),
            b"d/e/.casstore-0123456789abcdef-3": ("->", b"/etc"),
        },
    )
    fd = os.open(tmp_path, os.O_RDONLY)
    assert clear_temporaries(fd, TOKEN, [b"d/e", b"none/at/all"]) == 3
    assert clear_temporaries(fd, TOKEN, [b"d/e", b"d/.casstore-0123456789abcdef"]) == 0
    for token in ("", "a/b", "..", "ü", "a" * 65):
        with pytest.raises(InvalidInputError, match="token"):
            clear_temporaries(fd, token, [])
    for folder in (b"..", b"d/../..", b"/etc"):
        with pytest.raises(CorruptionError):
            clear_temporaries(fd, TOKEN, [folder])
    os.close(fd)
    assert read_tree(tmp_path) == with_folders({**mine, b"d/e": None})
