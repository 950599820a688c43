# SPDX-License-Identifier: MIT
"""Create and prune, again and again: neither memory nor the store grows."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

import casstore
from casstore.mcts import StateTree


def rounds(count: int) -> tuple[float, float]:
    """Bytes by which memory grew from a tenth of ``count`` rounds to all of them, and the share the store grew by."""
    with casstore.open(":memory:", config=casstore.Config(cache_bytes=0)) as store:
        branch = store.branch()
        for number in range(50):
            branch.files[f"d{number % 7}/f{number}"] = b"x" * 300
        branch.commit(ref="main")
        tree = StateTree(store, "main", merge_transpositions=count < 5000, history=False)
        tracemalloc.start()
        sizes: list[tuple[int, int]] = []
        for number in range(1, count + 1):
            first = tree.create_node(tree.root, {"objects/a": [number, "y" * 200]}, action=number, value=number)
            tree.create_node(first, {"files/b": b"%d" % number})
            tree.prune_unreachable([])
            if number % (count // 10) == 0:
                kept = tree.create_node(tree.root, {"objects/step": number})
                tree.save("tree")
                tree.collapse(kept)
                tree.save("tree")
                store.plan_gc(grace_seconds=0, undo_keep_seconds=0).execute()
                gc.collect()
                sizes.append((tracemalloc.get_traced_memory()[0], store.storage.backend.used_bytes()))
        tracemalloc.stop()
        assert len(tree) == 1
        return sizes[-1][0] - sizes[0][0], sizes[-1][1] / sizes[0][1] - 1


# Up to 1,024 dead values wait to be forgotten by the pending budget: 90 kB that come and go.
NOISE_BYTES = 120_000


def test_some_rounds() -> None:
    grown_bytes, grown_share = rounds(500)
    assert grown_bytes < NOISE_BYTES
    assert grown_share < 0.02


@pytest.mark.slow
def test_a_hundred_thousand_rounds() -> None:
    grown_bytes, grown_share = rounds(100_000)
    assert grown_bytes < NOISE_BYTES
    assert grown_share < 0.02
