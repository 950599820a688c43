# SPDX-License-Identifier: MIT
"""``casstore cat``: the bytes of one content."""

from __future__ import annotations

import base64
import shutil
import sys
from typing import Any, Final

import click

from ..names import json_name
from ..places import parse_content_place
from ..session import Call, complete_state, store_command
from ..units import format_size

MAX_JSON_BYTES: Final = 16 * 1024 * 1024
_COPY_BYTES: Final = 1024 * 1024


@store_command("cat", example="casstore --store state.cas cat main:files/README.md | less")
@click.argument("place", metavar="STATE:files/PATH", shell_complete=complete_state)
def command(call: Call, place: str) -> None:
    """Print the bytes of one file; of a symlink its target; of an object its stored bytes.

    With --json the bytes stand in `text` where they are UTF-8, and in `base64` otherwise.
    """
    from ..entries import entry_at, entry_json, open_entry

    wanted = parse_content_place(place)
    with call.read() as store:
        entry = entry_at(store, store.resolve(wanted.state), wanted)
        if call.out.as_json and entry.size > MAX_JSON_BYTES:
            from casstore.errors import InvalidInputError

            raise InvalidInputError(
                f"{place} has {format_size(entry.size)}, too much for JSON; run cat without --json.", path=wanted.path
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
