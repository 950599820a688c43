# SPDX-License-Identifier: MIT
"""cat, diff and stats show a document as one object, without its class."""

from __future__ import annotations

from typing import Any

import pytest

import casstore
from casstore.objects.document import Document, growing


class Agent(Document, version=2):
    step: int = 0
    notes: dict[str, Any] = {}  # noqa: RUF012
    messages: list[Any] = growing()
    goal: str


MESSAGES = [{"role": "user", "text": f"message {number} " + "x" * 30} for number in range(200)]


@pytest.fixture
def agents(command: Any) -> Any:
    """``old`` and ``new``: a document that changed, one that came, one that went, and what lies around them."""
    with casstore.open(command.store) as store:
        branch = store.branch()
        agent = Agent(step=3, notes={"plan": ["a", "b"]})
        agent.save(branch, "agents/one")
        for start in range(0, 200, 50):
            agent.messages += MESSAGES[start : start + 50]
            agent.save()
        Agent(step=1).save(branch, "agents/gone")
        Agent(step=1).save(branch, "agents/same")
        Agent(step=1).save(branch, "agents/one/child")
        branch.objects["became"] = 5
        branch.objects["wide/plain"] = 1
        branch.commit("old", ref="old")
        agent.step = 4
        agent.messages[7]["text"] = "y"
        agent.messages.append({"role": "x"})
        agent.goal = "win"
        del agent.notes["plan"]
        agent.save()
        Agent.load(branch, "agents/gone").delete()
        Agent(step=9).save(branch, "agents/fresh")
        Agent(step=9).save(branch, "became", replace=True)
        branch.objects["wide/plain"] = 2
        branch.objects["agents/one/deep/er"] = 1
        branch.commit("new", ref="new")
    return command


EXPECTED = """\
A objects/agents/fresh
D objects/agents/gone
A objects/agents/one/deep/er
M objects/agents/one: goal added "win"
M objects/agents/one: messages[7].text "message 7 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" → "y"
M objects/agents/one: messages[200] added {"role": "x"}
M objects/agents/one: notes.plan removed
M objects/agents/one: step 3 → 4
D objects/became
A objects/became
M objects/wide/plain: 1 → 2
"""


def test_diff_shows_a_document_as_one_object(agents: Any) -> None:
    assert sorted(agents.text("diff", "old", "new").splitlines()) == sorted(EXPECTED.splitlines())
    assert agents.text("diff", "old", "old") == ""
    names = agents.text("diff", "old", "new", "--name-only").splitlines()
    assert sorted(names) == sorted({line.partition(":")[0] for line in EXPECTED.splitlines()})
    one = agents.text("diff", "old:objects/agents/one", "new")
    assert len(one.splitlines()) == 6
    # What is asked for by a key of its own is shown as it is stored.
    assert agents.text("diff", "old:objects/agents/one/step", "new") == "M objects/agents/one/step: 3 → 4\n"
    assert "objects/agents/one/messages/@0000000000" in agents.text("diff", "old", "new", "--stat")
    assert agents.text("diff", "new", "old").splitlines()[0].startswith("D objects/agents/fresh")


def test_diff_of_a_document_as_json(agents: Any) -> None:
    changes = {item["key"]: item for item in agents.json("diff", "old", "new")["changes"]}
    one = changes["objects/agents/one"]
    assert (one["letter"], one["fields_total"], one["truncated"]) == ("M", 5, False)
    assert one["old"]["kind"] == "document"
    assert (one["old"]["type_id"], one["old"]["type_version"], one["old"]["parts"]) == ("document:Agent", 2, 7)
    assert {"path": [{"key": "messages"}, {"index": 200}], "text": "messages[200]", "kind": "added"}.items() <= next(
        field for field in one["fields"] if field["text"] == "messages[200]"
    ).items()
    fresh = changes["objects/agents/fresh"]
    assert (fresh["letter"], fresh["old"], fresh["new"]["kind"]) == ("A", None, "document")
    assert "fields" not in fresh


def test_cat_shows_a_document_by_field(agents: Any) -> None:
    lines = agents.text("cat", "new:objects/agents/one").splitlines()
    assert lines[0].startswith("objects/agents/one: document:Agent version 2, 9 keys, ")
    assert 'goal: "win"' in lines
    assert "step: 4" in lines
    assert "messages: 201 items" in lines
    shown = agents.json("cat", "new:objects/agents/one")
    messages = [*MESSAGES[:7], {"role": "user", "text": "y"}, *MESSAGES[8:], {"role": "x"}]
    assert shown["value"] == {"goal": "win", "messages": messages, "notes": {}, "step": 4}
    assert shown["key"] == "objects/agents/one"
    assert shown["entry"]["type_id"] == "document:Agent"
    assert agents.json("cat", "new:objects/agents/one/step")["value"] == 4
    assert agents.json("cat", "new:objects/agents/one/child")["value"] == {"messages": [], "notes": {}, "step": 1}
    assert agents.error("cat", "new:objects/agents/one", "--raw", code=10)["kind"] == "invalid-input"
    assert agents.error("cat", "new:objects/agents", code=10)["kind"] == "invalid-input"


def test_stats_count_documents(agents: Any) -> None:
    types = {item["type_id"]: item for item in agents.json("stats", "--types", "old")["types"]["types"]}
    assert (types["document:Agent"]["count"], types["document:Agent"]["version"]) == (4, 2)
    assert types["document:Agent"]["distinct"] == 1
    assert "document:Agent" in agents.text("stats", "--types")


def test_a_document_of_another_class_or_version_and_a_damaged_one(command: Any) -> None:
    with casstore.open(command.store) as store:
        branch = store.branch()
        for key in ("kind", "version", "block", "header"):
            Agent(step=1, messages=[1]).save(branch, key)
        branch.commit(ref="old")
        branch.objects["kind/@document"] = {"type": "Other", "version": 2}
        branch.objects["version/@document"] = {"type": "Agent", "version": 3}
        branch.objects["block/messages/@0000000000"] = 5
        branch.objects["header/@document"] = [1]
        branch.commit(ref="new")
    lines = command("diff", "old", "new", code=4).stdout.splitlines()
    assert lines[0].startswith("M objects/block: cannot be shown: 'messages/@0000000000' is a block")
    assert lines[1:] == [
        'M objects/header: ["@document"] "document:Agent" → "document"',
        'M objects/kind: ["@document"] "document:Agent" → "document:Other"',
        "M objects/version: version 2 → 3",
    ]
    assert command.error("cat", "new:objects/block", code=4)["kind"] == "corruption"
    assert command.text("cat", "new:objects/header").startswith("objects/header: document version 0, 4 keys")
    assert "document" in command.text("stats", "--types", "new")
