# SPDX-License-Identifier: MIT
"""Targets: decoders of ``casstore.codecs``, what describes and compares their values, and names as people type them."""

from __future__ import annotations

import enum
import io
import json
import shlex
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from casstore_cli import names, places, units

from casstore.codecs.array_view import ArrayView
from casstore.codecs.arrays import ArrayFactory, read_header
from casstore.codecs.arrow import ArrowFactory
from casstore.codecs.default import default_registry
from casstore.codecs.describe import Content, content_changes, read_content
from casstore.codecs.describe_arrays import array_figures
from casstore.codecs.describe_json import JsonValues
from casstore.codecs.describe_outline import byte_lines, outline, text_lines
from casstore.codecs.describe_tables import table_figures
from casstore.codecs.describe_text import change_lines, short_text
from casstore.codecs.describe_values import StoredArray, decode_content
from casstore.codecs.field_changes import Limits, apply_changes, field_changes
from casstore.codecs.members import Members
from casstore.codecs.messagepack import MessagePackFactory, Packed, pack, unpack
from casstore.codecs.plain import JsonFactory, TextFactory
from casstore.codecs.registry import Registry
from casstore.codecs.structs import struct
from casstore.errors import CasstoreError, InvalidInputError
from casstore.snapshots.refs import check_ref_name
from casstore.workspace.scanning.patterns import compile_any, read_patterns
from tests.fuzz.target import CODEC, MIB, Finding, Target, attempt, same

SMALL: Final = Limits(max_values=100_000, max_steps=100_000)


@cache
def registry(migrating: bool = False) -> Registry:
    """The built-in types, and one class of each kind that can be stored; what is migrated is encoded as it is now."""
    import msgspec

    made = Registry(default_registry())
    migrations = {1: lambda fields: {**fields, "z": 0}} if migrating else None

    @struct("fuzz.point", version=2, migrations=migrations, registry=made)
    @dataclass(frozen=True)
    class Point:
        x: Any
        y: Any = 0
        z: Any = 1

    @struct("fuzz.colour", registry=made)
    class Colour(enum.Enum):
        RED = 1
        BLUE = "b"

    @struct("fuzz.flags", registry=made)
    class Flags(enum.IntFlag):
        A = 1
        B = 2

    @struct("fuzz.spec", registry=made)
    class Spec(msgspec.Struct, frozen=True):
        name: str
        inner: Any = None

    return made


def run_array(data: bytes) -> bool:
    header = attempt(read_header, data)
    made = attempt(ArrayFactory().decode, data)
    if made is None:
        # Booleans that are none are seen in the items only.
        same(header is None or header[0] == "b", True, "an array whose header alone is good")
        view = attempt(ArrayView, io.BytesIO(data))
        return view is not None and attempt(lambda: view[...]) is not None
    same(ArrayFactory().encode(made), data, "an array encoded again")
    view = ArrayView(io.BytesIO(data))
    same((view.shape, view.dtype, view.size), (made.shape, made.dtype, made.size), "the view of an array")
    same(view[...].tobytes(), made.tobytes(), "an array read through its view")
    parts = tuple(slice(byte % 4, None, byte % 3 + 1) for byte in data[-made.ndim :]) if made.ndim else ()
    view[..., ::2] if made.ndim else view[()]
    same(view[parts].tobytes(), made[parts].tobytes(), "a slice of an array")
    return True


def run_messagepack(data: bytes) -> bool:
    value = attempt(lambda: Packed(unpack(data, registry())), errors=CODEC)
    same(attempt(MessagePackFactory().decode_within, data, 2, registry(), errors=CODEC), None, "another version")
    if value is None:
        return False
    same(pack(value.value, registry()), data, "MessagePack encoded again")
    return True


def run_struct(data: bytes) -> bool:
    found = False
    for name in ("point", "colour", "flags", "spec", "nobody"):
        for version in (1, 2):
            kind = f"struct:fuzz.{name}"
            value = attempt(registry(True).decode, kind, version, data, errors=CODEC)
            attempt(registry(True).inspecting().decode, kind, version, data, errors=CODEC)
            if value is not None:
                found = True
                registry(True).encode(value)
    return found


def run_text(data: bytes) -> bool:
    text = attempt(TextFactory().decode, data)
    value = attempt(lambda: Packed(JsonFactory().decode(data)))
    if value is not None:
        same(JsonFactory().encode(value.value), data, "JSON encoded again")
    if text is not None:
        same(TextFactory().encode(text), data, "a text encoded again")
    return text is not None or value is not None


