# SPDX-License-Identifier: MIT
"""``casstore verify``: is everything there, and is it what was written?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..progress import progress
from ..session import Call, store_command
from ..views import facts_of

if TYPE_CHECKING:
    from casstore.collection import VerifyReport
    from casstore.errors import CorruptionError


def _mark(call: Call, damage: CorruptionError) -> None:
    """Marks what is damaged, so that the same content is not taken for stored when it comes again."""
    import casstore

    report = damage.report
    if not isinstance(report, casstore.VerifyReport):
        return
    try:
        with call.write_at_once() as store:
            count = store.mark_damaged(report)
    except casstore.CasstoreError as error:
        call.out.note(f"the damage could not be marked ({error}); verify again when nobody writes the store.")
        return
    if not count:
        return
    marked = "1 damaged record is" if count == 1 else f"{count:,} damaged records are"
    call.out.note(f"{marked} marked: import the same content again to heal.")


@store_command("verify", example="casstore --store state.cas verify")
@click.option("--no-data", is_flag=True, help="Follow the structure only; do not read contents.")
def command(call: Call, no_data: bool) -> None:
    """Read everything that refs reach and check it against its address.

    Damage is named, a line for each record that is to blame: where it lies, and some of the places that need it. The
    exit code is 4; `repair` is the next step. Damaged records are marked, where nobody else writes the store: an import
    of the same content then writes them again.
    """
    from dataclasses import replace

    import casstore
    from casstore.errors import CorruptionError

    from ..damage import damage_lines

    damage: CorruptionError | None = None
    report: VerifyReport | None = None
    listed = False
    with call.read() as store:
        try:
            with progress(as_json=call.out.as_json) as callback:
                report = store.verify(read_data=not no_data, progress=callback)
        except CorruptionError as error:
            damage = error
            if isinstance(error.report, casstore.VerifyReport) and not call.out.as_json:
                call.out.facts(fact for fact in facts_of(replace(error.report, damage=[])) if fact[0] != "damage")
                for line in damage_lines(error.report):
                    call.out.line(line)
                listed = True
    if damage is not None:
        _mark(call, damage)
        if listed:  # the lines say what, and count what one record is to blame for once
            raise CorruptionError("the store is damaged; run `casstore repair`, which names what heals it.")
        raise damage
    if call.out.as_json:
        call.out.json(sound=True, data_read=not no_data, report=report)
        return
    call.out.facts(facts_of(report))
    call.out.line(
        "sound: everything that was checked is what was written" + (" (contents not read)" if no_data else "")
    )
