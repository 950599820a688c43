# SPDX-License-Identifier: MIT
"""``Members``: a mapping whose members are stored apart, each under a key of its own, and loaded one by one.

Set under ``memory``, it becomes the entry ``memory``, a marker without content, and an entry ``memory/NAME`` for each
member. So a member that did not change is not stored again, a member is read without the others, and a merge goes
member by member. A plain dict is always one JSON content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from casstore.errors import FactoryError, InvalidInputError
from casstore.format.entry import Entry, object_entry

MEMBERS_TYPE: Final = "members"
MEMBERS_VERSION: Final = 1
MEMBERS_ENTRY: Final = object_entry(MEMBERS_TYPE, MEMBERS_VERSION, 0, None, b"")
"""The marker: what the key of a ``Members`` maps to."""


class Members(Mapping[str, Any]):
    """An immutable mapping of names to values that ``branch.objects`` keeps apart.

    What is read from a branch is one too: it shows the state as it was, and loads a member when it is asked for it.
    To change a member, set its key: ``branch.objects["memory/step"] = 4``.

    Args:
        members: Names (one component of a key: no ``/``) to values. Members nest.
        **named: More of them.

    Raises:
        InvalidInputError: A name is no such component.
    """

    __slots__ = ("_source",)

    def __init__(self, members: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        source: dict[str, Any] = {**(members or {}), **named}
        for name in source:
            if type(name) is not str or not name or "/" in name:
                raise InvalidInputError(
                    f"{name!r} cannot name a member; give a str without '/', and nest Members for deeper ones."
                )
        self._source: Mapping[str, Any] = source

    @classmethod
    def over(cls, source: Mapping[str, Any]) -> Members:
        """A ``Members`` that asks ``source`` for each member when it is needed; for stores, whose names are right."""
        made = cls.__new__(cls)
        made._source = source
        return made

    def __getitem__(self, name: str) -> Any:
        return self._source[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)

    def __contains__(self, name: object) -> bool:
        return name in self._source

    def __repr__(self) -> str:
        return f"Members of {', '.join(self._source) or 'nothing'}"


def is_members(entry: Entry | None) -> bool:
    """Whether an entry is the marker of a ``Members``."""
    return entry is not None and entry.type_id == MEMBERS_TYPE


class MembersFactory:
    """Says where ``Members`` can stand: its members have no bytes of their own."""

    type_id: Final = MEMBERS_TYPE
    version: Final = MEMBERS_VERSION

    def encode(self, value: Members) -> NoReturn:
        raise FactoryError("Members stand at a key of branch.objects, not within another value; use a dict there.")

    def decode(self, data: bytes) -> NoReturn:
        raise FactoryError("this is the marker of Members; read its key through branch.objects, or the keys below it.")

    def estimate_size(self, entry: Entry) -> int:
        return 0
