# SPDX-License-Identifier: MIT
"""``casstore diff``: what differs between two states."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..names import display_key, json_name
from ..places import Place, parse_place
from ..session import Call, complete_state, store_command
from ..units import format_size

if TYPE_CHECKING:
    from casstore import Change, Store


@store_command(
    "diff",
    example="casstore --store state.cas diff main try-7\n"
    "casstore --store state.cas diff main:files/src try-7:files/src --patch",
)
@click.argument("old", metavar="A", shell_complete=complete_state)
@click.argument("new", metavar="B", shell_complete=complete_state)
@click.option("-p", "--patch", is_flag=True, help="Show text differences, as `git apply` reads them.")
@click.option("--stat", is_flag=True, help="Show sizes, and totals at the end.")
def command(call: Call, old: str, new: str, patch: bool, stat: bool) -> None:
    """What differs between A and B: added, modified and deleted keys.

    Files are shown by their path, objects as objects/KEY. A place restricts the comparison: NAME:files/src.
    """
    if patch and stat:
        raise click.UsageError("--patch and --stat exclude each other.")
    old_place, new_place = parse_place(old), parse_place(new)
    within = _common_key(old_place, new_place)
    with call.read() as store:
        changes = _changes(store, old_place, new_place, within)
        if call.out.as_json:
            head = {"old": store.resolve(old_place.state).id, "new": store.resolve(new_place.state).id}
            call.out.json_stream(head, "changes", (_json(store, change, patch) for change in changes))
        elif patch:
            _print_patch(store, changes)
        elif stat:
            _print_stat(call, changes)
        else:
            for change in changes:
                call.out.line(f"{change.letter} {display_key(change.key)}")


def _common_key(old: Place, new: Place) -> str:
    """The key that both places restrict the comparison to; empty for none.

    Raises:
        casstore.InvalidInputError: They name different keys.
    """
    if old.key and new.key and old.key != new.key:
        from casstore.errors import InvalidInputError

        raise InvalidInputError(f"{old.key} and {new.key} are different places; name the same one in both states.")
    return old.key or new.key


def _changes(store: Store, old: Place, new: Place, within: str) -> Iterator[Change]:
    changes = store.diff(old.state, new.state)
    if not within:
        return changes
    if not any(_holds(store, place.state, within) for place in (old, new)):
        from casstore.errors import NotFoundError

        raise NotFoundError(f"neither state holds {within!r}; list what they hold with `casstore ls`.", path=within)
    below = f"{within}/"
    return (change for change in changes if change.key == within or change.key.startswith(below))


def _holds(store: Store, state: str, key: str) -> bool:
    """Whether a state has a key, or keys below it."""
    from casstore.snapshots import encode_key
    from casstore.tree import first_key, lookup

    name, _, path = key.partition("/")
    root = store.resolve(state).roots.get(name)
    raw = encode_key(path)
    if not raw or lookup(store.nodes, root, raw) is not None:
        return True
    below = first_key(store.nodes, root, raw + b"/")
    return below is not None and below.startswith(raw + b"/")


def _json(store: Store, change: Change, patch: bool) -> dict[str, Any]:
    from ..entries import entry_json

    item: dict[str, Any] = {
        "letter": change.letter,
        **json_name("key", change.key),
        "old": entry_json(change.old),
        "new": entry_json(change.new),
    }
    if patch:
        from ..patches import patch_of

        item["patch"] = patch_of(store, change).decode("utf-8", "backslashreplace")
    return item


def _print_patch(store: Store, changes: Iterator[Change]) -> None:
    from ..names import printable
    from ..patches import patch_of

    output = sys.stdout.buffer
    terminal = sys.stdout.isatty()
    for change in changes:
        data = patch_of(store, change)
        if terminal:  # what a file holds must not steer the terminal; a pipe gets the exact bytes
            lines = data.decode("utf-8", "surrogateescape").split("\n")
            data = "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines).encode()
        output.write(data)
    output.flush()


def _print_stat(call: Call, changes: Iterator[Change]) -> None:
    from ..entries import entry_size

    counts = {"A": 0, "M": 0, "D": 0}
    totals = [0, 0]

    def rows() -> Iterator[tuple[str, ...]]:
        for change in changes:
            counts[change.letter] += 1
            old, new = entry_size(change.old), entry_size(change.new)
            totals[0] += old
            totals[1] += new
            yield (
                change.letter,
                "-" if change.old is None else format_size(old),
                "-" if change.new is None else format_size(new),
                display_key(change.key),
            )

    call.out.table(("", ">before", ">after", "key"), rows())
    call.out.line(
        f"{counts['A']} added, {counts['M']} modified, {counts['D']} deleted; "
        f"{format_size(totals[0])} before, {format_size(totals[1])} after"
    )
