# SPDX-License-Identifier: MIT
"""``casstore verify``: is everything there, and is it what was written?"""

from __future__ import annotations

import click

from ..progress import progress
from ..session import Call, store_command
from ..views import facts_of


@store_command("verify", example="casstore --store state.cas verify")
@click.option("--no-data", is_flag=True, help="Follow the structure only; do not read contents.")
def command(call: Call, no_data: bool) -> None:
    """Read everything that refs reach and check it against its address.

    Damage is named, each object with its segment and offset, and the exit code is 4.
    """
    from casstore.errors import CorruptionError

    with call.read() as store:
        try:
            with progress(as_json=call.out.as_json) as callback:
                report = store.verify(read_data=not no_data, progress=callback)
        except CorruptionError as error:
            if error.report is not None and not call.out.as_json:
                call.out.facts(facts_of(error.report))
            raise
    if call.out.as_json:
        call.out.json(sound=True, data_read=not no_data, report=report)
        return
    call.out.facts(facts_of(report))
    call.out.line(
        "sound: everything that was checked is what was written" + (" (contents not read)" if no_data else "")
    )
