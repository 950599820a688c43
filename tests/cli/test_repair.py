# SPDX-License-Identifier: MIT
"""``casstore repair``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def break_one_content(history: Any) -> str:
    """Imports a content that is larger than a node holds, and damages it; its address."""
    top = history.store.parent / "more"
    top.mkdir()
    data = b"".join((number * 2654435761 % 2**32).to_bytes(4) for number in range(500))
    (top / "x.bin").write_bytes(data)
    history("import", top, "--ref", "more")
    history("checkout", "more", history.store.parent / "out")
    inspected = history.json("inspect", "key", "more:files/x.bin")
    record = inspected["record"]
    segment = history.store / "segments" / f"{record['segment']:08d}.seg"
    damaged = bytearray(segment.read_bytes())
    damaged[record["offset"] + 100] ^= 1
    segment.write_bytes(damaged)
    return str(inspected["entry"]["address"])


def test_a_sound_store(history: Any) -> None:
    report = history.json("repair")["report"]
    assert report["sound"] is True
    assert report["index"] == "sound"
    assert history.text("repair").splitlines()[-1] == "everything that refs need is there"
    assert history.text("repair", "--dry-run").splitlines()[-1] == "dry run: nothing was changed"


def test_what_is_hurt_is_told_and_healed(history: Any, tmp_path: Path) -> None:
    shutil.copytree(history.store, tmp_path / "copy")
    address = break_one_content(history)
    for words in (("repair", "--dry-run"), ("repair",)):
        error = history.error(*words, code=4)
        assert error["kind"] == "corruption"
        (hurt,) = error["report"]["hurt"]
        assert hurt["address"] == address
        assert hurt["places"][0]["text"] == "more:files/x.bin"
        assert error["report"]["sound"] is False
    shown = history("repair", code=4)
    assert "  at more:files/x.bin" in shown.stdout.splitlines()
    assert f"  the same content is in {history.store.parent / 'out' / 'x.bin'}" in shown.stdout.splitlines()
    assert "casstore verify" in shown.stderr
    history("import", history.store.parent / "more", "--ref", "healed")
    history("verify")
    assert history.json("repair")["report"]["sound"] is True
    assert history.json("repair", "--drop-quarantine")["dropped_bytes"] > 0
    assert history.json("repair")["report"]["quarantined"] == []
    assert history("repair", "--drop-quarantine", "--dry-run", code=2).stdout == ""


def test_what_is_lost_comes_from_a_bundle(history: Any, tmp_path: Path) -> None:
    break_one_content(history)
    history("repair", code=4)
    history("import", history.store.parent / "more", "--ref", "healed")
    history("bundle", "export", tmp_path / "bundle", "healed")
    record = history.json("inspect", "key", "healed:files/x.bin")["record"]
    segment = history.store / "segments" / f"{record['segment']:08d}.seg"
    damaged = bytearray(segment.read_bytes())
    damaged[record["offset"] + 100] ^= 1
    segment.write_bytes(damaged)
    history("repair", "--from", tmp_path / "nothing", code=3)
    report = history.json("repair", "--from", tmp_path / "bundle")["report"]
    assert report["from_source"] == 1
    history("verify")


def test_a_store_that_does_not_open(history: Any) -> None:
    (history.store / "config").write_text("nonsense")
    (history.store / "superblock").write_bytes(bytes(96))
    assert "casstore repair" in history("refs", code=4).stderr
    assert "--new-superblock" in history("repair", code=4).stderr
    report = history.json("repair", "--new-superblock")["report"]
    assert (report["superblock"], report["config"]) == ("made anew", "set aside")
    history("verify")
    assert history.text("cat", "main:files/src/a.py") == "one\ntwo\nthree\n"
