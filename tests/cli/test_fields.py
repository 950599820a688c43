# SPDX-License-Identifier: MIT
"""cat and diff of objects by field, without the classes that wrote them; a damaged one does not hide the others."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.codecs import Members, Packed, Registry, StructFactory, default_registry
from casstore.format.entry import object_entry, snapshot_entry
from tests.cli.test_terminal import at_terminal

numpy = pytest.importorskip("numpy")


@dataclasses.dataclass
class Plan:
    goal: str
    steps: list[Any]


def plan_bytes(*fields: Any) -> bytes:
    return StructFactory(Plan, "agent.plan").encode_within(Plan(*fields), Registry(default_registry()))


def set_raw(branch: casstore.Branch, key: str, type_id: str, version: int, data: bytes) -> None:
    """An object of any type and any bytes, as a store may hold it."""
    inline = data if len(data) <= 127 else None
    branch.objects.set_entry(key, object_entry(type_id, version, len(data), None, inline), data)


MESSAGES = [{"role": "user", "text": f"message {number}"} for number in range(200)]


@pytest.fixture
def objects(command: Any) -> Any:
    """``old`` and ``new``: an object of every type, changed."""
    grid = numpy.zeros((100, 100), numpy.float32)
    with casstore.open(command.store) as store:
        branch = store.branch()
        values = branch.objects
        values["memory"] = {"step": 3, "messages": MESSAGES, "plan": {"goal": "win", "depth": 2}}
        values["grid"] = grid
        values["packed"] = Packed({(0, 1): {1, 2}})
        values["parts"] = Members(step=3, plan={"goal": "x"}, inner=Members(a=1))
        values["notes"] = "line one\nline \x1b[2Jtwo\n" + "x" * 100
        values["raw"] = bytes(range(100))
        values["n"] = 3
        values["gone"] = 1
        set_raw(branch, "plan", "struct:agent.plan", 1, plan_bytes("win", ["a", "b"]))
        set_raw(branch, "blob", "app.blob", 3, b"abc" * 100)
        branch.files["file"] = b"one\n"
        first = branch.commit("old", ref="old")
        values["memory"] = {"step": 4, "messages": [*MESSAGES, {"role": "x"}], "plan": {"depth": 2}}
        changed = grid.copy()
        changed[3, :12] = 0.5
        values["grid"] = changed
        values["packed"] = Packed({(0, 1): {1, 3}})
        values["parts/step"] = 4
        values["notes"] = "line one\nline \x1b[2Jtwo\n" + "x" * 99 + "y"
        values["raw"] = bytes(range(101))
        values["n"] = "three"
        del values["gone"]
        values["fresh"] = [1]
        values.set_entry("link", snapshot_entry(first.id))
        set_raw(branch, "plan", "struct:agent.plan", 2, plan_bytes("win", ["a", "c"]))
        set_raw(branch, "blob", "app.blob", 3, b"abc" * 100 + b"!")
        branch.files["file"] = b"two\n"
        branch.commit("new", ref="new")
    return command


EXPECTED = """\
M file
M objects/blob: 300 → 301 bytes, first difference at 300
A objects/fresh
D objects/gone
M objects/grid: float32 (100, 100): 12 of 10,000 values differ, largest difference 0.5
A objects/link
M objects/memory: messages[200] added {"role": "x"}
M objects/memory: plan.goal removed
M objects/memory: step 3 → 4
M objects/n: type json → text
M objects/n: 3 → "three"
M objects/notes: 122 bytes, first difference at 121
M objects/packed: {(0, 1)}{2} removed
M objects/packed: {(0, 1)}{3} added
M objects/parts/step: 3 → 4
M objects/plan: version 1 → 2
M objects/plan: steps[1] "b" → "c"
M objects/raw: 100 → 101 bytes, first difference at 100
"""


def test_diff_by_field(objects: Any) -> None:
    assert objects.text("diff", "old", "new") == EXPECTED
    assert objects.text("diff", "old", "old") == ""
    assert objects.text("diff", "old:objects/memory", "new").count("\n") == 3


def test_diff_shows_keys_alone_where_it_is_asked(objects: Any) -> None:
    keys = list(dict.fromkeys(line.partition(":")[0] for line in EXPECTED.splitlines()))
    assert objects.text("diff", "old", "new", "--name-only").splitlines() == keys
    assert all("fields" not in item for item in objects.json("diff", "old", "new", "--name-only")["changes"])
    objects("diff", "old", "new", "--name-only", "--stat", code=2)
    assert "# M objects/memory: objects are not compared as text" in objects.text("diff", "old", "new", "--patch")
    assert len(objects.text("diff", "old", "new", "--stat").splitlines()) == len(keys) + 1


def test_diff_as_json(objects: Any) -> None:
    changes = {item["key"]: item for item in objects.json("diff", "old", "new")["changes"]}
    memory = changes["objects/memory"]
    assert (memory["letter"], memory["fields_total"], memory["truncated"]) == ("M", 3, False)
    assert memory["fields"][0] == {
        "path": [{"key": "messages"}, {"index": 200}],
        "text": "messages[200]",
        "kind": "added",
        "new": {"role": "x"},
    }
    assert [(item["kind"], item["text"]) for item in memory["fields"][1:]] == [
        ("removed", "plan.goal"),
        ("changed", "step"),
    ]
    assert memory["fields"][1]["old"] == "win"
    (grid,) = changes["objects/grid"]["fields"]
    assert grid["difference"] == {"compared": 10000, "differing": 12, "largest": 0.5, "nan": 0, "numpy": True}
    assert grid["old"] == {"$array": "float32", "shape": [100, 100], "size": 40000}
    (notes,) = changes["objects/notes"]["fields"]
    assert notes["difference"] == {"unit": "bytes", "old": 122, "new": 122, "first": 121}
    assert [item["kind"] for item in changes["objects/plan"]["fields"]] == ["retyped", "changed"]
    assert (changes["objects/n"]["old"]["type_id"], changes["objects/n"]["new"]["type_id"]) == ("json", "text")
    assert "fields" not in changes["objects/fresh"]
    assert "fields" not in changes["files/file"]


def test_changes_are_bounded_and_all_of_them_can_be_had(command: Any) -> None:
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.objects["many"] = {f"k{number:04}": "x" * 100 for number in range(1100)}
        branch.commit(ref="old")
        branch.objects["many"] = {f"k{number:04}": "y" * 100 for number in range(1100)}
        branch.commit(ref="new")
    lines = command.text("diff", "old", "new").splitlines()
    assert len(lines) == 21
    assert lines[-1] == "M objects/many: … and 1,080 more (all of them with --all)"
    assert len(command.text("diff", "old", "new", "--all").splitlines()) == 1100
    (short,) = command.json("diff", "old", "new")["changes"]
    assert (len(short["fields"]), short["fields_total"], short["truncated"]) == (1000, 1100, True)
    assert "$truncated" in json.dumps(short["fields"][-1])
    (full,) = command.json("diff", "old", "new", "--all")["changes"]
    assert (len(full["fields"]), full["truncated"]) == (1100, False)
    assert full["fields"][-1]["new"] == "y" * 100


def test_counting_ends(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from casstore_cli import fields

    monkeypatch.setattr(fields, "MAX_COUNTED", 50)
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.objects["many"] = []
        branch.commit(ref="old")
        branch.objects["many"] = list(range(100))
        branch.commit(ref="new")
    assert command.text("diff", "old", "new").endswith("… and more than 30 more (all of them with --all)\n")
    (item,) = command.json("diff", "old", "new")["changes"]
    assert (item["fields_total"], item["truncated"]) == (50, True)


@pytest.fixture
def hurt(objects: Any) -> Any:
    """As ``objects``, with a content that was damaged on the disk, one that is malformed, and one that is too large."""
    noise = bytes((number * number) % 251 for number in range(5000))
    with casstore.open(objects.store) as store:
        branch = store.branch("new")
        set_raw(branch, "damaged", "json", 1, b'"' + noise.hex().encode() + b'"')
        set_raw(branch, "malformed", "json", 1, b"{")
        set_raw(branch, "large", "json", 1, b"[" + b"1," * 6000 + b"1]")
        branch.objects["zz"] = 1
        branch.commit(ref="one")
        set_raw(branch, "damaged", "json", 1, b"1")
        set_raw(branch, "malformed", "json", 1, b"}")
        set_raw(branch, "large", "json", 1, b"1")
        branch.objects["zz"] = 2
        branch.commit(ref="two")
        entry = store.storage.locate(store.put(b'"' + noise.hex().encode() + b'"'))
    segments = sorted((objects.store / "segments").iterdir())
    path = segments[-1] if len(segments) == 1 else next(one for one in segments if int(one.stem) == entry.segment)
    data = bytearray(path.read_bytes())
    data[entry.offset + 100] ^= 1
    path.write_bytes(data)
    return objects


def test_what_cannot_be_shown_is_told_and_the_rest_is_shown(hurt: Any) -> None:
    lines = hurt("diff", "one", "two", "--limit", "11000", code=4).stdout.splitlines()
    shown = dict(line.split(": ", 1) for line in lines)
    assert shown["M objects/zz"] == "1 → 2"
    for name in ("damaged", "large", "malformed"):
        assert shown[f"M objects/{name}"].startswith("cannot be shown: "), name
    assert "--limit" in shown["M objects/large"]
    result = hurt("diff", "one", "two", "--limit", "11000", "--json", code=4)
    items = {item["key"]: item for item in json.loads(result.stdout)["changes"]}
    assert items["objects/damaged"]["error"]["kind"] == "corruption"
    assert items["objects/large"]["error"]["kind"] == "factory"
    assert items["objects/zz"]["fields_total"] == 1
    assert hurt("diff", "one:objects/large", "two", "--limit", "11000", code=12).stdout.startswith(
        "M objects/large: cannot"
    )
    assert hurt.text("diff", "one", "two", "--name-only").count("\n") == 4


def test_cat_of_what_cannot_be_shown(hurt: Any) -> None:
    assert hurt.error("cat", "one:objects/damaged", code=4)["kind"] == "corruption"
    assert hurt.error("cat", "one:objects/malformed", code=4)["kind"] == "corruption"
    assert hurt.error("cat", "one:objects/large", "--limit", "11000", code=12)["kind"] == "factory"
    assert hurt("cat", "one:objects/malformed", code=4).stdout == ""
    assert hurt.text("cat", "one:objects/malformed", "--raw") == "{"


def test_cat_by_field(objects: Any) -> None:
    lines = objects.text("cat", "new:objects/memory").splitlines()
    assert lines[:3] == [
        "objects/memory: json version 1, 7.2 KiB",
        "messages: 201 items",
        '  [0]: {"role": "user", "text": "message 0"}',
    ]
    assert lines[-3:] == ["  … and 181 more", 'plan: {"depth": 2}', "step: 4"]
    assert '  [200]: {"role": "x"}' in objects.text("cat", "new:objects/memory", "--all").splitlines()
    assert objects.text("cat", "new:objects/plan").splitlines() == [
        "objects/plan: struct:agent.plan version 2, 21 B",
        'goal: "win"',
        'steps: ["a", "c"]',
    ]
    assert objects.text("cat", "new:objects/packed").splitlines()[1] == "{(0, 1)}: {1, 3}"
    assert objects.text("cat", "new:objects/n").splitlines() == ["objects/n: text version 1, 5 B", "three"]
    assert objects.text("cat", "new:objects/notes").splitlines()[2] == "line \\u001b[2Jtwo"
    assert objects.text("cat", "new:objects/grid").splitlines() == [
        "objects/grid: ndarray version 1, 39.1 KiB",
        "float32 (100, 100)",
        "from 0.0 to 0.5",
        "items 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, …",
    ]
    assert objects.text("cat", "new:objects/raw").splitlines()[1].startswith("00000000  00 01 02")
    blob = objects.text("cat", "new:objects/blob").splitlines()
    assert blob[0] == "objects/blob: app.blob version 3, 301 B"
    assert blob[1] == f"address {objects.json('cat', 'new:objects/blob')['entry']['address']}"
    identity = objects.json("log", "old")["snapshots"][0]["id"]
    assert objects.text("cat", "new:objects/link") == f"objects/link: snapshot {identity[:12]}\n"


def test_cat_of_stored_bytes(objects: Any) -> None:
    assert objects.process("cat", "new:objects/raw", "--raw").stdout == bytes(range(101))
    assert objects.text("cat", "old:objects/n", "--raw") == "3"
    assert objects.json("cat", "old:objects/n", "--raw")["text"] == "3"
    assert objects.text("cat", "new:files/file") == "two\n"


def test_cat_of_members(objects: Any) -> None:
    assert objects.text("cat", "new:objects/parts").splitlines() == [
        "objects/parts: members",
        "inner: members",
        "inner/a: 1",
        'plan: {"goal": "x"}',
        "step: 4",
    ]
    assert objects.text("cat", "new:objects/parts/step").splitlines() == [
        "objects/parts/step: json version 1, 1 B",
        "4",
    ]
    found = objects.json("cat", "new:objects/parts")
    assert [(item["name"], item.get("value")) for item in found["members"]] == [
        ("inner", None),
        ("inner/a", 1),
        ("plan", {"goal": "x"}),
        ("step", 4),
    ]


def test_a_damaged_member_does_not_hide_the_others(objects: Any) -> None:
    with casstore.open(objects.store) as store:
        branch = store.branch("new")
        set_raw(branch, "parts/plan", "json", 1, b"{")
        branch.commit(ref="new")
    lines = objects("cat", "new:objects/parts", code=4).stdout.splitlines()
    assert lines[3].startswith("plan: json version 1, 1 B: cannot be shown: ")
    assert lines[4] == "step: 4"
    result = json.loads(objects("cat", "new:objects/parts", "--json", code=4).stdout)
    assert result["members"][2]["error"]["kind"] == "corruption"
    assert result["members"][3]["value"] == 4


def test_cat_as_json(objects: Any) -> None:
    shown = objects.json("cat", "new:objects/plan")
    assert shown["key"] == "objects/plan"
    assert (shown["entry"]["type_id"], shown["entry"]["type_version"]) == ("struct:agent.plan", 2)
    assert (shown["value"], shown["truncated"]) == ({"goal": "win", "steps": ["a", "c"]}, False)
    assert objects.json("cat", "new:objects/memory")["value"]["messages"][200] == {"role": "x"}
    assert base64.b64decode(objects.json("cat", "new:objects/raw")["value"]["$bytes"]) == bytes(range(101))
    grid = objects.json("cat", "new:objects/grid")
    assert grid["figures"] == {"first": [0.0] * 8, "minimum": 0.0, "maximum": 0.5, "nan": 0}
    assert objects.json("cat", "new:objects/blob")["value"] == {"$type": "app.blob", "version": 3, "size": 301}


def test_deep_values_are_cut_in_json_and_never_a_traceback(command: Any) -> None:
    deep: Any = 1
    for _ in range(150):
        deep = (deep,)
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.objects["deep"] = Packed(deep)
        set_raw(branch, "deeper", "json", 1, b"[" * 100_000)
        branch.commit(ref="old")
        branch.objects["deep"] = Packed([deep])
        set_raw(branch, "deeper", "json", 1, b"[" * 100_001)
        branch.commit(ref="new")
    assert command.json("cat", "old:objects/deep")["truncated"]
    assert "(((" in command.text("cat", "old:objects/deep")
    whole = command.text("cat", "old:objects/deep", "--all")
    assert whole.count("[0]: ") + whole.count(",)") == 150
    assert command("diff", "old", "new", code=4).stdout.count("\n") == 2
    assert json.loads(command("diff", "old", "new", "--json", code=4).stdout)["changes"][0]["truncated"]


def test_cat_of_a_table(command: Any) -> None:
    arrow = pytest.importorskip("pyarrow")
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.objects["t"] = arrow.table({"x": [1, None, 3], "y": ["a", "b\x1b", "c"]})
        branch.commit(ref="main")
    assert command.text("cat", "main:objects/t").splitlines()[1:] == [
        "3 rows, 2 columns",
        "x (int64, 1 null): 1, null, 3",
        "y (string): a, b\\u001b, c",
    ]
    figures = command.json("cat", "main:objects/t")["figures"]
    assert figures["rows"] == 3
    assert figures["columns"][0] == {"name": "x", "type": "int64", "nulls": 1, "first": ["1", "null", "3"]}


def test_large_texts_are_shown_in_part(command: Any) -> None:
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.objects["t"] = "line\n" * 100_000
        branch.objects["b"] = bytes(200_000)
        branch.commit(ref="main")
    lines = command.text("cat", "main:objects/t").splitlines()
    assert (len(lines), lines[-1]) == (202, "… and more lines (all of them with --all, or --raw)")
    assert len(command.text("cat", "main:objects/t", "--all").splitlines()) == 100_001
    assert command.text("cat", "main:objects/b").endswith("… and 199,744 more bytes\n")


def test_no_object_can_steer_the_terminal(command: Any) -> None:
    evil = "\x1b[2J\u202e\x9b"
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.objects["m"] = {"a": 1}
        branch.objects[f"k{evil}"] = 1
        branch.commit(ref="old")
        branch.objects["m"] = {"a": evil, evil: [evil]}
        branch.objects[f"k{evil}"] = evil
        set_raw(branch, "t", f"app{chr(0x7E)}x", 1, evil.encode())
        branch.commit(ref="new")
    for words in (("diff", "old", "new"), ("cat", "new:objects/m"), ("cat", "new:objects/t"), ("stats", "--types")):
        seen = at_terminal("--store", str(command.store), *words)
        assert not set(evil[:1] + evil[-2:]) & set(seen.replace("\x1b[1m", "").replace("\x1b[0m", "")), words
        assert seen


def test_lines_fit_the_terminal(command: Any) -> None:
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.objects["m"] = {"a": "x", "b": [1, 2, 3] * 50, "c": ["y" * 50]}
        branch.commit(ref="old")
        branch.objects["m"] = {"a": {"z": "x" * 300}, "b": "b" * 500, "c": ["z" * 59]}
        branch.commit(ref="new")
    seen = at_terminal("--store", str(command.store), "diff", "old", "new").splitlines()
    assert len(seen) == 3
    assert all(len(line) <= 100 for line in seen), seen


def modules_loaded(command: Any, *words: str) -> Iterator[str]:
    from tests.cli.test_help import modules_after

    return (name.partition(".")[0] for name in modules_after("--store", str(command.store), *words))


def test_plain_objects_need_no_heavy_module(command: Any, tmp_path: Path) -> None:
    with casstore.open(command.store) as store:
        branch = store.branch()
        branch.objects["m"] = {"a": 1}
        branch.commit(ref="old")
        branch.objects["m"] = {"a": 2}
        branch.commit(ref="new")
    for words in (("diff", "old", "new"), ("cat", "new:objects/m"), ("stats", "--types")):
        loaded = set(modules_loaded(command, *words))
        heavy = {"numpy", "pyarrow", "msgspec", "rich", "pickle"}
        # What measures coverage brings pickle along.
        assert not loaded & (heavy - {"pickle"} if "coverage" in loaded else heavy)
