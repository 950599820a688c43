# SPDX-License-Identifier: MIT
"""The examples of ``docs/format.md`` that are about workspaces, as the code writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from blake3 import blake3

from casstore.address import Address, type_key
from casstore.format import slots, workspace_files
from casstore.format.entry import Entry, encode_entry
from casstore.format.index_entry import CACHE
from casstore.format.stat_cache import cache_key
from casstore.workspace.overlay.upper import Upper
from casstore.workspace.scanning.fingerprint import Fingerprint

NANOSECONDS: Final = 1_700_000_000_000_000_000
ID: Final = "3f9c2a1b"
SEEN: Final = Fingerprint(131_081, 200, NANOSECONDS, NANOSECONDS + 5, 0o100755)
DIGESTS: Final = {f"key {name}": type_key(name) for name in ("slot", "workspace", "journal")}


class Kept:
    """Stands for a store's cache, and remembers what is put into it."""

    def __init__(self) -> None:
        self.backend = self
        self.changes: dict[bytes, bytes | None] = {}

    def cache(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(())

    def put_cache(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.changes.update(changes)


def overlay_cache(entry: Entry) -> tuple[bytes, bytes]:
    """Key and value of what is remembered of the file ``bin/run`` of an overlay."""
    kept: Any = Kept()
    upper = Upper("/nowhere", cache_key=cache_key(0, int(ID, 16)) + b"u")
    upper._keep(kept, {}, {b"bin/run": (SEEN, entry)})
    ((key, value),) = kept.changes.items()
    return CACHE + key, value


def slot(payload: bytes) -> bytes:
    return slots.encode_slot(slots.Slot(4, 1, payload), slots.PAGE_BYTES) or b""


def info(snapshot: Address) -> workspace_files.Info:
    last = workspace_files.LastSwitch(source=None, target=snapshot, base=None, ref=None, time_ns=NANOSECONDS)
    return workspace_files.Info(
        id=ID,
        path="/home/ada/work",
        device=2049,
        inode=131_075,
        base=snapshot,
        base_ref="main",
        created_ns=NANOSECONDS,
        last_switch=last,
    )


def journal(snapshot: Address) -> workspace_files.Journal:
    return workspace_files.Journal(
        token="0123456789abcdef", source=snapshot, target=None, base=None, ref=None, time_ns=NANOSECONDS
    )


def examples(snapshot: Address, content: bytes, entry: Entry) -> dict[str, bytes]:
    key, value = overlay_cache(entry)
    return {
        "slot": slot(content),
        "workspace": workspace_files.encode_info(info(snapshot)),
        "journal": workspace_files.encode_journal(journal(snapshot)),
        "index-cache-overlay-key": key,
        "index-cache-overlay": value,
    }


def fields(content: bytes, entry: Entry) -> dict[str, tuple[bytes, dict[str, bytes]]]:
    data = slot(content)
    return {
        "Slot": (
            data,
            {
                "number": (4).to_bytes(8, "little"),
                "unsynced": (1).to_bytes(4, "little"),
                "payload length": len(content).to_bytes(4, "little"),
                "payload": content,
                "slot digest": blake3(data[: 16 + len(content)], key=type_key("slot")).digest(),
            },
        ),
        "Overlays in the stat cache": (
            overlay_cache(entry)[1],
            {
                "inode": SEEN.inode.to_bytes(8, "big"),
                "size": SEEN.size.to_bytes(8, "big"),
                "mtime": SEEN.mtime_ns.to_bytes(8, "big"),
                "ctime": SEEN.ctime_ns.to_bytes(8, "big"),
                "mode": SEEN.mode.to_bytes(4, "big"),
                "entry": encode_entry(entry),
            },
        ),
    }
