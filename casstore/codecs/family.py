# SPDX-License-Identifier: MIT
"""Which factory takes a Python type, and which a type id: families of registries, each asking the one above it."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

from casstore.codecs.factory import Factory
from casstore.errors import FactoryError, InvalidInputError


class FactoryFamily:
    """Factories by Python type and by type id, one's own and those of a parent. ``Registry`` adds encoding to it.

    Invariant: what ``_encoders`` and ``_decoders`` remember is what a look-up would find now. Both are filled, and
    emptied by every registration above, under one lock that the whole family shares.
    """

    __slots__ = (
        "__weakref__",
        "_by_id",
        "_by_name",
        "_by_type",
        "_children",
        "_decoders",
        "_encoders",
        "_lock",
        "_max_bytes",
        "_newest",
        "_parent",
    )

    def __init__(self, parent: FactoryFamily | None, max_bytes: int | None) -> None:
        self._max_bytes: int | None = None
        self._parent = parent
        self._by_type: dict[type, Factory] = {}
        self._by_name: dict[str, Factory] = {}
        self._by_id: dict[tuple[str, int], Factory] = {}
        self._newest: dict[str, Factory] = {}
        self._encoders: dict[type, Any] = {}
        self._decoders: dict[tuple[str, int], Any] = {}
        self._children: weakref.WeakSet[FactoryFamily] = weakref.WeakSet()
        self._lock: threading.RLock = threading.RLock() if parent is None else parent._lock
        if parent is not None:
            with self._lock:
                parent._children.add(self)
        self.max_bytes = max_bytes

    @property
    def max_bytes(self) -> int | None:
        """Contents of more bytes are neither written nor read; None: there is no bound but those of factories."""
        if self._max_bytes is None and self._parent is not None:
            return self._parent.max_bytes
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int | None) -> None:
        if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 0):
            raise InvalidInputError(f"max_bytes is {max_bytes!r}; give a number of bytes from 0, or None.")
        with self._lock:
            self._max_bytes = max_bytes
            self._forget()

    def _bound(self, factory: Factory | None = None) -> int:
        own = self.max_bytes
        bound: int = min(sys.maxsize if own is None else own, getattr(factory, "max_bytes", sys.maxsize))
        return bound

    def register(self, factory: Factory, types: Iterable[type] = (), names: Iterable[str] = ()) -> None:
        """Makes a factory known.

        Args:
            factory: It replaces one of the same type id and version.
            types: Exact Python types that it encodes; subclasses need a factory of their own.
            names: The same, as ``"module.Class"``, for types whose module should not be imported for this.

        Raises:
            FactoryError: The type id or the version is none.
        """
        type_id, version = factory.type_id, factory.version
        if not 1 <= len(type_id) <= 255 or not type_id.isascii() or not type_id.isprintable():
            raise FactoryError(f"{type_id!r} is no type id; use 1 to 255 printable ASCII letters.")
        if type(version) is not int or version < 0:
            raise FactoryError(f"the version of {type_id!r} is {version!r}; use a whole number from 0.")
        with self._lock:
            self._by_id[type_id, version] = factory
            newest = self._newest.get(type_id)
            if newest is None or newest.version <= version:
                self._newest[type_id] = factory
            for kind in types:
                self._by_type[kind] = factory
            for name in names:
                self._by_name[name] = factory
            self._forget()

    def _forget(self) -> None:
        self._encoders = {}
        self._decoders = {}
        for child in self._children:
            child._forget()

    def factory_of(self, kind: type) -> Factory | None:
        """The factory that encodes values of exactly this type, or None."""
        found = self._by_type.get(kind)
        if found is None and self._by_name:
            found = self._by_name.get(f"{kind.__module__}.{kind.__qualname__}")
        if found is None and self._parent is not None:
            found = self._parent.factory_of(kind)
        return found

    def factory_for(self, type_id: str, version: int) -> Factory | None:
        """The factory that decodes a stored type, or None."""
        found = self._by_id.get((type_id, version))
        if found is None:
            newest = self._newest.get(type_id)
            if newest is not None and newest.version > version and hasattr(newest, "decode_within"):
                found = newest
        if found is None and self._parent is not None:
            found = self._parent.factory_for(type_id, version)
        return found

    def newest_version(self, type_id: str) -> int | None:
        """The newest version of a type that this program knows, or None."""
        above = None if self._parent is None else self._parent.newest_version(type_id)
        own = self._newest.get(type_id)
        if own is None:
            return above
        return own.version if above is None else max(above, own.version)
