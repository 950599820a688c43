# SPDX-License-Identifier: MIT
"""The checkers find what they are for: values that do not come back, unstable bytes, copies that go another way."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import math
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from casstore.codecs import (
    BytesFactory,
    FactoryReport,
    JsonFactory,
    Packed,
    Registry,
    RestoreReport,
    check_factory,
    check_restores,
    default_registry,
    register_struct,
)
from casstore.codecs.equality import same_value
from casstore.errors import FactoryError, InvalidInputError

HERE = str(Path(__file__).parent)


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("checker_samples")


WORDS = {"".join(letters) for letters in itertools.product("abcdef", repeat=2)}


def test_good_factories_pass(samples: Any) -> None:
    report = check_factory(samples.SortedWords(), [samples.Words(set()), samples.Words(WORDS)])
    assert report == FactoryReport(2, len(" ".join(WORDS)), 2)
    assert check_factory(samples.Bag, [samples.Bag(), samples.Bag(WORDS)], hash_seeds=(3,)).processes == 1
    assert check_factory(samples.Chatty(), [samples.Words(WORDS)], hash_seeds=(1,)).values == 1
    assert check_factory(JsonFactory(), [None, {"b": [1.5], "a": True}], hash_seeds=(1,)).values == 2
    assert check_factory(Packed, [Packed({"a": {(1, 2): WORDS}})], hash_seeds=(1,)).values == 1


def test_bytes_that_depend_on_hash_seeds_are_found(samples: Any) -> None:
    words = samples.Words(WORDS)
    assert check_factory(samples.UnsortedWords(), [words], hash_seeds=()).processes == 0, "not in one process"
    with pytest.raises(FactoryError, match=r"value 0 has other bytes in another process.*first at byte .*hash seed 1"):
        check_factory(samples.UnsortedWords(), [words], hash_seeds=(1,))


def test_a_factory_that_another_process_cannot_find_is_named(samples: Any) -> None:
    class Local(BytesFactory):
        pass

    with pytest.raises(FactoryError, match=r"cannot import .*Local"):
        check_factory(Local(), [b"x"])
    with pytest.raises(FactoryError, match=r"failed in another process.*__init__"):
        check_factory(samples.NeedsArguments(1), [samples.Words(set())])
    factory = samples.FailsElsewhere()
    factory.ready = True
    with pytest.raises(FactoryError, match=r"failed in another process.*nobody set me up"):
        check_factory(factory, [samples.Words(set())])


def test_a_script_can_check_its_own_classes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from dataclasses import dataclass\n"
        "from casstore.codecs import check_factory, struct\n"
        "@struct('script.P')\n"
        "@dataclass\n"
        "class P:\n"
        "    x: set[str]\n"
        "if __name__ == '__main__':\n"
        "    print(check_factory(P, [P({'a', 'b'})]).processes)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr


class _Broken:
    type_id = "tests.codecs.broken"
    version = 1

    def encode(self, value: Any) -> bytes:
        return bytes(value)

    def decode(self, data: bytes) -> Any:
        return list(data)


def test_what_is_wrong_within_one_process_is_found() -> None:
    counter = itertools.count()

    class Loses(_Broken):
        def decode(self, data: bytes) -> Any:
            return list(data[:-1])

    class Counts(_Broken):
        def encode(self, value: Any) -> bytes:
            return bytes([*value, next(counter) % 256])

    class Grows(_Broken):
        """Equal for the user, but each time longer."""

        def decode(self, data: bytes) -> Any:
            return [*data, 0]

    class Drifts(_Broken):
        def decode(self, data: bytes) -> Any:
            return [*data[:-1], next(counter) % 256] if data else []

    check_factory(_Broken(), [[], [1, 2]], hash_seeds=())
    with pytest.raises(FactoryError, match=r"does not give value 1 back: \[1, 2\] became \[1\]"):
        check_factory(Loses(), [[], [1, 2]], hash_seeds=())
    with pytest.raises(FactoryError, match="value 0 differently each time; leave out"):
        check_factory(Counts(), [[1]], hash_seeds=())
    with pytest.raises(FactoryError, match=r"otherwise once it was restored \(2 and 3 bytes\)"):
        check_factory(Grows(), [[1, 2]], hash_seeds=(), equal=lambda a, b: a[:2] == b[:2])
    with pytest.raises(FactoryError, match="does not give value 0 back"):
        check_factory(Drifts(), [[250]], hash_seeds=())
    with pytest.raises(InvalidInputError, match="no values"):
        check_factory(_Broken(), [])
    with pytest.raises(FactoryError, match="no factory takes object"):
        check_factory(object, [object()])


class Draws:
    """An environment whose way depends on its random numbers."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.total = 0.0

    def step(self, action: float) -> float:
        self.total += action * self.random.random()
        return self.total


class DrawsFactory:
    type_id = "tests.codecs.draws"
    version = 1

    def encode(self, value: Draws) -> bytes:
        return default_registry().encode(Packed([value.total, value.random.getstate()])).data

    def decode(self, data: bytes) -> Draws:
        made = Draws()
        made.total, state = default_registry().decode("msgpack", 1, data).value
        made.random.setstate(state)
        return made


