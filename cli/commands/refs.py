# SPDX-License-Identifier: MIT
"""``casstore refs``: names of snapshots. Every change prints the command that takes it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..session import Call, common_options, complete_state, help_example, store_command
from ..units import format_time, json_time
from ..views import first_line, move_json, move_row, short_id

if TYPE_CHECKING:
    from casstore import Snapshot, Store

_ALL = "Also those that keep what was saved from workspaces."


@click.group(
    "refs",
    invoke_without_command=True,
    epilog=help_example(
        "casstore --store state.cas refs\n"
        "casstore --store state.cas refs --all\n"
        "casstore --store state.cas refs undo main"
    ),
)
@click.option("--all", "everything", is_flag=True, help=_ALL)
@click.pass_context
def command(ctx: click.Context, everything: bool) -> None:
    """List, set, delete, rename and undo refs. Without a subcommand: list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_refs, everything=everything)
    elif everything:
        raise click.UsageError(f"--all is for the list; write `casstore refs {ctx.invoked_subcommand}` without it.")


@store_command("refs list", example="casstore --store state.cas refs list")
@click.option("--all", "everything", is_flag=True, help=_ALL)
def list_refs(call: Call, everything: bool) -> None:
    """List refs with the snapshots that they name.

    A snapshot that is lost or damaged is told in its line; the exit code is 4 then.
    """
    from casstore.errors import CorruptionError
    from casstore.snapshots.refs import WORKSPACE_PREFIX

    hurt: list[CorruptionError] = []

    def found(store: Store, name: str) -> Snapshot | None:
        try:
            return store.refs[name]
        except CorruptionError as error:
            hurt.append(error)
            return None

    with call.read() as store:
        names = [name for name in sorted(store.refs) if everything or not name.startswith(WORKSPACE_PREFIX)]
        items = ((name, found(store, name)) for name in names)
        if call.out.as_json:
            call.out.json_stream({}, "refs", (_ref_json(store, name, snapshot) for name, snapshot in items))
        else:
            call.out.table(
                ("ref", "snapshot", "time", "message"), (_ref_row(store, name, snapshot) for name, snapshot in items)
            )
    if hurt:
        raise hurt[0]


def _ref_json(store: Store, name: str, snapshot: Snapshot | None) -> dict[str, object]:
    if snapshot is None:
        return {"name": name, "id": store.refs.id_of(name), "state_id": None, "time_ns": None, "lost": True}
    return {
        "name": name,
        "id": snapshot.id,
        "state_id": snapshot.state_id,
        "time_ns": snapshot.time_ns,
        "time": json_time(snapshot.time_ns),
        "message": snapshot.message,
    }


def _ref_row(store: Store, name: str, snapshot: Snapshot | None) -> tuple[str, ...]:
    if snapshot is None:
        return (name, short_id(store.refs.id_of(name)), "", "cannot be read")
    return (name, short_id(snapshot.id), format_time(snapshot.time_ns), first_line(snapshot.message))


@store_command("refs set", example="casstore --store state.cas refs set best 3f9c2a", writes=True)
@click.argument("name", shell_complete=complete_state)
@click.argument("state", shell_complete=complete_state)
def set_ref(call: Call, name: str, state: str) -> None:
    """Point NAME at STATE."""
    with call.write() as store:
        snapshot = store.resolve(state)
        move = store.refs.compare_and_set(name, store.refs.id_of(name), snapshot, reason="refs set")
    _say_moved(call, name, move.old, move.new, undo=("refs", "undo", name))


@store_command("refs delete", example="casstore --store state.cas refs delete try-7", writes=True)
@click.argument("name", shell_complete=complete_state)
def delete_ref(call: Call, name: str) -> None:
    """Delete NAME. Its snapshot stays for the undo period."""
    with call.write() as store:
        move = store.refs.delete(name, reason="refs delete")
    _say_moved(call, name, move.old, None, undo=("refs", "undo", name))


@store_command("refs rename", example="casstore --store state.cas refs rename try-7 best", writes=True)
@click.argument("old", shell_complete=complete_state)
@click.argument("new")
def rename_ref(call: Call, old: str, new: str) -> None:
    """Give the ref OLD the name NEW."""
    with call.write() as store:
        store.refs.rename(old, new)
        identity = store.refs.id_of(new)
    undo = call.shell_line("refs", "rename", new, old)
    if call.out.as_json:
        call.out.json(old=old, new=new, id=identity, undo=undo)
        return
    call.out.line(f"{old} is now {new} ({short_id(identity)})")
    call.out.line(f"undo: {undo}")


@store_command("refs history", example="casstore --store state.cas refs history main")
@click.argument("name", shell_complete=complete_state)
def ref_history(call: Call, name: str) -> None:
    """Who moved NAME, from where to where, and when; newest first."""
    with call.read() as store:
        moves = store.refs.history(name)
        if not moves and name not in store.refs:
            from casstore.errors import NotFoundError

            raise NotFoundError(f"no ref was ever named {name!r}; list refs with `casstore refs`.", path=name)
    if call.out.as_json:
        call.out.json(name=name, moves=[move_json(move) for move in moves])
        return
    call.out.table((">number", "time", "old", "new", "actor", "reason"), map(move_row, moves))


@store_command("refs undo", example="casstore --store state.cas refs undo main", writes=True)
@click.argument("name", shell_complete=complete_state)
def undo_ref(call: Call, name: str) -> None:
    """Take back the last move of NAME, its deletion included."""
    with call.write() as store:
        move = store.refs.undo(name)
    back = ("refs", "delete", name) if move.old is None else ("refs", "set", name, move.old.hex())
    _say_moved(call, name, move.old, move.new, undo=back)


def _say_moved(call: Call, name: str, old: bytes | None, new: bytes | None, *, undo: tuple[str, ...]) -> None:
    undo_line = call.shell_line(*undo)
    if call.out.as_json:
        call.out.json(name=name, old=old, new=new, undo=undo_line)
        return
    if new is None:
        call.out.line(f"{name} is deleted (was {short_id(old)})")
    else:
        call.out.line(f"{name} is {short_id(new)}" + (f" (was {short_id(old)})" if old else ""))
    call.out.line(f"undo: {undo_line}")


command.params += common_options()
for _subcommand in (list_refs, set_ref, delete_ref, rename_ref, ref_history, undo_ref):
    command.add_command(_subcommand)
