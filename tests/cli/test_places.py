# SPDX-License-Identifier: MIT
"""States and places as they are typed."""

from __future__ import annotations

import pytest
from casstore_cli.places import Place, parse_content_place, parse_place

from casstore.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("main", Place("main", "", "")),
        ("a/b", Place("a/b", "", "")),
        ("main:", Place("main", "", "")),
        ("main:files", Place("main", "files", "")),
        ("main:files/", Place("main", "files", "")),
        ("main:files/src/a.py", Place("main", "files", "src/a.py")),
        ("main:files/src/", Place("main", "files", "src")),
        ("main:files/a:b", Place("main", "files", "a:b")),
        ("3f9c:objects/k", Place("3f9c", "objects", "k")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text) == place


def test_a_place_begins_with_a_root() -> None:
    with pytest.raises(InvalidInputError, match=r"main:files/src/a\.py"):
        parse_place("main:src/a.py")


def test_a_content_is_at_a_key() -> None:
    with pytest.raises(InvalidInputError, match="names no key"):
        parse_content_place("main:files")