class ForgetsRandom(DrawsFactory):
    def encode(self, value: Draws) -> bytes:
        return default_registry().encode(Packed([value.total, Draws().random.getstate()])).data


_SHARED = random.Random(1)


class SharesRandom(DrawsFactory):
    """Restored copies draw from one source."""

    def decode(self, data: bytes) -> Draws:
        made = super().decode(data)
        _SHARED.setstate(made.random.getstate())
        made.random = _SHARED
        return made


class Disturbs(DrawsFactory):
    def encode(self, value: Draws) -> bytes:
        data = super().encode(value)
        value.random.random()
        return data


class LosesWhatDoesNotShow(DrawsFactory):
    """The copy gives the same results, but is not the same."""

    def decode(self, data: bytes) -> Draws:
        made = super().decode(data)
        made.hidden = True  # type: ignore[attr-defined]
        return made

    def encode(self, value: Draws) -> bytes:
        return super().encode(value) + (b"" if not hasattr(value, "hidden") else b"x")


def registry_with(factory: Any) -> Registry:
    registry = Registry(default_registry())
    registry.register(factory, [Draws])
    return registry


ACTIONS = [1.0, 2.0, -1.0, 0.5, 3.0]


def test_an_environment_that_restores_passes(samples: Any) -> None:
    report = check_restores(Draws, Draws.step, ACTIONS, registry=registry_with(DrawsFactory()))
    assert (report.steps, report.copies) == (5, 12)
    assert report.bytes > 6 * 625 * 4
    walked = check_restores(lambda: samples.Walk(7), samples.Walk.step, range(40))
    assert (walked.steps, walked.copies) == (40, 32)
    assert check_restores(lambda: samples.Walk(7), samples.Walk.step, [1], cuts=[1]).copies == 2
    assert check_restores(lambda: samples.Walk(7), samples.Walk.step, []) == RestoreReport(0, 2, 29)


@pytest.mark.parametrize(
    ("factory", "match"),
    [
        (ForgetsRandom(), "copy restored after 1 actions differs at step 1.*random state"),
        (SharesRandom(), "copy restored after 0 actions differs at step 0.*share nothing"),
        (Disturbs(), "saving changed the environment"),
        (LosesWhatDoesNotShow(), "the same results, but another state at the end"),
    ],
)
def test_an_environment_that_does_not_restore_is_found(factory: Any, match: str) -> None:
    with pytest.raises(FactoryError, match=match):
        check_restores(Draws, Draws.step, ACTIONS, registry=registry_with(factory))


def test_an_environment_that_does_not_repeat_itself_is_told_apart() -> None:
    seeds = itertools.count()
    with pytest.raises(FactoryError, match="two new environments differ at step 0"):
        check_restores(lambda: Draws(next(seeds)), Draws.step, ACTIONS, registry=registry_with(DrawsFactory()))
    for cut in (-1, 6):
        with pytest.raises(InvalidInputError, match="no cut"):
            check_restores(Draws, Draws.step, ACTIONS, cuts=[cut], registry=registry_with(DrawsFactory()))


def test_what_is_the_same() -> None:
    numpy = pytest.importorskip("numpy")

    @dataclass
    class P:
        x: Any
        cache: int = field(default=0, compare=False)

    loop: list[Any] = [1]
    loop.append(loop)
    other: list[Any] = [1]
    other.append(other)
    for a, b in (
        (math.nan, float("nan")),
        ([math.nan, (1, {"a": b"x"})], [math.nan, (1, {"a": b"x"})]),
        (P(numpy.arange(3)), P(numpy.arange(3), cache=1)),
        (numpy.array([math.nan]), numpy.array([math.nan])),
        ({1, 2}, {2, 1}),
        (loop, other),
    ):
        assert same_value(a, b)
    for a, b in (
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ([1], [1, 2]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": True}),
        (numpy.arange(3), numpy.arange(3.0)),
        (numpy.arange(4), numpy.arange(4).reshape(2, 2)),
        (P(1), P(2)),
        (object(), object()),
    ):
        assert not same_value(a, b)

    class Odd:
        def __eq__(self, other: object) -> Any:
            return "yes"

        __hash__ = None  # type: ignore[assignment]

    class Fails:
        def __eq__(self, other: object) -> Any:
            raise ZeroDivisionError

        __hash__ = None  # type: ignore[assignment]

    for kind, match in ((Odd, "no bool"), (Fails, "could not be compared")):
        with pytest.raises(FactoryError, match=match):
            same_value(kind(), kind())


def test_the_registry_that_is_given_is_used() -> None:
    @dataclass
    class Inner:
        x: int

    @dataclass
    class Outer:
        inner: Inner

    registry = Registry(default_registry())
    register_struct(Inner, "Inner", registry=registry)
    register_struct(Outer, "Outer", registry=registry)
    assert check_factory(Outer, [Outer(Inner(1))], hash_seeds=(), registry=registry).values == 1
    assert dataclasses.asdict(Outer(Inner(1))) == {"inner": {"x": 1}}
    with pytest.raises(FactoryError):
        check_factory(Outer, [Outer(Inner(1))], hash_seeds=())
