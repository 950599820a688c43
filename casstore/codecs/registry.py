# SPDX-License-Identifier: MIT
"""The registry: which factory encodes a value, and which decodes a stored type.

A type id and a version stand in the tree's entry beside the content's address, never inside the content: equal bytes of
different types are one content. Encoding is canonical, so equal values of equal type have equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any, BinaryIO, Final, NamedTuple

from casstore.codecs.factory import Encoded, Factory
from casstore.codecs.family import FactoryFamily
from casstore.codecs.figures import ALWAYS, EVERY, Recorder, TypeFigures
from casstore.codecs.messagepack import unpack
from casstore.codecs.unknown import STRUCT_PREFIX, Unknown
from casstore.errors import CasstoreError, FactoryError, InvalidInputError
from casstore.format.entry import Entry

_OFTEN: Final = EVERY - 1
_VALUE_BYTES: Final = 64
"""What a Python object takes beside its content, about."""


_make = tuple.__new__


class _Use(NamedTuple):
    """How a registry encodes or decodes one type: looked up once."""

    type_id: str
    version: int
    call: Callable[[Any], Any]
    max_bytes: int
    record: Recorder


class Registry(FactoryFamily):
    """Factories by Python type and by type id. Thread-safe.

    Args:
        parent: Asked for what this registry does not know.
        max_bytes: Contents of more bytes are neither written nor read; None: what the parent says, or no bound.
            It bounds memory too: built-in types mostly take 1 to 12 times their content, 150 times at the worst (empty
            dicts as MessagePack, while they are decoded).
        unknown: Whether types that nobody registered are read as ``Unknown``; see ``inspecting``.
    """

    __slots__ = ("_records", "_unknown")
    _encoders: dict[type, _Use]
    _decoders: dict[tuple[str, int], _Use]

    def __init__(self, parent: Registry | None = None, *, max_bytes: int | None = None, unknown: bool = False) -> None:
        super().__init__(parent, max_bytes)
        self._unknown = unknown
        self._records: dict[tuple[str, int], tuple[Recorder, Recorder]] = {}

    def inspecting(self) -> Registry:
        """A registry that knows what this one knows, and reads every other type as ``Unknown``: for tools."""
        return Registry(self, unknown=True)

    # -- values

    def encode(self, value: object) -> Encoded:
        """``value`` as it is to be stored.

        Raises:
            FactoryError: No factory takes its type, or the factory failed.
            InvalidInputError: The value cannot be encoded (NaN in JSON, a dict with keys that are no str …), or its
                content is larger than the bound.
        """
        kind = type(value)
        use = self._encoders.get(kind)
        if use is None:
            if isinstance(value, Unknown):
                return Encoded(value.type_id, value.version, value.data)
            use = self._encoder_of(kind)
        type_id, version, call, max_bytes, record = use
        count = record.count
        started = perf_counter_ns() if count < ALWAYS or not count & _OFTEN else 0
        try:
            data = call(value)
        except (CasstoreError, MemoryError):
            raise
        except Exception as error:
            raise FactoryError(f"the factory {type_id!r} could not encode {kind.__qualname__}: {error}.") from error
        if type(data) is not bytes:
            raise FactoryError(f"the factory {type_id!r} gave {type(data).__qualname__} instead of bytes.")
        size = len(data)
        if size > max_bytes:
            raise InvalidInputError(
                f"{kind.__qualname__} takes {size} bytes, the bound is {max_bytes}; split the value (codecs.Members "
                "keeps members apart), or raise max_bytes."
            )
        record.count += 1
        record.bytes += size
        if started:
            record.add_time(perf_counter_ns() - started)
        # Half the price of the constructor, which is a function of Python's.
        encoded: Encoded = _make(Encoded, (type_id, version, data))
        return encoded

    def decode(self, type_id: str, version: int, data: bytes) -> Any:
        """The value that ``data`` holds.

        Raises:
            FactoryError: No factory knows the type and version, the content is larger than the bound, or the factory
                failed.
            CorruptionError: ``data`` is not what the type's factory writes.
        """
        use = self._decoders.get((type_id, version))
        if use is None:
            use = self._decoder_of(type_id, version)
        size = len(data)
        if size > use.max_bytes:
            raise _too_large(type_id, size, use.max_bytes)
        record = use.record
        count = record.count
        started = perf_counter_ns() if count < ALWAYS or not count & _OFTEN else 0
        try:
            value = use.call(data)
        except (CasstoreError, MemoryError):
            raise
        except Exception as error:
            raise FactoryError(f"the factory {type_id!r} could not decode {size} bytes: {error}.") from error
        record.count += 1
        record.bytes += size
        if started:
            record.add_time(perf_counter_ns() - started)
        return value

    def open(self, type_id: str, version: int, file: BinaryIO) -> Any:
        """A view of a value that reads only what it is asked for; it owns the file, and closes it.

        Args:
            type_id: The type's name on disk.
            version: The encoding's version.
            file: The content, seekable, for example from ``store.open_content``.

        Raises:
            FactoryError: No factory knows the type, or its values are read whole only. The file stays open.
        """
        factory = self.factory_for(type_id, version)
        if factory is None:
            raise self._no_factory(type_id, version)
        opening = getattr(factory, "open", None)
        if opening is None:
            raise FactoryError(f"values of type {type_id!r} are read whole only; read this one with objects[key].")
        try:
            return opening(file)
        except (CasstoreError, MemoryError):
            raise
        except Exception as error:
            raise FactoryError(f"the factory {type_id!r} could not open a content: {error}.") from error

    def check_size(self, entry: Entry) -> None:
        """Refuses a content beyond the bound before anything of it is read.

        Raises:
            FactoryError: It is larger than ``max_bytes`` of the registry, or of the type's factory.
        """
        use = self._decoders.get((entry.type_id, entry.type_version))
        if use is None:
            bound = self._bound(self.factory_for(entry.type_id, entry.type_version))
        else:
            bound = use.max_bytes
        if entry.size > bound:
            raise _too_large(entry.type_id, entry.size, bound)

    def estimate_size(self, entry: Entry) -> int:
        """Bytes of memory that the value of an entry takes once it is decoded, about; reads nothing.

        Raises:
            FactoryError: The type's factory failed to say.
        """
        factory = self.factory_for(entry.type_id, entry.type_version)
        estimate = getattr(factory, "estimate_size", None)
        if estimate is None:
            return entry.size + _VALUE_BYTES
        try:
            size = int(estimate(entry))
        except (CasstoreError, MemoryError):
            raise
        except Exception as error:
            raise FactoryError(f"the factory {entry.type_id!r} could not estimate a size: {error}.") from error
        return max(size, 0)

    def figures(self) -> list[TypeFigures]:
        """What was encoded and decoded through this registry, by type id and version; nested values count too."""
        with self._lock:
            found = sorted(self._records.items())
        return [TypeFigures(*key, encoded.timing(), decoded.timing()) for key, (encoded, decoded) in found]

    # -- looking up, once for each type

    def _encoder_of(self, kind: type) -> _Use:
        with self._lock:
            factory = self.factory_of(kind)
            if factory is None:
                raise FactoryError(
                    f"no factory takes {kind.__module__}.{kind.__qualname__}; store dict, list, str, bytes, numbers or "
                    "NumPy arrays, declare a class with casstore.codecs.struct(type_id), or register a factory with "
                    "casstore.codecs.register(factory, types=[…])."
                )
            within = getattr(factory, "encode_within", None)
            call = factory.encode if within is None else partial(within, registry=self)
            use = self._use(factory, factory.version, call, 0)
            self._encoders[kind] = use
            return use

    def _decoder_of(self, type_id: str, version: int) -> _Use:
        with self._lock:
            factory = self.factory_for(type_id, version)
            if factory is None:
                if not self._unknown:
                    raise self._no_factory(type_id, version)
                # Not remembered: a store may name any number of types.
                return _Use(type_id, version, partial(self._unread, type_id, version), self._bound(), Recorder())
            within = getattr(factory, "decode_within", None)
            call = factory.decode if within is None else partial(within, version=version, registry=self)
            use = self._use(factory, version, call, 1)
            self._decoders[type_id, version] = use
            return use

    def _use(self, factory: Factory, version: int, call: Callable[[Any], Any], direction: int) -> _Use:
        key = factory.type_id, version
        records = self._records.get(key)
        if records is None:
            records = self._records[key] = (Recorder(), Recorder())
        return _Use(factory.type_id, version, call, self._bound(factory), records[direction])

    def _unread(self, type_id: str, version: int, data: bytes) -> Unknown:
        plain = unpack(data, self) if type_id.startswith(STRUCT_PREFIX) else None
        return Unknown(type_id, version, data, plain)

    def _no_factory(self, type_id: str, version: int) -> FactoryError:
        newest = self.newest_version(type_id)
        if newest is not None and newest < version:
            return FactoryError(
                f"the value has version {version} of type {type_id!r}, and this program knows no later one than "
                f"{newest}; update the program that reads it, or look at it through registry.inspecting()."
            )
        return FactoryError(
            f"no factory decodes type {type_id!r} version {version}; register one with "
            "casstore.codecs.register(factory) or casstore.codecs.struct(type_id), or look at the value through "
            "registry.inspecting()."
        )


def _too_large(type_id: str, size: int, bound: int) -> FactoryError:
    return FactoryError(
        f"a content of type {type_id!r} has {size} bytes, the bound is {bound}; raise max_bytes of the registry or the "
        "factory, or read a part of it with objects.open(key)."
    )
