# SPDX-License-Identifier: MIT
"""State ids of the model's states, from a store in memory that has seen nothing else."""

from __future__ import annotations

import casstore
from benchmarks.soak_values import Edit, State


class Oracle:
    """Tells the id that a state must have in any store."""

    def __init__(self) -> None:
        self._store = casstore.open(":memory:", config=casstore.Config(cache_bytes=0))

    def state_id(self, state: State) -> str:
        """64 hex digits."""
        branch = self._store.branch()
        Edit(dict(state.files), [], state.objects.get("memory")).to(branch)
        found = branch.state_id().hex()
        branch.discard()
        return found
