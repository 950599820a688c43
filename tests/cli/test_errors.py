# SPDX-License-Identifier: MIT
"""Every class of error has an exit code of its own, a line of text, and a JSON object."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from casstore_cli import errors as cli_errors
from casstore_cli.main import cli
from click.testing import CliRunner

from casstore import errors

KINDS = {
    errors.NotFoundError: 3,
    errors.CorruptionError: 4,
    errors.FormatVersionError: 5,
    errors.ConflictError: 6,
    errors.LockedError: 7,
    errors.ReadOnlyError: 8,
    errors.ClosedError: 9,
    errors.InvalidInputError: 10,
    errors.QuotaExceededError: 11,
    errors.FactoryError: 12,
    errors.DeadlineError: 13,
    errors.StorageError: 14,
    errors.CasstoreError: 1,
}


def subclasses(top: type) -> set[type]:
    return {top}.union(*(subclasses(below) for below in top.__subclasses__()))


def test_every_class_is_known() -> None:
    assert {kind for kind in subclasses(errors.CasstoreError) if kind.__module__ == "casstore.errors"} == set(KINDS)
    codes = [code for kind, code in cli_errors.EXIT_CODES.items()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(("kind", "code"), KINDS.items(), ids=lambda value: getattr(value, "kind", str(value)))
def test_exit_code_and_message_of_each_class(
    kind: type[errors.CasstoreError], code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind(
            "it is so; do this.", address=b"\xab" * 32, segment=3, offset=70, path=os.fsdecode(b"caf\xe9"), pid=12
        )

    monkeypatch.setattr("casstore.open", fail)
    words = ["--store", str(tmp_path / "s"), "refs"]
    result = CliRunner().invoke(cli, words)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "casstore: it is so; do this.\n")
    result = CliRunner().invoke(cli, [*words, "--json"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert json.loads(result.stderr) == {
        "version": 1,
        "error": {
            "kind": kind.kind,
            "message": "it is so; do this.",
            "address": "ab" * 32,
            "segment": 3,
            "offset": 70,
            "path": "caf\\xe9",
            "path_hex": "636166e9",
            "pid": 12,
        },
    }


def test_fields_that_do_not_apply_are_left_out(history: Any) -> None:
    assert set(history.error("log", "nothing", code=3)) <= {"kind", "message", "path"}


def test_a_report_comes_with_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise errors.CorruptionError("damaged.", report={"damaged": [b"\1" * 32]})

    monkeypatch.setattr("casstore.open", fail)
    result = CliRunner().invoke(cli, ["--store", str(tmp_path / "s"), "verify", "--json"])
    assert json.loads(result.stderr)["error"]["report"] == {"damaged": ["01" * 32]}


def test_messages_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise errors.StorageError("bad \x1b[2J name\nnext line")

    monkeypatch.setattr("casstore.open", fail)
    result = CliRunner().invoke(cli, ["--store", str(tmp_path / "s"), "refs"])
    assert result.stderr == "casstore: bad \\x1b[2J name\nnext line\n"


def test_an_error_of_the_operating_system_is_a_storage_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/x/y")

    monkeypatch.setattr("casstore.open", fail)
    result = CliRunner().invoke(cli, ["--store", str(tmp_path / "s"), "refs", "--json"])
    assert result.exit_code == 14
    assert json.loads(result.stderr)["error"]["path"] == "/x/y"


def test_usage_errors_are_2_and_json_too() -> None:
    result = CliRunner().invoke(cli, ["log"], env={"CASSTORE_PATH": ""})
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage:" in result.stderr
    result = CliRunner().invoke(cli, ["log", "--json"])
    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["kind"] == "usage"
    assert CliRunner().invoke(cli, ["no-such-command"]).exit_code == 2
    assert CliRunner().invoke(cli, ["--no-such-option"]).exit_code == 2


def test_no_store_named() -> None:
    result = CliRunner().invoke(cli, ["refs"], env={"CASSTORE_PATH": ""})
    assert result.exit_code == 2
    assert "--store PATH or set CASSTORE_PATH" in result.stderr


def test_reading_never_makes_a_store(command: Any) -> None:
    for words in (
        ["refs"],
        ["log", "main"],
        ["stats"],
        ["verify"],
        ["config"],
        ["inspect"],
        ["refs", "delete", "x"],
        ["gc"],
    ):
        result = command.error(*words, code=3)
        assert str(command.store) in result["message"]
        assert not command.store.exists()


def test_a_folder_that_is_no_store(command: Any) -> None:
    command.store.mkdir()
    (command.store / "file").write_text("mine")
    code = command("refs", code=3).exit_code
    assert code == 3
    assert [path.name for path in command.store.iterdir()] == ["file"]


def test_a_second_writer_is_told_who_has_the_store(history: Any) -> None:
    import casstore

    with casstore.open(history.store):
        start = time.monotonic()
        done = history.process("refs", "set", "x", "main", "--timeout", "0.1", "--json")
        assert time.monotonic() - start < 8
        assert done.returncode == 7
        assert json.loads(done.stderr)["error"]["pid"] == os.getpid()
        reading = history.process("log", "main", "--json")
        assert reading.returncode == 0
        assert json.loads(reading.stdout)["snapshots"]


def test_a_closed_pipe_is_no_error(history: Any, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "file").write_bytes(os.urandom(4 << 20))
    history("import", tmp_path / "large", "--ref", "large")
    process = subprocess.Popen(
        [sys.executable, "-m", "casstore_cli", "--store", str(history.store), "cat", "large:files/file"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), complaint) == (141, b"")


def test_a_pipe_that_nobody_reads_is_no_error(history: Any) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    words = [sys.executable, "-m", "casstore_cli", "--store", str(history.store), "log", "main"]
    # With a buffer, something is left to be flushed when the interpreter ends.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(words, stdout=write_end, stderr=subprocess.PIPE, env=buffered, timeout=60, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_said_once(history: Any) -> None:
    words = [sys.executable, "-m", "casstore_cli", "--store", str(history.store), "log", "main"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, env=buffered, timeout=60, check=False)
    assert done.returncode == 14
    assert done.stderr.startswith(b"casstore: ")
    assert done.stderr.count(b"\n") == 1


def test_interrupted(history: Any) -> None:
    import casstore

    with casstore.open(history.store):
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "casstore_cli",
                "--store",
                str(history.store),
                "fork",
                "main",
                "x",
                "--timeout",
                "60",
            ],
            stderr=subprocess.PIPE,
            # A shell without job control starts what runs behind it with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        time.sleep(1.0)  # long enough to be waiting for the lock
        assert process.poll() is None
        for _ in range(10):
            # On a busy machine it may still be starting, and Python drops what interrupts some of its callbacks.
            process.send_signal(signal.SIGINT)
            try:
                _, complaint = process.communicate(timeout=5)
                break
            except subprocess.TimeoutExpired:
                continue
    assert process.returncode == 130
    assert complaint.strip() == b"casstore: interrupted; run the command again to finish."


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from casstore_cli import main

    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as end:
        main.main()
    assert "Windows is not supported" in str(end.value.code)


def test_the_documented_codes_are_those() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| ")]
    documented = {row[2].strip("`"): int(row[1]) for row in rows if row[1].isdigit() and row[2]}
    assert documented == {**cli_errors.EXIT_CODES, "interrupted": cli_errors.INTERRUPTED}
