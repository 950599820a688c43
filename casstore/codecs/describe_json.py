# SPDX-License-Identifier: MIT
"""Plain values, and changes, as JSON can say them; what is too much is cut, and says so.

What JSON has stands for itself. All else is an object with a first key that begins with ``$`` (docs/cli.md lists them);
a dict with such a key is written as ``{"$dict": [[key, value], …]}``, so the two cannot be confused.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from typing import Any, Final

from casstore.address import content_address
from casstore.codecs.describe import DescribedChange, Difference, StoredContent
from casstore.codecs.describe_arrays import ArrayDifference, ArrayFigures
from casstore.codecs.describe_text import path_text
from casstore.codecs.describe_values import ArrayHeader, StoredArray, StoredTable
from casstore.codecs.field_changes import Index, Key, Path
from casstore.codecs.unknown import Unknown

MAX_DEPTH: Final = 64
"""Values within deeper ones are cut: readers of JSON recurse."""
_EACH: Final = 8
"""What a value takes beside its letters, about."""
_INTEGER_BITS: Final = 4096


class JsonValues:
    """Makes plain values into JSON values, as far as a number of bytes reaches.

    Args:
        max_bytes: Of JSON, about; what does not fit is replaced by ``{"$truncated": …}``. None: no bound.

    Attributes:
        truncated: Whether anything was replaced since this was last set.
    """

    __slots__ = ("_left", "truncated")

    def __init__(self, max_bytes: int | None) -> None:
        self._left: float = math.inf if max_bytes is None else max_bytes
        self.truncated = False

    def value(self, value: Any, depth: int = 0) -> Any:
        """A plain value. Recurses, but no deeper than ``MAX_DEPTH``."""
        self._left -= _EACH
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if value.bit_length() <= _INTEGER_BITS else {"$int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind is str:
            return self._text(value)
        if kind is bytes:
            return self._bytes(value)
        if kind is StoredArray:
            return array_json(value.header)
        if kind is StoredTable:
            return {"$table": value.size}
        if kind is StoredContent:
            return {"$type": value.type_id, "version": value.version, "size": value.size}
        if kind is Unknown and value.plain is None:
            return {
                "$type": value.type_id,
                "version": value.version,
                "size": len(value.data),
                "address": content_address(value.data).hex(),
            }
        if self._left < 0 or depth >= MAX_DEPTH:
            return self._cut(kind.__name__, 1 if kind is Unknown else len(value))
        if kind is Unknown:
            return {"$type": value.type_id, "version": value.version, "value": self.value(value.plain, depth + 1)}
        if kind is dict:
            return self._dict(value, depth + 1)
        items = self._items(value, depth + 1)
        return items if kind is list else {f"${kind.__name__}": items}

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            made: dict[str, Any] = {}
            for key, item in value.items():
                if self._left < 0:
                    return self._cut("dict", len(value), start=made)
                self._left -= len(key)
                made[key] = self.value(item, depth)
            return made
        return {"$dict": self._items([list(pair) for pair in value.items()], depth)}

    def _items(self, value: Any, depth: int) -> Any:
        made: list[Any] = []
        for item in value:
            if self._left < 0:
                return self._cut(type(value).__name__, len(value), start=made)
            made.append(self.value(item, depth))
        return made

    def _text(self, value: str) -> Any:
        if len(value) <= self._left:
            self._left -= len(value)
            return value
        start = value[: max(int(self._left), 0)]
        self._left -= len(start)
        return self._cut("str", len(value), start=start)

    def _bytes(self, value: bytes) -> Any:
        most = value if len(value) <= self._left else value[: max(int(self._left), 0)]
        self._left -= len(most) * 4 // 3
        shown = {"$bytes": base64.b64encode(most).decode(), "size": len(value)}
        return shown if len(most) == len(value) else self._cut("bytes", len(value), start=shown["$bytes"])

    def _cut(self, kind: str, size: int, **start: Any) -> dict[str, Any]:
        self.truncated = True
        self._left = min(self._left, -1) if kind in ("str", "bytes") else self._left
        return {"$truncated": kind, "size": size, **start}

    def change(self, described: DescribedChange, difference: Difference) -> dict[str, Any]:
        """A change: its path, its kind, both values, and how much they differ."""
        change = described.change
        made: dict[str, Any] = {"path": self.path(change.path), "text": path_text(change.path), "kind": change.kind}
        if change.kind != "added":
            made["old"] = self.value(change.old)
        if change.kind != "removed":
            made["new"] = self.value(change.new)
        if difference is not None:
            made["difference"] = difference_json(difference)
        return made

    def figures(self, figures: ArrayFigures) -> dict[str, Any]:
        """What an array holds, in short."""
        return {
            "first": [self._item(item) for item in figures.first],
            "minimum": self._item(figures.minimum),
            "maximum": self._item(figures.maximum),
            "nan": figures.nan,
        }

    def _item(self, item: Any) -> Any:
        if isinstance(item, complex):
            return {"$complex": [self.value(item.real), self.value(item.imag)]}
        return self.value(item)

    def path(self, path: Path) -> list[dict[str, Any]]:
        """The steps of a path: ``{"key": …}``, ``{"index": …}``, ``{"member": …}``."""
        return [
            {"index": step.place}
            if isinstance(step, Index)
            else {"key": self.value(step.name)}
            if isinstance(step, Key)
            else {"member": self.value(step.value)}
            for step in path
        ]


def array_json(header: ArrayHeader) -> dict[str, Any]:
    """An array without its items."""
    return {"$array": header.dtype, "shape": list(header.shape), "size": header.items * header.item_bytes}


def difference_json(difference: ArrayDifference | object) -> dict[str, Any]:
    """The fields of a difference; of arrays without the headers, which stand beside it."""
    fields = {
        name.name: getattr(difference, name.name)
        for name in dataclasses.fields(difference)  # type: ignore[arg-type]
        if not (isinstance(difference, ArrayDifference) and name.name in ("old", "new"))
    }
    largest = fields.get("largest")
    if isinstance(largest, float) and not math.isfinite(largest):
        fields["largest"] = {"$float": repr(largest)}
    return fields
