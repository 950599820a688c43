# SPDX-License-Identifier: MIT
"""Names on a terminal and in JSON: no control characters, always valid Unicode, nothing lost."""

from __future__ import annotations

import json
import os

from casstore_cli.names import display_key, json_name, printable
from casstore_cli.output import plain_value
from hypothesis import given
from hypothesis import strategies as st


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("src/a b.py", "größe/日本語", "a\u3000b", "👩\u200d💻"):
        assert printable(name) == name


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31mb\nc\td\x9b") == "a\\x1b[31mb\\nc\\td\\x9b"
    assert printable("exe\u202egnp") == "exe\\u202egnp"
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    assert printable("one\ntwo\r", keep_newlines=True) == "one\ntwo\\r"


def test_a_name_that_is_not_utf8_keeps_its_bytes_in_json() -> None:
    assert json_name("path", b"caf\xe9") == {"path": "caf\\xe9", "path_hex": "636166e9"}
    assert json_name("path", os.fsdecode(b"caf\xe9")) == {"path": "caf\\xe9", "path_hex": "636166e9"}
    assert json_name("path", "new\nline") == {"path": "new\nline"}


@given(st.binary())
def test_any_bytes_make_valid_json_and_come_back(name: bytes) -> None:
    field = json.loads(json.dumps(json_name("n", name)).encode("utf-8"))
    field["n"].encode("utf-8")
    assert bytes.fromhex(field["n_hex"]) == name if "n_hex" in field else field["n"].encode() == name


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_can_be_shown(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8", "surrogatepass" if any("\ud800" <= c <= "\udfff" for c in shown) else "strict")
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or "\ud800" <= c <= "\udfff" for c in shown)
    json.dumps(plain_value({text: [text, text.encode("utf-8", "replace")]})).encode("utf-8")


def test_files_are_shown_without_their_root() -> None:
    assert display_key("files/src/a.py") == "src/a.py"
    assert display_key("objects/memory") == "objects/memory"
