# SPDX-License-Identifier: MIT
"""Trends, thresholds, hysteresis, and samples made of readings."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.errors import InvalidInputError
from casstore.objects.assessing import FORESEEN_PRESSURE, Assessor
from casstore.objects.memory_levels import GIB, LEVELS, Limits, Steadier, level_of
from casstore.objects.reading import Bound, CollectorFigures, Reading
from casstore.objects.trend import MAX_POINTS, Trend, fit_slope
from tests.objects.memory_fakes import MIB


def reading(used: float = 0, limit: float = 1000, **others: object) -> Reading:
    return replace(
        Reading(rss_bytes=int(used * MIB), bounds=(Bound("fake", int(used * MIB), int(limit * MIB)),)),
        **others,  # type: ignore[arg-type]
    )


# -- trends


def plain_slope(points: list[tuple[float, float]]) -> float:
    """Least squares as in the textbook."""
    n = len(points)
    sx, sy = sum(x for x, _ in points), sum(y for _, y in points)
    sxx, sxy = sum(x * x for x, _ in points), sum(x * y for x, y in points)
    return (n * sxy - sx * sy) / (n * sxx - sx * sx)


def test_without_outliers_it_is_least_squares() -> None:
    generator = random.Random(1)
    points = [(i * 0.25, 1000 * i + generator.uniform(-1, 1)) for i in range(20)]
    assert fit_slope(points, scale=10) == pytest.approx(plain_slope(points), rel=1e-9)


def test_outliers_do_not_turn_it() -> None:
    generator = random.Random(2)
    points = [(i * 0.25, 1e6 * i * 0.25 + generator.gauss(0, 1e4)) for i in range(40)]
    for i in (3, 20, 38):
        points[i] = (points[i][0], points[i][1] + 5e8)
    assert fit_slope(points) == pytest.approx(1e6, rel=0.05)
    assert plain_slope(points) != pytest.approx(1e6, rel=0.5)


def test_where_no_line_can_be_fitted() -> None:
    assert fit_slope([]) == 0.0
    assert fit_slope([(0, 0), (1, 1), (2, 2)]) == 0.0
    assert fit_slope([(5, 1), (5, 2), (5, 3), (5, 4)]) == 0.0
    assert fit_slope([(0, 7)] * 3 + [(1, 7)]) == 0.0
    assert fit_slope([(i, 2.0 * i) for i in range(4)]) == pytest.approx(2)


@given(
    st.floats(-1e9, 1e9),
    st.floats(-1e12, 1e12),
    st.lists(st.integers(0, 100), min_size=4, max_size=MAX_POINTS, unique=True),
)
def test_a_straight_line_is_found_wherever_it_lies(slope: float, start: float, steps: list[int]) -> None:
    found = fit_slope([(1e6 + step * 0.25, start + slope * step * 0.25) for step in steps])
    assert found == pytest.approx(slope, rel=1e-3, abs=0.1)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e15)), max_size=MAX_POINTS))
def test_any_points_give_a_finite_slope(points: list[tuple[float, float]]) -> None:
    assert math.isfinite(fit_slope(points))


def test_a_window_forgets() -> None:
    trend = Trend(5.0)
    for i in range(100):
        trend.add(i * 0.25, 100.0 * i if i < 50 else 5000.0)
    assert trend.slope() == 0.0
    fast = Trend(1e9)
    for i in range(1000):
        fast.add(i * 0.001, float(i))
    assert len(fast._points) == MAX_POINTS
    assert fast.slope(scale=1e-9) == pytest.approx(1000)


def test_a_clock_that_stands_or_goes_back() -> None:
    trend = Trend(100.0)
    for time, value in [(0, 0), (1, 10), (2, 20), (3, 30), (4, 999), (4, 40)]:
        trend.add(time, value)
    assert trend.slope() == pytest.approx(10)
    trend.add(2, 20)
    assert list(trend._points) == [(0, 0), (1, 10), (2, 20)]


# -- thresholds


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0},
        {"max_bytes": 1.5},
        {"max_bytes": True},
        {"span_bytes": 0},
        {"start_share": math.nan},
        {"medium_share": math.inf},
        {"high_share": "0.9"},
        {"critical_share": 1.2},
        {"start_share": 0.7},
        {"medium_share": 0.9},
        {"medium_stall": 0.3},
        {"critical_stall": -0.1},
        {"window_seconds": 0},
        {"horizon_seconds": -1.0},
        {"hold_seconds": True},
        {"hysteresis": 0.4},
    ],
)
def test_limits_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Limits(**wrong)  # type: ignore[arg-type]
    assert next(iter(wrong)) in str(caught.value)
    assert "give" in str(caught.value)


def test_shares_become_pressure() -> None:
    limits = Limits()
    points = [(0.0, 0.0), (0.5, 0.0), (0.6, 1 / 6), (0.7, 1 / 3), (0.85, 2 / 3), (0.9, 5 / 6), (0.95, 1.0), (3.0, 1.0)]
    for share, pressure in points:
        assert limits.pressure_of_share(share) == pytest.approx(pressure), share
    stalls = [(0.0, 0.0), (0.05, 1 / 6), (0.1, 1 / 3), (0.25, 2 / 3), (0.5, 1.0), (1.0, 1.0)]
    for stall, pressure in stalls:
        assert limits.pressure_of_stall(stall) == pytest.approx(pressure), stall
    assert [level_of(p) for p in (0, 0.3333, 1 / 3, 0.6, 2 / 3, 0.99, 1.0)] == [0, 0, 1, 1, 2, 2, 3]


@given(st.floats(0, 1.5), st.floats(0, 1.5))
def test_pressure_never_falls_with_the_share(one: float, other: float) -> None:
    limits = Limits()
    low, high = sorted((one, other))
    assert 0 <= limits.pressure_of_share(low) <= limits.pressure_of_share(high) <= 1


def test_of_a_large_limit_the_last_part_counts() -> None:
    limits = Limits(span_bytes=10 * GIB)
    large = Bound("large", 992 * GIB, 1000 * GIB)
    assert limits.share_of(large) == pytest.approx(0.2)
    assert limits.room_below(0.7, large) == 5 * GIB
    assert limits.share_of(Bound("empty", 0, 1000 * GIB)) == 0.0
    small = Bound("small", 4 * GIB, 5 * GIB)
    assert limits.share_of(small) == pytest.approx(0.8)
    assert limits.room_below(0.7, small) == pytest.approx(-GIB / 2, abs=1)
    assert limits.share_of(Bound("beyond", 6 * GIB, 5 * GIB)) > 1


# -- levels


def test_a_level_rises_at_once_and_falls_late() -> None:
    steadier = Steadier(0.05, 2.0)
    script = [
        (0.0, 0.2, "low"),
        (0.1, 0.4, "medium"),
        (0.2, 1.0, "critical"),
        (0.3, 0.96, "critical"),  # not clearly below
        (0.4, 0.90, "critical"),
        (2.3, 0.70, "critical"),
        (2.4, 0.70, "high"),  # two seconds clearly below; the worst meanwhile was 0.90
        (2.5, 0.10, "high"),
        (4.0, 0.64, "high"),  # up again: the two seconds begin anew
        (4.1, 0.10, "high"),
        (6.0, 0.10, "high"),
        (6.2, 0.10, "low"),  # straight to what held all the time
        (6.3, 0.9, "high"),
    ]
    assert [steadier.update(time, pressure) for time, pressure, _ in script] == [level for *_, level in script]


def test_the_worst_meanwhile_decides_where_it_falls_to() -> None:
    steadier = Steadier(0.05, 2.0)
    steadier.update(0.0, 1.0)
    steadier.update(1.0, 0.1)
    steadier.update(2.0, 0.5)
    assert steadier.update(3.0, 0.1) == "medium"


def test_pressure_that_flutters_about_a_threshold_does_not_move_the_level() -> None:
    steadier = Steadier(0.05, 2.0)
    levels = {steadier.update(i * 0.25, 1 / 3 + (0.03 if i % 2 else -0.03)) for i in range(2, 100)}
    levels -= {steadier.update(100, 1 / 3)} - {"medium"}
    assert levels <= {"low", "medium"}
    again = [steadier.update(100 + i * 0.25, 1 / 3 + (0.03 if i % 2 else -0.03)) for i in range(100)]
    assert set(again) == {"medium"}


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), max_size=40))
def test_a_level_is_never_below_what_the_pressure_says(steps: list[tuple[float, float]]) -> None:
    steadier = Steadier(0.05, 2.0)
    time = 0.0
    for wait, pressure in steps:
        time += wait
        assert LEVELS.index(steadier.update(time, pressure)) >= level_of(pressure)


# -- samples


def test_the_tightest_limit_is_the_one_that_is_fullest() -> None:
    bounds = (Bound("a", 10, 100), Bound("b", 50, 60), Bound("c", 500, 900))
    sample = Assessor(Limits()).assess(0.0, Reading(rss_bytes=7, bounds=bounds, problems=("odd",)))
    assert (sample.limit_name, sample.limit_bytes, sample.used_bytes) == ("b", 60, 50)
    assert sample.share == pytest.approx(50 / 60)
    assert (sample.room_bytes, sample.free_bytes) == (-8, 10)
    assert (sample.level, sample.problems, sample.rss_bytes) == ("medium", ("odd",), 7)


def test_a_limit_of_ones_own() -> None:
    sample = Assessor(Limits(max_bytes=100)).assess(0.0, Reading(rss_bytes=96))
    assert (sample.limit_name, sample.limit_bytes, sample.level, sample.pressure) == (
        "Limits.max_bytes",
        100,
        "critical",
        1.0,
    )


def test_no_limit_at_all() -> None:
    assessor = Assessor(Limits())
    for i in range(8):
        sample = assessor.assess(float(i), Reading(rss_bytes=i * MIB))
    assert (sample.limit_name, sample.limit_bytes, sample.room_bytes, sample.free_bytes) == ("", None, None, None)
    assert (sample.pressure, sample.share, sample.used_bytes) == (0.0, 0.0, 7 * MIB)
    assert sample.trend == pytest.approx(MIB)
    assert sample.seconds_to_limit is None


def test_the_trend_foresees_the_limit() -> None:
    assessor = Assessor(Limits(horizon_seconds=2.0))
    for i in range(12):
        sample = assessor.assess(i * 0.5, reading(100 + i * 50))
    assert sample.trend == pytest.approx(100 * MIB)
    assert sample.seconds_to_limit == pytest.approx((1000 - 650) / 100)
    assert sample.share == pytest.approx(0.65)
    # In two seconds it will be 0.85; but what is only foreseen is medium at most.
    assert sample.pressure == FORESEEN_PRESSURE
    assert sample.level == "medium"
    calm = Assessor(Limits(horizon_seconds=0.0))
    for i in range(12):
        sample = calm.assess(i * 0.5, reading(100 + i * 50))
    assert sample.pressure == pytest.approx(0.25)
    for i in range(12, 30):
        sample = calm.assess(i * 0.5, reading(650 - i))
    assert sample.trend < 0
    assert sample.seconds_to_limit is None


def test_each_limit_has_its_own_trend() -> None:
    assessor = Assessor(Limits())
    for i in range(10):
        bounds = (
            Bound("steady", 80 * MIB, 100 * MIB),
            Bound("grows", i * 10 * MIB, 1000 * MIB),
            Bound("later", i * 10 * MIB, 2000 * MIB),
        )
        sample = assessor.assess(float(i), Reading(rss_bytes=0, bounds=bounds))
    assert (sample.limit_name, sample.trend) == ("steady", 0.0)
    assert sample.seconds_to_limit == pytest.approx(91)
    # A limit that is gone, and comes back, begins anew.
    assessor.assess(10.0, Reading(rss_bytes=0, bounds=(Bound("steady", 1, 100),)))
    assert assessor.assess(11.0, Reading(rss_bytes=0, bounds=bounds)).seconds_to_limit is None


def test_stalls_raise_pressure_where_limits_are_far() -> None:
    assessor = Assessor(Limits(window_seconds=4.0))
    first = assessor.assess(0.0, reading(10, stalled_us=1_000_000, stalled_share=0.02))
    assert first.stall_share == 0.02  # the system's own, for want of two points
    for i in range(1, 10):
        sample = assessor.assess(float(i), reading(10, stalled_us=1_000_000 + i * 250_000, stalled_share=0.9))
    assert sample.stall_share == pytest.approx(0.25)
    assert sample.pressure == pytest.approx(2 / 3)
    assert sample.level == "high"
    for i in range(10, 16):
        sample = assessor.assess(float(i), reading(10, stalled_us=3_250_000))
    assert sample.stall_share == 0.0
    # Another file, with another count; then only an average; then nothing.
    sample = assessor.assess(16.0, reading(10, stalled_us=5, stalled_share=0.1))
    assert sample.stall_share == 0.1
    assert assessor.assess(17.0, reading(10, stalled_share=0.5)).stall_share == 0.5
    assert assessor.assess(18.0, reading(10)).stall_share is None
    # A clock that went back.
    assessor.assess(20.0, reading(10, stalled_us=5_000_000))
    assessor.assess(0.0, reading(10, stalled_us=5_000_000))
    assert assessor.assess(1.0, reading(10, stalled_us=5_500_000)).stall_share == pytest.approx(0.5)


def test_rates_between_two_samples() -> None:
    assessor = Assessor(Limits())
    first = assessor.assess(0.0, reading(10, faulted_bytes=0, collector=CollectorFigures((5, 5, 5), 9.0, 1.0)))
    assert (first.allocation_rate, first.collector_share, first.collector_rate) == (0.0, 0.0, 0.0)
    second = assessor.assess(2.0, reading(10, faulted_bytes=6 * MIB, collector=CollectorFigures((8, 6, 5), 9.5, 1.0)))
    assert second.allocation_rate == 3 * MIB
    assert second.collector_share == 0.25
    assert second.collector_rate == 2.0
    # A huge page is one fault: then growth says more.
    third = assessor.assess(3.0, reading(50, faulted_bytes=7 * MIB))
    assert third.allocation_rate == 40 * MIB
    assert (third.collector_share, third.collector_rate) == (0.0, 0.0)
    assert assessor.assess(3.0, reading(90)).allocation_rate == 40 * MIB
    assert assessor.assess(4.0, reading(20)).allocation_rate == 0.0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 2000), st.integers(0, 10**7)), min_size=1, max_size=30))
def test_the_same_readings_give_the_same_samples(steps: list[tuple[float, int, int]]) -> None:
    def run() -> list[object]:
        assessor = Assessor(Limits())
        time, samples = 0.0, []
        for wait, used, stalled in steps:
            time += wait
            sample = assessor.assess(time, reading(used, stalled_us=stalled))
            assert 0 <= sample.pressure <= 1
            assert LEVELS.index(sample.level) >= level_of(sample.pressure)
            samples.append(sample)
        return list(samples)

    assert run() == run()
