# SPDX-License-Identifier: MIT
"""Names as people and programs see them. A name is bytes inside a store and may hold anything but NUL.

Invariant: what is printed as text never holds a control character that a terminal would obey, and JSON is always
valid Unicode; the exact bytes of a name that is not UTF-8 stand beside it in hex.
"""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

_ESCAPED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDIRECTIONAL: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SHORT: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def printable(text: str, *, keep_newlines: bool = False) -> str:
    """``text`` with control characters, bytes that are not UTF-8 and direction marks as backslash escapes."""
    if text.isprintable():
        return text
    return "".join(character if keep_newlines and character == "\n" else _escape(character) for character in text)


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    if character not in _BIDIRECTIONAL and unicodedata.category(character) not in _ESCAPED:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that surrogateescape could not decode
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def shell_join(words: Iterable[str]) -> str:
    """A command line for bash or zsh that ``printable`` leaves as it is, whatever the words hold."""
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_shell_character, word))}'"


def _shell_character(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if printable(character) == character:
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def json_name(field: str, name: str | bytes) -> dict[str, Any]:
    """``{field: text}``, and ``{field}_hex`` with the exact bytes where the name is not UTF-8."""
    text = os.fsdecode(name) if isinstance(name, bytes) else name
    try:
        text.encode()
    except UnicodeEncodeError:
        exact = name if isinstance(name, bytes) else text.encode("utf-8", "surrogateescape")
        shown = "".join(_escape(character) if "\ud800" <= character <= "\udfff" else character for character in text)
        return {field: shown, f"{field}_hex": exact.hex()}
    return {field: text}


def display_key(key: str) -> str:
    """A key as ``diff`` shows it: files without their root's name, everything else with it."""
    return printable(key.removeprefix("files/"))


def key_bytes(path: str) -> bytes:
    """The bytes of a key or path that came from the command line or the library."""
    return path.encode("utf-8", "surrogateescape")


def key_text(key: str | bytes) -> str:
    """A key as ``str``; bytes that are not UTF-8 become surrogates."""
    return key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key
