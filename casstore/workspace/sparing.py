# SPDX-License-Identifier: MIT
"""What a switch leaves alone because the state that is switched to would leave it out.

A directory is captured by the rules that lie in it. A state without a ``.gitignore`` so makes everything that was left
out before a part of the directory's state; the way back to the state with the file must not delete it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from casstore.branches.folding import ScratchNodes
from casstore.format.entry import EXECUTABLE, FILE
from casstore.format.posix import posix_key
from casstore.tree import Nodes, Root, apply, diff, lookup
from casstore.workspace.part import FILES, POSIX
from casstore.workspace.report import LeftOut
from casstore.workspace.scanning.ignoring import Rules
from casstore.workspace.selection import EXCLUDE_FILE, RULE_FILES

if TYPE_CHECKING:
    from casstore.storage import Storage
    from casstore.store import Store
    from casstore.workspace.observed import Observed

SPARED: Final = "left out by the state that is switched to"


def spare(store: Store, observed: Observed, directory: str, target: Root) -> tuple[Observed, frozenset[bytes]]:
    """What was observed without the files that ``target`` has not and leaves out, and their paths.

    *Cost*: the files that would be deleted; for each folder of theirs, a look for rule files in ``target``.
    """
    found = observed.roots.get(FILES)
    rules = _StateRules(store.storage, observed.nodes, target, _exclude(directory))
    spared = [key for key, _, new in diff(observed.nodes, found, target) if new is None and rules.leaves_out(key)]
    if not spared:
        return observed, frozenset()
    nodes = ScratchNodes(observed.nodes) if store.read_only else observed.nodes
    roots = dict(observed.roots)
    for name, keys in ((FILES, spared), (POSIX, sorted(posix_key(path, directory=False) for path in spared))):
        root = apply(nodes, roots.pop(name, None), [(key, None) for key in keys])
        if root is not None:
            roots[name] = root
    left_out = [*observed.left_out, *(LeftOut(os.fsdecode(path), SPARED) for path in spared)]
    left_out.sort(key=lambda item: item.path)
    return replace(observed, roots=roots, nodes=nodes, left_out=tuple(left_out)), frozenset(spared)


class _StateRules:
    """Git's rules as a state has them in its files."""

    __slots__ = ("_folders", "_nodes", "_root", "_storage")

    def __init__(self, storage: Storage, nodes: Nodes, root: Root, exclude: bytes) -> None:
        self._storage = storage
        self._nodes = nodes
        self._root = root
        # A folder's path and a slash → its rules, or None where it is left out itself.
        self._folders: dict[bytes, Rules | None] = {b"": self._entered(Rules.start(exclude), b"")}

    def leaves_out(self, path: bytes) -> bool:
        """Whether the file at ``path`` is left out."""
        rules = self._rules_in(path[: path.rfind(b"/") + 1])
        return rules is None or rules.leaves_out(path, directory=False)

    def _rules_in(self, prefix: bytes) -> Rules | None:
        if prefix in self._folders:
            return self._folders[prefix]
        folder = prefix[:-1]
        rules = self._rules_in(folder[: folder.rfind(b"/") + 1])
        if rules is not None:
            rules = None if rules.leaves_out(folder, directory=True) else self._entered(rules, prefix)
        self._folders[prefix] = rules
        return rules

    def _entered(self, rules: Rules, prefix: bytes) -> Rules:
        contents = list(self._contents(prefix))
        return rules.enter(prefix, *contents) if contents else rules

    def _contents(self, prefix: bytes) -> Iterator[bytes]:
        for name in RULE_FILES:
            entry = lookup(self._nodes, self._root, prefix + name)
            if entry is not None and entry.kind in (FILE, EXECUTABLE):
                if entry.inline is not None:
                    yield entry.inline
                elif entry.address is not None:
                    yield self._storage.get(entry.address)


def _exclude(directory: str) -> bytes:
    try:
        with open(os.path.join(os.fsencode(directory), EXCLUDE_FILE), "rb") as file:
            return file.read()
    except OSError:
        return b""
