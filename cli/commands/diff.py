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
from ..units import SIZE, format_size

if TYPE_CHECKING:
    from casstore import Change, Store

    from ..documents import DocumentChange
    from ..fields import Failures


@store_command(
    "diff",
    example="casstore --store state.cas diff main try-7\n"
    "casstore --store state.cas diff main:files/src try-7:files/src --patch",
)
@click.argument("old", metavar="A", shell_complete=complete_state)
@click.argument("new", metavar="B", shell_complete=complete_state)
@click.option("-p", "--patch", is_flag=True, help="Show text differences, as `git apply` reads them.")
@click.option("--stat", is_flag=True, help="Show sizes, and totals at the end.")
@click.option("--name-only", is_flag=True, help="Show keys alone; no object is looked into.")
@click.option("--all", "show_all", is_flag=True, help="Show every changed field, and values whole.")
@click.option(
    "--limit", type=SIZE, metavar="SIZE", help="Decode objects of up to this size (default: 4 to 256MiB, by type)."
)
def command(
    call: Call, old: str, new: str, patch: bool, stat: bool, name_only: bool, show_all: bool, limit: int | None
) -> None:
    """What differs between A and B: added, modified and deleted keys.

    Files are shown by their path, objects as objects/KEY, with a line for each changed field; a document is one object,
    but for --stat and --patch. A place restricts the comparison: NAME:files/src.
    """
    if patch + stat + name_only > 1:
        raise click.UsageError("--patch, --stat and --name-only exclude each other.")
    old_place, new_place = parse_place(old), parse_place(new)
    within = _common_key(old_place, new_place)
    look = _Look(limit, show_all=show_all)
    with call.read() as store:
        changes = _changes(store, old_place, new_place, within)
        shown = changes if patch else _with_documents(store, old_place, new_place, changes, within)
        if call.out.as_json:
            head = {"old": store.resolve(old_place.state).id, "new": store.resolve(new_place.state).id}
            call.out.json_stream(head, "changes", _json_items(store, shown, look, patch, name_only))
        elif patch:
            _print_patch(store, changes)
        elif stat:
            _print_stat(call, changes)
        else:
            for change in shown:
                line = f"{change.letter} {display_key(change.key)}"
                if name_only or not _is_changed_object(change):
                    call.out.line(line)
                else:
                    _print_fields(call, store, change, line, look)
    if look.failures is not None:
        look.failures.exit()


class _Look:
    """How objects are looked into, and what could not be shown; nothing of it is imported where none differs."""

    __slots__ = ("failures", "limit", "show_all")

    def __init__(self, limit: int | None, *, show_all: bool) -> None:
        self.limit = limit
        self.show_all = show_all
        self.failures: Failures | None = None


def _is_changed_object(change: Change | DocumentChange) -> bool:
    return change.letter == "M" and change.key.startswith("objects/")


def _print_fields(call: Call, store: Store, change: Change | DocumentChange, line: str, look: _Look) -> None:
    from ..fields import Failures, change_lines

    look.failures = look.failures or Failures()
    found = False
    for field in change_lines(store, change, look.failures, limit=look.limit, show_all=look.show_all):
        found = True
        call.out.line(f"{line}: {field}")
    if not found:
        call.out.line(line)


def _json_items(
    store: Store, changes: Iterator[Change | DocumentChange], look: _Look, patch: bool, name_only: bool
) -> Iterator[dict[str, Any]]:
    for change in changes:
        item = _json(store, change, patch=patch)
        if not name_only and not patch and _is_changed_object(change):
            from ..fields import Failures, changes_json

            look.failures = look.failures or Failures()
            item |= changes_json(store, change, look.failures, limit=look.limit, show_all=look.show_all)
        yield item


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


def _with_documents(
    store: Store, old: Place, new: Place, changes: Iterator[Change], within: str
) -> Iterator[Change | DocumentChange]:
    from ..documents import with_documents

    first, second = (store.resolve(place.state).roots.get("objects") for place in (old, new))
    return with_documents(store, changes, (first, second), within)


def _json(store: Store, change: Change | DocumentChange, *, patch: bool) -> dict[str, Any]:
    from ..documents import DocumentChange, document_json
    from ..entries import entry_json

    if isinstance(change, DocumentChange):
        sides = {"old": document_json(change.old), "new": document_json(change.new)}
        return {"letter": change.letter, **json_name("key", change.key), **sides}
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
