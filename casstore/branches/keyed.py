# SPDX-License-Identifier: MIT
"""What files and objects of a branch have in common: look-up through delta and base, and the merged, sorted listing."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Final, Literal, TypeVar, overload

from casstore.branches.cell import Cell
from casstore.branches.delta import MISS, Delta, _Miss
from casstore.errors import ClosedError, InvalidInputError, NotFoundError
from casstore.format.entry import Entry
from casstore.format.key import MAX_KEY_BYTES, keys_problem
from casstore.snapshots import decode_key, encode_key
from casstore.tree import Nodes, Root, Summary, count, first_key, lookup, scan, summary

if TYPE_CHECKING:
    from casstore.branches.branch import Branch, State

FILES_SLOT: Final[Literal[2]] = 2
OBJECTS_SLOT: Final[Literal[3]] = 3

Found = Cell | Entry | None
"""A pending cell, an entry of the base, or nothing."""


_is_plain: Final = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*", re.ASCII).fullmatch
"""Components of letters, digits, `_` and `-`, with single dots within."""

V = TypeVar("V")
T = TypeVar("T")


class Keyed(MutableMapping[str, V]):
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
        found = delta.keys.get(key, MISS)
        if not isinstance(found, _Miss):
            return found
        raw = encode_key(key)
        context = self._branch._context
        context.check_open()
        if delta.marks and delta.is_marked(key):
            return None
        root = self._root(state)
        if root is None:
            return None
        memo = context.memo(root)
        entry = memo.get(key, MISS)
        if isinstance(entry, _Miss):
            # UTF-8 spelled with surrogate escapes would be a second name of one key.
            alias = not key.isascii() and decode_key(raw) != key
            entry = memo[key] = None if alias else lookup(context.nodes, root, raw)
        return entry

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
        found = self._listing(self._state(), prefix)
        return ((key, one.addressed() if isinstance(one, Cell) else one) for key, one in found)

    def _listing(self, state: State, prefix: str) -> Iterator[tuple[str, Cell | Entry]]:
        """Keys in order with what they map to; the generator keeps the state from the collector."""
        raw = encode_key(prefix)
        self._branch._context.check_open()
        return self._merged(state, prefix, raw)

    def _merged(self, state: State, prefix: str, raw_prefix: bytes) -> Iterator[tuple[str, Cell | Entry]]:
        delta = self._delta(state)
        marks, keys = delta.marks, delta.keys
        base = scan(self._branch._context.nodes, self._root(state), prefix=raw_prefix)
        if not marks and not keys:
            for raw, entry in base:
                yield decode_key(raw), entry
            return
        changed = delta.sorted_keys(prefix)
        place, end = 0, len(changed)
        for raw, entry in base:
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
            elif not marks or not delta.is_marked(key):
                yield key, entry
        for _, key in changed[place:]:
            cell = keys[key]
            if cell is not None:
                yield key, cell

    def _counts(self, kind: int) -> bool:
        """Whether the mapping shows entries of this kind."""
        raise NotImplementedError

    def _content(self, found: Cell | Entry) -> V:
        """The value of what was found."""
        raise NotImplementedError

    def _pairs(self) -> Iterator[tuple[str, V]]:
        found = self._listing(self._state(), "")
        return ((key, self._content(one)) for key, one in found if self._counts(kind_of(one)))

    def __iter__(self) -> Iterator[str]:
        return self.list()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys of the mapping that begin with ``prefix``, in order, as they are now."""
        counts = self._counts
        return (key for key, found in self._listing(self._state(), prefix) if counts(kind_of(found)))

    def __len__(self) -> int:
        """*Cost*: one look-up in the base for each changed key, and two for each mark."""
        context = self._branch._context
        context.check_open()
        state = self._state()
        delta, root, nodes = self._delta(state), self._root(state), context.nodes
        whole = summary(nodes, root)
        if not delta:
            return self._total(whole)
        if whole.entries <= len(delta.keys):
            return sum(1 for _ in self.list())
        number = self._total(whole)
        for mark in delta.marks:
            if not mark or not delta.is_marked(mark[:-1]):
                number -= self._total(count(nodes, root, prefix=encode_key(mark)))
        counts, marks = self._counts, delta.marks
        for key, cell in delta.keys.items():
            if cell is not None and counts(cell.kind):
                number += 1
            if not marks or not delta.is_marked(key):
                entry = lookup(nodes, root, encode_key(key))
                if entry is not None and counts(entry.kind):
                    number -= 1
        return number

    def _total(self, found: Summary) -> int:
        raise NotImplementedError

    def items(self) -> ItemsView[str, V]:
        """Keys and values; each iteration shows the state as it was when it began."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """Values; each iteration shows the state as it was when it began."""
        return _Values(self)

    def _missing(self, key: object) -> NotFoundError:
        return NotFoundError(f"the branch holds no {key!r}.", path=str(key))

    # -- writing

    @overload
    def pop(self, key: str, /) -> V: ...
    @overload
    def pop(self, key: str, /, default: V) -> V: ...
    @overload
    def pop(self, key: str, /, default: T) -> V | T: ...
    def pop(self, key: str, /, default: object = MISS) -> object:
        """Deletes a key and returns its value, in one step; where nothing has the key, the default."""
        with self._branch._lock():
            return super().pop(key) if default is MISS else super().pop(key, default)

    def popitem(self) -> tuple[str, V]:
        """Deletes the first key in order and returns it with its value, in one step."""
        with self._branch._lock():
            return super().popitem()

    def setdefault(self, key: str, default: V, /) -> V:
        """The value of a key; where nothing has it, it is set to ``default`` first, in one step."""
        with self._branch._lock():
            return super().setdefault(key, default)

    def __delitem__(self, key: str) -> None:
        self._delete(key)

    def clear(self) -> None:
        """Deletes everything."""
        self.delete_prefix("")

    def delete_prefix(self, prefix: str) -> None:
        """Deletes every key that begins with ``prefix``, in one step and by one mark however many there are.

        Args:
            prefix: Ends with ``/``; the empty prefix deletes everything.

        Raises:
            InvalidInputError: It does not.
        """
        if not isinstance(prefix, str):
            raise InvalidInputError(f"{prefix!r} is no prefix; give a str that ends with '/'.")
        if prefix:
            if not prefix.endswith("/"):
                raise InvalidInputError(f"the prefix {prefix!r} does not end with '/'; delete a single key with `del`.")
            check_key(prefix[:-1])
        branch = self._branch
        with branch._lock():
            state = self._state()
            delta = self._delta(state)
            in_base = begins(branch._context.nodes, self._root(state), prefix)
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


class _Items(ItemsView[str, V]):
    __slots__ = ("_keyed",)

    def __init__(self, keyed: Keyed[V]) -> None:
        super().__init__(keyed)
        self._keyed = keyed

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return self._keyed._pairs()


class _Values(ValuesView[V]):
    __slots__ = ("_keyed",)

    def __init__(self, keyed: Keyed[V]) -> None:
        super().__init__(keyed)
        self._keyed = keyed

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._keyed._pairs())


def kind_of(found: Cell | Entry) -> int:
    """The kind of what a key maps to."""
    return found.kind


def begins(nodes: Nodes, root: Root, prefix: str) -> bool:
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
    if len(key) <= MAX_KEY_BYTES and _is_plain(key) is not None:
        # What nearly all keys are, at a third of the price.
        return key.encode()
    raw = encode_key(key)
    problem = keys_problem([raw])
    if not problem and not key.isascii() and decode_key(raw) != key:
        problem = "surrogate escapes stand for bytes that are no UTF-8, and these are; decode the name as UTF-8"
    if problem:
        raise InvalidInputError(f"{key!r} cannot be a key: {problem}.", path=key)
    return raw
