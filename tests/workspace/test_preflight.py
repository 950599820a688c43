# SPDX-License-Identifier: MIT
"""What an import would take is what it then takes; and what looks like a secret is said."""

from __future__ import annotations

import builtins
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given

import casstore
from casstore.errors import InvalidInputError
from casstore.workspace import Selection, import_directory
from casstore.workspace.report import LeftOut
from casstore.workspace.scanning.preflight import SECRETS, Sized, Suspect, looks_secret, survey
from tests.workspace.trees import Tree, trees, write_tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_tree(
        tmp_path / "in",
        {
            b"a": b"1" * 500,
            b"d/b": b"2" * 600,
            b"d/c": b"tiny",
            b"d/e": None,
            b"link": ("->", b"d/b"),
            b"big.log": b"3" * 700,
            b".gitignore": b"*.log\nout/\n",
            b"out/x": b"4" * 800,
        },
    )
    return tmp_path / "in"


def test_counts_and_bytes(source: Path) -> None:
    found = survey(source)
    assert (found.files, found.directories, found.symlinks, found.bytes) == (6, 3, 1, 500 + 600 + 4 + 700 + 11 + 800)
    assert (found.left_out, found.unreadable, found.secrets) == ((), (), ())
    status = os.statvfs(source)
    assert 0 < found.free_bytes <= status.f_blocks * status.f_frsize


def test_the_largest_come_first(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {b"f%d" % number: b"x" * (number % 7) for number in range(40)} | {b"\xff": b"y" * 9})
    found = survey(tmp_path / "in", largest=4)
    assert found.largest == (Sized("\udcff", 9), Sized("f13", 6), Sized("f20", 6), Sized("f27", 6))
    assert survey(tmp_path / "in", largest=0).largest == ()
    assert len(survey(tmp_path / "in").largest) == 10


def test_rules_are_followed_and_what_they_leave_out_is_named(source: Path) -> None:
    found = survey(source, selection=Selection(ignore="git"))
    assert (found.files, found.directories, found.bytes) == (4, 2, 500 + 600 + 4 + 11)
    assert [item.path for item in found.left_out] == ["big.log", "out"]
    assert all(item.path != "big.log" for item in found.largest)


