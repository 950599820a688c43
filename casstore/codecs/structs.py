# SPDX-License-Identifier: MIT
"""Classes as values: dataclasses, msgspec structs and enums, with a type id, a version, and migrations on read.

The content is the MessagePack map of the fields (``messagepack``); the id (``struct:`` and the name given here) and the
version stand in the tree's entry, or beside the content where the value lies within another one. So every value is
migrated by its own class, however deep it lies, and is readable as plain data without it.

Restored is what was stored, and nothing runs: ``__init__`` and ``__post_init__`` of a dataclass are not called, as they
are not by ``copy``. A msgspec struct is made by its constructor, which runs its ``__post_init__``.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from casstore.codecs.default import default_registry
from casstore.codecs.messagepack import pack, unpack
from casstore.codecs.registry import Registry
from casstore.codecs.unknown import STRUCT_PREFIX
from casstore.errors import CasstoreError, CorruptionError, FactoryError
from casstore.format.entry import Entry

Migration = Callable[[dict[str, Any]], dict[str, Any]]
"""The fields of one version to those of the next."""

T = TypeVar("T", bound=type)

_DECODED_BYTES: Final = 4
"""Memory for each encoded byte: measured 1 to 4."""

_NOT_STORED: Final = "stored"


def struct(
    type_id: str,
    version: int = 1,
    *,
    migrations: Mapping[int, Migration] | None = None,
    registry: Registry | None = None,
) -> Callable[[T], T]:
    """A decorator that makes a dataclass, a msgspec struct or an enum storable::

        @struct("agent.memory", version=2, migrations={1: lambda fields: {**fields, "score": 0.0}})
        @dataclass
        class Memory: ...

    Args:
        type_id: The class's name on disk, the same for ever, whatever the class is called in Python.
        version: Of the schema, from 1. Raise it when fields are added, removed, or change their meaning.
        migrations: Version → function from that version's fields (a fresh dict of restored values) to the next one's.
        registry: Where to register it; None: for every store of the process. Classes within one another belong into
            one registry, or the inner ones into a parent of the outer's.

    Raises:
        FactoryError: It is none of the three, the id or a version is none, or a field that is not stored has no
            default.

    A dataclass's field with ``metadata={"stored": False}`` is left out (locks, caches, handles), and gets its default
    when the value is restored. Attributes that are no fields are not stored.
    """

    def decorate(cls: T) -> T:
        register_struct(cls, type_id, version, migrations=migrations, registry=registry)
        return cls

    return decorate


def register_struct(
    cls: type,
    type_id: str,
    version: int = 1,
    *,
    migrations: Mapping[int, Migration] | None = None,
    registry: Registry | None = None,
) -> StructFactory:
    """The factory that makes a class storable; as ``struct``, for classes that are defined elsewhere."""
    factory = StructFactory(cls, type_id, version, migrations)
    (default_registry() if registry is None else registry).register(factory, [cls])
    return factory


class StructFactory:
    """Encodes the instances of one class as their fields, and migrates older ones.

    Attributes:
        cls: The class.
        type_id: ``struct:`` and the name.
        version: Of the schema.
    """

    __slots__ = ("_migrations", "_shape", "cls", "type_id", "version")

    def __init__(
        self, cls: type, type_id: str, version: int = 1, migrations: Mapping[int, Migration] | None = None
    ) -> None:
        self.cls = cls
        self.type_id = STRUCT_PREFIX + type_id
        self.version = version
        self._migrations = dict(migrations or {})
        if not type_id or type(version) is not int or version < 1:
            raise FactoryError(f"{type_id!r} version {version!r} names no schema; give a name, and a version from 1.")
        wrong = [old for old in self._migrations if type(old) is not int or not 1 <= old < version]
        if wrong:
            raise FactoryError(f"{type_id!r} has a migration from {wrong[0]!r}; they go from 1 to {version - 1}.")
        self._shape = _shape_of(cls)

    def encode(self, value: Any) -> bytes:
        """The canonical fields; nested values by the factories of every store."""
        return self.encode_within(value, default_registry())

    def decode(self, data: bytes) -> Any:
        """An instance, from the fields of this version."""
        return self.decode_within(data, self.version, default_registry())

    def encode_within(self, value: Any, registry: Registry) -> bytes:
        """The canonical fields; nested values by the factories of ``registry``."""
        return pack(self._shape.fields(value), registry)

    def decode_within(self, data: bytes, version: int, registry: Registry) -> Any:
        """An instance, migrated from ``version``.

        Raises:
            FactoryError: A migration is missing or failed, or the fields are not those of the class.
        """
        fields = unpack(data, registry)
        if type(fields) is not dict or not all(type(name) is str for name in fields):
            raise CorruptionError(f"a content of type {self.type_id!r} holds no fields; run `casstore verify`.")
        for old in range(version, self.version):
            fields = self._migrated(fields, old)
        try:
            return self._shape.make(fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise FactoryError(
                f"the fields of {self.type_id!r} version {version} do not make a {self.cls.__qualname__}: {error}; "
                f"raise its version and give migrations={{{self.version}: …}}."
            ) from error

    def _migrated(self, fields: dict[str, Any], old: int) -> dict[str, Any]:
        migration = self._migrations.get(old)
        if migration is None:
            raise FactoryError(
                f"a value has version {old} of {self.type_id!r}, this program has version {self.version}; give "
                f"migrations={{{old}: …}} where {self.cls.__qualname__} is registered."
            )
        try:
            fields = migration(fields)
        except (CasstoreError, MemoryError):
            raise
        except Exception as error:
            raise FactoryError(
                f"the migration of {self.type_id!r} from version {old} failed: {error!r}; correct it where "
                f"{self.cls.__qualname__} is registered."
            ) from error
        if type(fields) is not dict:
            raise FactoryError(
                f"the migration of {self.type_id!r} from version {old} gave {type(fields).__qualname__}; return the "
                "dict of fields."
            )
        return fields

    def estimate_size(self, entry: Entry) -> int:
        """Bytes of memory of an instance."""
        return 64 + _DECODED_BYTES * entry.size

    def __repr__(self) -> str:
        return f"<StructFactory of {self.cls.__qualname__}, {self.type_id} version {self.version}>"


class _Dataclass:
    __slots__ = ("_cls", "_defaults", "_names", "_unstored")

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        fields = dataclasses.fields(cls)
        unstored = [field for field in fields if not field.metadata.get(_NOT_STORED, True)]
        self._names = tuple(field.name for field in fields if field not in unstored)
        self._unstored = tuple(field.name for field in unstored)
        self._defaults: dict[str, Callable[[], Any]] = {}
        for field in fields:
            if field.default_factory is not dataclasses.MISSING:
                self._defaults[field.name] = field.default_factory
            elif field.default is not dataclasses.MISSING:
                self._defaults[field.name] = _constant(field.default)
        for name in self._unstored:
            if name not in self._defaults:
                raise FactoryError(f"{cls.__qualname__}.{name} is not stored and has no default; give it one.")

    def fields(self, value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in self._names}

    def make(self, fields: dict[str, Any]) -> Any:
        surplus = fields.keys() - set(self._names)
        if surplus:
            raise TypeError(f"it has no field {', '.join(sorted(surplus))}")
        made = self._cls.__new__(self._cls)
        # Frozen classes refuse setattr of their own.
        put = object.__setattr__
        for name in self._names:
            if name in fields:
                put(made, name, fields[name])
            elif name in self._defaults:
                put(made, name, self._defaults[name]())
            else:
                raise TypeError(f"the field {name} is missing")
        for name in self._unstored:
            put(made, name, self._defaults[name]())
        return made


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


class _Struct:
    __slots__ = ("_cls", "_names")

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self._names: tuple[str, ...] = cls.__struct_fields__

    def fields(self, value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in self._names}

    def make(self, fields: dict[str, Any]) -> Any:
        return self._cls(**fields)


class _Enum:
    __slots__ = ("_cls",)

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    def fields(self, value: Any) -> dict[str, Any]:
        # A combination of flags has a value and no name of its own.
        return {"value": value.value} if isinstance(value, enum.Flag) else {"name": value.name}

    def make(self, fields: dict[str, Any]) -> Any:
        return self._cls(fields["value"]) if issubclass(self._cls, enum.Flag) else self._cls[fields["name"]]


def _shape_of(cls: Any) -> _Dataclass | _Struct | _Enum:
    if isinstance(cls, type):
        if dataclasses.is_dataclass(cls):
            return _Dataclass(cls)
        if issubclass(cls, enum.Enum):
            return _Enum(cls)
        # The name alone, as importing msgspec costs 30 ms to those who have no structs.
        if hasattr(cls, "__struct_fields__") and hasattr(cls, "__struct_config__"):
            return _Struct(cls)
    raise FactoryError(f"{cls!r} is no dataclass, msgspec struct or enum; register a factory for it instead.")
