# SPDX-License-Identifier: MIT
"""What is public: every name imports, has a docstring, and is what the design promises."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import casstore
from casstore.errors import CasstoreError

PROMISED = {
    "open", "Store", "Config", "Settings", "Snapshot", "Refs", "RefMove", "Change", "Address", "ContentFile", "Pin",
    "RecordInfo", "Stats", "GcPlan", "GcReport", "VerifyReport", "Damage",
    "CasstoreError", "NotFoundError", "CorruptionError", "FormatVersionError", "ConflictError", "LockedError",
    "ReadOnlyError", "ClosedError", "InvalidInputError", "QuotaExceededError", "FactoryError", "DeadlineError",
    "StorageError",
}  # fmt: skip

STORE = {
    "put", "get", "open_content", "resolve", "snapshot", "add_snapshot", "refs", "log", "diff", "stats", "pins", "sync",
    "close", "verify", "plan_gc", "configure", "settings", "store_id", "path", "read_only", "config", "storage",
    "nodes", "snapshots", "format_fields",
}  # fmt: skip

ROOT = Path(casstore.__file__).parent


def modules() -> list[str]:
    return [found.name for found in pkgutil.walk_packages([str(ROOT)], "casstore.")]


def test_all_names_what_is_public() -> None:
    assert set(casstore.__all__) >= PROMISED
    assert sorted(casstore.__all__) == list(casstore.__all__)
    assert len(set(casstore.__all__)) == len(casstore.__all__)
    for name in casstore.__all__:
        assert getattr(casstore, name) is not None
    namespace: dict[str, object] = {}
    exec("from casstore import *", namespace)
    assert set(casstore.__all__) <= set(namespace)
    with pytest.raises(AttributeError, match="never_there"):
        casstore.never_there  # noqa: B018


@pytest.mark.parametrize("name", sorted(modules()))
def test_every_module_imports_and_keeps_its_word(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it is for"
    for public in getattr(module, "__all__", []):
        assert hasattr(module, public), f"{name}.__all__ names {public}"


@pytest.mark.parametrize("name", casstore.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    thing = getattr(casstore, name)
    if name == "Address":
        return
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert inspect.getdoc(getattr(thing, member)), f"{name}.{member} has no docstring"


def test_a_store_has_what_is_promised() -> None:
    with casstore.open(":memory:") as store:
        assert sorted(name for name in STORE if not hasattr(store, name)) == []


def test_errors_are_one_tree_with_a_kind_each() -> None:
    errors = [
        value for value in vars(casstore).values() if isinstance(value, type) and issubclass(value, CasstoreError)
    ]
    assert len({error.kind for error in errors}) == len(errors) == 13
    assert issubclass(casstore.NotFoundError, KeyError)
    assert issubclass(casstore.InvalidInputError, ValueError)
    assert issubclass(casstore.DeadlineError, TimeoutError)
    # A KeyError would quote its message.
    assert str(casstore.NotFoundError("plain words")) == "plain words"


def test_the_version_is_that_of_the_package() -> None:
    text = (ROOT.parent / "pyproject.toml").read_text("utf-8")
    assert f'version = "{casstore.__version__}"' in text


def test_importing_is_light() -> None:
    """The command's start depends on it: what is heavy is imported on use."""
    code = "import sys, casstore; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT.parent)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"rich", "click", "numpy", "pyarrow", "hypothesis", "pytest", "msgspec", "asyncio"})


def test_the_package_is_typed() -> None:
    assert (ROOT / "py.typed").exists()
