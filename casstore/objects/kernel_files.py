# SPDX-License-Identifier: MIT
"""Small text files of the kernel, read so that nothing in them is fatal: what is odd is named, and left out.

Invariant: no method raises for what a file holds or for its absence; every surprise is in ``problems``.
"""

from __future__ import annotations

import os
from typing import Final

MAX_BYTES: Final = 1 << 20
"""More than any of these files holds (a mount table of some thousand lines); a fake one must not take the memory."""
_DIGITS: Final = 20
"""A number of 64 bits has no more."""


class KernelFiles:
    """The files below ``root``.

    *Thread safety*: for one thread at a time.

    Args:
        root: The folder that stands for ``/``.
    """

    __slots__ = ("_root", "problems")

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")
        self.problems: dict[str, str] = {}
        """Path → what is wrong there, until it is cleared."""

    def is_folder(self, path: str) -> bool:
        """Whether ``path`` is a folder that can be looked into."""
        return os.path.isdir(self._root + path)

    def text(self, path: str, *, required: bool = False) -> str | None:
        """What a file holds; None where it is missing or cannot be read.

        Args:
            path: Absolute, as the kernel names it.
            required: Whether its absence is worth a word; else only what is odd is.
        """
        try:
            descriptor = os.open(self._root + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                data = os.read(descriptor, MAX_BYTES)
                # The kernel hands long files out by the page.
                while len(data) < MAX_BYTES and (more := os.read(descriptor, MAX_BYTES - len(data))):
                    data += more
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError):
            if required:
                self.note(path, "is missing")
            return None
        except (OSError, ValueError) as error:
            self.note(path, f"cannot be read: {getattr(error, 'strerror', None) or error}")
            return None
        return data.decode("utf-8", "surrogateescape")

    def number(self, path: str) -> int | None:
        """The one number in a file; None where there is none, or it says ``max``."""
        text = self.text(path)
        if text is None or text.strip() == "max":
            return None
        found = parse_number(text.strip())
        if found is None:
            self.note(path, f"holds no number of bytes but {text.strip()[:40]!r}")
        return found

    def table(self, path: str, *, required: bool = False) -> dict[str, int]:
        """The lines ``name number``, or ``name: number kB``, of a file, in bytes; other lines are left out."""
        text = self.text(path, required=required)
        found: dict[str, int] = {}
        for line in (text or "").splitlines():
            parts = line.split()
            value = parse_number(parts[1]) if len(parts) in (2, 3) else None
            if value is not None:
                found[parts[0].rstrip(":")] = value * 1024 if parts[2:] == ["kB"] else value
        if text is not None and not found:
            self.note(path, "holds no line of a name and a number")
        return found

    def note(self, path: str, what: str) -> None:
        """Remembers that something is wrong with ``path``."""
        self.problems[path] = f"{path} {what}"


def parse_number(text: str) -> int | None:
    """A number of 0 or more in plain digits; None for everything else."""
    return int(text) if len(text) <= _DIGITS and text.isascii() and text.isdigit() else None
