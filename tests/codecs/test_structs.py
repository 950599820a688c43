# SPDX-License-Identifier: MIT
"""Declared classes: instances come back, old ones are migrated however deep they lie, unknown ones are plain data."""

from __future__ import annotations

import dataclasses
import enum
import threading
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

import casstore
from casstore.codecs import Members, Registry, Unknown, default_registry, register_struct, struct
from casstore.errors import CorruptionError, FactoryError
from casstore.format.entry import object_entry


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: float = 0.0


class Note(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    tags: frozenset[str] = frozenset()


@dataclass
class Memory:
    step: int
    colour: Colour
    rights: Right
    points: list[Point]
    notes: dict[tuple[int, int], Note]
    seen: set[str] = field(default_factory=set)
    lock: Any = field(default_factory=threading.Lock, metadata={"stored": False}, compare=False)
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.made += 1


def registry_with(*classes: type, version: int = 1) -> Registry:
    registry = Registry(default_registry())
    for cls in classes:
        register_struct(cls, cls.__name__, version, registry=registry)
    return registry


ALL = (Colour, Right, Point, Note, Memory)


def memory() -> Memory:
    return Memory(
        3,
        Colour.BLUE,
        Right.READ | Right.WRITE,
        [Point(1), Point(2, 0.5)],
        {(0, 1): Note(text="hi", tags=frozenset({"a", "b"}))},
        {"x", "y"},
    )


def test_instances_come_back() -> None:
    registry = registry_with(*ALL)
    value = memory()
    encoded = registry.encode(value)
    assert encoded[:2] == ("struct:Memory", 1)
    back = registry.decode(*encoded)
    assert back == value
    assert type(back.points[0]) is Point
    assert back.made == 1, "what was stored, and __post_init__ did not run again"
    assert back.lock is not value.lock
    assert back.lock.acquire(blocking=False)
    assert registry.encode(back) == encoded


def test_the_content_is_the_map_of_fields() -> None:
    registry = registry_with(Point)
    assert registry.encode(Point(1)).data == b"\x82\xa1x\x01\xa1y\xcb" + bytes(8)
    assert registry.encode(Point(1)).data == msgspec.msgpack.encode({"x": 1, "y": 0.0})


def test_the_decorator_registers_for_every_store() -> None:
    @struct("tests.codecs.Decorated", version=2)
    @dataclass
    class Decorated:
        a: int

    store = casstore.open(":memory:")
    branch = store.branch()
    branch.objects["d"] = Decorated(1)
    assert branch.objects["d"].a == 1
    assert branch.objects.entry("d").type_id == "struct:tests.codecs.Decorated"
    assert branch.objects.entry("d").type_version == 2
    store.close()


def test_migrations_run_on_read_and_in_order() -> None:
    @dataclass
    class Old:
        x: int

    @dataclass
    class New:
        x: float
        y: float

    old, new = Registry(default_registry()), Registry(default_registry())
    register_struct(Old, "P", 1, registry=old)
    steps = {1: lambda fields: {"x": float(fields["x"])}, 2: lambda fields: {**fields, "y": -fields["x"]}}
    register_struct(New, "P", 3, migrations=steps, registry=new)
    found = new.decode(*old.encode(Old(2)))
    assert found == New(2.0, -2.0)
    assert type(found.x) is float

    @dataclass
    class Outer:
        inner: list[Any]

    for registry in (old, new):
        register_struct(Outer, "Outer", registry=registry)
    assert new.decode(*old.encode(Outer([Old(1), {"k": (Old(2),)}]))) == Outer(
        [New(1.0, -1.0), {"k": (New(2.0, -2.0),)}]
    )
    assert {one.version for one in new.figures() if one.type_id == "struct:P"} == {1}
    with pytest.raises(FactoryError, match=r"version 3 of type 'struct:P'.*no later one than 1.*update"):
        old.decode(*new.encode(New(1.0, 2.0)))
    with pytest.raises(FactoryError, match="no later one than 1"):
        old.decode(*new.encode(Outer([New(1.0, 2.0)])))


@pytest.mark.parametrize(
    ("migration", "match"),
    [
        (None, "version 1 of 'struct:P', this program has version 2"),
        (lambda fields: fields["gone"], "from version 1 failed: KeyError"),
        (lambda fields: fields.update(y=1), "gave NoneType"),
        (lambda fields: {"z": 1}, "no field z"),
        (lambda fields: {"x": 1}, "field y is missing"),
    ],
)
def test_a_migration_that_is_missing_or_wrong_is_named(migration: Any, match: str) -> None:
    @dataclass
    class P:
        x: int
        y: int

    old, new = Registry(), Registry()
    register_struct(P, "P", 1, registry=old)
    register_struct(P, "P", 2, migrations=None if migration is None else {1: migration}, registry=new)
    with pytest.raises(FactoryError, match=match):
        new.decode(*old.encode(P(1, 2)))


def test_a_field_that_came_with_a_default_needs_no_version() -> None:
    @dataclass
    class Before:
        x: int

    @dataclass
    class After:
        x: int
        tags: list[str] = field(default_factory=lambda: ["new"])
        y: int = 7

    old, new = Registry(), Registry()
    register_struct(Before, "P", registry=old)
    register_struct(After, "P", registry=new)
    first, second = (new.decode(*old.encode(Before(1))) for _ in range(2))
    assert first == After(1)
    assert first.tags is not second.tags
    with pytest.raises(FactoryError, match=r"no field tags, y.*raise its version"):
        old.decode(*new.encode(After(1)))


def test_fields_that_a_struct_does_not_have_are_named() -> None:
    class Before(msgspec.Struct):
        x: int
        z: int = 0

    class After(msgspec.Struct):
        x: int

    old, new = Registry(), Registry()
    register_struct(Before, "P", registry=old)
    register_struct(After, "P", registry=new)
    with pytest.raises(FactoryError, match="do not make a"):
        new.decode(*old.encode(Before(1)))
    assert old.decode(*new.encode(After(1))) == Before(1, 0)


def test_an_enum_without_that_name_is_named() -> None:
    registry = Registry()
    register_struct(Colour, "C", registry=registry)
    with pytest.raises(FactoryError, match="GREEN"):
        registry.decode("struct:C", 1, msgspec.msgpack.encode({"name": "GREEN"}))


def test_a_store_is_inspected_without_the_classes() -> None:
    writing = registry_with(*ALL)
    encoded = writing.encode(memory())
    with pytest.raises(FactoryError, match=r"'struct:Memory' version 1.*inspecting"):
        default_registry().decode(*encoded)
    reading = default_registry().inspecting()
    found = reading.decode(*encoded)
    assert isinstance(found, Unknown)
    assert (found.type_id, found.version, found.data) == encoded
    assert found.plain["step"] == 3
    assert found.plain["seen"] == {"x", "y"}
    assert found.plain["colour"].plain == {"name": "BLUE"}
    assert [point.plain for point in found.plain["points"]] == [{"x": 1, "y": 0.0}, {"x": 2, "y": 0.5}]
    assert found.plain["notes"][0, 1].plain["text"] == "hi"
    # Written back, it is what it was.
    assert default_registry().encode(found) == encoded
    assert reading.decode("no such type", 9, b"abc") == Unknown("no such type", 9, b"abc")
    assert reading.decode("json", 1, b"[1]") == [1]
    with pytest.raises(CorruptionError):
        reading.decode("struct:Memory", 1, b"\x82")


def test_a_newer_version_is_inspected_too() -> None:
    @dataclass
    class P:
        x: int

    old, new = Registry(), Registry()
    register_struct(P, "P", 1, registry=old)
    register_struct(P, "P", 2, registry=new)
    assert old.inspecting().decode(*new.encode(P(1))).plain == {"x": 1}
    assert old.inspecting().decode(*old.encode(P(1))) == P(1)


@pytest.mark.parametrize("content", [1, [1], {"x": {"y": 1}, "z": 2}])
def test_a_content_that_holds_no_such_fields_is_refused(content: object) -> None:
    registry = registry_with(Point)
    with pytest.raises((CorruptionError, FactoryError)):
        registry.decode("struct:Point", 1, msgspec.msgpack.encode(content))


def test_wrong_declarations_are_refused_at_once() -> None:
    class Plain:
        pass

    @dataclass
    class NoDefault:
        lock: Any = field(metadata={"stored": False})

    @dataclass
    class P:
        x: int

    for cls, type_id, version, migrations in (
        (Plain, "P", 1, None),
        (P(1), "P", 1, None),
        (NoDefault, "P", 1, None),
        (P, "", 1, None),
        (P, "ä", 1, None),
        (P, "P", 0, None),
        (P, "P", True, None),
        (P, "P", 2, {2: dict}),
        (P, "P", 2, {0: dict}),
        (P, "x" * 249, 1, None),
    ):
        with pytest.raises(FactoryError):
            register_struct(cls, type_id, version, migrations=migrations, registry=Registry())  # type: ignore[arg-type]


def test_fields_of_types_that_nobody_registered_are_named() -> None:
    @dataclass
    class P:
        x: Any

    registry = Registry()
    register_struct(P, "P", registry=registry)
    for value in (object(), Point(1), Members(a=1)):
        with pytest.raises(FactoryError):
            registry.encode(P(value))


def test_the_same_class_under_two_registries() -> None:
    store = casstore.open(":memory:")
    store.branches.codecs.register(registry_with(Point).factory_of(Point), [Point])  # type: ignore[arg-type]
    branch = store.branch()
    branch.objects["p"] = [1]
    branch.objects["p"] = Point(1, 2.0)
    assert branch.objects["p"] == Point(1, 2.0)
    with pytest.raises(FactoryError):
        default_registry().encode(Point(1))
    store.close()


def test_dataclasses_that_inherit() -> None:
    @dataclass
    class Base:
        a: int

    @dataclass
    class Derived(Base):
        b: int

    registry = registry_with(Base, Derived)
    assert registry.decode(*registry.encode(Derived(1, 2))) == Derived(1, 2)
    assert type(registry.decode(*registry.encode(Base(1)))) is Base
    assert dataclasses.asdict(registry.decode(*registry.encode(Derived(1, 2)))) == {"a": 1, "b": 2}


def test_the_factory_by_itself() -> None:
    factory = register_struct(Point, "P", registry=Registry())
    assert factory.decode(factory.encode(Point(1))) == Point(1)
    assert factory.estimate_size(object_entry("struct:P", 1, 100)) > 100
    assert repr(factory) == "<StructFactory of Point, struct:P version 1>"


def test_an_error_of_our_own_comes_through_a_migration() -> None:
    def migrate(fields: dict[str, Any]) -> dict[str, Any]:
        raise CorruptionError("from within")

    old, new = Registry(), Registry()
    register_struct(Point, "P", 1, registry=old)
    register_struct(Point, "P", 2, migrations={1: migrate}, registry=new)
    with pytest.raises(CorruptionError, match="from within"):
        new.decode(*old.encode(Point(1)))