@given(tree=trees)
def test_an_import_takes_what_was_said(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("survey")
    write_tree(folder, tree)
    said = survey(folder)
    with casstore.open(":memory:") as store:
        report = import_directory(store, folder)
    shutil.rmtree(folder)
    assert (said.files, said.directories, said.symlinks, said.bytes, said.left_out) == (
        report.files,
        report.directories,
        report.symlinks,
        report.bytes,
        report.left_out,
    )


def test_an_import_with_rules_takes_what_was_said(store: casstore.Store, source: Path) -> None:
    os.mkfifo(source / "pipe")
    selection = Selection(ignore="git", keep_git=False)
    (source / ".git").mkdir()
    said = survey(source, selection=selection)
    report = import_directory(store, source, selection=selection)
    assert (said.files, said.directories, said.symlinks, said.bytes) == (
        report.files,
        report.directories,
        report.symlinks,
        report.bytes,
    )
    assert said.left_out == report.left_out
    assert [item.path for item in said.left_out] == [".git", "big.log", "out", "pipe"]


def test_nothing_is_read(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    open_before, open_file_before = os.open, builtins.open

    def note(path: object, flags: int, *rest: object, **more: object) -> int:
        if not flags & os.O_DIRECTORY:
            opened.append(path)
        return open_before(path, flags, *rest, **more)  # type: ignore[arg-type]

    def note_file(path: object, *rest: object, **more: object) -> object:
        opened.append(path)
        return open_file_before(path, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "open", note)
    monkeypatch.setattr(builtins, "open", note_file)
    survey(source)
    assert opened == []
    survey(source, selection=Selection(ignore="git"))
    assert opened, "a rule file is the one thing to read"


def test_the_store_is_passed_over_and_its_disk_counts(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = source / "d" / "store"
    before = survey(source)
    asked: list[str] = []
    statvfs = os.statvfs

    def note(path: str) -> os.statvfs_result:
        asked.append(path)
        return statvfs(path)

    monkeypatch.setattr(os, "statvfs", note)
    survey(source, exclude=place / "not" / "yet")
    assert asked == [str(place / "not" / "yet"), str(place / "not"), str(place), str(place.parent)]
    with casstore.open(str(place)):
        found = survey(source, exclude=place)
    assert asked[-1] == str(place)
    assert (found.files, found.directories, found.bytes) == (before.files, before.directories, before.bytes)
    assert found.left_out == (LeftOut("d/store", "the store itself"),)
    assert found.unreadable == ()
    for inside in (place, place / "segments"):
        with pytest.raises(InvalidInputError, match=r"the store|another folder"):
            survey(inside, exclude=place)


def test_what_is_no_directory_is_refused(tmp_path: Path, source: Path) -> None:
    for wrong in (tmp_path / "gone", source / "a", Path("/")):
        with pytest.raises(InvalidInputError):
            survey(wrong)


def test_progress_is_told(source: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    survey(source, progress=lambda *call: told.append(call))
    assert told[-1] == ("looking", 6, None)
    assert len(told) == 4


@pytest.mark.skipif(
    os.getuid() == 0 and shutil.which("setpriv") is None, reason="root reads everything, and setpriv is not installed"
)
def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {b"open": b"1", b"shut": b"22", b"locked/x": b"333", b"list/y": b"4444"})
    (tmp_path / "in" / "shut").chmod(0)
    (tmp_path / "in" / "locked").chmod(0)
    (tmp_path / "in" / "list").chmod(0o444)
    script = (
        "import sys\nfrom casstore.workspace.scanning.preflight import survey\nfound = survey(sys.argv[1])\n"
        "print(found.files, found.directories, found.bytes, found.unreadable, [i.path for i in found.left_out])"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "in")]
    if os.getuid() == 0:
        powers = "-dac_override,-dac_read_search"
        words = ["setpriv", f"--inh-caps={powers}", f"--bounding-set={powers}", *words]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    finally:
        (tmp_path / "in" / "locked").chmod(0o700)
        (tmp_path / "in" / "list").chmod(0o700)
    assert done.returncode == 0, done.stderr
    # A file in a folder that may be listed but not entered cannot even be looked at.
    assert done.stdout.strip() == "2 1 3 ('list/y', 'locked', 'shut') ['list/y', 'locked']"


def test_names_that_look_like_secrets_are_named(tmp_path: Path) -> None:
    write_tree(
        tmp_path / "in",
        {
            b".env": b"",
            b".env.example": b"",
            b"deploy/ID_RSA": b"",
            b"deploy/id_rsa.pub": b"",
            b"key": ("->", b"/outside"),
            b"x.pem": ("->", b"/outside"),
            b".aws/credentials": b"",
            b"src/credentials.py": b"",
            b"ignored/.netrc": b"",
            b".gitignore": b"ignored\n",
        },
    )
    found = survey(tmp_path / "in", selection=Selection(ignore="git"))
    assert [item.path for item in found.secrets] == [".aws/credentials", ".env", "deploy/ID_RSA", "x.pem"]
    assert found.secrets[1] == Suspect(".env", "environment variables, which often hold passwords")
    assert {item.why for item in found.secrets} <= {why for why, _ in SECRETS}


SUSPECT = (
    ".env .env.local prod.env .envrc id_rsa id_ed25519 server.key cert.pem putty.ppk a.p12 a.pfx vault.kdbx app.jks "
    ".npmrc .pypirc .netrc _netrc .git-credentials .pgpass .htpasswd .docker/config.json a/.kube/config "
    ".cargo/credentials.toml credentials credentials.json Credentials.CSV my_credentials.json client_secret_1.json "
    "secrets.yaml secret token github_token api-token auth.token tokens.json terraform.tfstate prod.tfvars "
    "service-account-1.json config/master.key run/secrets/db .gnupg/private-keys-v1.d/x"
)
HARMLESS = (
    ".env.example .env.sample environment env.py id_rsa.pub known_hosts keys.txt key monkey config.json kube/config "
    "credentials.py credentials.test.ts token.go tokens.rs tokenizer.json secrets.py secrets.md package.json secretary "
    "README a.pyc secrets.html"
)


def test_the_table_of_secrets() -> None:
    assert [name for name in SUSPECT.split() if looks_secret(name.encode()) is None] == []
    assert [name for name in HARMLESS.split() if looks_secret(name.encode()) is not None] == []
    for number, (why, names) in enumerate(SECRETS):
        for line in names.splitlines():
            if not line.startswith((b"!", b"*", b"**/")) and b"*" not in line:
                said = looks_secret(b"some/where/" + line)
                assert said in [why for why, _ in SECRETS[: number + 1]], line
                assert said is not None, why
