# SPDX-License-Identifier: MIT
"""Edits: what makes a child's state out of its parent's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from casstore.branches import Branch
from casstore.errors import InvalidInputError

if TYPE_CHECKING:
    from casstore.branches import Files, Objects


class _Deleted:
    """Marks a key that is to go."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DELETED"


DELETED: Final = _Deleted()
"""As the value of an edit: delete the key. (None is a value that objects can have.)"""

Edits = Mapping[str, Any] | Callable[[Branch], object] | Branch | None
"""Keys such as ``"files/src/a.py"`` or ``"objects/memory"`` to their new value, a function that edits a branch, a
branch that holds the new state, or nothing."""

_FILES: Final = "files/"
_OBJECTS: Final = "objects/"


def apply_edits(branch: Branch, edits: Mapping[str, Any] | Callable[[Branch], object] | None) -> None:
    """Edits a branch.

    In a mapping, None or ``DELETED`` deletes a file, ``DELETED`` an object, and a key that ends with ``/`` everything
    below it. Deletions come first, so that a file can make room for a folder of its name.

    Raises:
        InvalidInputError: The edits are none of these, or a key or value cannot be.
        NotFoundError: A key that is to be deleted is not there.
    """
    if edits is None:
        return
    if isinstance(edits, Mapping):
        _apply_mapping(branch, cast("Mapping[object, Any]", edits))
    elif callable(edits):
        edits(branch)
    else:
        raise InvalidInputError(
            f"edits are a mapping, a function of a branch, or a branch, not {type(edits).__qualname__}."
        )


def _apply_mapping(branch: Branch, edits: Mapping[object, Any]) -> None:
    files, objects = branch.files, branch.objects
    sets = []
    for key, value in edits.items():
        if not isinstance(key, str):
            raise InvalidInputError(f"{key!r} is no key; give a str such as 'files/a.py'.")
        if key.startswith(_FILES):
            root: Files | Objects = files
            name = key[len(_FILES) :]
            gone = value is None or value is DELETED
        elif key.startswith(_OBJECTS):
            root = objects
            name = key[len(_OBJECTS) :]
            gone = value is DELETED
        else:
            raise InvalidInputError(f"the edit of {key!r} has no root; begin keys with 'files/' or 'objects/'.")
        if not gone:
            sets.append((root, name, value))
        elif name.endswith("/") or not name:
            root.delete_prefix(name)
        else:
            del root[name]
    for root, name, value in sets:
        root[name] = value
