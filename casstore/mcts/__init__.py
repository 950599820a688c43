# SPDX-License-Identifier: MIT
"""Search trees over states: a node is a branch, going back is a fork, giving up is freeing what differed."""

from __future__ import annotations

from casstore.mcts.costs import NodeCost
from casstore.mcts.edits import DELETED
from casstore.mcts.errors import SearchError
from casstore.mcts.keeping import Policy, best, path, subtree
from casstore.mcts.node import Edge, Node
from casstore.mcts.pruning import PrunePlan, PruneReport
from casstore.mcts.resuming import resume
from casstore.mcts.search import SearchResult, search
from casstore.mcts.tree import StateTree

__all__ = [
    "DELETED",
    "Edge",
    "Node",
    "NodeCost",
    "Policy",
    "PrunePlan",
    "PruneReport",
    "SearchError",
    "SearchResult",
    "StateTree",
    "best",
    "path",
    "resume",
    "search",
    "subtree",
]
