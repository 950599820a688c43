# SPDX-License-Identifier: MIT
"""Directory trees for tests: made from a dict, read back into one, and a strategy for odd ones.

A tree is ``{path: node}``: ``bytes`` is a file, ``("x", bytes)`` an executable one, ``("->", bytes)`` a symlink, and
``None`` a folder. Reading back is written without any of the code under test.
"""

from __future__ import annotations

import os
import stat

from hypothesis import strategies as st

Node = bytes | tuple[str, bytes] | None
Tree = dict[bytes, Node]


def write_tree(directory: str | os.PathLike[str], tree: Tree) -> None:
    """Makes ``tree`` below ``directory``, which is made too."""
    top = os.fsencode(directory)
    os.makedirs(top, exist_ok=True)
    for path, node in sorted(tree.items()):
        place = os.path.join(top, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if node is None:
            os.makedirs(place, exist_ok=True)
        elif isinstance(node, tuple) and node[0] == "->":
            os.symlink(node[1], place)
        else:
            content = node[1] if isinstance(node, tuple) else node
            with open(place, "wb") as file:
                file.write(content)
            os.chmod(place, 0o755 if isinstance(node, tuple) else 0o644)


def read_tree(directory: str | os.PathLike[str]) -> Tree:
    """What lies below ``directory``, every folder included."""
    tree: Tree = {}
    top = os.fsencode(directory)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            place = os.path.join(folder, name)
            path = os.path.relpath(place, top)
            mode = os.lstat(place).st_mode
            if stat.S_ISLNK(mode):
                tree[path] = ("->", os.readlink(place))
            elif stat.S_ISDIR(mode):
                tree[path] = None
            else:
                with open(place, "rb") as file:
                    content = file.read()
                tree[path] = ("x", content) if mode & stat.S_IXUSR else content
    return tree


def with_folders(tree: Tree) -> Tree:
    """``tree`` with a node for each folder that its paths imply."""
    full = dict(tree)
    for path in tree:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            full.setdefault(path, None)
    return full


ODD_NAMES = [b"a", b"b", b"a-b", b"a.b", b"A", b"\xff\xfe", "ü".encode(), b" ", b"\n", b"-", b"~", b".git", b"n" * 255]
names = st.one_of(
    st.sampled_from(ODD_NAMES),
    st.binary(min_size=1, max_size=6)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda name: name not in (b".", b"..")),
)
contents = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=9), st.integers(1, 5000)),
)
targets = st.one_of(
    st.sampled_from([b".", b"..", b"a", b"../a", b"/nowhere", b"\xff", b"x" * 300, b"/etc/passwd"]),
    st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\0", b"_")),
)
nodes: st.SearchStrategy[Node] = st.one_of(
    contents,
    contents.map(lambda content: ("x", content)),
    targets.map(lambda target: ("->", target)),
    st.none(),
)


def _without_prefixes(drawn: dict[bytes, Node]) -> Tree:
    """A tree in which nothing but a folder has members."""
    tree: Tree = {}
    for path in sorted(drawn, key=lambda path: path.count(b"/")):
        above = path
        while b"/" in above:
            above = above.rpartition(b"/")[0]
            if tree.get(above) is not None:
                break
        else:
            tree[path] = drawn[path]
    return tree


trees: st.SearchStrategy[Tree] = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map(b"/".join), nodes, max_size=12
).map(_without_prefixes)
