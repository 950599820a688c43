# SPDX-License-Identifier: MIT
"""Values that the tests of objects share."""

from __future__ import annotations

import typing
from typing import Any, ClassVar

from casstore.branches import Branch
from casstore.objects.document import Document, growing


class Thing:
    """Can be referred to weakly."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


class Memory(Document):
    step: int = 0
    notes: dict[str, Any] = {}  # noqa: RUF012
    messages: list[Any] = growing()
    goal: str
    shared: ClassVar[int] = 3
    other: typing.ClassVar[int] = 4
    _cache: int = 5


def saved(branch: Branch, **values: Any) -> Memory:
    """A document at ``agent``."""
    memory = Memory(**values)
    memory.save(branch, "agent")
    return memory


def sample() -> dict[str, Any]:
    """A value to be tracked."""
    return {"step": 1, "memory": {"facts": ["a", "b"], "score": 0.5}, "log": [{"n": 0}, {"n": 1}, {"n": 2}]}
