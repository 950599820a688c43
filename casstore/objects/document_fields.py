# SPDX-License-Identifier: MIT
"""The fields of a document class: which there are, their defaults, and their keys on a branch.

::

    NAME/@document            {"type": type id, "version": version of the class}
    NAME/FIELD                the value of a field
    NAME/FIELD/@0000000040    of a growing field: the elements from the 40th on, up to the next block
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, NamedTuple

from casstore.codecs.documents import HEADER, is_part
from casstore.errors import InvalidInputError, NotFoundError
from casstore.objects.tracked_node import MISSING
from casstore.objects.tracked_values import own

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.format.entry import Entry

_CLASS_VARIABLE = re.compile(r"(\w+\.)*ClassVar\b")


class UnsetFieldError(NotFoundError, AttributeError):
    """A field has neither a value nor a default."""


class Growing(NamedTuple):
    """What ``growing`` gives."""

    default: tuple[Any, ...]


def growing(*elements: Any) -> Any:
    """The default of a list field that mostly grows: each save stores what was appended as a block of its own.

    Use it as the class attribute's value: ``messages: list[dict] = growing()``.
    """
    return Growing(elements)


class Field:
    """One field, as a descriptor on its class."""

    __slots__ = ("default", "growing", "name")

    def __init__(self, name: str, default: Any) -> None:
        self.name = name
        self.growing = isinstance(default, Growing)
        self.default = own(list(default.default) if self.growing else default)

    def __get__(self, document: Any, owner: type | None = None) -> Any:
        return self if document is None else document._read(self.name)

    def __set__(self, document: Any, value: Any) -> None:
        document._write(self.name, value)

    def __delete__(self, document: Any) -> None:
        document._remove(self.name)


def fields_of(kind: type, reserved: frozenset[str]) -> dict[str, Field]:
    """The fields that a class adds: annotated attributes that do not begin with ``_`` and are no ``ClassVar``.

    Raises:
        InvalidInputError: A name is one of the methods of a document, or a default cannot be tracked.
    """
    found = {}
    for name, annotation in get_annotations(kind).items():
        words = annotation if isinstance(annotation, str) else str(annotation)
        if name.startswith("_") or _CLASS_VARIABLE.match(words):
            continue
        if name in reserved:
            raise InvalidInputError(
                f"{kind.__name__}.{name} would hide a method of documents; name the field otherwise."
            )
        found[name] = Field(name, kind.__dict__.get(name, MISSING))
    return found


def check_branch(branch: object) -> None:
    """Refuses what is no branch, and says how to get one.

    Raises:
        InvalidInputError: It is none.
    """
    from casstore.branches import Branch

    if not isinstance(branch, Branch):
        raise InvalidInputError(
            f"{branch!r} is no branch, which a document is loaded from and saved to; give `store.branch({branch!r})`."
            if isinstance(branch, (str, bytes))
            else f"{branch!r} is no branch; give what `store.branch(state)` returns."
        )


def block_key(field: str, start: int) -> str:
    """The part of a key that names a block of a growing field."""
    return f"{field}/@{start:010d}"


def stored_at(branch: Branch, key: str) -> dict[str, dict[str, Entry]]:
    """What a branch holds of a document: field → the parts of keys below the document's, in order, with their entries.

    Keys further down belong to other documents.
    """
    found: dict[str, dict[str, Entry]] = {}
    start = len(key) + 1
    for name, entry in branch.objects.entries(key + "/"):
        part = name[start:]
        if is_part(part):
            found.setdefault(part.partition("/")[0], {})[part] = entry
    return found


class StoredFields(Mapping[str, Any]):
    """The fields of a document as they were on a branch at one moment; each is read when it is asked for, once.

    Args:
        branch: A fork that nobody else writes to.
        key: The document's.
    """

    __slots__ = ("_key", "_parts", "_values", "branch")

    def __init__(self, branch: Branch, key: str) -> None:
        self.branch = branch
        self._key = key
        self._parts = stored_at(branch, key)
        self._values: dict[str, Any] = {}

    @property
    def parts(self) -> dict[str, dict[str, Entry]]:
        """See ``stored_at``; with the header."""
        return self._parts

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            parts = self._parts[name]
            objects = self.branch.objects
            if name in parts:
                self._values[name] = objects[f"{self._key}/{name}"]
            else:
                self._values[name] = [item for part in parts for item in objects[f"{self._key}/{part}"]]
        return self._values[name]

    def take(self, name: str) -> Any:
        """A field's value, which is not kept here any longer."""
        value = self[name]
        del self._values[name]
        return value

    def __contains__(self, name: object) -> bool:
        return name in self._parts and name != HEADER

    def __iter__(self) -> Any:
        return (name for name in self._parts if name != HEADER)

    def __len__(self) -> int:
        return sum(1 for _ in self)
