# SPDX-License-Identifier: MIT
"""Many orders, one state: a search that merges transpositions, and the same search that does not.

An agent fixes the items of a list, one after the other, in any order. After *k* of *n* steps there are n!/(n-k)! ways
but only (n over k) states. First the whole space is spelled out both ways and counted; then a search with a fixed
number of descents looks for the best selection both ways.

Exits with 1 unless merging gives exactly the states that there are, and finds the best selection with fewer nodes and
evaluations.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
import time
from collections.abc import Iterator

import casstore
from casstore.branches import Branch
from casstore.mcts import StateTree, search

SPELLED_OUT = 6
ITEMS = 12
CHOSEN = 5
VISITS = 2000

WORTH = [random.Random(7).random() for _ in range(ITEMS)]
TOGETHER = {pair: random.Random(f"{pair}").uniform(-1, 1) for pair in itertools.combinations(range(ITEMS), 2)}


def spell_out(tree: StateTree, items: int) -> None:
    """Makes every state that fixing items, one at a time, leads to."""
    waiting = [tree.root]
    done = set()
    for node in waiting:  # grows on the way
        if node.id in done:
            continue
        done.add(node.id)
        branch = tree.backtrack_to(node)
        for item in range(items):
            key = f"fixed/{item}"
            if key not in branch.objects:
                waiting.append(tree.create_node(node, {f"objects/{key}": True}, action=item))


def chosen(branch: Branch) -> list[int]:
    return [int(key.split("/")[1]) for key in branch.objects]


def worth(items: list[int]) -> float:
    """What a selection is worth, from about 0 to 1: items help or hinder each other."""
    total = sum(WORTH[item] for item in items)
    total += sum(TOGETHER[pair] for pair in itertools.combinations(sorted(items), 2))
    return 0.5 + total / 15


def expand(branch: Branch, rng: random.Random) -> Iterator[tuple[int, dict[str, object], float]]:
    taken = chosen(branch)
    if len(taken) < CHOSEN:
        for item in range(ITEMS):
            if item not in taken:
                yield item, {f"objects/chosen/{item}": True}, 1.0


def evaluate(branch: Branch) -> float:
    return worth(chosen(branch))


def main() -> int:
    with casstore.open(":memory:") as store:
        states = 2**SPELLED_OUT
        ways = sum(math.perm(SPELLED_OUT, steps) for steps in range(SPELLED_OUT + 1))
        counted = {}
        print(f"Fixing {SPELLED_OUT} items in any order: {states} states, {ways} ways to them.")
        for merge in (False, True):
            start = time.perf_counter()
            tree = StateTree(store, merge_transpositions=merge)
            spell_out(tree, SPELLED_OUT)
            edges = sum(len(node.edges) for node in tree)
            counted[merge] = len(tree)
            name = "merged" if merge else "not merged"
            print(f"  {name:<10} {len(tree):>6} nodes {edges:>6} edges   {time.perf_counter() - start:.2f} s")
            tree.discard()

        best = max(worth(list(items)) for items in itertools.combinations(range(ITEMS), CHOSEN))
        print(
            f"\nThe best {CHOSEN} of {ITEMS} items ({math.comb(ITEMS, CHOSEN)} selections, worth at most {best:.4f}), "
            f"{VISITS} descents:"
        )
        found = {}
        costs = {}
        for merge in (False, True):
            start = time.perf_counter()
            tree = StateTree(store, merge_transpositions=merge)
            result = search(tree, expand, evaluate, iterations=VISITS, exploration=0.4, batch=4)
            whole = [node for node in tree if node.depth == CHOSEN and "value" in node.stats]
            found[merge] = max((node.stats["value"] for node in whole), default=0.0)
            costs[merge] = (len(tree), result.evaluations)
            name = "merged" if merge else "not merged"
            print(
                f"  {name:<10} {len(tree):>6} nodes {result.evaluations:>6} evaluations   best {found[merge]:.4f}   "
                f"{time.perf_counter() - start:.2f} s"
            )
    cheaper = costs[True][0] < costs[False][0] and costs[True][1] < costs[False][1]
    good = counted == {False: ways, True: states} and math.isclose(found[True], best) and cheaper
    print(
        "\nMerging keeps each state once, and finds the best with fewer evaluations."
        if good
        else "\nThat is not what was claimed."
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
