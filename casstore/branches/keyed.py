# SPDX-License-Identifier: MIT
"""What files and objects of a branch have in common: look-up through delta and base, and the merged, sorted listing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from casstore.branches.cell import Cell
from casstore.branches.delta import Delta, _Miss
from casstore.errors import ClosedError, InvalidInputError, NotFoundError
from casstore.format.entry import Entry
from casstore.format.key import keys_problem
from casstore.snapshots import decode_key, encode_key
from casstore.tree import Nodes, Root, first_key, lookup, scan

if TYPE_CHECKING:
    from casstore.branches.branch import Branch, State

FILES_SLOT: Final[Literal[2]] = 2
OBJECTS_SLOT: Final[Literal[3]] = 3

Found = Cell | Entry | None
"""A pending cell, an entry of the base, or nothing."""


class Keyed:
    """One root of a branch, seen through its delta. Holds the branch only, so it always shows what is there now."""

    __slots__ = ("_branch",)
    _slot: int

    def __init__(self, branch: Branch) -> None:
        self._branch = branch

    # -- reading

    def _state(self) -> State:
        state = self._branch._state
        if state is None:
            raise ClosedError("this branch was discarded; fork another one.")
        return state

    def _root(self, state: State) -> Root:
        raise NotImplementedError

    def _delta(self, state: State) -> Delta:
        raise NotImplementedError

    def _find(self, state: State, key: str) -> Found:
        delta = self._delta(state)
        found = delta.find(key)
        if isinstance(found, _Miss):
            return lookup(self._branch._context.nodes, self._root(state), encode_key(key))
        return found

    def entry(self, key: str) -> Entry:
        """What ``key`` maps to, whatever its kind; its content may still be in memory only.

        Raises:
            NotFoundError: Nothing has that key.
        """
        found = self._find(self._state(), key)
        if found is None:
            raise self._missing(key)
        return found.addressed() if isinstance(found, Cell) else found

    def entries(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """Keys and entries of every kind that begin with ``prefix``, in byte order, as they are now."""
        for key, found in self._listing(self._state(), prefix):
            yield key, found.addressed() if isinstance(found, Cell) else found

    def _listing(self, state: State, prefix: str) -> Iterator[tuple[str, Cell | Entry]]:
        delta = self._delta(state)
        changed = delta.sorted_keys(prefix)
        keys = delta.keys
        place, end = 0, len(changed)
        nodes = self._branch._context.nodes
        for raw, entry in scan(nodes, self._root(state), prefix=encode_key(prefix)):
            while place < end and changed[place][0] < raw:
                key = changed[place][1]
                cell = keys[key]
                if cell is not None:
                    yield key, cell
                place += 1
            key = decode_key(raw)
            if place < end and changed[place][0] == raw:
                cell = keys[key]
                if cell is not None:
                    yield key, cell
                place += 1
            elif not delta.is_marked(key):
                yield key, entry
        for _, key in changed[place:]:
            cell = keys[key]
            if cell is not None:
                yield key, cell

    def _missing(self, key: object) -> NotFoundError:
        return NotFoundError(f"the branch holds no {key!r}.", path=str(key))

    # -- writing

    def _set_cell(self, key: str, cell: Cell) -> None:
        raise NotImplementedError

    def delete_prefix(self, prefix: str) -> None:
        """Deletes every key that begins with ``prefix``, in one step and by one mark however many there are.

        Args:
            prefix: Ends with ``/``; the empty prefix deletes everything.

        Raises:
            InvalidInputError: It does not.
        """
        if prefix:
            if not prefix.endswith("/"):
                raise InvalidInputError(f"the prefix {prefix!r} does not end with '/'; delete a single key with `del`.")
            check_key(prefix[:-1])
        branch = self._branch
        with branch._lock():
            state = self._state()
            delta = self._delta(state)
            in_base = _begins(branch._context.nodes, self._root(state), prefix)
            branch._replace(self._slot, state, delta.without_prefix(prefix, in_base=in_base))

    def _delete(self, key: str) -> None:
        branch = self._branch
        with branch._lock():
            state = self._state()
            if self._find(state, key) is None:
                raise self._missing(key)
            delta = self._delta(state)
            in_base = lookup(branch._context.nodes, self._root(state), encode_key(key)) is not None
            branch._replace(self._slot, state, delta.without(key, in_base=in_base))


def _begins(nodes: Nodes, root: Root, prefix: str) -> bool:
    """Whether any key of a tree begins with ``prefix``."""
    raw = encode_key(prefix)
    found = first_key(nodes, root, raw)
    return found is not None and found.startswith(raw)


def check_key(key: object) -> bytes:
    """The bytes of a key.

    Raises:
        InvalidInputError: It is no relative path of non-empty components, holds ``..`` or NUL, or is too long.
    """
    if not isinstance(key, str):
        raise InvalidInputError(f"{key!r} is no key; give a str with `/` between components.")
    raw = encode_key(key)
    problem = keys_problem([raw])
    if problem:
        raise InvalidInputError(f"{key!r} cannot be a key: {problem}.", path=key)
    return raw
