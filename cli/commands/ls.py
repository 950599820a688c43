# SPDX-License-Identifier: MIT
"""``casstore ls``: what a state holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..names import json_name
from ..places import Place, parse_place
from ..session import Call, complete_state, store_command
from ..units import format_size

if TYPE_CHECKING:
    from casstore import Store

    from ..entries import Listed


@store_command("ls", example="casstore --store state.cas ls main\ncasstore --store state.cas ls -l main:files/src")
@click.argument("place", metavar="STATE[:files/PATH]", shell_complete=complete_state)
@click.option("-l", "--long", is_flag=True, help="Show kind, size and address too.")
@click.option("-r", "--recursive", is_flag=True, help="List everything below, by path.")
def command(call: Call, place: str, long: bool, recursive: bool) -> None:
    """List what a state holds: its files, or what is at a place in it.

    Names are relative to the place; a directory ends with a slash. STATE:objects lists the objects.
    """
    from ..entries import list_entries

    wanted = parse_place(place)
    if not wanted.root:
        wanted = Place(wanted.state, "files", "")
    with call.read() as store:
        snapshot = store.resolve(wanted.state)
        items = list_entries(store, snapshot, wanted, recursive=recursive)
        if call.out.as_json:
            head = {"id": snapshot.id, "state_id": snapshot.state_id}
            call.out.json_stream(head, "entries", (_json(store, item) for item in items))
        elif long:
            call.out.table(("kind", ">size", "address", "name"), (_row(store, item) for item in items))
        else:
            for item in items:
                call.out.line(_shown_name(item))


def _shown_name(item: Listed) -> str:
    from casstore.format.entry import DIRECTORY

    return f"{item.name}/" if item.entry is None or item.entry.kind == DIRECTORY else item.name


def _row(store: Store, item: Listed) -> tuple[str, ...]:
    from casstore.format.entry import DIRECTORY, KIND_NAMES, SYMLINK

    from ..entries import symlink_target
    from ..views import SHORT_DIGITS

    entry, name = item.entry, _shown_name(item)
    if entry is None or entry.kind == DIRECTORY:
        return ("directory", "", "", name)
    if entry.kind == SYMLINK:
        name += f" -> {symlink_target(store, entry)}"
    address = "inline" if entry.address is None else entry.address.hex()[:SHORT_DIGITS]
    return (KIND_NAMES[entry.kind], format_size(entry.size), address, name)


def _json(store: Store, item: Listed) -> dict[str, Any]:
    from casstore.format.entry import SYMLINK

    from ..entries import entry_json, symlink_target

    shown = {**json_name("name", item.name), **json_name("key", item.key)}
    shown.update(entry_json(item.entry) or {"kind": "directory"})
    if item.entry is not None and item.entry.kind == SYMLINK:
        shown.update(json_name("target", symlink_target(store, item.entry)))
    return shown
