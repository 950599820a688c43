# SPDX-License-Identifier: MIT
"""Python values to canonical bytes and back: a registry of factories, one for each type."""

from __future__ import annotations

from casstore.codecs.arrays import ArrayFactory
from casstore.codecs.plain import BytesFactory, JsonFactory, TextFactory
from casstore.codecs.registry import Encoded, Factory, Registry, default_registry, register

__all__ = [
    "ArrayFactory",
    "BytesFactory",
    "Encoded",
    "Factory",
    "JsonFactory",
    "Registry",
    "TextFactory",
    "default_registry",
    "register",
]
