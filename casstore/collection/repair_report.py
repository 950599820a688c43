# SPDX-License-Identifier: MIT
"""What a repair found, what it did, and what is still hurt: plain values that print and turn into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from casstore.address import Address
from casstore.storage.filling import Stretch
from casstore.storage.quarantine import Quarantined

HurtWhat = Literal["content", "node", "snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something that is hurt is used.

    Attributes:
        state: A ref's name, or the first 12 digits of a snapshot's id.
        root: ``"files"``, ``"objects"`` or another root; empty where the snapshot itself is lost.
        key: The key; None where everything in a range of keys is hurt.
        after: Keys behind this one are hurt; None from the first on. Only where ``key`` is None.
        upto: Keys up to this one, included, are hurt; None to the last. Only where ``key`` is None.
    """

    state: str
    root: str = ""
    key: str | None = None
    after: str | None = None
    upto: str | None = None

    def __str__(self) -> str:
        if not self.root:
            return self.state
        if self.key is not None:
            return f"{self.state}:{self.root}/{self.key}"
        text = f"{self.state}:{self.root}/"
        if self.after is None and self.upto is None:
            return f"{text} (all of it)"
        start = "the first key" if self.after is None else f"behind {self.after!r}"
        return f"{text} (keys from {start} up to {'the last' if self.upto is None else repr(self.upto)})"

    @property
    def text(self) -> str:
        """The place as people write it."""
        return str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hurt:
    """Something that refs need and that cannot be read.

    Attributes:
        what: ``"content"``, ``"node"`` (a whole subtree of keys) or ``"snapshot"``.
        address: 32 bytes of what is needed.
        lost: Addresses of the records that are lost: itself, pieces of it, or the base that it is stored against. Each
            heals when it is put again.
        message: What is wrong, in words.
        places: Every ref and path that needs it.
        copies: Files of registered directories that hold exactly this content now.
        directories: Those directories; an import of one of them heals it.
        others: Places that hold another version of it, which can be read.
        in_source: Whether all that is lost is in the store or bundle that was given to take it from.
        heal: What brings it back, as words or commands; the same words for all of a kind.
    """

    what: HurtWhat
    address: Address
    lost: tuple[Address, ...]
    message: str
    places: tuple[Place, ...]
    copies: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    in_source: bool = False
    heal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair found and did; with ``dry_run`` what it would do.

    Attributes:
        path: The store's folder.
        dry_run: Whether nothing was changed.
        superblock: ``"sound"``, ``"mended"`` (the one wrong byte was found) or ``"made anew"``.
        config: ``"sound"``, ``"absent"`` or ``"set aside"``: the defaults hold then.
        index: ``"sound"``, ``"made anew"``; its state before was ``index_was``.
        index_was: ``"sound"``, ``"damaged"``, ``"absent"``, or ``"inexact"``: whole, but not true of the segments.
        workspaces: Ids of registrations that are damaged; they stay where they are.
        segments: Segments that were read.
        records: Intact records.
        record_bytes: Their bytes, headers included.
        damaged: Stretches of segments that hold no intact record.
        missing: Stretches of segments that the index knows and that are not on the disk.
        damaged_bytes: Bytes of ``damaged``.
        quarantined: What lies in the quarantine, older repairs included.
        quarantine_bytes: Its bytes; they count as no stored data.
        restored_events: Moves of refs and other events whose records were lost and that the index still knew.
        from_source: Records that were taken from another store or a bundle.
        refs: Refs after the repair.
        refs_suspect: Whether moves of refs may be lost, so that ``gc`` refuses until it is told ``--accept-refs``.
        hurt: What is needed and lost, with every ref and path.
    """

    path: str
    dry_run: bool
    superblock: str
    config: str
    index: str
    index_was: str
    workspaces: tuple[str, ...]
    segments: int
    records: int
    record_bytes: int
    damaged: tuple[Stretch, ...]
    missing: tuple[Stretch, ...]
    damaged_bytes: int
    quarantined: tuple[Quarantined, ...]
    quarantine_bytes: int
    restored_events: int
    from_source: int
    refs: int
    refs_suspect: bool
    hurt: tuple[Hurt, ...]

    @property
    def sound(self) -> bool:
        """Whether everything that a ref or its kept history needs is there."""
        return not self.hurt

    def plain(self) -> dict[str, Any]:
        """The report as JSON can say it: addresses in hex, text always valid Unicode."""
        return {**_plain(self), "sound": self.sound}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
