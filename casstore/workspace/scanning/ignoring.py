# SPDX-License-Identifier: MIT
"""Which paths ignore files leave out, by git's rules.

The last pattern that matches a path decides, and a file in a deeper folder comes after those above it. Most paths of a
walk match nothing, so that is what must be cheap: of all patterns of a file, literal ones are two looks into sets,
beginnings and endings one call each, and the others one regular expression together. Only where a file has negations,
and something in it matches, is their order looked at: runs of patterns with the same sign, from the last one on.

Nothing called ``.git`` is ever left out, nor anything below it: git does not apply its rules there, and patterns such
as ``logs`` or ``tags`` would otherwise tear pieces out of a repository.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from threading import Lock
from typing import Any, Final, NamedTuple

from cachetools import LRUCache, cached

from casstore.workspace.scanning.patterns import Pattern, compile_any, read_patterns

# Longer regular expressions are compiled only for a text that is long enough for them.
_LONG: Final = 255
_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Bytes of ignore files whose compiled rules are kept, twice: as levels, and as expressions."""
_GIT: Final = b"/.git/"


class Rules:
    """The rules in force in one folder; immutable.

    *Thread safety*: safe.

    *Cost*: memory and the time of the first look: O(bytes of the ignore files). A look: O(patterns), with a factor of
    about 20 ns for literal ones that begin or end with a star, none for others without one, 50 ns for the rest.
    """

    __slots__ = ("_levels",)

    def __init__(self, levels: tuple[tuple[int, _Level], ...]) -> None:
        # The deepest first, each with the length of its prefix.
        self._levels = levels

    @classmethod
    def start(cls, exclude: bytes = b"") -> Rules:
        """The rules above the top folder.

        Args:
            exclude: Content of ``.git/info/exclude``, which any other ignore file overrules.
        """
        return cls(()).enter(b"", exclude)

    def enter(self, prefix: bytes, *contents: bytes) -> Rules:
        """The rules in the folder ``prefix``.

        Args:
            prefix: Its path below the top and a slash; ``b""`` for the top.
            contents: Of the ignore files in it, a later one overruling those before it. A symlink is no ignore file.
        """
        level = _kept_level(contents).made
        return self if level is None else Rules(((len(prefix), level), *self._levels))

    def leaves_out(self, path: bytes, *, directory: bool) -> bool:
        """Whether ``path`` is left out, given that the folders on the way to it are not.

        Args:
            path: Below the top, in a folder for which these rules hold.
            directory: Whether it is one; a symlink to one is not.
        """
        name = path[path.rfind(b"/") + 1 :]
        for start, level in self._levels:
            verdict = level.verdict(path, start, name, directory)
            if verdict is not None:
                return verdict and _GIT not in b"/%b/" % path
        return False


class _Matcher:
    """Whether any of some patterns matches."""

    __slots__ = ("_beginnings", "_endings", "_long", "_name_regex", "_names", "_path_regex", "_paths")

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        texts: dict[str, dict[bytes, None]] = {}
        self._long: list[_Long] = []
        for pattern in patterns:
            if pattern.least > _LONG and pattern.kind.endswith("regex"):
                self._long.append(_Long(pattern))
            else:
                texts.setdefault(pattern.kind, {})[pattern.text] = None
        self._names = frozenset(texts.get("name", ()))
        self._paths = frozenset(texts.get("path", ()))
        self._beginnings = tuple(texts.get("beginning", ()))
        self._endings = tuple(texts.get("ending", ()))
        self._name_regex = _compiled(tuple(texts.get("name regex", ())))
        self._path_regex = _compiled(tuple(texts.get("path regex", ())))

    def matches(self, path: bytes, start: int, name: bytes) -> bool:
        """``path`` is compared from ``start`` on; ``name`` is its last component."""
        if name in self._names:
            return True
        if self._endings and name.endswith(self._endings):
            return True
        if self._beginnings and name.startswith(self._beginnings):
            return True
        if self._name_regex is not None and self._name_regex(name):
            return True
        if self._paths or self._path_regex is not None:
            below = path[start:] if start else path
            if below in self._paths or (self._path_regex is not None and self._path_regex(below)):
                return True
        return len(path) > _LONG and any(long.matches(path[start:], name) for long in self._long)


class _Long:
    """A pattern that matches long texts only."""

    __slots__ = ("_match", "_pattern")

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._match: Callable[[bytes], object] | None = None

    def matches(self, below: bytes, name: bytes) -> bool:
        text = name if self._pattern.kind == "name regex" else below
        if len(text) < self._pattern.least:
            return False
        if self._match is None:
            self._match = compile_any((self._pattern.text,))
        return bool(self._match(text))


class _Level:
    """The patterns of one folder's ignore files."""

    __slots__ = ("_any_file", "_any_folder", "_file_runs", "_folder_runs", "_sign")

    def __init__(self, patterns: list[Pattern]) -> None:
        files = [pattern for pattern in patterns if not pattern.directory]
        self._any_folder = _Matcher(patterns)
        self._any_file = self._any_folder if len(files) == len(patterns) else _Matcher(files)
        self._sign: bool | None = None
        self._file_runs: list[tuple[bool, _Matcher]] = []
        self._folder_runs: list[tuple[bool, _Matcher]] = []
        if len({pattern.negated for pattern in patterns}) == 1:
            self._sign = not patterns[0].negated
        else:
            self._file_runs = _runs(files)
            self._folder_runs = _runs(patterns)

    def verdict(self, path: bytes, start: int, name: bytes, directory: bool) -> bool | None:
        """Left out (True), kept after all (False), or not mentioned."""
        matcher = self._any_folder if directory else self._any_file
        if not matcher.matches(path, start, name):
            return None
        if self._sign is not None:
            return self._sign
        for sign, run in self._folder_runs if directory else self._file_runs:
            if run.matches(path, start, name):
                return sign
        return None


def _runs(patterns: list[Pattern]) -> list[tuple[bool, _Matcher]]:
    """Neighbours of the same sign together, the last first."""
    runs = [(not negated, _Matcher(run)) for negated, run in groupby(patterns, lambda pattern: pattern.negated)]
    runs.reverse()
    return runs


def _level(contents: tuple[bytes, ...]) -> _Level | None:
    patterns = [pattern for content in contents for pattern in read_patterns(content)]
    return _Level(patterns) if patterns else None


class _Kept(NamedTuple):
    """Something compiled, and the bytes that it was compiled from."""

    source_bytes: int
    made: Any


def _cache() -> LRUCache[Any, _Kept]:
    # One that is larger than all of it is not kept, and compiled each time.
    return LRUCache(_KEPT_BYTES, getsizeof=lambda kept: kept.source_bytes)


# A tree is scanned again and again with the same ignore files, and many folders have equal ones.
@cached(_cache(), lock=Lock())
def _kept_level(contents: tuple[bytes, ...]) -> _Kept:
    return _Kept(1 + sum(map(len, contents)), _level(contents))


@cached(_cache(), lock=Lock())
def _kept_any(sources: tuple[bytes, ...]) -> _Kept:
    return _Kept(1 + sum(map(len, sources)), compile_any(sources))


def _compiled(sources: tuple[bytes, ...]) -> Callable[[bytes], object] | None:
    return _kept_any(sources).made if sources else None
