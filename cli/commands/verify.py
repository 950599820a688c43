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
        with casstore.open(call.store_path, create=False) as store:
            count = store.mark_damaged(report)
    except casstore.CasstoreError as error:
        call.out.note(f"the damage could not be marked ({error}); verify again when nobody writes the store.")
        return
    call.out.note(f"{count} damaged records are marked: import the same content again to heal them.")


@store_command("verify", example="casstore --store state.cas verify")
@click.option("--no-data", is_flag=True, help="Follow the structure only; do not read contents.")
def command(call: Call, no_data: bool) -> None:
    """Read everything that refs reach and check it against its address.

    Damage is named, each object with its segment and offset, and the exit code is 4. Damaged records are marked, where
    nobody else writes the store: an import of the same content then writes them again.
    """
    from casstore.errors import CorruptionError

    damage: CorruptionError | None = None
    report: VerifyReport | None = None
    with call.read() as store:
        try:
            with progress(as_json=call.out.as_json) as callback:
                report = store.verify(read_data=not no_data, progress=callback)
        except CorruptionError as error:
            damage = error
            if error.report is not None and not call.out.as_json:
                call.out.facts(facts_of(error.report))
    if damage is not None:
        _mark(call, damage)
        raise damage
    if call.out.as_json:
        call.out.json(sound=True, data_read=not no_data, report=report)
        return
    call.out.facts(facts_of(report))
    call.out.line(
        "sound: everything that was checked is what was written" + (" (contents not read)" if no_data else "")
    )
