# SPDX-License-Identifier: MIT
"""gc, verify, stats, config and inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def stored(store: Path) -> int:
    # What is held back for a full disk shrinks with the largest segment, and is no part of what is freed.
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file() and path.name != "reserve")


@pytest.fixture
def garbage(history: Any, tmp_path: Path) -> Any:
    """A store in which a megabyte belongs to a deleted ref."""
    top = tmp_path / "rubbish"
    top.mkdir()
    (top / "x").write_bytes(b"".join((number * 2654435761 % 2**32).to_bytes(4) for number in range(1 << 18)))
    history("import", top, "--ref", "rubbish")
    history("refs", "delete", "rubbish")
    return history


def test_gc_frees_what_nothing_names(garbage: Any) -> None:
    before = stored(garbage.store)
    planned = garbage.json("gc", "--undo-keep", "0", "--grace", "0", "--dry-run")
    assert planned["dry_run"] is True
    assert planned["report"] is None
    assert not [name for name in planned["plan"] if name.startswith("_")]
    assert planned["plan"]["dead_bytes"] == sum(tally["bytes"] for tally in planned["plan"]["dead"].values())
    assert stored(garbage.store) > before - 10_000
    done = garbage.json("gc", "--undo-keep", "0", "--grace", "0")
    assert done["report"]["freed_bytes"] > 900_000
    assert before - stored(garbage.store) > 500_000
    garbage("verify")
    assert garbage.text("cat", "main:files/src/a.py") == "one\ntwo\nthree\n"


def test_gc_keeps_what_undo_needs(garbage: Any) -> None:
    assert garbage.json("gc", "--grace", "0")["report"]["freed_bytes"] < 500_000
    garbage("refs", "undo", "rubbish")
    assert garbage.json("ls", "rubbish")["entries"][0]["size"] == 1 << 20


def test_gc_keeps_what_is_young(garbage: Any) -> None:
    assert garbage.json("gc", "--undo-keep", "0")["report"]["freed_bytes"] < 500_000
    assert garbage("gc", "--grace", "soon", code=2).stdout == ""
    for dry in ((), ("--dry-run",)):
        assert "too young to be freed; `--grace 0` frees them now" in garbage("gc", "--undo-keep", "0", *dry).stderr
    assert garbage("gc", "--undo-keep", "0", "--grace", "0").stderr == ""


def test_gc_says_what_it_does(garbage: Any) -> None:
    said = garbage.text("gc", "--undo-keep", "0s", "--grace", "0", "--dry-run")
    assert "nothing was changed" in said
    rows = {tuple(row[:2]): row[2:] for row in (line.split("\t") for line in said.splitlines()) if len(row) == 4}
    assert rows["to be freed", "snapshot"][0] == "1 object"
    assert rows["in use", "snapshot"][0] == "2 objects"
    assert "freed" in garbage.text("gc", "--undo-keep", "0", "--grace", "0")


def test_verify(history: Any) -> None:
    sound = history.json("verify")
    assert (sound["sound"], sound["data_read"]) == (True, True)
    assert history.json("verify", "--no-data")["data_read"] is False
    assert "sound" in history.text("verify")


def test_verify_names_damage(history: Any, tree: Path) -> None:
    segments = sorted((history.store / "segments").iterdir())
    address = next(item["address"] for item in history.json("ls", "main")["entries"] if item["name"] == "README.md")
    record = history.json("inspect", "key", "main:files/README.md")["record"]
    segment = next(path for path in segments if int(path.stem) == record["segment"])
    data = bytearray(segment.read_bytes())
    data[record["offset"] + record["stored_bytes"]] ^= 0xFF
    segment.chmod(0o600)
    segment.write_bytes(data)
    error = history.error("verify", code=4)
    assert error["kind"] == "corruption"
    assert address in str(error["report"])
    said = history("verify", code=4)
    assert said.stderr.count("run `casstore repair`") == 1
    assert "1 damaged record is marked" in said.stderr
    assert "import the same content again" in said.stderr
    assert address in said.output
    history.error("cat", "main:files/README.md", code=4)
    # Marked as damaged by now, the content is stored again when it comes again, and all is well.
    history.text("import", tree, "--ref", "healed")
    assert history.json("verify")["sound"] is True
    assert history("cat", "main:files/README.md").exit_code == 0


def test_stats(history: Any) -> None:
    stats = history.json("stats")["stats"]
    assert (stats["snapshots"], stats["refs"]) == (2, 2)
    assert stats["raw_bytes"] > 0
    assert stats["stored_bytes"] > 0
    assert stats["dedup_ratio"] > 1
    assert stats["compression_ratio"] > 0
    said = history.text("stats")
    assert f"({stats['raw_bytes']:,} bytes)" in said
    assert "dedup ratio" in said
    assert "compression ratio" in said


def test_config(history: Any) -> None:
    assert history.json("config")["settings"] == {
        "max_bytes": None,
        "grace_seconds": 3600,
        "undo_keep_seconds": 604800,
        "retention": [],
    }
    assert history.text("config").splitlines() == ["max_bytes: none", "grace:     1h", "undo_keep: 7d"]
    assert history.text("config", "max_bytes", "20GiB") == "max_bytes is 20.0 GiB (21,474,836,480 bytes) (was none)\n"
    changed = history.json("config", "undo_keep", "2d")
    assert (changed["changed"], changed["old"], changed["settings"]["undo_keep_seconds"]) == (
        "undo_keep",
        604800,
        172800,
    )
    assert history.text("config", "undo_keep") == "2d\n"
    assert history.json("config", "max_bytes")["settings"] == {"max_bytes": 20 * 2**30}
    history("config", "max_bytes", "none")
    assert history.text("config", "max_bytes") == "none\n"


def test_config_takes_sense_only(history: Any) -> None:
    assert history("config", "color", code=2).stdout == ""
    assert history("config", "max_bytes", "lots", code=2).stdout == ""
    assert history("config", "grace", "soon", code=2).stdout == ""


def test_inspect_store(history: Any) -> None:
    seen = history.json("inspect")
    assert seen["refs"] == {item["name"]: item["id"] for item in history.json("refs")["refs"]}
    assert seen["stats"]["snapshots"] == 2
    assert seen["settings"]["grace_seconds"] == 3600
    assert seen["command"] == "inspect store"
    assert seen["store_id"] in history.text("inspect", "store")


def test_inspect_graph(history: Any) -> None:
    seen = history.json("inspect", "graph")
    assert [item["refs"] for item in seen["snapshots"]] == [["try"], ["main"]]
    assert seen["snapshots"][0]["parents"] == [seen["snapshots"][1]["id"]]
    lines = history.text("inspect", "graph").splitlines()
    assert lines[0].startswith(f"* {seen['snapshots'][0]['id'][:12]} ")
    assert lines[0].endswith(" (try) tried X")
    assert lines[1].endswith(" (main) the start")


def test_inspect_snapshot(history: Any) -> None:
    first = history.json("inspect", "snapshot", "main")
    assert first["sizes"]["own_bytes"] == first["sizes"]["bytes"] == first["snapshot"]["roots"]["files"]["bytes"]
    seen = history.json("inspect", "snapshot", "try")
    own = len("one\n2\nthree\n") + len("new\n") + 300
    assert seen["sizes"]["own_keys"] == 3
    assert seen["sizes"]["own_bytes"] == own
    assert seen["sizes"]["shared_bytes"] == seen["sizes"]["bytes"] - own
    assert seen["snapshot"]["parents"] == [first["snapshot"]["id"]]
    said = history.text("inspect", "snapshot", "try")
    assert seen["snapshot"]["roots"]["files"]["address"] in said
    assert f"({own:,} bytes)" in said


def test_inspect_key(history: Any) -> None:
    seen = history.json("inspect", "key", "main:files/README.md")
    root = history.json("inspect", "snapshot", "main")["snapshot"]["roots"]["files"]["address"]
    assert seen["nodes"][0]["address"] == root
    assert seen["nodes"][-1]["height"] == 0
    assert (seen["record"]["kind"], seen["record"]["encoding"], seen["record"]["raw_bytes"]) == ("chunk", "zstd", 1690)
    assert seen["record"]["stored_bytes"] < 1690
    said = history.text("inspect", "key", "main:files/README.md")
    assert seen["entry"]["address"] in said
    assert f"offset {seen['record']['offset']:,}" in said


def test_everything_that_reads_works_beside_a_writer(history: Any, tmp_path: Path) -> None:
    import casstore

    with casstore.open(history.store) as writer:
        writer.put(b"something new" * 1000)
        for words in (
            ("refs",),
            ("refs", "history", "main"),
            ("log", "try"),
            ("ls", "-r", "main"),
            ("cat", "main:files/README.md"),
            ("diff", "main", "try", "--patch"),
            ("stats",),
            ("verify",),
            ("config",),
            ("inspect",),
            ("inspect", "graph"),
            ("inspect", "snapshot", "try"),
            ("inspect", "key", "main:files/README.md"),
            ("checkout", "main", tmp_path / "out"),
        ):
            assert history.json(*words)["command"].startswith(words[0])
        history.error("refs", "set", "new", "main", "--timeout", "0", code=7)
    history("refs", "set", "new", "main")


def test_inspect_key_that_is_inline_or_missing(history: Any) -> None:
    seen = history.json("inspect", "key", "main:files/src/a.py")
    assert (seen["record"], seen["entry"]["inline"]) == (None, True)
    assert "the content is in the node" in history.text("inspect", "key", "main:files/src/a.py")
    assert history.error("inspect", "key", "main:files/none", code=3)["path"] == "files/none"


def test_inspect_key_in_several_pieces(command: Any, tmp_path: Path) -> None:
    top = tmp_path / "large"
    top.mkdir()
    (top / "x").write_bytes(b"".join((number * 2654435761 % 2**32).to_bytes(4) for number in range(1 << 18)))
    command("import", top, "--ref", "main")
    seen = command.json("inspect", "key", "main:files/x")
    assert seen["record"]["kind"] == "chunk list"
    assert sum(piece["size"] for piece in seen["pieces"]) == 1 << 20
    assert {piece["record"]["kind"] for piece in seen["pieces"]} <= {"chunk", "chunk list"}
    lines = command.text("inspect", "key", "main:files/x").splitlines()
    assert any(line.startswith(f"piece:   {seen['pieces'][0]['address'][:12]} ") for line in lines)
    assert lines[-1].startswith("         ... and ")


def test_inspect_of_a_tree_of_several_levels(command: Any, tmp_path: Path) -> None:
    top = tmp_path / "many"
    top.mkdir()
    for number in range(500):
        (top / f"{number:03}").write_text(str(number))
    command("import", top, "--ref", "main")
    nodes = command.json("inspect", "key", "main:files/250")["nodes"]
    assert len(nodes) > 1
    assert [node["height"] for node in nodes] == list(range(len(nodes)))[::-1]
    last = command.json("inspect", "key", "main:files/499")["nodes"]
    assert [node["position"] for node in last] == [node["count"] - 1 for node in last]
    assert last[0] == {**nodes[0], "position": last[0]["position"]}
