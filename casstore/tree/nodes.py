# SPDX-License-Identifier: MIT
"""Decoded nodes by address, with a cache bounded in bytes.

Invariant: a node in the cache was decoded from bytes that the record store verified against the address, or was just
written under it. Nodes are immutable, so every thread may use the same one.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Protocol

from casstore.address import Address, node_address
from casstore.errors import CasstoreError, CorruptionError, NotFoundError
from casstore.format.kinds import NODE
from casstore.format.node import Node, decode_node

Root = Address | None
"""Address of a tree's top node; None is the empty map."""


class RecordStore(Protocol):
    """What a tree needs from storage."""

    def get_record(self, kind: int, address: Address) -> bytes:
        """The bytes of a record, verified against ``address`` and ``kind``."""

    def put_record(self, kind: int, address: Address, raw: bytes) -> bool:
        """True if the record was not there before."""

    def known(self, address: Address) -> bool:
        """Whether a record is there and can be relied on; it stays, with all below it, while an operation runs."""


class Nodes:
    """Reads and writes the nodes of trees.

    Args:
        records: Where the encoded nodes are.
        cache_bytes: Memory for decoded nodes, their overhead included; 0 keeps none.

    Thread safety: all methods, from any thread.
    """

    __slots__ = ("_cache", "_cache_bytes", "_lock", "_used_bytes", "hits", "misses", "records")

    def __init__(self, records: RecordStore, cache_bytes: int) -> None:
        self.records = records
        self.hits = 0
        self.misses = 0
        self._cache_bytes = cache_bytes
        # Not cachetools.LRUCache: it needs a lock around every get, three times the cost (0.24 against 0.08 µs).
        self._cache: OrderedDict[Address, Node] = OrderedDict()
        self._used_bytes = 0
        self._lock = Lock()

    def get(self, address: Address) -> Node:
        """The node at ``address``.

        Raises:
            NotFoundError: There is none.
            CorruptionError: The stored bytes are not that node.
        """
        # Each step is atomic in CPython; only the accounting below needs the lock.
        cache = self._cache
        node = cache.get(address)
        if node is None:
            node = self.read(address)
            self.misses += 1
            self._keep(address, node)
            return node
        try:
            cache.move_to_end(address)
        except KeyError:  # another thread evicted it meanwhile
            pass
        self.hits += 1
        return node

    def read(self, address: Address) -> Node:
        """The node at ``address``, read anew and not kept: for those who pass over whole trees. Raises as ``get``."""
        raw = self.records.get_record(NODE, address)
        try:
            return decode_node(raw)
        except CasstoreError as error:
            error.address = address
            raise

    def child(self, node: Node, i: int) -> Node:
        """Child ``i`` of an inner node, checked to be what ``node`` says it is.

        Raises:
            NotFoundError: The child is missing.
            CorruptionError: It is damaged, or has another height or last key.
        """
        address = node.children[i]
        child = self.get(address)
        check_child(node, i, child)
        return child

    def rely_on(self, root: Address) -> None:
        """Makes a tree one that new nodes may lead into: a collection that is under way keeps all of it.

        Raises:
            NotFoundError: There is none, or a collection is taking it.
            CorruptionError: Its top node is damaged.
        """
        if not self.records.known(root):
            self.read(root)
            raise NotFoundError(f"the tree {root.hex()} was collected just now.", address=root)

    def put(self, encoded: bytes) -> Address:
        """The address under which an encoded node is now stored; it is not decoded."""
        address = node_address(encoded)
        self.records.put_record(NODE, address, encoded)
        return address

    def add(self, node: Node) -> Address:
        """The address under which ``node`` is now stored; it stays in the cache."""
        address = self.put(node.raw)
        self._keep(address, node)
        return address

    @property
    def used_bytes(self) -> int:
        """Memory of the cache, about."""
        return self._used_bytes

    def clear(self) -> None:
        """Empties the cache."""
        with self._lock:
            self._cache.clear()
            self._used_bytes = 0

    def _keep(self, address: Address, node: Node) -> None:
        if node.cost_bytes > self._cache_bytes:
            return
        with self._lock:
            old = self._cache.pop(address, None)
            if old is not None:
                self._used_bytes -= old.cost_bytes
            self._cache[address] = node
            self._used_bytes += node.cost_bytes
            while self._used_bytes > self._cache_bytes:
                _, evicted = self._cache.popitem(last=False)
                self._used_bytes -= evicted.cost_bytes


def check_child(node: Node, i: int, child: Node) -> None:
    """Checks height and last key of a child against what its parent says. Raises ``CorruptionError``."""
    if child.height != node.height - 1 or child.keys[-1] != node.keys[i]:
        address = node.children[i]
        raise CorruptionError(
            f"the tree node {address.hex()} is not the child its parent names; run `casstore verify`.", address=address
        )
