# SPDX-License-Identifier: MIT
"""Which edge a descent takes: UCT and PUCT, with descents under way counted in.

Source: Kocsis & Szepesvári, "Bandit based Monte-Carlo Planning", ECML 2006 (UCT); Silver et al., "Mastering the game of
Go without human knowledge", Nature 2017 (PUCT); Childs, Brodeur & Kocsis, "Transpositions and move groups in Monte
Carlo tree search", CIG 2008 (UCT1: statistics of edges, so that every average is one of descents that chose the edge);
Liu et al., "Watch the unobserved", ICLR 2020: descents that have not come back count as visits, but not as losses, so
the range of values does not matter. Where we differ: an edge without a value is taken to be worth the mean of its
siblings.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, sqrt
from typing import Final

from casstore.mcts.node import Edge, Node

Select = Callable[[Node, float], Edge]
"""The edge to take from a node that has some, given the weight of exploration. Of equals the oldest."""


def puct(node: Node, exploration: float) -> Edge:
    """The edge with the highest mean + exploration · share of priors · √(visits of all + 1) / (own visits + 1)."""
    edges = node.edges
    visits = pending = 0
    value_sum = priors = 0.0
    for edge in edges:
        visits += edge.visits
        pending += edge.pending
        value_sum += edge.value_sum
        priors += edge.prior
    guess = value_sum / visits if visits else 0.0
    scale = exploration * sqrt(visits + pending + 1)
    even = 1 / len(edges)
    best = edges[0]
    highest = float("-inf")
    for edge in edges:
        own = edge.visits
        mean = edge.value_sum / own if own else guess
        share = edge.prior / priors if priors else even
        score = mean + scale * share / (own + edge.pending + 1)
        if score > highest:
            best, highest = edge, score
    return best


def uct(node: Node, exploration: float) -> Edge:
    """The edge with the highest mean + exploration · √(ln visits of all / own visits); first those without a visit.

    Among those, the one with the highest prior.
    """
    edges = node.edges
    visits = pending = 0
    value_sum = 0.0
    untried: Edge | None = None
    for edge in edges:
        visits += edge.visits
        pending += edge.pending
        value_sum += edge.value_sum
        if not edge.visits and not edge.pending and (untried is None or edge.prior > untried.prior):
            untried = edge
    if untried is not None:
        return untried
    guess = value_sum / visits if visits else 0.0
    scale = log(visits + pending)
    best = edges[0]
    highest = float("-inf")
    for edge in edges:
        own = edge.visits
        mean = edge.value_sum / own if own else guess
        score = mean + exploration * sqrt(scale / (own + edge.pending))
        if score > highest:
            best, highest = edge, score
    return best


POLICIES: Final[dict[str, Select]] = {"puct": puct, "uct": uct}
