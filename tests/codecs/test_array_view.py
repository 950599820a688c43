# SPDX-License-Identifier: MIT
"""Slices of stored arrays: those of NumPy, reading only the chunks that hold their items."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.codecs import ArrayFactory, ArrayView, Registry, default_registry
from casstore.errors import ClosedError, CorruptionError, FactoryError, InvalidInputError, NotFoundError
from casstore.storage import content

numpy = pytest.importorskip("numpy")


def view_of(array: Any) -> ArrayView:
    return default_registry().open("ndarray", 1, io.BytesIO(ArrayFactory().encode(array)))  # type: ignore[no-any-return]


@st.composite
def arrays_and_indices(draw: st.DrawFn) -> tuple[Any, Any]:
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    # The last axis is long at times, so that steps along the others are longer than a gap that is read through.
    if shape and draw(st.booleans()):
        shape[-1] = draw(st.integers(200, 400))
    dtype = draw(st.sampled_from(["u1", "<i4", "<f8", "?"]))
    array = numpy.arange(int(numpy.prod(shape)) or 0).reshape(shape).astype(dtype)
    index: list[Any] = []
    for length in shape[: draw(st.integers(0, len(shape)))]:
        if length and draw(st.booleans()):
            index.append(draw(st.integers(-length, length - 1)))
        else:
            ends = st.none() | st.integers(-length - 2, length + 2)
            index.append(slice(draw(ends), draw(ends), draw(st.none() | st.sampled_from([-3, -1, 1, 2, 7]))))
    if draw(st.booleans()):
        index.insert(draw(st.integers(0, len(index))), Ellipsis)
        if index[-1] is not Ellipsis and len(index) - 1 < len(shape):
            # Behind the dots an index is for one of the last axes, so it must fit there too.
            index = index[: index.index(Ellipsis) + 1]
    return array, tuple(index)


@given(arrays_and_indices())
def test_a_slice_is_that_of_numpy(case: tuple[Any, Any]) -> None:
    array, index = case
    with view_of(array) as view:
        found, expected = view[index], array[index]
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert (found == expected).all()
        assert view.shape == array.shape
        assert view.size == array.size
        assert view.nbytes == array.nbytes
        assert view.ndim == array.ndim


def test_negative_steps_dots_and_scalars() -> None:
    array = numpy.arange(24, dtype="<i4").reshape(2, 3, 4)
    with view_of(array) as view:
        assert (view[..., -1] == array[..., -1]).all()
        assert (view[1, ..., ::-2] == array[1, ..., ::-2]).all()
        assert view[1, 2, 3] == 23
        assert view[1, 2, 3].shape == ()
        assert len(view) == 2
        assert [part.tolist() for part in view] == array.tolist()
        assert (numpy.asarray(view) == array).all()
        assert numpy.asarray(view, dtype="f8").dtype == numpy.dtype("f8")
        view[0][:] = 7  # fresh, so it may be changed
        assert (view[0] == array[0]).all()
    with view_of(numpy.array(5, dtype="<i8")) as view:
        assert view[()] == view[...] == 5
        assert numpy.asarray(view).shape == ()
        with pytest.raises(TypeError):
            len(view)


def test_what_is_no_index_is_refused() -> None:
    with view_of(numpy.zeros((2, 3))) as view:
        for index in (2, -3, (0, 3), (0, 0, 0), (..., ...)):
            with pytest.raises(IndexError):
                view[index]
        for index in (None, [0, 1], "a", True, 0.5, numpy.array([True, False])):
            with pytest.raises(InvalidInputError, match="indexed with integers"):
                view[index]
        with pytest.raises(ValueError, match="slice step"):
            view[::0]


def test_an_array_without_a_copy_is_not_to_be_had() -> None:
    with view_of(numpy.zeros(3)) as view, pytest.raises(InvalidInputError, match="ask for one"):
        view.__array__(copy=False)


def test_a_closed_view_says_so() -> None:
    view = view_of(numpy.zeros(3))
    view.close()
    view.close()
    with pytest.raises(ClosedError, match="open the object again"):
        view[0]


def test_a_malformed_array_is_refused_and_its_file_left_to_the_caller() -> None:
    data = ArrayFactory().encode(numpy.zeros(3))
    for wrong in (b"", data[:3], data[:-1], data + b"x"):
        file = io.BytesIO(wrong)
        with pytest.raises(CorruptionError):
            default_registry().open("ndarray", 1, file)
        assert not file.closed


def test_a_file_that_ends_early_is_noticed() -> None:
    data = ArrayFactory().encode(numpy.zeros((300, 4)))

    class Short(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            return len(data) if whence == io.SEEK_END else super().seek(offset, whence)

    with ArrayView(Short(data[:-8])) as view:
        with pytest.raises(CorruptionError, match="ends before"):
            view[...]
        with pytest.raises(CorruptionError, match="ends before"):
            view[:, 0]
        assert view[0, 0] == 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each chunk that an open content loads."""
    found: list[int] = []
    load = content.RawContent._load_chunk

    def counted(self: content.RawContent) -> None:
        load(self)
        found.append(len(self._chunk))

    monkeypatch.setattr(content.RawContent, "_load_chunk", counted)
    return found


