# SPDX-License-Identifier: MIT
"""Whatever a user can get back from a public method, or has to give to one, can be imported from where that is."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any, get_args

import pytest

import casstore.objects
from casstore.errors import CasstoreError

NAMES = sorted(casstore.objects.__all__)
INNER = {"GiveBack", "Missing"}
"""Made by the layer for itself: a class of arguments that only its own parts give."""


def test_every_name_is_there_and_is_listed_once() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert set(NAMES) == set(casstore.objects._MODULES)
    for name in NAMES:
        assert getattr(casstore.objects, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        casstore.objects.nothing  # noqa: B018
    assert {"Limits", "Sample", "Following", "growing", "SaveReport", "UnsetFieldError", "MISSING", "FieldChange"} <= {
        *NAMES
    }


def words(annotation: Any) -> set[str]:
    """Names of this layer's classes in an annotation."""
    return set() if annotation is inspect.Signature.empty else set(_named(str(annotation)))


def _named(text: str) -> list[str]:
    return [word for word in "".join(c if c.isalnum() or c == "_" else " " for c in text).split() if word[0].isupper()]


def classes_of_the_layer() -> set[str]:
    found = set()
    for path in Path(casstore.objects.__path__[0]).glob("*.py"):
        found |= {
            line[6:].split("(")[0].split(":")[0] for line in path.read_text().splitlines() if line[:6] == "class "
        }
    return found


def test_what_public_methods_return_and_take_is_public() -> None:
    layer = {name for name in classes_of_the_layer() if not name.startswith("_")} - INNER
    missing: dict[str, set[str]] = {}
    for name in NAMES:
        value = getattr(casstore.objects, name)
        functions = [value] if isinstance(value, types.FunctionType) else []
        if isinstance(value, type):
            for key in dir(value):
                one = inspect.getattr_static(value, key)
                one = getattr(one, "fget", getattr(one, "__func__", one))
                if isinstance(one, types.FunctionType) and (key == "__init__" or not key.startswith("_")):
                    functions.append(one)
        for function in functions:
            if not function.__module__.startswith("casstore.objects."):
                continue
            signature = inspect.signature(function)
            used = words(signature.return_annotation).union(
                *(words(one.annotation) for one in signature.parameters.values())
            )
            if unknown := (used & layer) - {*NAMES}:
                # What a report's or a request's own constructor takes is made by the layer alone.
                if function.__name__ == "__init__" and name in (
                    "Following",
                    "Preload",
                    "Ref",
                    "TrackedDict",
                    "TrackedList",
                ):
                    continue
                missing[f"{name}.{function.__name__}"] = unknown
    assert not missing
    # And what stands in reports.
    for name in NAMES:
        hints = getattr(getattr(casstore.objects, name), "__annotations__", {})
        public = [hint for field, hint in hints.items() if not field.startswith("_")]
        assert not {word for hint in public for word in words(hint)} & layer - {*NAMES}, name


def test_levels_and_errors() -> None:
    assert get_args(casstore.objects.Level) == ("low", "medium", "high", "critical")
    assert issubclass(casstore.objects.UnsetFieldError, CasstoreError)
    assert repr(casstore.objects.MISSING) == "MISSING"


@pytest.mark.slow
def test_types_are_known_where_they_are_used(tmp_path: Path) -> None:
    """`mypy --strict` in a user's file, where nothing must be Any that need not be."""
    pytest.importorskip("mypy", reason="type hints are checked by mypy")
    file = tmp_path / "user.py"
    file.write_text(
        textwrap.dedent(
            """
            import casstore
            from casstore.mcts import StateTree
            from casstore.objects import (
                MISSING, Document, FieldChange, Following, Level, Limits, Materializer, MaterializerStatus,
                MemoryMonitor, MonitorFigures, Path, Prefetcher, PrefetchStatus, Preload, Ref, Sample, SaveReport,
                StateTracker, Status, UnsetFieldError, growing, reached_by,
            )

            class Memory(Document):
                step: int = 0
                notes: list[str] = growing()

            def use(store: casstore.Store, tree: StateTree, monitor: MemoryMonitor) -> None:
                following: Following = monitor.follow(store)
                sample: Sample = monitor.sample()
                level: Level = sample.level
                figures: MonitorFigures = monitor.figures()
                MemoryMonitor(limits=Limits(max_bytes=1))
                with Materializer(store, tree=tree, monitor=monitor) as home:
                    ref: Ref[list[int]] = home.register("main", "x", type=list[int])
                    text: Ref[str] = home.register(lambda: "text", priority=reached_by(tree.weigher(), []))
                    length: int = len(text.get())
                    ticket: Preload = home.preload([ref, text])
                    status: MaterializerStatus = home.status()
                    state: Status = ref.status
                    ends = home.follow(tree)
                    ends()
                    ahead: PrefetchStatus = Prefetcher(home).status()
                    Prefetcher(home).follow(tree)()
                branch = store.branch()
                memory = Memory(step=1)
                report: SaveReport = memory.save(branch, "m")
                changes: dict[Path, FieldChange] = StateTracker({}).get_changes()
                for change in changes.values():
                    if change.old is MISSING:
                        raise UnsetFieldError("x")
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(file)],
        capture_output=True,
        text=True,
        cwd=Path(casstore.__file__).parents[1],
    )
    assert done.returncode == 0, done.stdout
