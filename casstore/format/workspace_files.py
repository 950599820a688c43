# SPDX-License-Identifier: MIT
"""What is known of a registered workspace: the payload of the file ``info``, which is one of ``casstore.format.slots``.

It is an info and, while a switch runs, a journal behind it. Each is canonical JSON, a newline, the 64 hex digits of its
keyed BLAKE3 ("casstore v1 workspace", "casstore v1 journal"), a newline. Paths are text; one that is no UTF-8 also has
its bytes in hex under ``path_bytes``. Ids are hex, null is none. Unknown members are ignored, an unknown version is
refused.

``info``::

    {"base": id, "base_ref": name, "created_ns": n, "device": n, "id": 8 hex digits, "ignore": "nothing" | "git",
     "inode": n, "keep_git": bool, "kind": kind, "lower": root, "metadata": "basic" | "full", "path": path,
     "last_switch": null | {"base": id, "from": id, "ref": name, "time_ns": n, "to": id}, "version": 1}

``journal``::

    {"base": id, "from": id, "ref": name, "time_ns": n, "to": id, "token": 16 hex digits,
     "undo": bool, "version": 1}
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Final

from casstore.address import ADDRESS_BYTES, Address, keyed_address
from casstore.errors import CorruptionError, FormatVersionError, InvalidInputError
from casstore.format.canonical import JsonValue, canonical_json, parse_canonical_json

VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024
PLAIN: Final = "plain"
OVERLAY: Final = "overlay"
OVERLAY_PRIVATE: Final = "overlay-private"
REFLINK: Final = "reflink"
COPY: Final = "copy"
KINDS: Final = (PLAIN, OVERLAY, OVERLAY_PRIVATE, REFLINK, COPY)

_ID: Final = re.compile(r"[0-9a-f]{8}")
_TOKEN: Final = re.compile(r"[0-9a-f]{16}")
_info_digest = keyed_address("workspace")
_journal_digest = keyed_address("journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a workspace is said to be at: a base and the ref that was named, which need not name it any more.

    ``undo`` says that going there takes back the last switch.
    """

    base: Address | None
    ref: str | None
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSwitch:
    """The last switch: from which snapshot (None: the empty state) to which, where the workspace was at, and when."""

    source: Address | None
    target: Address | None
    base: Address | None
    ref: str | None
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What is known of a registered directory.

    Attributes:
        id: 8 hex digits.
        path: Where it is.
        device, inode: What it is; an overlay's change with every mount.
        kind: ``"plain"``, ``"overlay"``, ``"overlay-private"``, ``"reflink"`` or ``"copy"``.
        base: Snapshot that it was last made from or saved as.
        base_ref: The ref that was named then.
        ignore, keep_git, metadata: What is captured of it.
        lower: Of an overlay: the files root of the tree below the delta; None is the empty tree.
        created_ns: Time of registration.
        last_switch: What ``undo`` takes back.
    """

    id: str
    path: str
    device: int
    inode: int
    kind: str = PLAIN
    base: Address | None = None
    base_ref: str | None = None
    ignore: str = "nothing"
    keep_git: bool = True
    metadata: str = "basic"
    lower: Address | None = None
    created_ns: int = 0
    last_switch: LastSwitch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A switch that has begun: from which snapshot to which, where the workspace will be at, and its token."""

    token: str
    source: Address | None
    target: Address | None
    base: Address | None
    ref: str | None
    time_ns: int
    undo: bool = False


def encode_info(info: Info) -> bytes:
    """The bytes of the file ``info``.

    Raises:
        InvalidInputError: A path or a name in it is too long.
    """
    last = info.last_switch
    path = os.fsencode(info.path)
    members: dict[str, JsonValue] = {
        "version": VERSION,
        "id": info.id,
        "path": path.decode("utf-8", "replace"),
        "device": info.device,
        "inode": info.inode,
        "kind": info.kind,
        "base": _hex(info.base),
        "base_ref": info.base_ref,
        "ignore": info.ignore,
        "keep_git": info.keep_git,
        "metadata": info.metadata,
        "lower": _hex(info.lower),
        "created_ns": info.created_ns,
        "last_switch": None
        if last is None
        else {
            "from": _hex(last.source),
            "to": _hex(last.target),
            "base": _hex(last.base),
            "ref": last.ref,
            "time_ns": last.time_ns,
        },
    }
    if members["path"] != info.path:
        members["path_bytes"] = path.hex()
    return _sealed(canonical_json(members), _info_digest, "info")


