# SPDX-License-Identifier: MIT
"""Ways of keeping a state to which messages are appended, each step a snapshot: stored bytes and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.options import Options
from benchmarks.parts import Measured
from benchmarks.scratch import scratch
from benchmarks.table import Goal, milliseconds
from benchmarks.timing import spread
from benchmarks.tracking_steps import STEPS, bytes_in, messages

if TYPE_CHECKING:
    from casstore.branches import Branch

Message = dict[str, str]
Step = Callable[["Branch", int, list[Message]], None]


def workload(options: Options) -> str:
    return (
        f"the {options.pick(STEPS, 5)} steps of `python -m benchmarks tracking`: a question and an answer are appended "
        "and one of 20 other fields changes; each step is committed, and the last one moves a ref. Stored: the files "
        "of segments after closing. Time: the step with its commit, median of the last tenth, when the state is long."
    )


def one_dict() -> Step:
    state: dict[str, Any] = {"messages": [], "fields": {f"field {number}": number for number in range(20)}}

    def step(branch: Branch, number: int, new: list[Message]) -> None:
        state["messages"] += new
        state["fields"][f"field {number % 20}"] = number * 7
        branch.objects["agent"] = state

    return step


def members() -> Step:
    from casstore.codecs import Members

    kept: list[Message] = []

    def step(branch: Branch, number: int, new: list[Message]) -> None:
        kept.extend(new)
        if number == 0:
            fields = Members({f"field {place}": place for place in range(20)})
            branch.objects["agent"] = Members(messages=kept, fields=fields)
        branch.objects["agent/messages"] = kept
        branch.objects[f"agent/fields/field {number % 20}"] = number * 7

    return step


def a_key_each() -> Step:
    def step(branch: Branch, number: int, new: list[Message]) -> None:
        if number == 0:
            branch.objects["agent/fields"] = {f"field {place}": place for place in range(20)}
        for place, message in enumerate(new):
            branch.objects[f"agent/messages/{number:06d}-{place}"] = message
        fields = branch.objects["agent/fields"]
        fields[f"field {number % 20}"] = number * 7
        branch.objects["agent/fields"] = fields

    return step


def document() -> Step:
    from casstore.objects.document import Document, growing

    class Agent(Document):
        fields: dict[str, Any] = {}  # noqa: RUF012
        messages: list[Any] = growing()

    agent = Agent(messages=[], fields={f"field {number}": number for number in range(20)})

    def step(branch: Branch, number: int, new: list[Message]) -> None:
        agent.messages.extend(new)
        agent.fields[f"field {number % 20}"] = number * 7
        agent.save(branch, "agent")

    return step


WAYS: dict[str, Callable[[], Step]] = {
    "one dict": one_dict,
    "Members, messages as one list": members,
    "a key for each message": a_key_each,
    "Document, messages growing": document,
}


def measure(options: Options) -> Measured:
    import casstore

    steps = messages(options.pick(STEPS, 5))
    found: list[Goal] = []
    with scratch(options.work, "costs") as work:
        for what, make in WAYS.items():
            folder = work / what.replace(" ", "-")
            step = make()
            samples = []
            with casstore.open(str(folder)) as store:
                branch = store.branch()
                for number, new in enumerate(steps):
                    start = time.perf_counter()
                    step(branch, number, new)
                    snapshot = branch.commit(f"step {number}")
                    samples.append(time.perf_counter() - start)
                store.refs["main"] = snapshot
            stored = bytes_in(folder / "segments") / len(steps)
            last = samples[-max(2, len(samples) // 10) :]
            found.append(Goal(f"{what}: stored bytes a step", stored, lambda value: f"{value:,.0f} bytes"))
            found.append(Goal(f"{what}: time of a late step", spread(last)["p50"], milliseconds))
    return Measured(found)
