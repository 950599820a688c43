# SPDX-License-Identifier: MIT
"""States and places as they are typed: ``NAME``, ``3f9c2a``, ``NAME:files/src/a.py``."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A state, and what of it is meant: nothing named means all of it."""

    state: str
    root: str
    """``files``, ``objects``, ``posix``, or empty for the whole state."""
    path: str
    """Key below the root, without a trailing slash; empty for the whole root."""

    @property
    def key(self) -> str:
        """``files/src/a.py``, ``files``, or empty."""
        return f"{self.root}/{self.path}" if self.path else self.root


ROOTS = ("files", "objects", "posix")


def parse_place(text: str) -> Place:
    """The place that ``text`` names.

    Raises:
        casstore.InvalidInputError: What follows the colon starts with no root's name.
    """
    state, _, rest = text.partition(":")
    root, _, path = rest.partition("/")
    if root and root not in ROOTS:
        from casstore.errors import InvalidInputError

        raise InvalidInputError(f"{text!r} names no place; write {state}:files/{rest} for a file.", path=rest)
    return Place(state, root, path.rstrip("/"))


def parse_content_place(text: str) -> Place:
    """A place that names one key.

    Raises:
        casstore.InvalidInputError: It names a whole state or a whole root.
    """
    place = parse_place(text)
    if not place.path:
        from casstore.errors import InvalidInputError

        raise InvalidInputError(f"{text!r} names no key; write {place.state or 'NAME'}:files/PATH.")
    return place
