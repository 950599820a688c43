# SPDX-License-Identifier: MIT
"""``casstore prove``: what a state holds, shown to somebody who has only its state id."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..names import json_name, key_text, shell_join
from ..session import Call, complete_state, store_command
from ..units import format_count, format_size

if TYPE_CHECKING:
    from casstore import Proven


@store_command(
    "prove",
    example="casstore --store state.cas prove main files/src/a.py --out a.proof\n"
    "casstore prove --check a.proof --state-id 3f9c... files/src/a.py",
)
@click.argument("words", metavar="STATE KEY", nargs=-1, shell_complete=complete_state)
@click.option("--out", type=click.Path(allow_dash=True), metavar="FILE", help="Where to write the proof.")
@click.option("--check", type=click.Path(allow_dash=True), metavar="FILE", help="Check the proof in FILE instead.")
@click.option("--state-id", metavar="HEX", help="The state that --check is about, from a source that you trust.")
def command(call: Call, words: tuple[str, ...], out: str | None, check: str | None, state_id: str | None) -> None:
    """Write a proof of what a state holds at KEY: an entry, or nothing.

    KEY is files/src/a.py or objects/memory; with a slash at the end, files/src/, the proof is of everything below. With
    --check FILE --state-id HEX [KEY] no store is read: what FILE proves of that state is printed, and a proof that does
    not hold, or is of another KEY, ends with 4.
    """
    if check is not None:
        if state_id is None or out is not None or len(words) > 1:
            raise click.UsageError("a check takes --check FILE --state-id HEX [KEY], and nothing else.")
        _check(call, check, state_id, words[0] if words else None)
        return
    if len(words) == 1:
        words = tuple(words[0].partition(":")[::2])
    if state_id is not None or len(words) != 2 or not words[1]:
        raise click.UsageError("prove takes STATE KEY, as in `prove main files/src/a.py`, or --check FILE.")
    if out is None and call.out.terminal:
        raise click.UsageError("a proof is no text for a terminal; pass --out FILE, or redirect.")
    _prove(call, *words, out)


def _prove(call: Call, state: str, key: str, out: str | None) -> None:
    from casstore import verify_proof

    with call.read() as store:
        snapshot = store.resolve(state)
        proof = store.prove(snapshot, key)
    proven = verify_proof(snapshot.state_id, proof, key)
    to_stdout = out is None or out == "-"
    if not to_stdout:
        with open(out or "", "wb") as file:
            file.write(proof)
    if call.out.as_json:
        call.out.json(
            id=snapshot.id,
            state_id=snapshot.state_id,
            **_json(proven),
            bytes=len(proof),
            out=None if to_stdout else out,
            proof=base64.b64encode(proof).decode() if to_stdout else None,
        )
    elif to_stdout:
        sys.stdout.buffer.write(proof)
        sys.stdout.buffer.flush()
    else:
        call.out.line(f"{out} proves that {_words(proven)} ({format_size(len(proof))})")
        line = shell_join(["casstore", "prove", "--check", str(out), "--state-id", snapshot.state_id.hex(), key])
        call.out.line(f"check: {line}")


def _check(call: Call, path: str, state_id: str, key: str | None) -> None:
    from casstore import verify_proof
    from casstore.address import parse_address

    identity = parse_address(state_id)
    proven = verify_proof(identity, _read(path), key)
    if call.out.as_json:
        head = {"state_id": identity, **_json(proven)}
        if proven.entries is None:
            call.out.json(**head)
        else:
            call.out.json_stream(head, "entries", _listed(proven))
        return
    call.out.line(f"proven of state {state_id}: {_words(proven)}")
    if proven.entries is not None:
        call.out.table(("kind", ">size", "address", "key"), _rows(proven))


def _read(path: str) -> bytes:
    from casstore.errors import InvalidInputError, NotFoundError

    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"there is no proof {path}; check the spelling.", path=path) from None
    except IsADirectoryError:
        raise InvalidInputError(f"{path} is a directory, so no proof.", path=path) from None


def _json(proven: Proven) -> dict[str, Any]:
    from ..described import content_address_of
    from ..entries import entry_json

    head = json_name("key", proven.name)
    if proven.entries is not None:
        return {**head, "keys": len(proven.entries)}
    entry = proven.entry
    return {**head, "present": entry is not None, "entry": entry_json(entry), "content": content_address_of(entry)}


def _words(proven: Proven) -> str:
    from ..described import content_address_of, entry_words

    entry = proven.entry
    if proven.entries is not None:
        return f"{proven.name} has {format_count(len(proven.entries), 'key')}"
    if entry is None:
        return f"{proven.name} is absent"
    address = content_address_of(entry)
    return f"{proven.name} is there: {entry_words(entry)}" + ("" if address is None else f", {address.hex()}")


def _listed(proven: Proven) -> Iterator[dict[str, Any]]:
    from ..described import content_address_of
    from ..entries import entry_json

    for key, entry in proven.entries or ():
        shown = entry_json(entry) or {}
        yield {**json_name("key", f"{proven.root_name}/{key_text(key)}"), **shown, "content": content_address_of(entry)}


def _rows(proven: Proven) -> Iterator[tuple[str, ...]]:
    from ..described import content_address_of, entry_words

    for key, entry in proven.entries or ():
        address = content_address_of(entry)
        kind, _, size = entry_words(entry).partition(", ")
        yield (kind, size, "" if address is None else address.hex(), f"{proven.root_name}/{key_text(key)}")
