# SPDX-License-Identifier: MIT
"""What of a directory is captured: everything, unless asked otherwise; and how a snapshot records that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from blake3 import blake3

from casstore.errors import InvalidInputError

if TYPE_CHECKING:
    from casstore.format.canonical import JsonValue
    from casstore.workspace.report import LeftOut

META: Final = "workspace"
"""Field of a snapshot's ``meta``; there only where something was to be left out."""
RULE_FILES: Final = (b".gitignore", b".casignore")
"""In the order in which they count: the later one wins."""
EXCLUDE_FILE: Final = b".git/info/exclude"
MAX_RECORDED: Final = 1000
"""Paths that a snapshot names; their number is always exact."""

IgnoreRules = Literal["nothing", "git"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to capture.

    Attributes:
        ignore: ``"git"`` leaves out what git's rules do: ``.gitignore`` at every level, ``.git/info/exclude``, and
            ``.casignore``, which is read after the ``.gitignore`` beside it. The user's own excludes are not read.
        keep_git: Whether ``.git`` is an ordinary name. Off, it is left out at every level.
    """

    ignore: IgnoreRules = "nothing"
    keep_git: bool = True

    def __post_init__(self) -> None:
        if self.ignore not in ("nothing", "git"):
            raise InvalidInputError(f"ignore is {self.ignore!r}; give 'nothing' or 'git'.")

    @property
    def everything(self) -> bool:
        """Whether nothing is left out by choice."""
        return self.ignore == "nothing" and self.keep_git

    def digest(self) -> bytes:
        """16 bytes that tell selections apart."""
        return blake3(f"{self.ignore} {self.keep_git}".encode()).digest(16)

    def meta(self, left_out: Sequence[LeftOut]) -> dict[str, JsonValue]:
        """What a snapshot says about its selection, for ``meta``; nothing where everything was to be kept."""
        if self.everything:
            return {}
        return {
            META: {
                "ignore": self.ignore,
                "keep_git": self.keep_git,
                "left_out": [_json_text(item.path) for item in left_out[:MAX_RECORDED]],
                "left_out_count": len(left_out),
            }
        }


def recorded_selection(meta: Mapping[str, JsonValue]) -> Selection:
    """The selection that a snapshot was made with, as far as it says so."""
    found = meta.get(META)
    if isinstance(found, Mapping) and found.get("ignore") in ("nothing", "git"):
        ignore: IgnoreRules = "git" if found["ignore"] == "git" else "nothing"
        return Selection(ignore=ignore, keep_git=found.get("keep_git") is not False)
    return Selection()


def _json_text(path: str) -> str:
    """A path as text that JSON can hold: bytes that are no UTF-8 become replacement characters."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
