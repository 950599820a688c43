# SPDX-License-Identifier: MIT
"""The registry: which factory encodes a value, and which decodes a stored type.

A type id and a version stand in the tree's entry beside the content's address, never inside the content: equal bytes of
different types are one content. Encoding is canonical, so equal values of equal type have equal bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from casstore.codecs.arrays import ArrayFactory
from casstore.codecs.plain import BytesFactory, JsonFactory, TextFactory
from casstore.errors import CasstoreError, FactoryError


class Factory(Protocol):
    """Encodes and decodes the values of one type.

    ``type_id`` is 1 to 255 printable ASCII letters, the same for ever; a factory decodes its own ``version`` of the
    encoding, a whole number. Plain class attributes will do for both.
    """

    @property
    def type_id(self) -> str:
        """The type's name on disk."""

    @property
    def version(self) -> int:
        """The encoding's version."""

    def encode(self, value: Any) -> bytes:
        """Canonical bytes: equal values give equal bytes."""

    def decode(self, data: bytes) -> Any:
        """A value that is fresh or immutable; never one that another reader could change."""


class Encoded(NamedTuple):
    """A value as it is stored."""

    type_id: str
    version: int
    data: bytes


class Registry:
    """Factories by Python type and by type id. Thread-safe.

    Args:
        parent: Asked for what this registry does not know.
    """

    __slots__ = ("_by_id", "_by_name", "_by_type", "_lock", "_parent")

    def __init__(self, parent: Registry | None = None) -> None:
        self._parent = parent
        self._by_type: dict[type, Factory] = {}
        self._by_name: dict[str, Factory] = {}
        self._by_id: dict[tuple[str, int], Factory] = {}
        self._lock = threading.Lock()

    def register(self, factory: Factory, types: Iterable[type] = (), names: Iterable[str] = ()) -> None:
        """Makes a factory known.

        Args:
            factory: It replaces one of the same type id and version.
            types: Exact Python types that it encodes; subclasses need a factory of their own.
            names: The same, as ``"module.Class"``, for types whose module should not be imported for this.

        Raises:
            FactoryError: The type id is none.
        """
        if not 1 <= len(factory.type_id) <= 255 or not factory.type_id.isascii() or not factory.type_id.isprintable():
            raise FactoryError(f"{factory.type_id!r} is no type id; use 1 to 255 printable ASCII letters.")
        with self._lock:
            self._by_id[factory.type_id, factory.version] = factory
            for kind in types:
                self._by_type[kind] = factory
            for name in names:
                self._by_name[name] = factory

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
        if found is None and self._parent is not None:
            found = self._parent.factory_for(type_id, version)
        return found

    def encode(self, value: object) -> Encoded:
        """``value`` as it is to be stored.

        Raises:
            FactoryError: No factory takes its type, or the factory failed.
            InvalidInputError: The value cannot be encoded (NaN in JSON, a dict with keys that are no str …).
        """
        kind = type(value)
        factory = self._by_type.get(kind) or self.factory_of(kind)
        if factory is None:
            raise FactoryError(
                f"no factory takes {kind.__module__}.{kind.__qualname__}; store dict, list, str, bytes, numbers or "
                "NumPy arrays, or register a factory with casstore.codecs.register(factory, types=[…])."
            )
        try:
            data = factory.encode(value)
        except CasstoreError:
            raise
        except Exception as error:
            raise FactoryError(
                f"the factory {factory.type_id!r} could not encode {kind.__qualname__}: {error}."
            ) from error
        if type(data) is not bytes:
            raise FactoryError(f"the factory {factory.type_id!r} gave {type(data).__qualname__} instead of bytes.")
        return Encoded(factory.type_id, factory.version, data)

    def decode(self, type_id: str, version: int, data: bytes) -> Any:
        """The value that ``data`` holds.

        Raises:
            FactoryError: No factory knows the type and version, or the factory failed.
        """
        factory = self._by_id.get((type_id, version)) or self.factory_for(type_id, version)
        if factory is None:
            raise FactoryError(
                f"no factory decodes type {type_id!r} version {version}; register one with "
                "casstore.codecs.register(factory)."
            )
        try:
            return factory.decode(data)
        except CasstoreError:
            raise
        except Exception as error:
            raise FactoryError(f"the factory {type_id!r} could not decode {len(data)} bytes: {error}.") from error


def default_registry() -> Registry:
    """The registry of the built-in types, which ``register`` adds to."""
    return _DEFAULT


def register(factory: Factory, types: Iterable[type] = (), names: Iterable[str] = ()) -> None:
    """Makes a factory known to every store of this process; see ``Registry.register``."""
    _DEFAULT.register(factory, types, names)


_DEFAULT = Registry()
_DEFAULT.register(BytesFactory(), [bytes])
_DEFAULT.register(TextFactory(), [str])
_DEFAULT.register(JsonFactory(), [dict, list, int, float, bool, type(None)])
_DEFAULT.register(ArrayFactory(), names=["numpy.ndarray"])
