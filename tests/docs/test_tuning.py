# SPDX-License-Identifier: MIT
"""``docs/tuning.md`` states the defaults that the code has, all of them, and names figures and commands that exist.

Its tables begin with the columns ``what`` and ``default``. What is in them is one of

* ``Owner.name``: a field of a dataclass, or an argument of a class;
* ``casstore.module.NAME``: a constant;
* ``casstore.name(argument=…)``: an argument of a function.

A default is a number with a unit (``64 MiB``, ``0.25 s``), several of them (``2 / 4 bytes``), a fraction (``1/3``), a
text in double quotes, or ``none`` and what that means.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.collection.auto_collect import AutoCollector
from casstore.format.settings import Settings
from casstore.objects import Admission, Materializer, MemoryMonitor, Prefetcher
from casstore.objects.memory_levels import Limits

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "tuning.md").read_text("utf-8")

OWNERS: dict[str, type] = {
    owner.__name__: owner
    for owner in (casstore.Config, Settings, Limits, Admission, Materializer, Prefetcher, MemoryMonitor, AutoCollector)
}
NUMBER = re.compile(r"(int|float)( \| None)?")
"""Annotations of arguments that are thresholds; the others are parts that a class is made of."""
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def tables(text: str) -> Iterator[list[str]]:
    """The rows of the tables whose columns are ``what``, ``default`` and so on, marks of code kept."""
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        if cells[:2] == ["what", "default"]:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            yield cells


ROWS = list(tables(TEXT))
DEFAULTS = {row[0].strip("`"): row[1] for row in ROWS}


def parse(text: str) -> Any:
    """The value that a cell states."""
    if text.split(":")[0] == "none":
        return None
    if text.startswith('"'):
        return text.strip('"')
    *numbers, last = text.split(" / ")
    if numbers:
        unit = last.partition(" ")[2]
        return tuple(parse(f"{number} {unit}") for number in (*numbers, last.partition(" ")[0]))
    number, _, unit = text.partition(" ")
    return Fraction(number.replace(",", "")) * UNITS.get(unit, 1)


def defaults_of(owner: type) -> dict[str, Any]:
    """Field or argument → default, of what may be set."""
    if dataclasses.is_dataclass(owner):
        # Members that this version does not know are no setting.
        return {field.name: field.default for field in dataclasses.fields(owner) if field.name != "other"}
    arguments = inspect.signature(owner).parameters.values()
    return {each.name: each.default for each in arguments if NUMBER.fullmatch(str(each.annotation))}


def actual(what: str) -> Any:
    """The default that the code has."""
    call = re.fullmatch(r"(casstore(?:\.\w+)+)\((\w+)=…\)", what)
    if call:
        module, name = call[1].rsplit(".", 1)
        return inspect.signature(getattr(importlib.import_module(module), name)).parameters[call[2]].default
    owner, _, name = what.partition(".")
    if owner in OWNERS:
        return defaults_of(OWNERS[owner])[name]
    module, name = what.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def same(stated: Any, found: Any) -> bool:
    if isinstance(found, tuple) and stated is not None:
        return isinstance(stated, tuple) and all(map(same, stated, found)) and len(stated) == len(found)
    if isinstance(stated, Fraction):
        return type(found) in (int, float) and float(stated) == pytest.approx(found, rel=1e-12)
    if stated is None:
        return found is None or found == ()
    return type(stated) is type(found) and stated == found


@pytest.mark.parametrize("what", DEFAULTS)
def test_a_stated_default_is_that_of_the_code(what: str) -> None:
    assert same(parse(DEFAULTS[what]), actual(what)), f"docs/tuning.md: {what} is {actual(what)!r}"


@pytest.mark.parametrize("name", OWNERS)
def test_nothing_that_can_be_set_is_left_out(name: str) -> None:
    missing = [field for field in defaults_of(OWNERS[name]) if f"{name}.{field}" not in DEFAULTS]
    assert defaults_of(OWNERS[name])
    assert missing == [], f"docs/tuning.md lacks {missing} of {name}"


def test_every_row_says_what_it_trades() -> None:
    short = [row[0] for row in ROWS if len(row) != 5 or (not row[2] and row[0] != "`Config.actor`")]
    assert short == []
    assert len(DEFAULTS) == len(ROWS), "a threshold has two rows"


def test_the_reading_of_the_page() -> None:
    text = "| what | default |\n|---|---|\n| `A.b` | 64 MiB |\n\n| what | other |\n| x | y |\n"
    assert list(tables(text)) == [["`A.b`", "64 MiB"]]
    cells = ("64 MiB", "3,600 s", "1/3", "none: no quota", '"full"', "2,048 / 4 bytes")
    assert [parse(cell) for cell in cells] == [2**26, 3600, Fraction(1, 3), None, "full", (2048, 4)]
    for stated, found in ((Fraction("0.7"), 0.7), (Fraction(1, 3), 1 / 3), (None, None), ("a", "a")):
        assert same(stated, found)
    for stated, found in ((Fraction(1), None), (None, 0), (Fraction(2), 1), (Fraction(1), True), ("a", "b")):
        assert not same(stated, found)
    assert not same((Fraction(1),), (1, 2))
    assert len(DEFAULTS) >= 90


FIGURE = re.compile(
    r"`((?:store|plan|sample|monitor|following|materializer|prefetcher|tree|report|collector)(?:\.\w+(?:\(\))?)+)`"
)


def test_the_figures_that_it_names_exist() -> None:
    names = sorted(set(FIGURE.findall(TEXT)))
    assert len(names) >= 40
    from casstore.mcts import StateTree
    from casstore.objects.document import Document

    class Noted(Document):
        text: str = ""

    with casstore.open(":memory:") as store, Materializer(store) as materializer, store.plan_gc() as plan:
        monitor = MemoryMonitor()
        sample = monitor.sample()
        following = monitor.follow(store)
        found = {
            "store": store,
            "plan": plan,
            "sample": sample,
            "monitor": monitor,
            "following": following,
            "materializer": materializer,
            "prefetcher": Prefetcher(materializer),
            "tree": StateTree(store),
            "collector": AutoCollector(store),
            "report": Noted(text="a").save(store.branch(), "note"),
        }
        for name in names:
            assert resolves(found, name), f"docs/tuning.md names {name}, which is not there"
        for name in ("store.stats().cache.never", "sample.never", "never.sample"):
            assert not resolves(found, name)
        following.stop()


def resolves(found: dict[str, Any], name: str) -> bool:
    """Whether ``name``, a row of attributes and calls without arguments, is there."""
    first, *parts = name.split(".")
    if first not in found:
        return False
    here = found[first]
    for part in parts:
        attribute = part.removesuffix("()")
        if not hasattr(here, attribute):
            return False
        here = getattr(here, attribute)
        if part.endswith("()"):
            here = here()
    return True
