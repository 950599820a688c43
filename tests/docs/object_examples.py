# SPDX-License-Identifier: MIT
"""The examples of ``docs/format.md`` that are about objects: what the codecs write, and what they must read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy

from casstore.codecs import Packed, Registry, default_registry, register_struct
from casstore.codecs.members import MEMBERS_ENTRY
from casstore.format.entry import encode_entry, object_entry
from casstore.format.node import encode_node, join_key


@dataclass
class Plan:
    """What the page calls the class ``agent.plan``."""

    steps: list[str]
    score: float


REGISTRY: Final = Registry(default_registry())
register_struct(Plan, "agent.plan", 2, migrations={1: lambda fields: {**fields, "score": 0.0}}, registry=REGISTRY)
ARRAY: Final = numpy.array([[1, 2, 3], [4, 5, 6]], "<i2")
PLAN: Final = Plan(["read"], 0.5)

VALUES: Final[dict[str, tuple[str, int, Any]]] = {
    "object-bytes": ("bytes", 1, b"\x00\xff"),
    "object-text": ("text", 1, "né"),
    "object-json": ("json", 1, {"step": 3}),
    "object-array": ("ndarray", 1, ARRAY),
    "object-msgpack": ("msgpack", 1, Packed([None, True, -1, 0.5, "a", b"b", {"k": 1}])),
    "msgpack-typed": ("msgpack", 1, Packed(PLAN)),
    "msgpack-tuple": ("msgpack", 1, Packed((1, "a"))),
    "msgpack-set": ("msgpack", 1, Packed({2, 1})),
    "msgpack-frozenset": ("msgpack", 1, Packed(frozenset({1}))),
    "msgpack-integer": ("msgpack", 1, Packed(2**64)),
    "msgpack-pairs": ("msgpack", 1, Packed({(0, 1): True})),
    "object-struct": ("struct:agent.plan", 2, PLAN),
}
"""Name → type id, version, and the value that the bytes of that name hold."""

OLD_PLAN: Final = bytes.fromhex("81 a5 73 74 65 70 73 91 a4 72 65 61 64")
"""The fields of a plan as version 1 had them."""

ARROW: Final = bytes.fromhex(
    "ffffffff78000000"
    "1000000000000a000c000600050008000a000000000104000c0000000800080000000400080000000400000001000000"
    "14000000100014000800060007000c00000010001000000000000102100000001c000000040000000000000001000000"
    "6e00000008000c0008000700080000000000000110000000"
    "ffffffff88000000"
    "14000000000000000c0016000600050008000c000c0000000003040018000000080000000000000000000a0018000c00"
    "040008000a0000003c000000100000000200000000000000000000000200000000000000000000000000000000000000"
    "00000000000000000400000000000000000000000100000002000000000000000000000000000000"
    "0100020000000000"
    "ffffffff00000000"
)
"""The column ``n`` of 1 and 2, 16 bits each: a constant, so that the page is checked where there is no pyarrow."""

MEMBERS: Final = [
    (b"agent", MEMBERS_ENTRY),
    (b"agent/step", object_entry("json", 1, 1, None, b"3")),
]
LEAF: Final = encode_node(0, [join_key(key, encode_entry(entry)) for key, entry in MEMBERS])

EXAMPLES: Final[dict[str, bytes]] = {
    **{name: REGISTRY.encode(value).data for name, (_, _, value) in VALUES.items()},
    "object-struct-old": OLD_PLAN,
    "object-arrow": ARROW,
    "members-marker": encode_entry(MEMBERS_ENTRY),
    "members-leaf": LEAF,
}

FIELDS: Final[dict[str, tuple[bytes, dict[str, bytes]]]] = {
    "Arrays": (
        EXAMPLES["object-array"],
        {
            "version": b"\x01",
            "kind": b"i",
            "bytes per item": b"\x02",
            "dimensions": b"\x02",
            "first length": struct.pack("<Q", 2),
            "second length": struct.pack("<Q", 3),
            "items": struct.pack("<6h", 1, 2, 3, 4, 5, 6),
        },
    ),
}
