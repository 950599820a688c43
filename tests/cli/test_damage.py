# SPDX-License-Identifier: MIT
"""Damage as it is told: short enough to read, with the next step; and openings that found it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from casstore_cli.damage import damage_lines, shortened

import casstore
from casstore.address import Address

FILES = 25


def noise(number: int) -> bytes:
    return b"".join((number * 7919 + place * 2654435761 & 0xFFFFFFFF).to_bytes(4) for place in range(300))


@pytest.fixture
def many(command: Any, tmp_path: Path) -> Any:
    """A store whose 25 contents are each used by five refs, all of them damaged; two directories still hold them."""
    top = tmp_path / "many"
    top.mkdir()
    for number in range(FILES):
        (top / f"{number:02}.bin").write_bytes(noise(number))
    command("import", top, "--ref", "r1")
    for name in ("r2", "r3", "r4", "r5"):
        (top / "note").write_text(name)
        command("import", top, "--ref", name)
    command("checkout", "r1", tmp_path / "out")
    with casstore.open(command.store, read_only=True) as store:
        files = store.snapshot("r1").files
        places = [
            store.storage.locate(Address(files.entry(f"{number:02}.bin").address or b"")) for number in range(FILES)
        ]
    for place in places:
        segment = command.store / "segments" / f"{place.segment:08d}.seg"
        data = bytearray(segment.read_bytes())
        data[place.offset + 90] ^= 1
        segment.write_bytes(data)
    return command


def test_verify_has_a_line_for_each_record(many: Any) -> None:
    said = many("verify", code=4)
    lines = said.stdout.splitlines()
    start = next(place for place, line in enumerate(lines) if line.endswith("are damaged:"))
    records = [line for line in lines[start + 1 :] if line.startswith("  content ")]
    assert len(records) == 20
    assert all(line.count(":files/") == 3 and " and 2 more" in line for line in records)
    assert lines[-1].endswith("more; --json has all")
    assert len(lines) < 35
    assert "run `casstore repair`" in said.stderr
    report = many.error("verify", code=4)["report"]
    assert len([one for one in report["damage"] if one["what"] == "record"]) == FILES


def test_what_is_lost_lies_nowhere(many: Any) -> None:
    many("repair", code=4)
    lines = many("verify", code=4).stdout.splitlines()
    records = [line for line in lines if line.startswith("  content ")]
    assert len(records) == 20
    assert all("(lost) at " in line for line in records)
    assert "segment 0" not in "\n".join(lines)
    assert "segment 0" not in many("cat", "r1:files/00.bin", code=4).stderr


def test_repair_begins_with_what_heals_and_says_it_once(many: Any, tmp_path: Path) -> None:
    # The only directory that the store knows.
    said = many("repair", code=4)
    lines = said.stdout.splitlines()
    assert lines[0] == f"{FILES} things are hurt; importing {tmp_path / 'out'} heals {FILES} of them"
    assert sum(line.startswith("hurt: ") for line in lines) == 20
    assert "and 5 more; --json has all" in lines
    (command,) = [line for line in lines if " import /" in line]
    assert command.startswith(f"heals {FILES} of {FILES}: casstore --store ")
    assert len(lines) < 80
    hurt = many.error("repair", code=4)["report"]["hurt"]
    assert len(hurt) == FILES
    assert all(one["directories"] == [str(tmp_path / "out")] for one in hurt)
    many("import", tmp_path / "out", "--ref", "healed")
    assert many.text("repair").splitlines()[-1] == "everything that refs need is there"


def test_repair_counts_what_the_other_store_has(many: Any, tmp_path: Path) -> None:
    other = type(many)(tmp_path / "other.cas")
    other("import", tmp_path / "many", "--ref", "same")
    shutil.rmtree(tmp_path / "out")
    assert many("repair", "--dry-run", code=4).stdout.splitlines()[0] == f"{FILES} things are hurt"
    said = many("repair", "--dry-run", "--from", other.store, code=4).stdout
    assert said.splitlines()[0] == f"{FILES} things are hurt; --from heals {FILES} of them"
    assert many.text("repair", "--from", other.store).splitlines()[-1] == "everything that refs need is there"


def test_repair_from_nothing(history: Any, tmp_path: Path) -> None:
    error = history.error("repair", "--from", tmp_path / "nosuch", code=3)
    assert error["message"] == f"{tmp_path / 'nosuch'} is neither a store nor a bundle: nothing is there."


def test_shortened() -> None:
    assert shortened(["a", "b", "c"]) == "a, b, c"
    assert shortened(["a", "b", "c", "d"]) == "a, b, c and 1 more"


def test_one_thing_is_singular() -> None:
    report = casstore.VerifyReport(refs=1, damage=[casstore.Damage("tree", "a tree is damaged.", where=("a:files",))])
    assert list(damage_lines(report)) == ["1 thing is damaged:", "  a tree is damaged. at a:files"]
    assert "behind 1 ref" in str(report)
    assert not str(report).endswith("refs")


# -- openings that found damage


def test_an_opening_that_made_the_index_anew_says_so_once(history: Any) -> None:
    shutil.rmtree(history.store / "index")
    said = history("refs", "set", "more", "main")
    assert said.stderr == "casstore: the index was made anew; run `casstore verify`.\n"
    assert history("refs", "set", "again", "main").stderr == ""


RECOVERED = {"damaged": 0, "refs_suspect": False, "message": "the index was made anew; run `casstore verify`."}


def test_json_says_that_the_index_was_made_anew(history: Any) -> None:
    shutil.rmtree(history.store / "index")
    # A script reads stderr as JSON, or not at all: this asserts that nothing is there.
    done = history.json("refs", "set", "third", "main")
    assert (done["name"], done["recovered"]) == ("third", RECOVERED)
    assert "recovered" not in history.json("refs", "set", "fourth", "main")
    assert "recovered" not in history.json("refs")


def test_a_streamed_list_says_it_too(history: Any, tmp_path: Path) -> None:
    history("checkout", "main", tmp_path / "out")
    (tmp_path / "out" / "new").write_text("new")
    shutil.rmtree(history.store / "index")
    done = history.json("status", tmp_path / "out")
    assert (done["recovered"], [change["key"] for change in done["changes"]]) == (RECOVERED, ["files/new"])
    assert "recovered" not in history.json("status", tmp_path / "out")


def test_json_says_what_is_in_doubt(history: Any) -> None:
    shutil.rmtree(history.store / "index")
    segment = next((history.store / "segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    said = history.json("refs", "set", "more", "main")["recovered"]
    assert (said["damaged"], said["refs_suspect"]) == (1, True)
    assert said["message"].startswith("the index was made anew, past 1 damaged place")


def test_a_command_that_fails_says_it_beside_the_error(history: Any) -> None:
    for recovered in (RECOVERED, None):
        if recovered:
            shutil.rmtree(history.store / "index")
        said = json.loads(history("refs", "set", "more", "nosuch", "--json", code=3).stderr)
        assert (said["version"], said["error"]["kind"], said.get("recovered")) == (1, "not-found", recovered)


def test_a_command_that_is_not_gone_through_with_says_it_beside_the_error(history: Any) -> None:
    history("refs", "delete", "main")
    shutil.rmtree(history.store / "index")
    words = ("gc", "--keep-last", "1", "--undo-keep", "0", "--json")
    said = json.loads(history(*words, code=2).stderr)
    assert (said["error"]["kind"], said["recovered"]) == ("usage", RECOVERED)


def test_an_interrupted_command_says_it_beside_the_error(history: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(history.store / "index")

    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(casstore.snapshots.refs.Refs, "compare_and_set", stop)
    said = json.loads(history("refs", "set", "more", "main", "--json", code=130).stderr)
    assert (said["error"]["kind"], said["recovered"]) == ("interrupted", RECOVERED)


def test_readers_are_not_told(history: Any) -> None:
    assert history("refs").stderr == ""


# -- refs --all


def test_refs_all_is_refs_list_all(history: Any, tree: Path) -> None:
    (tree / "unsaved").write_text("unsaved")
    history("switch", "main", "--dir", tree)
    shown = history.text("refs", "--all")
    assert "workspace/" in shown
    assert shown == history.text("refs", "list", "--all")
    assert "workspace/" not in history.text("refs")
    assert history.json("refs", "--all")["refs"] == history.json("refs", "list", "--all")["refs"]
    assert "--all is for the list" in history("refs", "--all", "history", "main", code=2).stderr
