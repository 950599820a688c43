# SPDX-License-Identifier: MIT
"""The file ``config``: limits that belong to the store and may change, unlike the superblock.

Canonical JSON, a newline, the 64 hex digits of its keyed BLAKE3 ("casstore v1 settings"), a newline. Unknown members
are kept when the file is rewritten, so that an older version does not drop what a later one added.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from casstore.address import keyed_address
from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.canonical import JsonValue, canonical_json, parse_canonical_json
from casstore.format.retention import KeepRule as KeepRule
from casstore.format.retention import parse_rules

DEFAULT_GRACE_SECONDS: Final = 3600
DEFAULT_UNDO_KEEP_SECONDS: Final = 7 * 24 * 3600
MAX_SETTINGS_BYTES: Final = 64 * 1024

_digest = keyed_address("settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits of a store.

    Attributes:
        max_bytes: Hard quota in bytes of stored data; ``None`` is no quota.
        grace_seconds: What was put or hit more recently than this is never collected.
        undo_keep_seconds: How long states that a ref left stay reachable by ``refs undo``.
        retention: Which snapshots ``plan_retention`` keeps; none by default, which cuts nothing.
        other: Members that this version does not know.
    """

    max_bytes: int | None = None
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    undo_keep_seconds: int = DEFAULT_UNDO_KEEP_SECONDS
    retention: tuple[KeepRule, ...] = ()
    other: dict[str, JsonValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (
            ("max_bytes", self.max_bytes),
            ("grace_seconds", self.grace_seconds),
            ("undo_keep_seconds", self.undo_keep_seconds),
        ):
            absent = value is None and name == "max_bytes"
            if not absent and (type(value) is not int or not 0 <= value < 2**62):
                raise InvalidInputError(f"{name} is {value!r}; give a whole number, 0 or more.")
        object.__setattr__(self, "retention", parse_rules(self.retention))


_KNOWN: Final = tuple(item.name for item in fields(Settings) if item.name != "other")


def encode_settings(settings: Settings) -> bytes:
    """The bytes of the file ``config``."""
    members = dict(settings.other)
    members.update({name: getattr(settings, name) for name in _KNOWN if name != "retention"})
    if settings.retention:
        members["retention"] = [rule.to_json() for rule in settings.retention]
    body = canonical_json(members)
    return body + b"\n" + _digest(body).hex().encode() + b"\n"


def decode_settings(data: bytes) -> Settings:
    """What the file ``config`` says.

    Raises:
        CorruptionError: Damaged.
    """
    body, newline, digest = data.partition(b"\n")
    if not newline or len(data) > MAX_SETTINGS_BYTES or digest != _digest(body).hex().encode() + b"\n":
        raise CorruptionError("the file `config` is damaged; delete it for the defaults.")
    members = parse_canonical_json(body)
    if not isinstance(members, dict):
        raise CorruptionError("the file `config` holds no settings; delete it for the defaults.")
    known = {name: members.pop(name) for name in _KNOWN if name in members}
    try:
        return Settings(**known, other=members)  # type: ignore[arg-type]
    except InvalidInputError as error:
        raise CorruptionError(f"the file `config` is malformed: {error}") from None
