# SPDX-License-Identifier: MIT
"""Text differences of one change, in the form that ``git apply`` and ``patch -p1`` read.

Bounded: what is larger than ``MAX_TEXT_BYTES`` or has more than ``MAX_TEXT_LINES`` lines is named, not compared
(difflib's time grows with the square of the number of lines in the worst case).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from .names import key_bytes
from .units import format_size

if TYPE_CHECKING:
    from casstore import Change, Store
    from casstore.format.entry import Entry

MAX_TEXT_BYTES: Final = 1024 * 1024
MAX_TEXT_LINES: Final = 10_000
_BINARY_PROBE_BYTES: Final = 8000
_CONTEXT_LINES: Final = 3
_NO_NEWLINE: Final = b"\\ No newline at end of file\n"


def patch_of(store: Store, change: Change) -> bytes:
    """The patch from ``change.old`` to ``change.new``; a line that says why where there is none to show."""
    from .entries import is_file_like

    if not change.key.startswith("files/"):
        return _named(change, "objects are not compared as text")
    if not all(is_file_like(entry) for entry in (change.old, change.new) if entry is not None):
        return _named(change, "a directory")
    name = key_bytes(change.key.removeprefix("files/"))
    header = _header(name, change.old, change.new)
    sizes = [entry.size for entry in (change.old, change.new) if entry is not None]
    if max(sizes) > MAX_TEXT_BYTES:
        return header + b"# not compared: " + format_size(max(sizes)).encode() + b" is too large\n"
    old, new = (_content(store, entry) for entry in (change.old, change.new))
    if old == new:
        return header
    if b"\0" in old[:_BINARY_PROBE_BYTES] or b"\0" in new[:_BINARY_PROBE_BYTES]:
        return (
            header
            + b"Binary files "
            + _side(b"a/", name, change.old)
            + b" and "
            + (_side(b"b/", name, change.new) + b" differ\n")
        )
    old_lines, new_lines = _lines(old), _lines(new)
    if max(len(old_lines), len(new_lines)) > MAX_TEXT_LINES:
        return header + f"# not compared: more than {MAX_TEXT_LINES:,} lines\n".encode()
    marks = b"--- %s\n+++ %s\n" % (_side(b"a/", name, change.old), _side(b"b/", name, change.new))
    return header + marks + b"".join(_hunks(old_lines, new_lines))


def _named(change: Change, why: str) -> bytes:
    return f"# {change.letter} ".encode() + _quoted(key_bytes(change.key)) + f": {why}\n".encode()


def _content(store: Store, entry: Entry | None) -> bytes:
    from .entries import read_entry

    return b"" if entry is None else read_entry(store, entry)


def _header(name: bytes, old: Entry | None, new: Entry | None) -> bytes:
    from .entries import git_mode

    lines = [b"diff --git %s %s\n" % (_quoted(b"a/" + name), _quoted(b"b/" + name))]
    if old is None and new is not None:
        lines.append(b"new file mode %s\n" % git_mode(new))
    elif new is None and old is not None:
        lines.append(b"deleted file mode %s\n" % git_mode(old))
    elif old is not None and new is not None and git_mode(old) != git_mode(new):
        lines.append(b"old mode %s\nnew mode %s\n" % (git_mode(old), git_mode(new)))
    return b"".join(lines)


def _side(prefix: bytes, name: bytes, entry: Entry | None) -> bytes:
    return b"/dev/null" if entry is None else _quoted(prefix + name)


def _quoted(name: bytes) -> bytes:
    """``name`` as git writes it: in quotes with C escapes where it holds a control character, quote or backslash."""
    if not any(byte < 0x20 or byte in b'"\\\x7f' for byte in name):
        return name
    return b'"%s"' % b"".join(
        b"\\%c" % byte if byte in b'"\\' else b"\\%03o" % byte if byte < 0x20 or byte == 0x7F else b"%c" % byte
        for byte in name
    )


def _lines(data: bytes) -> list[bytes]:
    """Lines with their newline; only ``\\n`` ends a line, as for git."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _hunks(old: list[bytes], new: list[bytes]) -> Iterator[bytes]:
    # Sequences are compared as latin-1 text would be: difflib only needs items that hash.
    matcher = difflib.SequenceMatcher(None, old, new)
    for group in matcher.get_grouped_opcodes(_CONTEXT_LINES):
        first, last = group[0], group[-1]
        yield b"@@ -%s +%s @@\n" % (_range(first[1], last[2]), _range(first[3], last[4]))
        for tag, old_start, old_end, new_start, new_end in group:
            if tag == "equal":
                yield from (_line(b" ", line) for line in old[old_start:old_end])
                continue
            yield from (_line(b"-", line) for line in old[old_start:old_end])
            yield from (_line(b"+", line) for line in new[new_start:new_end])


def _range(start: int, end: int) -> bytes:
    length = end - start
    if length == 1:
        return b"%d" % (start + 1)
    return b"%d,%d" % (start + 1 if length else start, length)


def _line(mark: bytes, line: bytes) -> bytes:
    return mark + line if line.endswith(b"\n") else mark + line + b"\n" + _NO_NEWLINE
