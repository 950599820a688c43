# SPDX-License-Identifier: MIT
"""Pickles, for those who ask for them: never registered by default, and casstore itself cannot make or read one.

Reading a pickle runs whatever its writer put in. So this module imports no pickle: whoever wants them hands over the
two functions, and thereby says that nobody else writes to the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from casstore.errors import FactoryError


class PickleFactory:
    """Any Python object, by functions such as ``pickle.dumps`` and ``pickle.loads``.

    ::

        registry.register(PickleFactory(pickle.dumps, pickle.loads), types=[MyEnvironment])

    Two equal objects may have unequal pickles (they record which parts are shared, and the order of sets), so equal
    states may have unequal ids; ``check_factory`` tells for your values.

    Args:
        dumps: Object to bytes.
        loads: Bytes to object. Never for a store that somebody else can write to.
        type_id: The type's name on disk; another one for each kind of pickle (cloudpickle, dill).
        version: Of the objects.
        max_bytes: Pickles of more bytes are neither written nor read.
    """

    __slots__ = ("_dumps", "_loads", "max_bytes", "type_id", "version")

    def __init__(
        self,
        dumps: Callable[[Any], bytes],
        loads: Callable[[bytes], Any],
        *,
        type_id: str = "pickle",
        version: int = 1,
        max_bytes: int = 2**30,
    ) -> None:
        if not all(map(callable, (dumps, loads))):
            raise FactoryError("PickleFactory takes two functions; give pickle.dumps and pickle.loads.")
        self._dumps: Final = dumps
        self._loads: Final = loads
        self.type_id: Final = type_id
        self.version: Final = version
        self.max_bytes: Final = max_bytes

    def encode(self, value: Any) -> bytes:
        """The pickle."""
        return self._dumps(value)

    def decode(self, data: bytes) -> Any:
        """The object; runs what the pickle says."""
        return self._loads(data)
