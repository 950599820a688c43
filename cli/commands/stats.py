# SPDX-License-Identifier: MIT
"""``casstore stats``: sizes, counts and ratios of a store."""

from __future__ import annotations

from ..session import Call, store_command
from ..views import facts_of


@store_command("stats", example="casstore --store state.cas stats\ncasstore --store state.cas stats --json")
def command(call: Call) -> None:
    """Sizes, counts and ratios: what deduplication saves and what compression saves, apart.

    JSON has exact numbers of bytes.
    """
    with call.read() as store:
        stats = store.stats()
    if call.out.as_json:
        call.out.json(stats=stats)
        return
    call.out.facts(facts_of(stats))
