# SPDX-License-Identifier: MIT
"""Ignore rules are git's: by the rules of gitignore(5) one at a time, and by random directories beside git itself."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casstore.workspace.scanning import ignoring
from casstore.workspace.scanning.ignoring import Rules
from casstore.workspace.scanning.patterns import STARS_AFTER_PREFIX, parse_pattern, read_patterns
from tests.workspace import ignore_cases
from tests.workspace.ignore_cases import CPP, NODE, PROJECT_PATHS, PYTHON
from tests.workspace.ignore_reference import CLASSES, Case, Git, plain_leaves_out


@pytest.fixture(scope="module")
def git() -> Iterator[Git]:
    """One repository for all tests of this file."""
    with tempfile.TemporaryDirectory() as folder:
        yield Git(Path(folder))


@pytest.fixture(scope="module")
def git_has_stars_after_prefix(git: Git) -> bool:
    """Whether this git is older than 2.52: then ``foo**/bar`` is also about ``foobar``."""
    case = Case([b"foobar"], ignores={b"": (b"foo**/bar", b"")})
    case.write(git)
    return bool(git.ignored([b"foobar"]))


def check(case: Case, git: Git, git_has_stars_after_prefix: bool, *, status: bool = False) -> None:
    """Ours, the slow reading and git say the same of every path."""
    members = case.members()
    ours = case.by_rules()
    assert ours == case.by_plain_rules(stars_after_prefix=STARS_AFTER_PREFIX)
    case.write(git)
    said = git.ignored(list(members))
    assert said == case.by_plain_rules(stars_after_prefix=git_has_stars_after_prefix)
    if status:
        assert git.status_ignored() == {path for path in said if not members[path]}


# Content of .gitignore, what it leaves out, what it does not; folders end in a slash.
RULES = {
    "a blank line is nothing": (b"\n\r\n  \n", [], [b"a", b" "]),
    "a comment": (b"#a\n", [], [b"#a", b"a"]),
    "a quoted number sign": (b"\\#a\n", [b"#a"], [b"a"]),
    "a comment begins the line": (b" #a\n", [b" #a"], [b"#a"]),
    "trailing spaces go": (b"a   \n", [b"a"], [b"a   "]),
    "a quoted one stays": (b"a\\ \n", [b"a "], [b"a"]),
    "all after a quoted one go": (b"a\\   \n", [b"a "], [b"a", b"a   "]),
    "a backslash quotes a backslash": (b"a\\\\ \n", [b"a\\"], [b"a\\ ", b"a "]),
    "a backslash after spaces": (b"a \\\n", [], [b"a ", b"a \\", b"a"]),
    "leading spaces stay": (b" a\n", [b" a"], [b"a"]),
    "tabs stay": (b"a\t\n", [b"a\t"], [b"a"]),
    "negation": (b"*.a\n!b.a\n", [b"a.a"], [b"b.a"]),
    "the last one wins": (b"!b.a\n*.a\n", [b"a.a", b"b.a"], []),
    "again and again": (b"a*\n!ab*\nabc*\n!abcd*\n", [b"a", b"abc"], [b"ab", b"abcd"]),
    "nothing comes back below a folder": (b"d/\n!d/a\n", [b"d/", b"d/a"], []),
    "it does with its folder": (b"d/*\n!d/a\n", [b"d/b"], [b"d/", b"d/a"]),
    "a quoted exclamation mark": (b"\\!a\n", [b"!a"], [b"a"]),
    "twice negated is no such thing": (b"*\n!!a\n", [b"a"], [b"!a"]),
    "a lone exclamation mark": (b"*\n!\n", [b"a", b"!"], []),
    "without a slash, at any level": (b"a\n", [b"a", b"b/a", b"b/c/a", b"d/a/"], [b"ab"]),
    "a slash in front": (b"/a\n", [b"a"], [b"b/a"]),
    "a slash within": (b"b/a\n", [b"b/a"], [b"c/b/a", b"a"]),
    "a slash behind": (b"a/\n", [b"a/", b"b/a/"], [b"c/a"]),
    "slashes around": (b"/a/\n", [b"a/"], [b"b/a/"]),
    "slashes within and behind": (b"b/a/\n", [b"b/a/"], [b"c/b/a/", b"d/b/a"]),
    "only slashes": (b"/\n//\n///\n", [], [b"a", b"b/"]),
    "two in front": (b"//a\n", [], [b"a", b"b/a"]),
    "a quoted one behind": (b"a\\/\n", [], [b"a/", b"b/a"]),
    "a star": (b"a*b\n", [b"ab", b"axxb", b"c/a.b"], [b"a/b", b"abc"]),
    "an ending": (b"*.a\n", [b".a", b"x.a", b"d/x.a"], [b"a", b"x.ab"]),
    "a beginning": (b"a*\n", [b"a", b"ab", b"d/ab"], [b"ba"]),
    "all": (b"*\n", [b"a", b".b", b"c/"], []),
    "all folders": (b"*/\n", [b"c/"], [b"a"]),
    "all at the top": (b"/*\n!/c\n", [b"a", b"d/"], [b"c/", b"c/x"]),
    "a star stops at a slash": (b"/a/*/b\n", [b"a/x/b"], [b"a/b", b"a/x/y/b"]),
    "a question mark": (b"a?b\n", [b"axb", b"a?b"], [b"ab", b"a/b", b"axxb"]),
    "a range": (b"[a-c]x\n", [b"ax", b"bx", b"cx"], [b"dx", b"-x", b"x"]),
    "not in it": (b"[!a-c]x\n[^d]y\n", [b"dx", b"ay"], [b"ax", b"dy", b"x"]),
    "no slash is in a bracket": (b"a[!x]b\na[/]c\na[.-0]d\n", [b"a.d", b"ayb"], [b"a/b", b"a/c", b"a/d"]),
    "a closing bracket first": (b"[]a]x\n[!]b]y\n", [b"]x", b"ax", b"ay"], [b"]y", b"by"]),
    "a dash at the end": (b"[a-]x\n[-a]y\n", [b"-x", b"ax", b"-y", b"ay"], [b"bx"]),
    "a quoted member": (b"[\\]]x\n[a\\-c]y\n[\\a-c]z\n", [b"]x", b"-y", b"bz"], [b"by", b"\\y"]),
    "no class": (b"[[:]x\n[[:a]y\n[[::]z\n", [b"[x", b":x", b"ay"], [b"bx", b"[z"]),
    "a class begins no range": (b"[a[:digit:]-c]x\n", [b"ax", b"1x", b"-x", b"cx"], [b"bx"]),
    "a range begins no range": (b"[a-c-e]x\n", [b"bx", b"-x", b"ex"], [b"dx"]),
    "an unknown class": (b"[[:nope:]]\n[[:nope:]n]\n", [], [b"n", b":", b"["]),
    "an open bracket": (b"[\n[a\n[[:alpha:]\na[\\\n", [], [b"[", b"[a", b"a"]),
    "a quoted star": (b"a\\*\n", [b"a*"], [b"ab"]),
    "a quoted letter": (b"\\a\\b\n", [b"ab"], [b"\\a\\b"]),
    "a quoted bracket": (b"\\[a]\n", [b"[a]"], [b"a"]),
    "a backslash at the end": (b"a\\\n*.b\\\n", [], [b"a", b"a\\", b"x.b"]),
    "a rule after a bad one": (b"a\\\n[\nb\n", [b"b"], [b"a"]),
    "stars and a slash": (b"**/a\n**/b/c\n", [b"a", b"x/a", b"x/y/a", b"b/c", b"x/b/c"], [b"ba", b"c"]),
    "a slash and stars": (b"a/**\n", [b"a/b", b"a/b/c"], [b"a/", b"x/a/"]),
    "a slash and stars in folders": (b"a/**/\n", [b"a/b/"], [b"a/", b"a/c"]),
    "stars between slashes": (b"a/**/b\n", [b"a/b", b"a/x/b", b"a/x/y/b"], [b"ab", b"a/xb", b"x/a/b"]),
    "twice": (b"a/**/b/**/c\n", [b"a/b/c", b"a/x/b/y/c"], [b"a/c", b"a/x/c"]),
    "in a row": (b"a/**/**/b\n", [b"a/b", b"a/x/b"], [b"ab"]),
    "three stars are two": (b"a/***/b\n", [b"a/b", b"a/x/y/b"], []),
    "stars among letters are one": (b"/x?**a\n/y**?z\n", [b"xba", b"ycz"], [b"xb/ca", b"ya/cz"]),
    "stars and a quoted slash": (b"**\\/a\n", [b"x/a", b"x/y/a"], [b"a"]),
    "stars after a beginning": (b"c/f**/b\n", [b"c/fb", b"c/fx/b", b"c/f/x/b"], [b"c/b"]),
    "stars at the end of a path": (b"/a**\n", [b"ab", b"a"], [b"ba"]),
    "only stars": (b"**\n!**/\n!a\n", [b"b", b"d/b"], [b"a", b"d/"]),
    "the end of a line": (b"a\r\nb\r\r\nc \r\nd\r ", [b"a", b"b\r", b"c", b"d\r"], [b"b", b"c "]),
    "no end of the last line": (b"a\nb", [b"a", b"b"], []),
    "a mark of UTF-8": (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [b"a", b"\xef\xbb\xbfb"], [b"b"]),
    "a mark of UTF-8 before a comment": (b"\xef\xbb\xbf#a\n", [], [b"#a"]),
    "NUL ends a line": (b"a\0b\n\0c\nd \0\n", [b"a", b"d"], [b"b", b"c", b"ab"]),
    "bytes, not text": (b"\xff*\n[\x80-\xbf]\n?\n", [b"\xffa", b"\x81", b"\xfe"], ["ü".encode(), b"a\xff"]),
    "case": (b"a\n[b]\n[[:upper:]]\n", [b"a", b"b", b"C"], [b"aB", b"d"]),
    "names with wildcards in them": (b"a[*]\n", [b"a*"], [b"ab", b"a[*]"]),
    "an over-long line": (b"a" * 5000 + b"\n" + b"*b" * 3000 + b"\n/" + b"c?" * 2000 + b"\nd\n", [b"d"], [b"a", b"bb"]),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule(name: str, git: Git, git_has_stars_after_prefix: bool) -> None:
    content, out, kept = RULES[name]
    listed = [*out, *kept]
    case = Case(
        [path for path in listed if not path.endswith(b"/")],
        [path[:-1] for path in listed if path.endswith(b"/")],
        {b"": (content, b"")},
    )
    found = case.by_rules()
    wanted = {path.rstrip(b"/") for path in listed}
    assert found & wanted == {path.rstrip(b"/") for path in out}
    check(case, git, git_has_stars_after_prefix)


def test_the_nearer_file_wins_and_the_repository_s_own_is_last(git: Git, git_has_stars_after_prefix: bool) -> None:
    case = Case(
        [b"a", b"b", b"c", b"d/a", b"d/b", b"d/c", b"d/e/a", b"d/e/b", b"d/e/c", b"f/c", b"g/x/y", b"h/x/y"],
        ignores={b"": (b"!a\nb\n/g/x\nx/y\n", b""), b"d/": (b"!b\n", b""), b"d/e/": (b"a\nb\n!c\n/f\n", b"")},
        exclude=b"\xef\xbb\xbfa\nc\n",
    )
    assert case.by_rules() == {b"b", b"c", b"d/c", b"d/e/a", b"d/e/b", b"f/c", b"g/x", b"g/x/y"}
    check(case, git, git_has_stars_after_prefix, status=True)


def test_casignore_is_read_after_gitignore(git: Git, git_has_stars_after_prefix: bool) -> None:
    case = Case([b"a", b"b", b"d/a", b"d/b", b"d/c"], ignores={b"": (b"a", b"b\n!a"), b"d/": (b"!b", b"a\nc\n")})
    assert case.by_rules() == {b"b", b"d/a", b"d/c"}
    check(case, git, git_has_stars_after_prefix)


def test_rules_without_patterns_are_those_above() -> None:
    rules = Rules.start(b"# nothing\n")
    assert rules.enter(b"", b"\n", b"/\n") is rules
    assert not rules.leaves_out(b"a", directory=False)


def test_a_repository_is_not_torn_apart() -> None:
    rules = Rules.start(b".*\n").enter(b"", b"logs\ntags/\n*\n")
    for path in (b".git", b".git/logs", b".git/refs/tags", b"a/.git", b"a/.git/logs/HEAD"):
        assert not rules.leaves_out(path, directory=True), path
        assert not rules.leaves_out(path, directory=False), path
    for path in (b".gitx", b"x.git", b".github/logs", b"a/.git.bak"):
        assert rules.leaves_out(path, directory=True), path


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_has_the_members_that_git_gives_it(name: bytes, git: Git) -> None:
    letters = [bytes((letter,)) for letter in range(1, 256) if letter not in b"/."]
    case = Case([b"x" + letter for letter in letters], ignores={b"": (b"x[[:" + name + b":]]\n", b"")})
    case.write(git)
    assert case.by_rules() == git.ignored(list(case.members()))


@pytest.mark.parametrize("content", [PYTHON, NODE, CPP, PYTHON + NODE + CPP], ids=["python", "node", "cpp", "all"])
def test_rules_of_real_projects(content: bytes, git: Git, git_has_stars_after_prefix: bool) -> None:
    paths = [*PROJECT_PATHS, *(b"sub/" + path for path in PROJECT_PATHS)]
    folders = {b"/".join(path.split(b"/")[:depth]) for path in paths for depth in range(1, path.count(b"/") + 1)}
    case = Case([path for path in paths if path not in folders], ignores={b"": (content, b""), b"sub/": (NODE, b"")})
    assert len(case.by_rules()) > 30
    check(case, git, git_has_stars_after_prefix, status=True)


@given(data=st.data(), directory=st.booleans())
@settings(max_examples=500)
def test_one_line_means_what_the_slow_reading_says(data: st.DataObject, directory: bool) -> None:
    path = data.draw(ignore_cases.paths)
    line = data.draw(ignore_cases.contents(st.just(path), 1))
    expected = plain_leaves_out(line, {}, path, directory, stars_after_prefix=STARS_AFTER_PREFIX)
    assert Rules.start(line).leaves_out(path, directory=directory) == expected


@given(case=ignore_cases.cases())
@example(case=Case([b"a"], ignores={b"": (b"\xef\xbb\xbf", b"a")}))
@example(case=Case([b"foobar", b"foo/x/bar", b"fooy/bar"], ignores={b"": (b"foo**/bar\n", b"")}))
@settings(max_examples=250)
def test_random_directories_beside_git(case: Case, git: Git, git_has_stars_after_prefix: bool) -> None:
    check(case, git, git_has_stars_after_prefix)


@pytest.mark.slow
@given(case=ignore_cases.cases())
@settings(max_examples=5_000)
def test_many_random_directories_beside_git(case: Case, git: Git, git_has_stars_after_prefix: bool) -> None:
    check(case, git, git_has_stars_after_prefix, status=True)


HOSTILE = {
    "stars": (b"*a" * 100 + b"b", b"a" * 250),
    "stars in a path": (b"/" + b"*a" * 60 + b"b", b"a" * 250),
    "a star in each component": (b"x/" + b"*a*a*a/" * 40 + b"b", b"x/" + b"aaaaaa/" * 300 + b"c"),
    "stars across components": (b"**/a/" * 100 + b"b", b"a/" * 2000 + b"c"),
    "stars across components with stars": (b"**/*a*a*/" * 50 + b"b", b"aaa/" * 1000 + b"c"),
    "all of it": (b"x/" + b"**/*[ab]*?a*/" * 30 + b"**/b", b"x/" + b"aba/" * 1000 + b"c"),
    "quoted slashes": (b"**\\/" * 200 + b"b", b"a/" * 2000 + b"c"),
    "brackets": (b"*[a-y]" * 80 + b"z", b"y" * 250),
    "a bracket without end": (b"[" + b"a-b" * 300_000, b"a"),
    "many stars": (b"*" * 1_000_000 + b"b", b"a" * 250),
    "many slashes": (b"**/" * 300_000 + b"b/c", b"a/" * 2000 + b"c"),
    "long": (b"[a-z]*?" * 100_000, b"a" * 255),
    "many lines": (b"".join(b"*%d*a*\n" % number for number in range(20_000)), b"a" * 250),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_patterns_take_bounded_time(name: str) -> None:
    content, path = HOSTILE[name]
    started = time.perf_counter()
    assert not Rules.start(content).leaves_out(path, directory=False)
    # Tried out, most of these take longer than the age of the universe.
    assert time.perf_counter() - started < 20


def test_the_hostile_ones_match_where_they_should() -> None:
    for content, path in (
        (HOSTILE["stars"][0], b"a" * 250 + b"b"),
        (HOSTILE["a star in each component"][0], b"x/" + b"xaaa/" * 40 + b"b"),
        (HOSTILE["stars across components"][0], b"a/" * 2000 + b"b"),
        (HOSTILE["all of it"][0], b"x/" + b"abba/" * 1000 + b"b"),
        (HOSTILE["quoted slashes"][0], b"a/" * 2000 + b"b"),
        (b"[a-z]*?" * 150, b"a" * 300),
        (b"/" + b"[a-z]*/?" * 130, b"aa/a" * 130),
    ):
        assert Rules.start(content).leaves_out(path, directory=False)
    assert not Rules.start(b"[a-z]*?" * 150).leaves_out(b"a" * 299, directory=False)


def test_what_can_match_nothing_is_no_pattern() -> None:
    for line in (b"", b"!", b"/", b"//", b"!/", b"[", b"a\\", b"[/]", b"[!\x01-\xff]", b"a/[[:nope:]]"):
        assert parse_pattern(line) is None, line
    assert read_patterns(b"\xef\xbb\xbf# a\n\n \n[\n") == []


def test_plain_patterns_need_no_regular_expression() -> None:
    kinds = {
        b"a": "name",
        b"*.a": "ending",
        b"a*": "beginning",
        b"*": "beginning",
        b"/a": "path",
        b"a/b/": "path",
        b"**/a": "name",
        b"/**/*.a": "ending",
        b"a?": "name regex",
        b"/a*": "path regex",
    }
    assert {line: pattern.kind for line in kinds if (pattern := parse_pattern(line))} == kinds
    assert parse_pattern(b"a/" + b"**/" * 1000 + b"b") == parse_pattern(b"a/**/b")


def test_a_long_pattern_costs_nothing_where_it_cannot_match(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sources: tuple[bytes, ...]) -> None:
        raise AssertionError(f"{len(sources[0])} bytes were compiled")

    monkeypatch.setattr(ignoring, "compile_any", refuse)
    rules = Rules.start(b"[a-y]*?" * 300)
    assert not rules.leaves_out(b"a" * 500, directory=False)
    with pytest.raises(AssertionError, match="were compiled"):
        rules.leaves_out(b"a" * 600, directory=False)
