# SPDX-License-Identifier: MIT
"""From a path to an open store: ``casstore.open``."""

from __future__ import annotations

import os

from casstore.config import Config
from casstore.errors import InvalidInputError, NotFoundError
from casstore.osfile import OsFiles
from casstore.storage.opening import MEMORY, is_store, make_store, open_memory, open_storage
from casstore.store import Store


def open_store(
    path: str | os.PathLike[str],
    *,
    create: bool = True,
    read_only: bool = False,
    timeout: float = 0.0,
    config: Config | None = None,
) -> Store:
    """The store at ``path``, open; use it as a context manager.

    Args:
        path: A folder, or ``":memory:"`` for a store that ends with the process.
        create: Make the store where there is none.
        read_only: Read beside a writer, or a store that nobody writes. What is seen is the state of now, and stays.
        timeout: Seconds to wait for another writer.
        config: How to make and open it.

    Raises:
        NotFoundError: There is no store, and ``create`` is off or ``read_only`` on.
        LockedError: Another process has it open for writing.
        FormatVersionError: A store of a later format.
        CorruptionError: Damaged beyond what an opening mends.
        InvalidInputError: ``path`` is a folder of other things, or ``config`` does not fit the store.

    *Cost*: a few milliseconds, whatever the store's size; after a crash, what was written since the last sync.
    """
    config = config or Config()
    try:
        place = os.fspath(path)
    except TypeError:
        raise InvalidInputError(f"{path!r} is no path; give the folder of a store, or ':memory:'.") from None
    if place == MEMORY:
        return Store(open_memory(config), config)
    files = OsFiles()
    if not is_store(place):
        if read_only or not create:
            raise NotFoundError(f"{place} is not a store; make one with `casstore init`.", path=place)
        make_store(place, config, files, timeout)
    return Store(open_storage(place, read_only=read_only, timeout=timeout, config=config, files=files), config)
