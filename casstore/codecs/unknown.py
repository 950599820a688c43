# SPDX-License-Identifier: MIT
"""A stored value whose type nobody registered here, for tools that inspect a store without the classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

STRUCT_PREFIX: Final = "struct:"
"""Type ids that begin so name a class; the content is a MessagePack map of its fields, readable without the class."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value of an unknown type, or of a version newer than this program's.

    Set on a branch, it is stored again as it was.

    Attributes:
        type_id: The type's name on disk.
        version: The encoding's version.
        data: The content.
        plain: The fields as a dict, where the type is a class; else None.
    """

    type_id: str
    version: int
    data: bytes = field(repr=False)
    plain: Any = field(default=None, compare=False)
