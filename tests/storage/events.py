# SPDX-License-Identifier: MIT
"""Stores with ref moves in them, made below the layer that knows refs."""

from __future__ import annotations

from casstore.address import Address, event_address
from casstore.format.event import RefMove, encode_history_cut, encode_ref_move, event_facts
from casstore.format.kinds import EVENT
from casstore.storage.opening import OpenStorage
from casstore.storage.storage import Storage
from tests.storage.stores import noise, open_small


def put_event(storage: Storage, payload: bytes) -> Address:
    address = event_address(payload)
    storage.put_record(EVENT, address, payload)
    return address


def move(storage: Storage, name: str, new: Address | None) -> int:
    """A ref move as the layer above makes it: a record, and its facts at the next sync point."""
    with storage.backend.write_lock():
        number = storage.backend.next_event()
        payload = encode_ref_move(
            RefMove(name=name, old=None, new=new, number=number, time_ns=1, actor="me", reason="test")
        )
        put_event(storage, payload)
        storage.backend.sync(event_facts(payload))
    return number


def facts(opened: OpenStorage) -> dict[bytes, bytes]:
    return {key: value for prefix in (b"r", b"h", b"e") for key, value in opened.storage.backend.facts(prefix)}


def filled(path: str, **fields: object) -> tuple[dict[Address, bytes], dict[bytes, bytes]]:
    """A closed store of contents and refs; what it holds."""
    opened = open_small(path, **fields)
    datas = [noise(seed, size) for seed, size in enumerate([0, 50, 3000, 700, 9000, 100])]
    contents = {opened.storage.put(data): data for data in datas}
    for number, address in enumerate(contents):
        move(opened.storage, f"ref{number % 3}", address)
    move(opened.storage, "ref1", None)
    put_event(opened.storage, encode_history_cut(opened.storage.backend.next_event(), 1))
    opened.storage.sync()
    names = facts(opened)
    opened.close()
    return contents, names


def assert_holds(opened: OpenStorage, contents: dict[Address, bytes], names: dict[bytes, bytes]) -> None:
    for address, data in contents.items():
        assert opened.storage.get(address) == data
    found = facts(opened)
    assert {key: value for key, value in found.items() if key[:1] != b"e"} == names
    numbers = [int.from_bytes(key[-8:], "big") for key in found if key[:1] in (b"h", b"e")]
    assert opened.storage.backend.next_event() > max(numbers)
