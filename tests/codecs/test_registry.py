# SPDX-License-Identifier: MIT
"""The registry: families of registries, bounds, figures, views, and factories that misbehave."""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import casstore
from casstore.codecs import BytesFactory, JsonFactory, PickleFactory, Registry, default_registry
from casstore.codecs.figures import ALWAYS, EVERY, RESERVOIR, Recorder
from casstore.errors import CorruptionError, FactoryError, InvalidInputError
from casstore.format.entry import object_entry


class Text:
    """A str under a type id of its own."""

    version = 1

    def __init__(self, type_id: str = "tests.text", mark: str = "") -> None:
        self.type_id = type_id
        self.mark = mark

    def encode(self, value: str) -> bytes:
        return (self.mark + value).encode()

    def decode(self, data: bytes) -> str:
        return self.mark + data.decode()


def test_a_registration_shows_at_once_in_every_registry_below() -> None:
    top = Registry()
    middle = Registry(top)
    low = middle.inspecting()
    with pytest.raises(FactoryError):
        low.encode("x")
    top.register(Text(mark="1"), [str])
    assert low.encode("x").data == b"1x"
    assert low.decode("tests.text", 1, b"x") == "1x"
    top.register(Text(mark="2"), [str])
    assert low.encode("x").data == b"2x"
    assert low.decode("tests.text", 1, b"x") == "2x"
    middle.register(Text(mark="3"), [str])
    assert low.encode("x").data == b"3x"
    assert top.encode("x").data == b"2x"


