# SPDX-License-Identifier: MIT
"""``casstore fork``: a new ref at a state."""

from __future__ import annotations

import click

from ..session import Call, complete_state, store_command
from ..views import short_id


@store_command("fork", example="casstore --store state.cas fork main try-7", writes=True)
@click.argument("state", metavar="FROM", shell_complete=complete_state)
@click.argument("name", metavar="NEWREF")
def command(call: Call, state: str, name: str) -> None:
    """Make the new ref NEWREF at the state FROM. Fails where NEWREF exists."""
    with call.write() as store:
        snapshot = store.resolve(state)
        store.refs.compare_and_set(name, None, snapshot, reason=f"fork of {state}")
    if call.out.as_json:
        call.out.json(name=name, source=state, id=snapshot.id, state_id=snapshot.state_id)
        return
    call.out.line(f"{name} is {short_id(snapshot.id)}, a fork of {state}")
