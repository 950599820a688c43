# SPDX-License-Identifier: MIT
"""``count``: the sums over a scan, by two paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.errors import NotFoundError
from casstore.format.entry import EXECUTABLE, FILE, OBJECT
from casstore.tree import Summary, build, count, scan, summary
from tests.tree.plain import POOL, Content, any_file, memory_nodes, states

bounds = st.one_of(st.sampled_from(POOL), st.sampled_from([b"", b"d", b"d3/", b"d3/k1", b"zz", b"\xff\xff"]))


@given(states, bounds, st.one_of(st.none(), bounds), bounds)
def test_count_sums_up_a_scan(content: Content, start: bytes, stop: bytes | None, prefix: bytes) -> None:
    nodes, _ = memory_nodes()
    root = build(nodes, sorted(content.items()))
    found = [entry for _, entry in scan(nodes, root, start, stop, prefix)]
    assert found == [
        entry
        for key, entry in sorted(content.items())
        if key >= start and (stop is None or key < stop) and key.startswith(prefix)
    ]
    assert count(nodes, root, start, stop, prefix) == Summary(
        len(found),
        sum(entry.kind in (FILE, EXECUTABLE) for entry in found),
        sum(entry.size for entry in found if entry.kind in (FILE, EXECUTABLE, OBJECT)),
    )
    assert count(nodes, root) == summary(nodes, root)


def test_count_reads_two_paths() -> None:
    nodes, records = memory_nodes()
    keys = [b"dir%02d/file%05d" % (number // 400, number) for number in range(20_000)]
    root = build(nodes, ((key, any_file(1)) for key in keys))
    assert root is not None
    height = nodes.get(root).height
    for prefix in (b"dir00/", b"dir25/", b"dir49/", b"dir", b"none", b""):
        nodes.clear()
        records.reads = 0
        found = count(nodes, root, prefix=prefix)
        assert found.entries == sum(key.startswith(prefix) for key in keys)
        assert found.bytes == 1001 * found.entries
        assert records.reads <= 2 * (height + 1)
    nodes.clear()
    records.reads = 0
    assert count(nodes, root).entries == 20_000
    assert count(nodes, root, b"b", b"a").entries == count(nodes, None, b"a").entries == 0
    assert records.reads == 1


def test_a_missing_node_is_an_error() -> None:
    nodes, records = memory_nodes()
    root = build(nodes, [(key, any_file(0)) for key in sorted(POOL)])
    assert root is not None
    for child in nodes.get(root).children:
        del records.records[child]
    with pytest.raises(NotFoundError):
        count(nodes, root, sorted(POOL)[3])
