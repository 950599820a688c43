# SPDX-License-Identifier: MIT
"""``casstore cat``: the bytes of one file, or one object by field."""

from __future__ import annotations

import base64
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from ..names import json_name
from ..places import Place, parse_content_place
from ..session import Call, complete_state, store_command
from ..units import SIZE, format_size

if TYPE_CHECKING:
    from casstore import Store
    from casstore.format.entry import Entry

MAX_JSON_BYTES: Final = 16 * 1024 * 1024
_COPY_BYTES: Final = 1024 * 1024


@store_command(
    "cat",
    example="casstore --store state.cas cat main:files/README.md | less\n"
    "casstore --store state.cas cat main:objects/memory",
)
@click.argument("place", metavar="STATE:files/PATH|objects/KEY", shell_complete=complete_state)
@click.option("--raw", is_flag=True, help="Of an object, its stored bytes as they are.")
@click.option("--all", "show_all", is_flag=True, help="Of an object, everything: no list and no text is cut.")
@click.option(
    "--limit", type=SIZE, metavar="SIZE", help="Decode objects of up to this size (default: 4 to 256MiB, by type)."
)
def command(call: Call, place: str, raw: bool, show_all: bool, limit: int | None) -> None:
    """Print the bytes of one file; of a symlink its target; of an object its fields, whatever class wrote it.

    A document is shown as one object, its growing lists whole.

    With --json the bytes stand in `text` where they are UTF-8, and in `base64` otherwise; an object in `value`.
    """
    from ..entries import entry_at

    wanted = parse_content_place(place)
    with call.read() as store:
        if not raw and _print_document(call, store, wanted, limit=limit, show_all=show_all):
            return
        entry = entry_at(store, store.resolve(wanted.state), wanted)
        if wanted.root == "objects" and not raw:
            from ..objects import print_object

            print_object(call, store, wanted, entry, limit=limit, show_all=show_all)
        else:
            _print_bytes(call, store, wanted, entry)


def _print_document(call: Call, store: Store, wanted: Place, *, limit: int | None, show_all: bool) -> bool:
    """Prints a document, where that is what stands at a place."""
    if wanted.root != "objects":
        return False
    from casstore.tree import lookup

    from ..documents import document_parts, print_document
    from ..names import key_bytes

    root = store.resolve(wanted.state).roots.get("objects")
    parts = document_parts(store, root, wanted.path)
    # A value at the key itself, as an earlier version left one, goes first.
    if parts is None or lookup(store.nodes, root, key_bytes(wanted.path)) is not None:
        return False
    print_document(call, store, wanted, parts, limit=limit, show_all=show_all)
    return True


def _print_bytes(call: Call, store: Store, wanted: Place, entry: Entry) -> None:
    from ..entries import entry_json, open_entry

    if call.out.as_json and entry.size > MAX_JSON_BYTES:
        from casstore.errors import InvalidInputError

        raise InvalidInputError(
            f"{wanted.state}:{wanted.key} has {format_size(entry.size)}, too much for JSON; run cat without --json.",
            path=wanted.path,
        )
    with open_entry(store, entry, wanted) as content:
        if call.out.as_json:
            call.out.json(**json_name("key", wanted.key), entry=entry_json(entry), **_encoded(content.read()))
            return
        output = sys.stdout.buffer
        shutil.copyfileobj(content, output, _COPY_BYTES)
        output.flush()


def _encoded(data: bytes) -> dict[str, Any]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
