# SPDX-License-Identifier: MIT
"""MessagePack, canonically: one value, one encoding; more Python types than JSON, and values of any registered type.

Plain are None, bool, int of 64 bits, float (8 bytes, one NaN), str, bytes, list, and dict with str keys sorted by code
point; every number has its shortest form. All else is an extension, so that any MessagePack library reads the rest::

    code  payload, itself such an encoding
       1  [type id, version, content]: a value of a registered type (an array, a dataclass …)
       2  [items]: a tuple
       3  [items], in the order of their bytes: a set
       4  [items], in the order of their bytes: a frozenset
       5  an integer of more than 64 bits: its bytes, big-endian, signed, as few as will do
       6  [[key, value], …], in the order of the keys' bytes: a dict with a key that is no str

Reading and writing take a quarter to a half of what JSON takes. msgspec is imported on use only.
"""

from __future__ import annotations

import functools
import math
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.entry import Entry

if TYPE_CHECKING:
    from casstore.codecs.registry import Registry

MAX_DEPTH: Final = 200
MAX_TYPED_DEPTH: Final = 64
"""Values of registered types within one another; each level costs a copy of what lies below it, and six frames."""

TYPED: Final = 1
TUPLE: Final = 2
SET: Final = 3
FROZENSET: Final = 4
INTEGER: Final = 5
PAIRS: Final = 6

_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**64 - 1
_NAN: Final = math.nan
_NAN_BYTES: Final = struct.pack("<d", _NAN)
_DECODED_BYTES: Final = 10
"""Memory for each encoded byte: measured 1 for long texts, 2 for messages, 12 for records of numbers, 73 for empty
dicts; while it decodes, twice that."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A value that is to be stored as MessagePack: ``branch.objects["q"] = Packed({(0, 1): b"…"})``.

    Attributes:
        value: None, bool, int, float, str, bytes, list, tuple, set, frozenset, dict with any such keys, and values of
            registered types, nested as you like.
    """

    value: Any


class MessagePackFactory:
    """``Packed`` values."""

    type_id: Final = "msgpack"
    version: Final = 1

    def encode(self, value: Packed) -> bytes:
        from casstore.codecs.default import default_registry

        return self.encode_within(value, default_registry())

    def decode(self, data: bytes) -> Packed:
        from casstore.codecs.default import default_registry

        return self.decode_within(data, self.version, default_registry())

    def encode_within(self, value: Packed, registry: Registry) -> bytes:
        return pack(value.value, registry)

    def decode_within(self, data: bytes, version: int, registry: Registry) -> Packed:
        if version != self.version:
            raise CorruptionError(f"there is no version {version} of type 'msgpack'; run `casstore verify`.")
        return Packed(unpack(data, registry))

    def estimate_size(self, entry: Entry) -> int:
        return _DECODED_BYTES * entry.size


def pack(value: object, registry: Registry) -> bytes:
    """The one encoding of ``value``; what is not plain is encoded by the registry's factories.

    Raises:
        InvalidInputError: It nests deeper than 200 or within itself, or holds a lone surrogate.
        FactoryError: It holds a type that no factory takes.
    """
    try:
        return _coder().encode(_plain(value, registry, MAX_DEPTH))
    except UnicodeEncodeError:
        raise InvalidInputError("the value holds a lone surrogate, which UTF-8 cannot; store it as bytes.") from None
    except RecursionError:
        raise InvalidInputError("the value nests too deep, or within itself; flatten it.") from None


def _plain(value: Any, registry: Registry, depth: int) -> Any:
    kind = type(value)
    if kind is str or kind is bytes or kind is bool or value is None:
        return value
    coder = _coder()
    if kind is int:
        if _LOWEST <= value <= _HIGHEST:
            return value
        return coder.extension(INTEGER, _integer_bytes(value))
    if kind is float:
        return value if value == value else _NAN
    if not depth:
        raise InvalidInputError(f"the value nests deeper than {MAX_DEPTH}, or within itself; flatten it.")
    depth -= 1
    if kind is list:
        return [_plain(item, registry, depth) for item in value]
    if kind is dict:
        if all(type(key) is str for key in value):
            return {key: _plain(item, registry, depth) for key, item in value.items()}
        pairs = [[_plain(key, registry, depth), _plain(item, registry, depth)] for key, item in value.items()]
        return coder.extension(PAIRS, coder.encode(_in_order(pairs, [coder.encode(key) for key, _ in pairs])))
    if kind is tuple:
        return coder.extension(TUPLE, coder.encode([_plain(item, registry, depth) for item in value]))
    if kind is set or kind is frozenset:
        # The order of a set depends on the process; that of its members' bytes does not.
        members = [_plain(item, registry, depth) for item in value]
        ordered = coder.encode(_in_order(members, [coder.encode(item) for item in members]))
        return coder.extension(SET if kind is set else FROZENSET, ordered)
    with _NESTING as level:
        if level > MAX_TYPED_DEPTH:
            raise InvalidInputError(f"values of registered types nest deeper than {MAX_TYPED_DEPTH}; flatten them.")
        type_id, version, data = registry.encode(value)
    return coder.extension(TYPED, coder.encode([type_id, version, data]))