def test_threads_see_registrations_in_order(hurry: Callable[[], None]) -> None:
    top = Registry()
    top.register(Text(mark="0"), [str])
    low = Registry(top)
    latest = [0]
    wrong: list[tuple[int, int]] = []
    stop = threading.Event()
    barrier = threading.Barrier(4, action=hurry)

    def read() -> None:
        barrier.wait()
        while not stop.is_set():
            before = latest[0]
            found = int(low.encode("").data)
            if found < before:
                wrong.append((before, found))

    threads = [threading.Thread(target=read) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        barrier.wait()
        for number in range(1, 300):
            top.register(Text(mark=str(number)), [str])
            latest[0] = number
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_registries_are_forgotten_with_their_stores() -> None:
    top = Registry()
    for _ in range(10):
        Registry(top)
    gc.collect()
    assert len(top._children) == 0


@pytest.mark.parametrize("version", [-1, "1", True, 1.0])
def test_a_version_is_a_whole_number(version: Any) -> None:
    factory = Text()
    factory.version = version  # type: ignore[misc]
    with pytest.raises(FactoryError, match="version"):
        Registry().register(factory)


def test_a_factory_may_read_its_older_versions() -> None:
    class Newest:
        type_id = "tests.n"
        version = 3

        def encode(self, value: complex) -> bytes:
            raise AssertionError("encode_within is there")

        def decode(self, data: bytes) -> complex:
            raise AssertionError("decode_within is there")

        def encode_within(self, value: complex, registry: Registry) -> bytes:
            return repr(value).encode()

        def decode_within(self, data: bytes, version: int, registry: Registry) -> Any:
            return version, data, registry

    top = Registry()
    registry = Registry(top)
    top.register(Newest(), [complex])
    assert registry.encode(1j) == ("tests.n", 3, b"1j")
    for version in (0, 1, 3):
        assert registry.decode("tests.n", version, b"") == (version, b"", registry)
    for version in (4, 99):
        with pytest.raises(FactoryError, match=rf"version {version} of type 'tests.n'.*no later one than 3; update"):
            registry.decode("tests.n", version, b"")
    # One of its own for a version goes first, and a plain factory reads its own only.
    plain = Text("tests.n")
    registry.register(plain)
    assert registry.decode("tests.n", 1, b"x") == "x"
    only = Registry()
    only.register(BytesFactory())
    with pytest.raises(FactoryError, match="no factory decodes type 'bytes' version 0"):
        only.decode("bytes", 0, b"")


def test_contents_beyond_the_bound_are_refused_before_they_are_decoded() -> None:
    class Small(Text):
        max_bytes = 10

        def decode(self, data: bytes) -> str:
            assert len(data) <= 10
            return super().decode(data)

    registry = Registry(default_registry())
    registry.register(Small(), [str])
    assert registry.decode(*registry.encode("x" * 10)) == "x" * 10
    with pytest.raises(InvalidInputError, match="takes 11 bytes, the bound is 10"):
        registry.encode("x" * 11)
    with pytest.raises(FactoryError, match="11 bytes, the bound is 10"):
        registry.decode("tests.text", 1, b"x" * 11)
    with pytest.raises(FactoryError, match="the bound is 10"):
        registry.check_size(object_entry("tests.text", 1, 500))
    registry.check_size(object_entry("tests.text", 1, 10))
    registry.encode(b"x" * 11)
    registry.max_bytes = 5
    with pytest.raises(InvalidInputError, match="the bound is 5"):
        registry.encode(b"x" * 6)
    with pytest.raises(InvalidInputError, match="the bound is 5"):
        Registry(registry).encode("x" * 6)
    with pytest.raises(FactoryError, match="the bound is 5"):
        registry.inspecting().decode("unknown", 1, b"x" * 6)
    with pytest.raises(FactoryError, match="the bound is 5"):
        registry.check_size(object_entry("unknown", 1, 6))
    child = Registry(registry, max_bytes=7)
    assert child.encode(b"x" * 7).data
    registry.max_bytes = None
    assert registry.encode(b"x" * 600).data
    for wrong in (-1, "1", 1.5, True):
        with pytest.raises(InvalidInputError, match="max_bytes"):
            registry.max_bytes = wrong  # type: ignore[assignment]


def test_a_branch_reads_nothing_of_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with casstore.open(":memory:") as store:
        branch = store.branch()
        branch.objects["big"] = b"x" * 1000
        branch.commit()
        assert branch.objects["big"]
        store.branches.codecs.max_bytes = 999
        monkeypatch.setattr(type(store.storage), "get", lambda *_: pytest.fail("it was read"))
        with pytest.raises(FactoryError, match="1000 bytes, the bound is 999"):
            branch.objects["big"]


def test_factories_that_misbehave_are_named() -> None:
    class Bad(Text):
        def encode(self, value: Any) -> Any:
            if isinstance(value, tuple):
                raise MemoryError
            return bytearray(value, "utf-8")

        def decode(self, data: bytes) -> Any:
            raise RecursionError("too deep") if data else MemoryError

        def estimate_size(self, entry: Any) -> Any:
            return {0: -5, 1: "many"}.get(entry.size, 17.9)

    registry = Registry()
    registry.register(Bad(), [str, tuple])
    with pytest.raises(FactoryError, match="gave bytearray instead of bytes"):
        registry.encode("x")
    with pytest.raises(FactoryError, match="could not decode 1 bytes: too deep"):
        registry.decode("tests.text", 1, b"x")
    # Not the factory's fault: whoever watches memory wants to see it.
    with pytest.raises(MemoryError):
        registry.encode(())
    with pytest.raises(MemoryError):
        registry.decode("tests.text", 1, b"")
    assert registry.estimate_size(object_entry("tests.text", 1, 0)) == 0
    assert registry.estimate_size(object_entry("tests.text", 1, 2)) == 17
    with pytest.raises(FactoryError, match="could not estimate"):
        registry.estimate_size(object_entry("tests.text", 1, 1))


def test_estimates_are_of_the_right_size() -> None:
    numpy = pytest.importorskip("numpy")
    registry = default_registry()
    for value, least in (
        (b"x" * 10_000, sys.getsizeof(b"x" * 10_000)),
        ("x" * 10_000, sys.getsizeof("x" * 10_000)),
        (numpy.zeros(10_000), 80_000),
        ([{"k": 1.5}] * 1000, 1000 * sys.getsizeof({"k": 1})),
    ):
        type_id, version, data = registry.encode(value)
        entry = object_entry(type_id, version, len(data), None, None)
        assert 0.2 * least < registry.estimate_size(entry) < 5 * least + 500
    assert registry.estimate_size(object_entry("unknown", 1, 1000)) >= 1000


def test_figures_by_type() -> None:
    registry = Registry(default_registry())
    for number in range(200):
        registry.decode(*registry.encode("x" * number))
    registry.encode({"a": 1})
    for broken in ([object()], "\ud800"):
        with pytest.raises(InvalidInputError):
            registry.encode(broken)
    text, other = (one for one in sorted(registry.figures(), key=lambda one: one.type_id, reverse=True))
    assert (text.type_id, text.version) == ("text", 1)
    assert (text.encoded.count, text.encoded.bytes) == (200, sum(range(200)))
    assert (text.decoded.count, text.decoded.bytes) == (200, sum(range(200)))
    assert text.encoded.p50_us is not None
    assert text.encoded.max_us is not None
    assert 0 < text.encoded.p50_us <= (text.encoded.p95_us or 0) <= (text.encoded.p99_us or 0) <= text.encoded.max_us
    assert (other.type_id, other.encoded.count, other.decoded.count) == ("json", 1, 0)
    assert other.decoded.p50_us is None
    assert Registry(default_registry()).figures() == []


def test_times_are_of_a_bounded_sample() -> None:
    record = Recorder()
    for number in range(20 * RESERVOIR):
        record.add_time(number * 1000)
    assert len(record.samples) == RESERVOIR
    timing = record.timing()
    assert timing.max_us == 20 * RESERVOIR - 1
    # A sample of all of them, not of the first or the last ones.
    assert timing.p50_us is not None
    assert timing.p95_us is not None
    assert 0.35 < timing.p50_us / (20 * RESERVOIR) < 0.65
    assert 0.85 < timing.p95_us / (20 * RESERVOIR) < 1
    registry = Registry()
    registry.register(JsonFactory(), [int])
    for number in range(ALWAYS + 10 * EVERY):
        registry.encode(number)
    assert len(registry._records["json", 1][0].samples) == ALWAYS + 10


def test_pickles_only_for_those_who_hand_over_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    agent = importlib.import_module("checker_samples").Agent
    with pytest.raises(FactoryError, match="no factory takes"):
        default_registry().encode(agent(1))
    assert default_registry().factory_for("pickle", 1) is None
    registry = Registry(default_registry())
    registry.register(PickleFactory(pickle.dumps, pickle.loads, max_bytes=1000), [agent])
    assert registry.decode(*registry.encode(agent(3))).step == 3
    with pytest.raises(FactoryError, match="'pickle' could not decode"):
        registry.decode("pickle", 1, b"no pickle")
    with pytest.raises(InvalidInputError, match="the bound is 1000"):
        registry.encode(agent("x" * 2000))
    with pytest.raises(FactoryError, match="two functions"):
        PickleFactory(pickle.dumps, None)  # type: ignore[arg-type]


def test_a_text_that_is_no_utf8_is_damage() -> None:
    with pytest.raises(CorruptionError, match="UTF-8"):
        default_registry().decode("text", 1, b"\xff")


def test_only_what_is_used_is_imported() -> None:
    code = (
        "import sys, casstore; store = casstore.open(':memory:'); branch = store.branch(); branch.objects['a'] = [1]; "
        "branch.objects['a']; store.close(); print(*sorted(sys.modules))"
    )
    path = f"import sys; sys.path[:] = {sys.path!r}; "
    # Whoever measures coverage loads things of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", path + code], capture_output=True, text=True, check=True, env=environment
    )
    loaded = set(done.stdout.split())
    assert "casstore.codecs.registry" in loaded
    unwanted = {"numpy", "msgspec", "pyarrow", "pickle", "casstore.codecs.checker", "casstore.codecs.structs"}
    assert not loaded & unwanted
    with pytest.raises(AttributeError, match="never_there"):
        casstore.codecs.never_there  # noqa: B018
