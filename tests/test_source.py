# SPDX-License-Identifier: MIT
"""Rules about the source itself that no linter knows: layers, seams, sizes, licence lines, packaging."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 500

# A module imports only from its own layer and from layers above it in this list.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "address", "layout", "osfile", "config", "quantities"),
    ("format",),
    ("chunking", "compression"),
    ("storage",),
    ("tree",),
    ("snapshots",),
    ("codecs",),
    ("branches",),
    ("collection",),
    ("store", "opening", "upkeep"),
    ("objects",),
    ("workspace",),
    ("mcts",),
    ("testing",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

FILE_CALLS = {"fsync", "fdatasync", "rename", "renames", "replace", "unlink", "remove"}
# Workspaces hold files of the user; a reader's pin and index copy are temporary, and no promise hangs on them.
FILE_CALLS_ALLOWED = ("osfile.py", "workspace/", "testing/", "storage/readers.py")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if ".cache" not in path.parts)


LIBRARY = python_files("casstore")
EVERYTHING = python_files("casstore", "cli", "tests", "benchmarks", "examples")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def module_parts(path: Path) -> tuple[str, ...]:
    """``("casstore", "tree", "node")`` for casstore/tree/node.py; a package's ``__init__`` counts as the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of each import, relative ones resolved, ``from casstore import tree`` too."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            if base == "casstore":
                for alias in node.names:
                    yield node.lineno, f"casstore.{alias.name}"
            else:
                yield node.lineno, base


def layer_faults(path: Path, tree: ast.AST) -> list[str]:
    parts = module_parts(path)
    own = RANK[parts[1]]
    faults = []
    for line, name in imported(path, tree):
        target = name.split(".")
        if target[0] in ("cli", "casstore_cli", "tests", "benchmarks", "examples"):
            faults.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
        elif target[0] == "casstore":
            if len(target) == 1 or target[1] not in RANK:
                faults.append(f"{path.relative_to(ROOT)}:{line} imports {name}, which is in no layer")
            elif RANK[target[1]] > own:
                faults.append(f"{path.relative_to(ROOT)}:{line} imports {name} from a layer below its own")
    return faults


def attribute_faults(path: Path, tree: ast.AST, module: str, names: set[str]) -> list[str]:
    """Each use of ``module.NAME`` or ``from module import NAME``."""
    faults = []
    for node in ast.walk(tree):
        found = ""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module:
            found = node.attr if node.attr in names else ""
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            found = next((alias.name for alias in node.names if alias.name in names), "")
        if found:
            faults.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} uses {module}.{found}")
    return faults


def layout_words() -> set[str]:
    """The names that layout.py gives to files and folders."""
    words = set()
    for node in parse(ROOT / "casstore" / "layout.py").body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            words.add(node.value.value)
    return words


def layout_faults(path: Path, tree: ast.AST, words: set[str]) -> list[str]:
    """File names of a store spelled out: as part of a joined path, or by their ending."""
    faults = []
    for node in ast.walk(tree):
        spelled: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
            owner = node.func.value
            if isinstance(owner, ast.Attribute) and owner.attr == "path":
                spelled = [arg for arg in node.args if isinstance(arg, ast.Constant) and arg.value in words]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith((".seg", ".pin")):
            spelled = [node]
        faults += [f"{path.relative_to(ROOT)}:{item.lineno} spells a file name of the store" for item in spelled]
    return faults


def test_a_module_imports_only_from_layers_above_its_own() -> None:
    faults = []
    for path in LIBRARY:
        if len(module_parts(path)) > 1:
            assert module_parts(path)[1] in RANK, f"{path} is in no layer: give it one in {__file__}"
            faults += layer_faults(path, parse(path))
    assert not faults, "\n".join(faults)


def test_only_the_cli_reads_the_environment() -> None:
    names = {"environ", "environb", "getenv", "getenvb", "putenv"}
    faults = [fault for path in LIBRARY for fault in attribute_faults(path, parse(path), "os", names)]
    assert not faults, "\n".join(faults)


def test_durable_file_operations_go_through_osfile() -> None:
    faults = []
    for path in LIBRARY:
        if not str(path.relative_to(ROOT / "casstore")).startswith(FILE_CALLS_ALLOWED):
            faults += attribute_faults(path, parse(path), "os", FILE_CALLS)
    assert not faults, "\n".join(faults)


def test_only_layout_spells_file_names() -> None:
    words = layout_words()
    assert len(words) >= 8
    faults = []
    for path in LIBRARY:
        if path.name != "layout.py":
            faults += layout_faults(path, parse(path), words)
    assert not faults, "\n".join(faults)


def test_every_file_names_its_licence_first() -> None:
    line = "# SPDX-License-Identifier: MIT\n"
    faults = []
    for path in EVERYTHING:
        with path.open(encoding="utf-8") as file:
            if file.readline() != line:
                faults.append(str(path.relative_to(ROOT)))
    assert not faults, "\n".join(faults)


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in EVERYTHING}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_pickle_and_no_broad_except() -> None:
    faults = []
    for path in LIBRARY + python_files("cli"):
        for line, name in imported(path, parse(path)):
            if name.split(".")[0] in ("pickle", "marshal", "shelve", "dill"):
                faults.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or (isinstance(node.type, ast.Name) and "Exception" in node.type.id)
                # Cleaning up and passing it on is fine, also by handing it to another thread; going on is not.
                passed_on = any(
                    isinstance(inner, ast.Raise) or (isinstance(inner, ast.Name) and inner.id == node.name)
                    for inner in ast.walk(node)
                )
                if broad and not passed_on:
                    faults.append(f"{path.relative_to(ROOT)}:{node.lineno} goes on after any exception")
    assert not faults, "\n".join(faults)


def test_the_package_list_names_every_folder() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    folders = {".".join(module_parts(path)) for path in python_files("casstore", "cli") if path.name == "__init__.py"}
    expected = {re.sub(r"^cli\b", "casstore_cli", folder) for folder in folders}
    wrong = set(project["tool"]["setuptools"]["packages"]) ^ expected
    assert not wrong, f"pyproject.toml, tool.setuptools.packages: add or remove {sorted(wrong)}"
    # A folder with code but without __init__.py would be left out of an installation in silence.
    assert {
        path.parent for path in python_files("casstore", "cli") if not (path.parent / "__init__.py").exists()
    } == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "from casstore.tree import build",
            ["casstore/storage/probe.py:1 imports casstore.tree from a layer below its own"],
        ),
        ("from ..tree import build", ["casstore/storage/probe.py:1 imports casstore.tree from a layer below its own"]),
        ("from casstore import tree", ["casstore/storage/probe.py:1 imports casstore.tree from a layer below its own"]),
        ("import casstore", ["casstore/storage/probe.py:1 imports casstore, which is in no layer"]),
        ("import casstore_cli", ["casstore/storage/probe.py:1 imports casstore_cli"]),
        ("from casstore.errors import NotFoundError\nfrom . import segments\nimport os", []),
    ],
)
def test_the_layer_check_sees_what_it_should(source: str, expected: list[str]) -> None:
    assert layer_faults(ROOT / "casstore" / "storage" / "probe.py", ast.parse(source)) == expected


def test_the_other_checks_see_what_they_should() -> None:
    probe = ROOT / "casstore" / "probe.py"
    source = 'import os\nfrom os import fsync\nos.unlink("x")\nos.path.join(a, "segments")\nname = f"{n:08d}.seg"\n'
    tree = ast.parse(source)
    assert len(attribute_faults(probe, tree, "os", FILE_CALLS)) == 2
    assert len(layout_faults(probe, tree, layout_words())) == 2