def run_arrow(data: bytes) -> bool:
    table = attempt(ArrowFactory().decode, data, errors=CODEC)
    attempt(table_figures, data, errors=CODEC)
    if table is None:
        return False
    # What casstore did not write may be of a type that it does not write, but never makes two forms of one table.
    once = attempt(ArrowFactory().encode, table, errors=(InvalidInputError,))
    if once is not None:
        same(ArrowFactory().encode(ArrowFactory().decode(once)), once, "a table encoded again")
    return True


TYPES: Final = ("json", "msgpack", "ndarray", "text", "bytes", "struct:fuzz.point", "struct:nobody", "unknown")


def _content(data: bytes) -> tuple[Content, bytes]:
    kind = TYPES[data[0] % len(TYPES)] if data else "json"
    return Content.of(kind, 1 + (data[0] >> 7 if data else 0), data[1:]), data[1:]


def run_describe(data: bytes) -> bool:
    content, body = _content(data)
    attempt(decode_content, content.type_id, content.version, body, errors=CODEC)
    value = attempt(lambda: Packed(read_content(content)), errors=CODEC)
    if value is None:
        return False
    for most in (None, 3):
        lines = list(outline(value.value, width=60, most=most))
        if any(not line.isprintable() for line in lines):
            raise Finding(f"a line that a terminal would obey: {lines!r:.300}")
        if type(value.value) is str:
            list(text_lines(value.value, most))
    list(byte_lines(body, len(body), 5))
    short_text(value.value, 40)
    json.dumps(JsonValues(None).value(value.value), allow_nan=False).encode()
    if isinstance(value.value, StoredArray):
        attempt(array_figures, value.value.header, io.BytesIO(body))
    return True


def run_field_changes(data: bytes) -> bool:
    half = 1 + int.from_bytes(data[1:3], "little") % max(len(data), 1)
    old, new = _content(data[:1] + data[3:half]), _content(data[:1] + data[half:])
    errors = (*CODEC, InvalidInputError)
    attempt(lambda: [list(change_lines(one, 60)) for one in content_changes(old[0], new[0], SMALL)], errors=errors)
    pair = attempt(
        lambda: [decode_content(one.type_id, one.version, body, typed=True) for one, body in (old, new)], errors=errors
    )
    if pair is None:
        return False
    changes = attempt(lambda: list(field_changes(*pair, SMALL)), errors=errors)
    if changes is None:
        return False
    made = apply_changes(pair[0], changes)
    left = list(field_changes(made, pair[1], SMALL))
    same(left, [], "what is left to change after all changes")
    return True


def run_members(data: bytes) -> bool:
    value = attempt(lambda: unpack(data, registry()), errors=CODEC)
    if not isinstance(value, dict):
        return False
    return attempt(Members, value, errors=(InvalidInputError,)) is not None


def run_ignore(data: bytes) -> bool:
    rules, _, path = data.partition(b"\0")
    found = read_patterns(rules)
    for one in found:
        if one.kind in ("name regex", "path regex"):
            compile_any((one.text,))(path)
    return bool(found)


def run_names(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    place = attempt(places.parse_place, text, errors=(InvalidInputError,))
    attempt(places.parse_content_place, text, errors=(InvalidInputError,))
    if place is not None and place.root:
        same(places.parse_place(f"{place.state}:{place.key}"), place, "a place written again")
    for parse in (units.parse_size, units.parse_duration, units.parse_seconds):
        try:
            parse(text)
        except CasstoreError:
            raise
        except ValueError as error:
            if " is not a" not in str(error):
                raise
    shown = names.printable(text)
    if not shown.isprintable() and names.printable(shown) != shown:
        raise Finding(f"{shown!r} is not printable")
    for field in (names.json_name("n", data), names.json_name("n", text)):
        json.dumps(field, ensure_ascii=False).encode()
        same(bytes.fromhex(field["n_hex"]) if "n_hex" in field else field["n"].encode(), data, "a name in JSON")
    if "$'" not in (word := names.shell_join([text])):
        same(shlex.split(word), [text], "a word in the shell")
    same(names.key_bytes(names.key_text(data)), data, "the bytes of a key")
    attempt(check_ref_name, text, errors=(InvalidInputError,))
    return place is not None


# Empty dicts as MessagePack take 150 bytes for each of theirs.
CODEC_TARGETS: Final = {
    "array": Target(run=run_array, factor=64),
    "messagepack": Target(run=run_messagepack, factor=512),
    "struct": Target(run=run_struct, factor=512, base_bytes=2 * MIB),
    "text": Target(run=run_text),
    "arrow": Target(run=run_arrow, base_bytes=4 * MIB, factor=256),
    "describe": Target(run=run_describe, factor=1024),
    "field_changes": Target(run=run_field_changes, factor=2048, seconds=2.0),
    "members": Target(run=run_members, factor=512),
    "ignore": Target(run=run_ignore, factor=4096),
    "names": Target(run=run_names, factor=256),
}
