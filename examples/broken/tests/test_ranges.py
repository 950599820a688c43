# SPDX-License-Identifier: MIT
"""Tests of ``spans``: plain functions with assertions."""

from __future__ import annotations

from spans import contains, normalize, overlap, parse, size, subtract, text


def test_parses_one_number() -> None:
    assert parse("7") == [(7, 7)]


def test_parses_ranges() -> None:
    assert parse("1-3, 7,20-22") == [(1, 3), (7, 7), (20, 22)]


def test_parses_nothing() -> None:
    assert parse("") == []


def test_refuses_what_ends_before_it_begins() -> None:
    try:
        parse("3-1")
    except ValueError:
        return
    raise AssertionError("3-1 was taken")


def test_text_is_what_parse_reads() -> None:
    assert text(parse("1-3,7")) == "1-3,7"


def test_sorts() -> None:
    assert normalize([(5, 6), (1, 2)]) == [(1, 2), (5, 6)]


def test_joins_what_overlaps() -> None:
    assert normalize([(1, 5), (3, 8)]) == [(1, 8)]


def test_joins_what_lies_within() -> None:
    assert normalize([(1, 9), (3, 4)]) == [(1, 9)]


def test_joins_what_touches() -> None:
    assert normalize([(1, 3), (4, 6)]) == [(1, 6)]


def test_joins_single_numbers() -> None:
    assert text(parse("1,2,3,5")) == "1-3,5"


def test_does_not_join_across_a_gap() -> None:
    assert normalize([(1, 3), (5, 6)]) == [(1, 3), (5, 6)]


def test_counts() -> None:
    assert size(parse("1-3,7")) == 4


def test_counts_nothing() -> None:
    assert size([]) == 0


def test_contains_its_ends() -> None:
    ranges = parse("1-3,7")
    assert [number for number in range(10) if contains(ranges, number)] == [1, 2, 3, 7]


def test_overlap() -> None:
    assert overlap(parse("1-10"), parse("3-4,9-12")) == [(3, 4), (9, 10)]


def test_overlap_of_what_only_touches() -> None:
    assert overlap(parse("1-3"), parse("3-5")) == [(3, 3)]


def test_no_overlap() -> None:
    assert overlap(parse("1-3"), parse("4-5")) == []


def test_subtracts_from_the_middle() -> None:
    assert subtract(parse("1-10"), parse("4-6")) == [(1, 3), (7, 10)]


def test_subtracts_the_beginning() -> None:
    assert subtract(parse("1-10"), parse("0-4")) == [(5, 10)]


def test_subtracts_the_end() -> None:
    assert subtract(parse("1-10"), parse("8-12")) == [(1, 7)]


def test_subtracts_everything() -> None:
    assert subtract(parse("4-6"), parse("1-10")) == []


def test_subtracts_single_numbers() -> None:
    assert text(subtract(parse("1-9"), parse("1,2,3,5,9"))) == "4,6-8"
