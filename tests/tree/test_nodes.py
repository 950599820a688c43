# SPDX-License-Identifier: MIT
"""The cache of decoded nodes: bounded in bytes, least recently used first, safe for threads."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable

from casstore.address import Address
from casstore.format.node import decode_node
from casstore.tree import build, lookup, scan, walk_nodes
from tests.tree.plain import any_file, memory_nodes

KEYS = [b"dir/%06d" % number for number in range(20_000)]
ITEMS = [(key, any_file(number)) for number, key in enumerate(KEYS)]


def test_the_cache_stays_within_its_bytes_and_counts_them() -> None:
    nodes, records = memory_nodes(cache_bytes=100_000)
    root = build(nodes, ITEMS)
    largest = 0
    for key in KEYS[::37]:
        assert lookup(nodes, root, key) is not None
        largest = max(largest, nodes.used_bytes)
    assert 50_000 < largest <= 100_000
    assert nodes.misses == records.reads
    assert nodes.hits > 0


def test_counted_bytes_are_about_the_real_ones() -> None:
    nodes, records = memory_nodes(cache_bytes=1 << 30)
    root = build(nodes, ITEMS)
    # Records of a disk are fresh bytes each time; those of the test's dict would be shared.
    records.get_record = lambda kind, address: bytes(bytearray(records.records[address]))  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in scan(nodes, root):
            pass
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.8 * real < nodes.used_bytes < 1.4 * real


def test_the_least_recently_used_goes_first() -> None:
    nodes, records = memory_nodes()
    root = build(nodes, ITEMS)
    leaves = [address for address, node in walk_nodes(nodes, root) if not node.height][:3]
    size = sum(decode_node(records.records[address]).cost_bytes for address in leaves)
    nodes, _ = memory_nodes(records, cache_bytes=size - 1)
    for address in (leaves[0], leaves[1], leaves[0], leaves[2]):
        nodes.get(address)
    records.reads = 0
    nodes.get(leaves[0])
    nodes.get(leaves[2])
    assert records.reads == 0
    nodes.get(leaves[1])
    assert records.reads == 1


def test_no_cache_at_all_works() -> None:
    nodes, records = memory_nodes(cache_bytes=0)
    root = build(nodes, ITEMS)
    records.reads = 0
    assert lookup(nodes, root, KEYS[5]) == any_file(5)
    assert lookup(nodes, root, KEYS[5]) == any_file(5)
    assert records.reads % 2 == 0
    assert records.reads > 4
    assert nodes.used_bytes == 0


def test_written_nodes_are_not_read_again() -> None:
    nodes, records = memory_nodes()
    raw = records.records[build(nodes, ITEMS[:1]) or Address(b"")]
    nodes, records = memory_nodes()
    address = nodes.add(decode_node(raw))
    assert nodes.get(address).raw == raw
    assert nodes.add(decode_node(raw)) == address  # counted once
    assert nodes.used_bytes == decode_node(raw).cost_bytes
    assert records.reads == 0
    nodes.clear()
    assert nodes.used_bytes == 0
    assert nodes.get(address).raw == raw
    assert records.reads == 1


def test_threads_share_one_cache(hurry: Callable[[], None]) -> None:
    nodes, _ = memory_nodes(cache_bytes=12_000)
    root = build(nodes, ITEMS)
    wrong: list[bytes] = []

    barrier = threading.Barrier(4, action=hurry)

    def work(start: int) -> None:
        barrier.wait()
        numbers = range(start, 20_000, 23)
        wrong.extend(KEYS[n] for n in numbers if lookup(nodes, root, KEYS[n]) != any_file(n))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 0, 1, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert nodes.used_bytes == sum(node.cost_bytes for node in nodes._cache.values()) <= 12_000
