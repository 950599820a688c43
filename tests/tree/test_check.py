# SPDX-License-Identifier: MIT
"""``check_tree`` finds every tree that ``build`` would not have made, and directory trees hold no path twice."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import CorruptionError, InvalidInputError
from casstore.format.entry import Entry, encode_entry
from casstore.format.node import Summary, encode_child, encode_node, join_key
from casstore.tree import Checked, Nodes, apply, build, check_tree, scan
from tests.tree.plain import POOL, Content, any_file, edit_batches, edited, keys_of_level, memory_nodes, states, zeros

NAMES = [b"a", b"a-b", b"a.c", b"a b", b"ab", b"b", b"a-b-c", b"a-b0", b"b!", b"b+"]
PATHS = sorted(b"/".join(parts) for length in (1, 2, 3) for parts in product(NAMES, repeat=length))
# Enough boundaries that a clash often lies across nodes.
BOUNDARIES = [path for path in PATHS if zeros(path)]
paths = st.sampled_from([path for path in PATHS if path.count(b"/") < 2]) | st.sampled_from(BOUNDARIES)
directory_trees = st.sets(paths, max_size=25)


def clash(keys: set[bytes]) -> bool:
    return any(two.startswith(one + b"/") for one, two in combinations(sorted(keys), 2))


def drop_clashes(keys: set[bytes]) -> set[bytes]:
    return {key for key in keys if not any(key.startswith(other + b"/") for other in keys)}


def items(keys: set[bytes]) -> list[tuple[bytes, Entry]]:
    return [(key, any_file(0)) for key in sorted(keys)]


@given(directory_trees)
def test_build_refuses_a_path_below_an_entry(keys: set[bytes]) -> None:
    nodes, _ = memory_nodes()
    plain = build(nodes, items(keys))
    check_tree(nodes, plain)
    if clash(keys):
        with pytest.raises(InvalidInputError, match="beside"):
            build(nodes, items(keys), tree=True)
        with pytest.raises(InvalidInputError, match="beside"):
            apply(nodes, None, items(keys), tree=True)
        with pytest.raises(CorruptionError, match="beside"):
            check_tree(nodes, plain, tree=True)
        checked: Checked = {}
        with pytest.raises(CorruptionError, match="beside"):
            check_tree(nodes, plain, tree=True, checked=checked)
        with pytest.raises(CorruptionError, match="beside"):
            check_tree(nodes, plain, tree=True, checked=checked)
    else:
        assert build(nodes, items(keys), tree=True) == plain
        check_tree(nodes, plain, tree=True)


@given(directory_trees, st.dictionaries(paths, st.sampled_from([None, any_file(1)]), max_size=12))
def test_apply_refuses_a_path_below_an_entry(keys: set[bytes], edits: dict[bytes, Entry | None]) -> None:
    keys = drop_clashes(keys)
    nodes, _ = memory_nodes()
    root = build(nodes, items(keys), tree=True)
    after = edited(dict(items(keys)), edits)
    if clash(set(after)):
        with pytest.raises(InvalidInputError, match="beside"):
            apply(nodes, root, sorted(edits.items()), tree=True)
    else:
        assert dict(scan(nodes, apply(nodes, root, sorted(edits.items()), tree=True))) == after


def test_a_clash_across_batches_is_found() -> None:
    """``a`` and ``a/b`` with thousands of keys between them."""
    keys = [b"a", *(b"a-%05d" % number for number in range(5000)), b"a/b"]
    nodes, _ = memory_nodes()
    with pytest.raises(InvalidInputError, match="beside"):
        build(nodes, [(key, any_file(0)) for key in keys], tree=True)
    root = build(nodes, [(key, any_file(0)) for key in keys[:-1]], tree=True)
    with pytest.raises(InvalidInputError, match="beside"):
        apply(nodes, root, [(b"a/b", any_file(0))], tree=True)
    root = build(nodes, [(key, any_file(0)) for key in keys[1:]], tree=True)
    with pytest.raises(InvalidInputError, match="beside"):
        apply(nodes, root, [(b"a", any_file(0))], tree=True)
    swapped = apply(nodes, root, [(b"a", any_file(0)), (b"a/b", None)], tree=True)
    check_tree(nodes, swapped, tree=True)
    with pytest.raises(CorruptionError, match="beside"):
        check_tree(nodes, build(nodes, [(key, any_file(0)) for key in keys]), tree=True)


@pytest.mark.parametrize("between", [[], [b"-"], [b"-", b"-y/x", b".c"]])
def test_a_clash_right_at_the_end_of_a_node_is_found(between: list[bytes]) -> None:
    key = MIDDLE[0]
    keys = [key, *(key + tail for tail in between), key + b"/x"]
    nodes, _ = memory_nodes()
    root = build(nodes, [(one, any_file(0)) for one in sorted(keys)])
    assert root is not None
    assert nodes.get(root).height
    check_tree(nodes, root)
    with pytest.raises(CorruptionError, match="beside"):
        check_tree(nodes, root, tree=True)
    root = build(nodes, [(one, any_file(0)) for one in sorted(keys[:-1])])
    check_tree(nodes, root, tree=True)


@given(states, edit_batches)
def test_what_was_checked_is_not_read_again(content: Content, edits: dict[bytes, Entry | None]) -> None:
    nodes, records = memory_nodes()
    root = build(nodes, sorted(content.items()))
    old = set(records.records)
    after = apply(nodes, root, sorted(edits.items()))
    checked: Checked = {}
    check_tree(nodes, root, checked=checked)
    records.reads = 0
    check_tree(nodes, after, checked=checked)
    assert records.reads <= len(set(records.records) - old) + 1
    records.reads = 0
    check_tree(nodes, after, checked=checked)
    assert records.reads <= 1


LOW, MIDDLE, HIGH = keys_of_level(0, 4), sorted(keys_of_level(1, 6)), keys_of_level(2, 2)


def leaf(nodes: Nodes, keys: list[bytes]) -> tuple[bytes, Address, Summary]:
    address = nodes.put(encode_node(0, [join_key(key, encode_entry(any_file(0))) for key in keys]))
    return keys[-1], address, Summary(len(keys), len(keys), 1000 * len(keys))


def inner(nodes: Nodes, height: int, children: list[tuple[bytes, Address, Summary]]) -> tuple[bytes, Address, Summary]:
    address = nodes.put(encode_node(height, [encode_child(*child) for child in children]))
    summary = Summary(*(sum(child[2][i] for child in children) for i in range(3)))
    return children[-1][0], address, summary


def refused(nodes: Nodes, root: Address, word: str) -> None:
    with pytest.raises(CorruptionError, match=word) as caught:
        check_tree(nodes, root)
    assert caught.value.address is not None


def test_a_sound_tree_by_hand_passes() -> None:
    nodes, _ = memory_nodes()
    root = inner(nodes, 1, [leaf(nodes, [MIDDLE[0]]), leaf(nodes, [MIDDLE[1]]), leaf(nodes, [b"z" + LOW[0]])])
    check_tree(nodes, root[1])
    check_tree(nodes, None)


def test_a_boundary_inside_a_leaf_is_found() -> None:
    nodes, _ = memory_nodes()
    refused(nodes, leaf(nodes, MIDDLE[:2])[1], "does not end where")


def test_a_leaf_that_ends_early_is_found() -> None:
    nodes, _ = memory_nodes()
    refused(nodes, inner(nodes, 1, [leaf(nodes, [LOW[0]]), leaf(nodes, [b"z"])])[1], "does not end where")


def test_an_inner_node_that_ends_late_or_early_is_found() -> None:
    nodes, _ = memory_nodes()
    first, second = sorted([HIGH[0], b"z/" + MIDDLE[0]])
    refused(nodes, inner(nodes, 1, [leaf(nodes, [first]), leaf(nodes, [second])])[1], "does not end where")
    left = inner(nodes, 1, [leaf(nodes, [MIDDLE[0]])])
    right = inner(nodes, 1, [leaf(nodes, [b"z"])])
    refused(nodes, inner(nodes, 2, [left, right])[1], "does not end where")


def test_a_root_above_the_root_is_found() -> None:
    nodes, _ = memory_nodes()
    refused(nodes, inner(nodes, 1, [leaf(nodes, [MIDDLE[0]])])[1], "single child")


def test_a_height_that_lies_is_found() -> None:
    nodes, _ = memory_nodes()
    refused(nodes, inner(nodes, 2, [leaf(nodes, [HIGH[0]]), leaf(nodes, [b"z"])])[1], "height")


def test_a_chain_of_equal_heights_does_not_exhaust_the_stack() -> None:
    nodes, _ = memory_nodes()
    child = leaf(nodes, [b"z"])
    for _ in range(3000):
        child = inner(nodes, 1, [child])
    refused(nodes, child[1], "height")


def test_a_last_key_that_lies_is_found() -> None:
    nodes, _ = memory_nodes()
    _, address, summary = leaf(nodes, [b"y0"])
    refused(nodes, inner(nodes, 1, [leaf(nodes, [MIDDLE[0]]), (b"z", address, summary)])[1], "misnames")


@pytest.mark.parametrize("field", [0, 1, 2])
def test_a_count_that_lies_is_found(field: int) -> None:
    nodes, _ = memory_nodes()
    key, address, summary = leaf(nodes, [b"y0", b"z"])
    wrong = list(summary)
    wrong[field] += -1 if field == 1 else 1
    refused(nodes, inner(nodes, 1, [leaf(nodes, [MIDDLE[0]]), (key, address, Summary(*wrong))])[1], "counts")


def test_nodes_that_overlap_are_found() -> None:
    nodes, _ = memory_nodes()
    before = LOW[0]
    assert before < MIDDLE[0]
    refused(nodes, inner(nodes, 1, [leaf(nodes, [MIDDLE[0]]), leaf(nodes, [before, b"z"])])[1], "overlap")


def test_lies_about_what_was_checked_before_are_found() -> None:
    nodes, _ = memory_nodes()
    left, right = leaf(nodes, [MIDDLE[0]]), leaf(nodes, [b"y0", b"z"])
    checked: Checked = {}
    check_tree(nodes, inner(nodes, 1, [left, right])[1], checked=checked)
    for lie in ((b"zz", right[1], right[2]), (right[0], right[1], Summary(3, 2, 2000))):
        with pytest.raises(CorruptionError):
            check_tree(nodes, inner(nodes, 1, [left, lie])[1], checked=checked)
    tall = leaf(nodes, [HIGH[0]])
    check_tree(nodes, tall[1], checked=checked)
    with pytest.raises(CorruptionError, match="height"):
        check_tree(nodes, inner(nodes, 2, [tall, right])[1], checked=checked)


def test_the_pool_has_clashes_across_nodes() -> None:
    assert len(BOUNDARIES) > 50
    assert len(POOL) == len(set(POOL))
