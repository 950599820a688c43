# SPDX-License-Identifier: MIT
"""Python values to canonical bytes and back: a registry of factories, one for each type.

Names are imported on first use: every store needs the registry, few need the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from casstore.codecs.array_view import ArrayView
    from casstore.codecs.arrays import ArrayFactory
    from casstore.codecs.arrow import ArrowFactory
    from casstore.codecs.checker import FactoryReport, RestoreReport, check_factory, check_restores
    from casstore.codecs.default import default_registry, register
    from casstore.codecs.factory import Encoded, Factory
    from casstore.codecs.figures import Timing, TypeFigures
    from casstore.codecs.members import Members
    from casstore.codecs.messagepack import MessagePackFactory, Packed
    from casstore.codecs.pickles import PickleFactory
    from casstore.codecs.plain import BytesFactory, JsonFactory, TextFactory
    from casstore.codecs.registry import Registry
    from casstore.codecs.structs import StructFactory, register_struct, struct
    from casstore.codecs.unknown import Unknown

_MODULES: Final = {
    "ArrayFactory": "arrays",
    "ArrayView": "array_view",
    "ArrowFactory": "arrow",
    "BytesFactory": "plain",
    "Encoded": "factory",
    "Factory": "factory",
    "FactoryReport": "checker",
    "JsonFactory": "plain",
    "Members": "members",
    "MessagePackFactory": "messagepack",
    "Packed": "messagepack",
    "PickleFactory": "pickles",
    "Registry": "registry",
    "RestoreReport": "checker",
    "StructFactory": "structs",
    "TextFactory": "plain",
    "Timing": "figures",
    "TypeFigures": "figures",
    "Unknown": "unknown",
    "check_factory": "checker",
    "check_restores": "checker",
    "default_registry": "default",
    "register": "default",
    "register_struct": "structs",
    "struct": "structs",
}

__all__ = [
    "ArrayFactory",
    "ArrayView",
    "ArrowFactory",
    "BytesFactory",
    "Encoded",
    "Factory",
    "FactoryReport",
    "JsonFactory",
    "Members",
    "MessagePackFactory",
    "Packed",
    "PickleFactory",
    "Registry",
    "RestoreReport",
    "StructFactory",
    "TextFactory",
    "Timing",
    "TypeFigures",
    "Unknown",
    "check_factory",
    "check_restores",
    "default_registry",
    "register",
    "register_struct",
    "struct",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found
