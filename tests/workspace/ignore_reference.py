# SPDX-License-Identifier: MIT
"""What the tests of ignore rules compare with: git itself, and a plain slow reading of the same rules.

The slow one tries every way to match, with a memory of what it tried, straight from the bytes of the pattern. It shares
no code with ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from casstore.workspace.scanning.ignoring import Rules


class Git:
    """A repository without commits at ``top``, and what git says about ignore files in it."""

    def __init__(self, top: Path) -> None:
        self.top = os.fsencode(top)
        self.nowhere = self.top + b"/.git/nowhere"
        for folder in (b"objects", b"refs", b"info"):
            os.makedirs(self.top + b"/.git/" + folder)
        with open(self.top + b"/.git/HEAD", "wb") as file:
            file.write(b"ref: refs/heads/main\n")

    def clear(self) -> None:
        """Takes everything away but the repository."""
        for name in os.listdir(self.top):
            place = os.path.join(self.top, name)
            if name == b".git":
                continue
            if os.path.isdir(place) and not os.path.islink(place):
                shutil.rmtree(place)
            else:
                os.unlink(place)

    def write(self, path: bytes, content: bytes) -> None:
        """Makes a file and the folders above it."""
        place = os.path.join(self.top, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(content)

    def ignored(self, paths: Sequence[bytes]) -> set[bytes]:
        """Those of ``paths`` that git leaves out."""
        # The dot keeps git from reading a colon at the beginning as an instruction.
        given = b"".join(b"./" + path + b"\0" for path in paths)
        said = self._run("check-ignore", "--no-index", "--stdin", "-z", "-v", "-n", given=given).split(b"\0")
        assert len(said) == 4 * len(paths) + 1, "git said nothing of some path"
        return {said[at + 3][2:] for at in range(0, len(said) - 1, 4) if said[at + 2] and said[at + 2][:1] != b"!"}

    def status_ignored(self) -> set[bytes]:
        """Files that ``git status`` calls ignored."""
        said = self._run("status", "--ignored", "--porcelain", "-z", "-uall").split(b"\0")
        return {item[3:] for item in said if item.startswith(b"!! ") and not item.endswith(b"/")}

    def _run(self, *command: str, given: bytes = b"") -> bytes:
        environment = {
            b"PATH": os.environb[b"PATH"],
            b"HOME": self.nowhere,
            b"XDG_CONFIG_HOME": self.nowhere,
            b"GIT_CONFIG_GLOBAL": b"/dev/null",
            b"GIT_CONFIG_NOSYSTEM": b"1",
            b"GIT_CEILING_DIRECTORIES": os.path.dirname(self.top),
        }
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *command],
            cwd=self.top,
            env=environment,
            input=given,
            capture_output=True,
            check=False,
        )
        # check-ignore says 1 when nothing is ignored.
        assert done.returncode in (0, 1), done.stderr.decode("utf-8", "replace")
        return done.stdout


@dataclass
class Case:
    """A directory with ignore files.

    Attributes:
        files: Paths of files; every other name is a folder.
        folders: Paths of folders, beside those above files.
        ignores: A folder's path and a slash → what its ``.gitignore`` and its ``.casignore`` say.
        exclude: What ``.git/info/exclude`` says.
    """

    files: list[bytes]
    folders: list[bytes] = field(default_factory=list)
    ignores: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    exclude: bytes = b""

    def members(self) -> dict[bytes, bool]:
        """Every path, and whether it is a directory; a folder before what is in it."""
        found: dict[bytes, bool] = {}
        for path in [*self.folders, *self.files, *(prefix + b".gitignore" for prefix in self.ignores)]:
            parts = path.split(b"/")
            for depth in range(1, len(parts)):
                found[b"/".join(parts[:depth])] = True
        for path in self.folders:
            found[path] = True
        for path in [*self.files, *(prefix + b".gitignore" for prefix in self.ignores)]:
            found.setdefault(path, False)
        return dict(sorted(found.items()))

    def write(self, git: Git) -> None:
        """Makes the directory; git is given both ignore files of a folder as one."""
        git.clear()
        for path, directory in self.members().items():
            if directory:
                os.makedirs(os.path.join(git.top, path), exist_ok=True)
            else:
                git.write(path, b"")
        for prefix, (gitignore, casignore) in self.ignores.items():
            git.write(prefix + b".gitignore", gitignore + b"\n" + casignore if casignore else gitignore)
        git.write(b".git/info/exclude", self.exclude)

    def by_rules(self) -> set[bytes]:
        """What ours leave out; a folder that is left out takes everything in it along."""
        rules = {b"": Rules.start(self.exclude).enter(b"", *self.ignores.get(b"", ()))}
        out: set[bytes] = set()
        for path, directory in self.members().items():
            prefix = path[: path.rfind(b"/") + 1]
            if prefix[:-1] in out or rules[prefix].leaves_out(path, directory=directory):
                out.add(path)
            elif directory:
                below = path + b"/"
                rules[below] = rules[prefix].enter(below, *self.ignores.get(below, ()))
        return out

    def by_plain_rules(self, *, stars_after_prefix: bool) -> set[bytes]:
        """What the slow reading leaves out."""
        out: set[bytes] = set()
        for path, directory in self.members().items():
            if path.rpartition(b"/")[0] in out or plain_leaves_out(
                self.exclude, self.ignores, path, directory, stars_after_prefix=stars_after_prefix
            ):
                out.add(path)
        return out


def plain_leaves_out(
    exclude: bytes,
    ignores: Mapping[bytes, Iterable[bytes]],
    path: bytes,
    directory: bool,
    *,
    stars_after_prefix: bool,
) -> bool:
    """Whether the last line that matches ``path`` is no negation; folders above it are not looked at."""
    verdict = False
    parts = path.split(b"/")
    prefixes = [b"".join(part + b"/" for part in parts[:depth]) for depth in range(len(parts))]
    sources = [(b"", exclude)] + [(prefix, content) for prefix in prefixes for content in ignores.get(prefix, ())]
    for prefix, content in sources:
        for line in plain_lines(content):
            negated, rest = (True, line[1:]) if line[:1] == b"!" else (False, line)
            if plain_match(rest, path[len(prefix) :], directory, stars_after_prefix=stars_after_prefix):
                verdict = not negated
    return verdict


def plain_lines(content: bytes) -> Iterable[bytes]:
    """The lines of an ignore file that are patterns."""
    if content[:3] == b"\xef\xbb\xbf":
        content = content[3:]
    for line in content.split(b"\n"):
        if line[:1] in (b"", b"#"):
            continue
        if line[-1:] == b"\r":
            line = line[:-1]
        line = line.split(b"\0")[0]
        # The end of what must stay: behind the last byte that is no space, or that a backslash protects.
        end = at = 0
        while at < len(line):
            if line[at : at + 1] == b"\\":
                at += 2
                end = at
            else:
                at += 1
                end = end if line[at - 1 : at] == b" " else at
        yield line[:end]


def plain_match(pattern: bytes, path: bytes, directory: bool, *, stars_after_prefix: bool) -> bool:
    """Whether one pattern, without a negation's mark, matches a path below its ignore file's folder."""
    if pattern.endswith(b"/"):
        pattern = pattern[:-1]
        if not directory:
            return False
    if b"/" not in pattern:
        return plain_glob(pattern, path.split(b"/")[-1], slashes=False)
    if pattern[:1] == b"/":
        pattern = pattern[1:]
    if stars_after_prefix:
        literal = 0
        while literal < len(pattern) and pattern[literal] not in b"*?[\\":
            literal += 1
        if path[:literal] != pattern[:literal]:
            return False
        pattern, path = pattern[literal:], path[literal:]
    return plain_glob(pattern, path, slashes=True)


def plain_glob(pattern: bytes, text: bytes, *, slashes: bool) -> bool:
    """Whether ``pattern`` matches all of ``text``; ``slashes`` makes them special."""

    @cache
    def fits(at: int, start: int) -> bool:
        if at == len(pattern):
            return start == len(text)
        special = pattern[at : at + 1]
        if special == b"*":
            end = at
            while pattern[end : end + 1] == b"*":
                end += 1
            crosses = not slashes
            if slashes and end - at > 1 and (at == 0 or pattern[at - 1 : at] == b"/"):
                crosses = end == len(pattern) or pattern[end : end + 1] == b"/" or pattern[end : end + 2] == b"\\/"
            if slashes and crosses and pattern[end : end + 1] == b"/" and fits(end + 1, start):
                return True
            while not fits(end, start):
                if start == len(text) or (text[start : start + 1] == b"/" and not crosses):
                    return False
                start += 1
            return True
        if start == len(text):
            return False
        letter = text[start : start + 1]
        if special == b"?":
            return not (slashes and letter == b"/") and fits(at + 1, start + 1)
        if special == b"[":
            matched, end = plain_bracket(pattern, at + 1, letter)
            return matched and letter != b"/" and fits(end, start + 1)
        if special == b"\\":
            at += 1
        return pattern[at : at + 1] == letter and fits(at + 1, start + 1)

    return fits(0, 0)


SPACE, PUNCTUATION = b" \t\n\r", b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
LOWER, DIGITS = b"abcdefghijklmnopqrstuvwxyz", b"0123456789"
CLASSES = {
    b"alnum": LOWER + LOWER.upper() + DIGITS,
    b"alpha": LOWER + LOWER.upper(),
    b"blank": b" \t",
    b"cntrl": bytes(range(32)) + b"\x7f",
    b"digit": DIGITS,
    b"graph": LOWER + LOWER.upper() + DIGITS + PUNCTUATION,
    b"lower": LOWER,
    b"print": LOWER + LOWER.upper() + DIGITS + PUNCTUATION + b" ",
    b"punct": PUNCTUATION,
    b"space": SPACE,
    b"upper": LOWER.upper(),
    b"xdigit": DIGITS + b"abcdefABCDEF",
}


def plain_bracket(pattern: bytes, at: int, letter: bytes) -> tuple[bool, int]:
    """Whether the bracket that begins before ``at`` has ``letter`` in it, and where it ends; malformed: it has not."""
    wanted = True
    if pattern[at : at + 1] in (b"!", b"^"):
        wanted = False
        at += 1
    found = False
    previous = b""
    start = at
    while at == start or pattern[at : at + 1] != b"]":
        one = pattern[at : at + 1]
        at += 1
        if one == b"[" and pattern[at : at + 1] == b":" and b"]" in pattern[at + 1 :]:
            end = pattern.index(b"]", at + 1)
            inner = pattern[at + 1 : end]
            if inner.endswith(b":"):
                if inner[:-1] not in CLASSES:
                    return False, 0
                found = found or letter in CLASSES[inner[:-1]]
                previous = b""
                at = end + 1
                continue
        elif one == b"[" and pattern[at : at + 1] == b":":
            return False, 0
        if one == b"-" and previous and pattern[at : at + 1] not in (b"", b"]"):
            one = pattern[at : at + 1]
            at += 1
            if one == b"\\":
                one = pattern[at : at + 1]
                at += 1
            if not one:
                return False, 0
            found = found or previous <= letter <= one
            previous = b""
            continue
        if one == b"\\":
            one = pattern[at : at + 1]
            at += 1
        if not one:
            return False, 0
        found = found or one == letter
        previous = one
    return found == wanted, at + 1