@pytest.mark.parametrize(
    ("pick", "share"),
    [
        (lambda a: a[17], 0.05),
        (lambda a: a[10:14], 0.05),
        (lambda a: a[3:5, 100:200], 0.05),
        (lambda a: a[::250], 0.1),
        (lambda a: a[-1, -1], 0.05),
        (lambda a: a[...], 1.01),
    ],
)
def test_only_the_chunks_of_a_slice_are_read(
    store: casstore.Store, reads: list[int], pick: Callable[[Any], Any], share: float
) -> None:
    array = numpy.random.default_rng(1).random((1000, 1000))
    branch = store.branch()
    branch.objects["a"] = array
    with branch.objects.open("a") as view:
        assert (pick(view) == pick(array)).all()
        assert not reads, "what is not committed is in memory"
    branch.commit()
    reads.clear()
    with branch.objects.open("a") as view:
        assert (pick(view) == pick(array)).all()
    assert 0 < sum(reads) < share * array.nbytes
    # The plain rule: a chunk is read when it holds an item, and the first one for its header.
    wanted = pick(numpy.arange(array.size).reshape(array.shape)).reshape(-1) * 8 + 20
    pieces, needed, start = store.storage.chunk_list(branch.objects.entry("a").address), 0, 0
    assert pieces is not None
    for _, length in pieces.pieces:
        needed += length if not start or ((wanted + 8 > start) & (wanted < start + length)).any() else 0
        start += length
    assert sum(reads) == needed


def test_a_view_keeps_what_it_shows(store: casstore.Store) -> None:
    array = numpy.random.default_rng(2).random(100_000)
    branch = store.branch()
    branch.objects["a"] = array
    branch.commit()
    with branch.objects.open("a") as view:
        del branch.objects["a"]
        branch.commit()
        store.plan_gc(grace_seconds=0).execute()
        assert (view[50_000:50_010] == array[50_000:50_010]).all()
    with pytest.raises(NotFoundError):
        branch.objects.open("a")


def test_threads_take_turns(store: casstore.Store) -> None:
    array = numpy.arange(200_000).reshape(400, 500)
    branch = store.branch()
    branch.objects["a"] = array
    branch.commit()
    wrong: list[int] = []
    with branch.objects.open("a") as view:

        def read(first: int) -> None:
            wrong.extend(row for row in range(first, 400, 8) if not (view[row] == array[row]).all())

        threads = [threading.Thread(target=read, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_values_that_are_read_whole_only(store: casstore.Store) -> None:
    branch = store.branch()
    branch.objects["j"] = [1]
    branch.objects["long"] = "x" * 10_000
    branch.commit()
    kept = []
    for key in ("j", "long"):
        with pytest.raises(FactoryError, match="read whole only") as caught:
            branch.objects.open(key)
        kept.append(caught)
    # Though what was raised still refers to everything that it passed through.
    assert len(kept) == 2
    assert not any(pin.what == "content" for pin in store.pins())
    snapshot = branch.commit()
    from casstore.format.entry import snapshot_entry

    branch.objects.set_entry("s", snapshot_entry(snapshot.id))
    with pytest.raises(InvalidInputError, match="links a snapshot"):
        branch.objects.open("s")


def test_a_factory_whose_view_fails_is_named() -> None:
    class Odd(ArrayFactory):
        def open(self, file: Any) -> Any:
            raise ZeroDivisionError("no")

    registry = Registry()
    registry.register(Odd())
    with pytest.raises(FactoryError, match="'ndarray' could not open"):
        registry.open("ndarray", 1, io.BytesIO())
    with pytest.raises(FactoryError, match="no factory decodes"):
        registry.open("nothing", 1, io.BytesIO())
