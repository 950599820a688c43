# SPDX-License-Identifier: MIT
"""The registry of the built-in types, one for the process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from casstore.codecs.arrays import ArrayFactory
from casstore.codecs.arrow import ArrowFactory
from casstore.codecs.factory import Factory
from casstore.codecs.members import Members, MembersFactory
from casstore.codecs.messagepack import MessagePackFactory, Packed
from casstore.codecs.plain import BytesFactory, JsonFactory, TextFactory
from casstore.codecs.registry import Registry


def default_registry() -> Registry:
    """The registry of the built-in types, which ``register`` adds to."""
    return _DEFAULT


def register(factory: Factory, types: Iterable[type] = (), names: Iterable[str] = ()) -> None:
    """Makes a factory known to every store of this process; see ``Registry.register``."""
    _DEFAULT.register(factory, types, names)


_DEFAULT: Final = Registry()
_DEFAULT.register(BytesFactory(), [bytes])
_DEFAULT.register(TextFactory(), [str])
_DEFAULT.register(JsonFactory(), [dict, list, int, float, bool, type(None)])
_DEFAULT.register(ArrayFactory(), names=["numpy.ndarray"])
_DEFAULT.register(MessagePackFactory(), [Packed])
_DEFAULT.register(ArrowFactory(), names=["pyarrow.lib.Table"])
_DEFAULT.register(MembersFactory(), [Members])
