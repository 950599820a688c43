# SPDX-License-Identifier: MIT
"""One line of an ignore file, as git reads it: which paths it is about, and whether it leaves them out.

What a line means is fixed by git's code more than by gitignore(5), and followed here to the byte: paths and patterns
are bytes, ``[[:space:]]`` and its kin are ASCII only, a malformed bracket or a backslash at the end matches nothing.

Git matches by trying, and needs exponential time for patterns like ``*a*a*a*b`` before 2.41. Here a pattern becomes a
regular expression that never tries twice what cannot turn out differently: the first place where the part between two
stars fits is as good as any later one. So the time is at most quadratic in the length of the path.

A line as git splits it: ``!`` (negation) | ``/`` (only below the ignore file's own folder) | pattern | ``/`` (folders
only). A pattern with a slash in it is about the path below the ignore file's folder, any other about the last name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

STARS_AFTER_PREFIX: Final = True
"""Whether ``**`` right behind a literal beginning crosses slashes: ``foo**/bar`` matches ``foobar`` and ``foo/x/bar``.

Git before 2.52 does so; since then it takes it for ``foo*/bar``, as gitignore(5) always had it.
"""

_BOM: Final = b"\xef\xbb\xbf"
_SPECIAL: Final = re.compile(rb"[*?\[\\]")
_SLASH: Final = 0x2F
_BACKSLASH: Final = 0x5C
_ANY_BYTE: Final = b"[^/]"
# Folders on the way: none or more of them, one or more of them. The least number comes first.
_FOLDERS: Final = b"(?:[^/]*/)*?"
_FOLDERS_1: Final = b"(?:[^/]*/)+?"
_STAR: Final = b"[^/]*"

Kind = Literal["name", "beginning", "ending", "path", "name regex", "path regex"]


class Pattern(NamedTuple):
    """One pattern.

    Attributes:
        negated: What matches is kept after all.
        directory: It matches directories only.
        kind: What is compared with what: a whole last name, its beginning or its ending with ``text``, a whole path;
            or the regular expression ``text`` with either. Paths are those below the ignore file's folder.
        text: Bytes to compare, or the source of a regular expression.
        least: What is shorter, in bytes, does not match.
    """

    negated: bool
    directory: bool
    kind: Kind
    text: bytes
    least: int


def read_patterns(content: bytes) -> list[Pattern]:
    """The patterns of an ignore file, in its order; lines that can match nothing are left away."""
    return [pattern for line in _lines(content) if (pattern := parse_pattern(line)) is not None]


def _lines(content: bytes) -> Iterator[bytes]:
    for line in content.removeprefix(_BOM).split(b"\n"):
        if line and line[0] != 0x23:
            # One carriage return belongs to the line's end. Git works on C strings, which a NUL ends.
            yield _without_trailing_spaces(line.removesuffix(b"\r").partition(b"\0")[0])


def _without_trailing_spaces(line: bytes) -> bytes:
    if not line.endswith(b" "):
        return line
    rest = line.rstrip(b" ")
    backslashes = len(rest) - len(rest.rstrip(b"\\"))
    return rest + b" " if backslashes % 2 else rest


def parse_pattern(line: bytes) -> Pattern | None:
    """What ``line`` means, without its end of line and trailing spaces; None if it can match nothing."""
    negated = line.startswith(b"!")
    text = line[1:] if negated else line
    directory = text.endswith(b"/")
    if directory:
        text = text[:-1]
    if b"/" in text:
        text = text.removeprefix(b"/")
        if not text.startswith(b"**/") or b"/" in text[3:]:
            return _path_pattern(negated, directory, text)
        # Below any folders or none: the same as being about the last name.
        text = text[3:]
    return _name_pattern(negated, directory, text)


def _name_pattern(negated: bool, directory: bool, text: bytes) -> Pattern | None:
    found = _SPECIAL.search(text)
    if found is None:
        return Pattern(negated, directory, "name", text, len(text)) if text else None
    literal = text[: found.start()]
    rest = text[found.start() :].lstrip(b"*")
    if not rest:
        return Pattern(negated, directory, "beginning", literal, len(literal))
    if not literal and text.startswith(b"*") and _SPECIAL.search(rest) is None:
        return Pattern(negated, directory, "ending", rest, len(rest))
    return _regex_pattern(negated, directory, "name regex", _tokens(text, 0))


def _path_pattern(negated: bool, directory: bool, text: bytes) -> Pattern | None:
    found = _SPECIAL.search(text)
    if found is None:
        return Pattern(negated, directory, "path", text, len(text)) if text else None
    return _regex_pattern(
        negated, directory, "path regex", _tokens(text, found.start() if STARS_AFTER_PREFIX else 0, slashes=True)
    )


class _Token(NamedTuple):
    """A piece of a pattern: one byte (``source`` is its regular expression), or a wildcard of some length."""

    kind: Literal["byte", "slash", "star", "folders", "rest"]
    source: bytes = b""


def _tokens(text: bytes, start: int, *, slashes: bool = False) -> list[_Token] | None:
    """The pieces of ``text``; None if it can match nothing.

    Args:
        text: The pattern.
        start: Where stars count as if a component began there (besides behind a slash).
        slashes: Whether ``**`` has its special meaning.
    """
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        byte = text[at]
        at += 1
        if byte == 0x2A:
            begins = slashes and (at - 1 in (0, start) or text[at - 2] == _SLASH)
            first = at - 1
            while text[at : at + 1] == b"*":
                at += 1
            if not (begins and at - first > 1):
                tokens.append(_Token("star"))
            elif at == len(text):
                tokens.append(_Token("rest"))
            elif text[at] == _SLASH:
                at += 1
                if not (tokens and tokens[-1] == _Token("folders", _FOLDERS)):
                    tokens.append(_Token("folders", _FOLDERS))
            elif text.startswith(b"\\/", at):
                at += 2
                tokens.append(_Token("folders", _FOLDERS_1))
            else:
                tokens.append(_Token("star"))
        elif byte == 0x3F:
            tokens.append(_Token("byte", _ANY_BYTE))
        elif byte == 0x5B:
            members, at = _bracket(text, at)
            if not members:
                return None
            tokens.append(_Token("byte", _set_source(members)))
        else:
            if byte == _BACKSLASH:
                if at == len(text):
                    return None
                byte = text[at]
                at += 1
            tokens.append(_Token("slash") if byte == _SLASH else _Token("byte", re.escape(bytes((byte,)))))
    return tokens


def _between(first: int, last: int) -> frozenset[int]:
    return frozenset(range(first, last + 1))


_DIGIT: Final = _between(0x30, 0x39)
_UPPER: Final = _between(0x41, 0x5A)
_LOWER: Final = _between(0x61, 0x7A)
_GRAPH: Final = _between(0x21, 0x7E)
_CLASSES: Final = {
    b"alnum": _DIGIT | _UPPER | _LOWER,
    b"alpha": _UPPER | _LOWER,
    b"blank": frozenset(b" \t"),
    b"cntrl": _between(0x00, 0x1F) | {0x7F},
    b"digit": _DIGIT,
    b"graph": _GRAPH,
    b"lower": _LOWER,
    b"print": _GRAPH | {0x20},
    b"punct": _GRAPH - _DIGIT - _UPPER - _LOWER,
    # Git's own: no form feed, no vertical tab.
    b"space": frozenset(b" \t\n\r"),
    b"upper": _UPPER,
    b"xdigit": _DIGIT | _between(0x41, 0x46) | _between(0x61, 0x66),
}


def _bracket(text: bytes, at: int) -> tuple[frozenset[int], int]:
    """The bytes that the bracket opened before ``at`` stands for, none if it is malformed, and where it ends."""
    nothing: frozenset[int] = frozenset()
    members: set[int] = set()
    negated = text[at : at + 1] in (b"!", b"^")
    at += negated
    before = 0
    first = True
    # A closing bracket that comes first is a member like any other.
    while first or text[at : at + 1] != b"]":
        first = False
        byte, at, quoted = _member(text, at)
        if byte < 0:
            return nothing, at
        following = text[at : at + 1]
        if byte == 0x2D and not quoted and before and following not in (b"", b"]"):
            last, at, _ = _member(text, at)
            if last < 0:
                return nothing, at
            members |= _between(before, last)
            before = 0
        elif byte == 0x5B and not quoted and following == b":":
            end = text.find(b"]", at + 1)
            if end < 0:
                return nothing, at
            if end == at + 1 or text[end - 1] != 0x3A:
                # No ":]", so the bracket is a member.
                members.add(byte)
                before = byte
                continue
            found = _CLASSES.get(text[at + 1 : end - 1])
            if found is None:
                return nothing, at
            members |= found
            before = 0
            at = end + 1
        else:
            members.add(byte)
            before = byte
    kept = _between(1, 255) - members if negated else members
    return frozenset(kept) - {_SLASH}, at + 1


def _member(text: bytes, at: int) -> tuple[int, int, bool]:
    """The byte at ``at``, -1 if there is none, where the next one is, and whether a backslash stood before it."""
    quoted = text[at : at + 1] == b"\\"
    at += quoted
    return (text[at] if at < len(text) else -1), at + 1, quoted


def _set_source(members: frozenset[int]) -> bytes:
    pieces = []
    ordered = sorted(members)
    first = previous = ordered[0]
    for byte in [*ordered[1:], 999]:
        if byte != previous + 1:
            pieces.append(b"\\x%02x-\\x%02x" % (first, previous))
            first = byte
        previous = byte
    return b"[" + b"".join(pieces) + b"]"


def _regex_pattern(negated: bool, directory: bool, kind: Kind, tokens: list[_Token] | None) -> Pattern | None:
    if tokens is None:
        return None
    least = sum(token.kind in ("byte", "slash") or token.source == _FOLDERS_1 for token in tokens)
    return Pattern(negated, directory, kind, _regex(tokens), least)


def _regex(tokens: list[_Token]) -> bytes:
    """The source of a regular expression that matches, from its beginning on, what ``tokens`` match as a whole."""
    source: list[bytes] = []
    folders = b""
    block: list[_Token] = []
    for token in tokens:
        if token.kind == "folders":
            # Where a block fits first is as good as any place: each consumes a fixed number of components.
            if folders or block:
                source.append(b"(?>" + folders + _block(block) + b")")
            folders = token.source
            block = []
        elif token.kind != "rest":
            block.append(token)
    source += [folders, _block(block)]
    if not (tokens and tokens[-1].kind == "rest"):
        source.append(b"\\Z")
    return b"".join(source)


def _block(tokens: list[_Token]) -> bytes:
    source: list[bytes] = []
    part: list[bytes] = []
    star = False
    for token in tokens:
        if token.kind == "byte":
            part.append(token.source)
            continue
        if token.kind == "star" and star:
            # Between two stars of a component: the first place where it fits leaves most to what follows.
            source.append(b"(?>[^/]*?" + b"".join(part) + b")")
        else:
            source += [_STAR if star else b"", *part]
        part = []
        star = token.kind == "star"
        if token.kind == "slash":
            source.append(b"/")
    source += [_STAR if star else b"", *part]
    return b"".join(source)


def compile_any(sources: tuple[bytes, ...]) -> Callable[[bytes], object]:
    """A function that returns something true for a text that any of these regular expressions matches."""
    return re.compile(b"|".join(sources)).match
