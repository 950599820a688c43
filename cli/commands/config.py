# SPDX-License-Identifier: MIT
"""``casstore config``: quota, grace period and time of undo, and the saved keep rules, which the store keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ..session import Call, store_command
from ..units import exact_size, format_duration, parse_duration, parse_size

if TYPE_CHECKING:
    from casstore import Store

_FIELDS: Final = {"max_bytes": "max_bytes", "grace": "grace_seconds", "undo_keep": "undo_keep_seconds"}
"""Key on the command line → field of the store's settings."""


@store_command(
    "config",
    example="casstore --store state.cas config\n"
    "casstore --store state.cas config max_bytes 20GiB\n"
    "casstore --store state.cas config undo_keep 7d",
    writes=True,
)
@click.argument("key", required=False, type=click.Choice(list(_FIELDS)), metavar="[KEY]")
@click.argument("value", required=False)
def command(call: Call, key: str | None, value: str | None) -> None:
    """Show all settings, or KEY; or set KEY to VALUE.

    max_bytes is a size (20GiB, or none): what the records of the store may take, headers and garbage counted, the index
    not. Who would pass it gets an error; deleting refs and collecting always work. grace and undo_keep are durations
    (90s, 1h, 7d). Keep rules are shown; `gc --save` and `gc --forget-rules` change them.
    """
    if key is not None and value is not None:
        wanted = _parse(key, value)
        with call.write() as store:
            old = _settings(store)[key]
            store.configure(**{_FIELDS[key]: wanted})
            settings = _settings(store)
        if call.out.as_json:
            call.out.json(settings=_json(settings), changed=key, old=old)
            return
        call.out.line(f"{key} is {_show(key, settings[key])} (was {_show(key, old)})")
        return
    with call.read() as store:
        settings = _settings(store)
        rules = store.settings.retention
    if key is not None:
        settings = {key: settings[key]}
    if call.out.as_json:
        call.out.json(settings=_json(settings) | ({"retention": rules} if key is None else {}))
    elif key is not None:
        call.out.line(_show(key, settings[key]))
    else:
        facts = [(name, _show(name, setting)) for name, setting in settings.items()]
        call.out.facts([*facts, *(("keep rule", str(rule)) for rule in rules)])


def _settings(store: Store) -> dict[str, Any]:
    return {key: getattr(store.settings, field) for key, field in _FIELDS.items()}


def _json(settings: dict[str, Any]) -> dict[str, Any]:
    return {_FIELDS[key]: value for key, value in settings.items()}


def _parse(key: str, text: str) -> int | None:
    try:
        if key != "max_bytes":
            return parse_duration(text)
        return None if text.lower() == "none" else parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'VALUE'") from None


def _show(key: str, value: int | None) -> str:
    if value is None:
        return "none"
    if key == "max_bytes":
        return exact_size(value)
    return format_duration(value)