def decode_info(data: bytes) -> Info:
    """What the file ``info`` says.

    Raises:
        CorruptionError: Damaged, or cut short by a crash.
        FormatVersionError: Written by a later casstore.
    """
    members = _opened(data, _info_digest, "info")
    try:
        last = members["last_switch"]
        path = bytes.fromhex(members["path_bytes"]) if "path_bytes" in members else _text(members["path"]).encode()
        info = Info(
            id=_text(members["id"]),
            path=os.fsdecode(path),
            device=_number(members["device"]),
            inode=_number(members["inode"]),
            kind=_text(members["kind"]),
            base=_address(members["base"]),
            base_ref=None if members["base_ref"] is None else _text(members["base_ref"]),
            ignore=_text(members["ignore"]),
            keep_git=_flag(members["keep_git"]),
            metadata=_text(members["metadata"]),
            lower=_address(members["lower"]),
            created_ns=_number(members["created_ns"]),
            last_switch=None
            if last is None
            else LastSwitch(
                source=_address(last["from"]),
                target=_address(last["to"]),
                base=_address(last["base"]),
                ref=None if last["ref"] is None else _text(last["ref"]),
                time_ns=_number(last["time_ns"]),
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed("info") from error
    if (
        not _ID.fullmatch(info.id)
        or info.kind not in KINDS
        or info.ignore not in ("nothing", "git")
        or info.metadata not in ("basic", "full")
        or not os.path.isabs(info.path)
        or "\0" in info.path
    ):
        raise _malformed("info")
    return info


def decode_state(data: bytes) -> tuple[Info, Journal | None]:
    """The info, and the journal where there is one.

    Raises:
        CorruptionError: Damaged.
        FormatVersionError: Written by a later casstore.
    """
    # Both end with the newline behind their seal, and have one other.
    cut = data.find(b"\n", data.find(b"\n") + 1) + 1
    return decode_info(data[:cut]), decode_journal(data[cut:]) if data[cut:] else None


def encode_journal(journal: Journal) -> bytes:
    """The bytes of the file ``journal``. Raises as ``encode_info``."""
    members: dict[str, JsonValue] = {
        "version": VERSION,
        "token": journal.token,
        "from": _hex(journal.source),
        "to": _hex(journal.target),
        "base": _hex(journal.base),
        "ref": journal.ref,
        "undo": journal.undo,
        "time_ns": journal.time_ns,
    }
    return _sealed(canonical_json(members), _journal_digest, "journal")


def decode_journal(data: bytes) -> Journal:
    """What the file ``journal`` says.

    Raises:
        CorruptionError: Damaged.
        FormatVersionError: Written by a later casstore.
    """
    members = _opened(data, _journal_digest, "journal")
    try:
        journal = Journal(
            token=_text(members["token"]),
            source=_address(members["from"]),
            target=_address(members["to"]),
            base=_address(members["base"]),
            ref=None if members["ref"] is None else _text(members["ref"]),
            time_ns=_number(members["time_ns"]),
            undo=_flag(members["undo"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed("journal") from error
    if not _TOKEN.fullmatch(journal.token):
        raise _malformed("journal")
    return journal


def is_workspace_id(name: str) -> bool:
    """Whether ``name`` can be a workspace's id."""
    return bool(_ID.fullmatch(name))


def _sealed(body: bytes, digest: Any, name: str) -> bytes:
    sealed: bytes = body + b"\n" + digest(body).hex().encode() + b"\n"
    if len(sealed) > MAX_BYTES:
        raise InvalidInputError(
            f"the file `{name}` of a workspace would have {len(sealed):,} bytes, and may have {MAX_BYTES:,}; give the "
            "directory a shorter path, and the ref a shorter name."
        )
    return sealed


def _opened(data: bytes, digest: Any, name: str) -> dict[str, Any]:
    body, newline, seal = data.partition(b"\n")
    if not newline or len(data) > MAX_BYTES or seal != digest(body).hex().encode() + b"\n":
        raise _malformed(name)
    members = parse_canonical_json(body)
    if not isinstance(members, dict):
        raise _malformed(name)
    version = members.get("version")
    if type(version) is not int or version != VERSION:
        raise FormatVersionError(
            f"the file `{name}` of a workspace has version {version!r}, this casstore reads {VERSION}; update casstore."
        )
    return members


def _hex(address: Address | None) -> str | None:
    return None if address is None else address.hex()


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(value)
    return value


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise TypeError(value)
    return value


def _address(text: str | None) -> Address | None:
    if text is None:
        return None
    found = bytes.fromhex(text)
    if len(found) != ADDRESS_BYTES:
        raise ValueError(text)
    return Address(found)


def _malformed(name: str) -> CorruptionError:
    return CorruptionError(
        f"the file `{name}` of a workspace is damaged; forget the workspace with `casstore workspace prune`, and check "
        "its state out again."
    )