def _in_order(items: list[Any], encoded: list[bytes]) -> list[Any]:
    if len(set(encoded)) != len(encoded):
        raise InvalidInputError("two members of a set, or keys of a dict, have one encoding (two NaN?); drop one.")
    return [items[place] for place in sorted(range(len(items)), key=encoded.__getitem__)]


def _integer_bytes(value: int) -> bytes:
    return value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True)


def unpack(data: bytes, registry: Registry) -> Any:
    """The value that ``data`` is the one encoding of; all of it is fresh or immutable.

    Raises:
        CorruptionError: ``data`` is no such encoding.
        FactoryError: It holds a value of a type that no factory knows.
    """
    try:
        return _restored(_raw(data), registry)
    except RecursionError:
        raise CorruptionError("a MessagePack content nests too deep; run `casstore verify`.") from None


def _raw(data: bytes) -> Any:
    """What one encoding holds, its extensions left as they are."""
    coder = _coder()
    try:
        found = coder.decode(data)
        # A map with other keys than str cannot be encoded again, and was not written here.
        if coder.encode(found) == data:
            return found
    except (coder.error, UnicodeError, TypeError, OverflowError) as error:
        raise CorruptionError(f"not canonical MessagePack: {error}; run `casstore verify`.") from None
    raise CorruptionError("MessagePack that is not in its canonical form; run `casstore verify`.")


def _restored(found: Any, registry: Registry) -> Any:
    kind = type(found)
    if kind is list:
        return [_restored(item, registry) for item in found]
    if kind is dict:
        return {key: _restored(item, registry) for key, item in found.items()}
    if kind is float:
        if found != found and struct.pack("<d", found) != _NAN_BYTES:
            raise _malformed("a NaN")
        return found
    if kind is str or kind is bytes or kind is int or kind is bool or found is None:
        return found
    coder = _coder()
    if kind is not coder.extension:
        # Its own time stamps, which msgspec makes a datetime of.
        raise _malformed("an extension")
    code, data = found.code, found.data
    if code == INTEGER:
        number = int.from_bytes(data, "big", signed=True)
        if _LOWEST <= number <= _HIGHEST or _integer_bytes(number) != data:
            raise _malformed("an integer")
        return number
    inner = _raw(data)
    if type(inner) is not list:
        raise _malformed("an extension")
    if code == TYPED:
        if [type(item) for item in inner] != [str, int, bytes]:
            raise _malformed("a value of a registered type")
        with _NESTING as level:
            if level > MAX_TYPED_DEPTH:
                raise _malformed("the nesting of values")
            return registry.decode(*inner)
    if code == TUPLE:
        return tuple([_restored(item, registry) for item in inner])
    if code == PAIRS:
        return _pairs(inner, registry)
    if code not in (SET, FROZENSET):
        raise _malformed("an extension")
    _check_order(inner)
    members = _hashed(lambda: frozenset([_restored(item, registry) for item in inner]), len(inner))
    return set(members) if code == SET else members


def _pairs(inner: list[Any], registry: Registry) -> dict[Any, Any]:
    if any(type(pair) is not list or len(pair) != 2 for pair in inner) or all(type(pair[0]) is str for pair in inner):
        raise _malformed("a dict")
    _check_order([pair[0] for pair in inner])
    made: dict[Any, Any] = _hashed(
        lambda: {_restored(key, registry): _restored(item, registry) for key, item in inner}, len(inner)
    )
    return made


def _check_order(items: list[Any]) -> None:
    encode = _coder().encode
    last = b""
    for item in items:
        encoded = encode(item)
        if encoded <= last:
            raise _malformed("the order of a set or a dict")
        last = encoded


def _hashed(make: Callable[[], Any], number: int) -> Any:
    try:
        made = make()
    except TypeError as error:
        raise CorruptionError(f"a MessagePack set or dict is malformed: {error}; run `casstore verify`.") from None
    if len(made) != number:
        raise _malformed("a set or a dict")
    return made


def _malformed(what: str) -> CorruptionError:
    return CorruptionError(f"{what} in a MessagePack content is malformed; run `casstore verify`.")


class _Nesting(threading.local):
    """How many values of registered types the thread is within."""

    def __init__(self) -> None:
        self.level = 0

    def __enter__(self) -> int:
        self.level += 1
        return self.level

    def __exit__(self, *failure: object) -> None:
        self.level -= 1


_NESTING: Final = _Nesting()


class _Coder(NamedTuple):
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    extension: Any
    error: type[Exception]


@functools.cache
def _coder() -> _Coder:
    import msgspec

    encoder = msgspec.msgpack.Encoder(order="deterministic")
    return _Coder(encoder.encode, msgspec.msgpack.Decoder().decode, msgspec.msgpack.Ext, msgspec.DecodeError)
