# SPDX-License-Identifier: MIT
"""Materializer: loads objects when they are touched, and ahead of that in the order in which a search will want them.

Who waits loads in his own thread, so that a hit costs nothing extra; the pool serves those who set a deadline, who
await, and what is asked for ahead.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from casstore.errors import DeadlineError, InvalidInputError
from casstore.objects import pressing
from casstore.objects.admission import Admission, Pressure, check_count, check_priority, check_seconds
from casstore.objects.graphs import load_graph, loaded_graph, needs_first
from casstore.objects.held import MISSING, Held
from casstore.objects.jobs import Job, Preload
from casstore.objects.loading import Loader
from casstore.objects.origins import place_and_key, place_of
from casstore.objects.places import EntryPlace, Place, Weigher
from casstore.objects.pool import Pool
from casstore.objects.reach import SearchTree, SearchWeights
from casstore.objects.ref import EntryRef, Own, Priority, Ref
from casstore.objects.report import MaterializerStatus, status_of
from casstore.objects.serving import serve

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.format.entry import Entry
    from casstore.store import State, Store

T = TypeVar("T")

DEFAULT_MAX_BYTES: Final = 256 * 2**20


class Materializer:
    """Loads the objects of one store, and keeps them within a bound.

    Args:
        store: Where the objects are; None serves only what functions make.
        max_bytes: Bound of what is loaded, by estimate. Dirty objects, and those that somebody holds anyway, stay
            beyond it.
        max_object_bytes: Bound of one object; None is ``max_bytes``.
        threads: Threads of the pool, started on need.
        max_queue: Requests that nobody waits for; beyond, those of least priority are dropped.
        max_abandoned: Threads whose factories never came back, until none is replaced any more.
        load_seconds: Deadline of every load; None sets none, and then who waits loads in his own thread.
        tree: The search whose weights are the priorities of Refs without one of their own; see ``follow``.
        weigh: Weight of a state, for Refs without a priority of their own, where no search is followed.
        monitor: Memory pressure; a ``MemoryMonitor``, or anything like it.
        admission: The rule for what nobody waits for.

    Raises:
        InvalidInputError: A bound is out of its range.

    *Thread safety*: any number of threads and asyncio tasks.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_object_bytes: int | None = None,
        threads: int = 2,
        max_queue: int = 4096,
        max_abandoned: int = 16,
        load_seconds: float | None = None,
        tree: SearchTree | None = None,
        weigh: Weigher | None = None,
        monitor: Pressure | None = None,
        admission: Admission | None = None,
    ) -> None:
        most = max_bytes if max_object_bytes is None else max_object_bytes
        check_count("max_bytes", max_bytes)
        check_count("max_object_bytes", most)
        check_count("threads", threads)
        check_count("max_queue", max_queue)
        check_count("max_abandoned", max_abandoned)
        self.store = store
        self.weigh = weigh
        self.admission = admission or Admission()
        self.load_seconds = check_seconds(load_seconds)
        self.search = SearchWeights()
        self._loader = Loader(max_bytes, most)
        self._pool = Pool(threads, max_queue, max_abandoned, serve, self._loader.desert)
        self.places: weakref.WeakValueDictionary[tuple[object, ...], Place] = weakref.WeakValueDictionary()
        self.places_lock = threading.Lock()
        self._pressure = self._trend = 0.0
        self._calm = pressing.Calm()
        self._monitor = monitor
        # Threads and monitor hold no strong reference, so that who forgets to close leaks nothing.
        self._end = weakref.finalize(self, self._pool.stop, 0.0)
        self._end.atexit = False
        self._unsubscribe: Callable[[], None] | None = None
        if monitor is not None:
            follow = weakref.WeakMethod(self._follow)
            self._unsubscribe = monitor.subscribe(lambda sample: _call(follow))
            # A monitor may want to hear of what is about to be taken, and of what was let go.
            self._loader.expect = getattr(monitor, "expect", None)
            self._loader.give_back = getattr(monitor, "give_back", None)
            self._follow()
        if tree is not None:
            self.follow(tree)

    # -- Refs

    @overload
    def register(
        self,
        target: Callable[[], T],
        key: None = None,
        *,
        type: None = None,
        priority: Priority = None,
        needs: Iterable[Ref[Any]] = (),
        size_bytes: int = 0,
    ) -> Ref[T]: ...
    @overload
    def register(
        self,
        target: State | Branch | Entry | Callable[[], Any],
        key: str | None = None,
        *,
        type: type[T],
        priority: Priority = None,
        needs: Iterable[Ref[Any]] = (),
        size_bytes: int = 0,
    ) -> Ref[T]: ...
    @overload
    def register(
        self,
        target: State | Branch | Entry,
        key: str | None = None,
        *,
        type: None = None,
        priority: Priority = None,
        needs: Iterable[Ref[Any]] = (),
        size_bytes: int = 0,
    ) -> Ref[Any]: ...
    def register(
        self,
        target: State | Branch | Entry | Callable[[], Any],
        key: str | None = None,
        *,
        type: type[Any] | None = None,  # noqa: A002 - the word that users know
        priority: Priority = None,
        needs: Iterable[Ref[Any]] = (),
        size_bytes: int = 0,
    ) -> Ref[Any]:
        """A Ref to an object, which is not loaded by this.

        Args:
            target: A state (ref, snapshot, id, branch), in which the object has ``key``; an entry of the store; or a
                function without arguments that makes the object. Each is kept from the collector while the Ref lives.
            key: Key among the state's objects. Whether it is there shows when it is loaded.
            type: What the value must be an instance of; None takes any.
            priority: How likely it is to be needed: a number, or a function that gives one whenever it is asked, such
                as ``reached_by(tree.weigher(), states)``; None is what the search says of it, see ``follow``.
            needs: Objects to load before this one.
            size_bytes: What a function's object takes, by estimate.

        Raises:
            NotFoundError: There is no such state, or nothing has the entry's address.
            InvalidInputError: The target is nothing of the kind, or the priority is no number of 0 or more.
        """
        place, own = place_and_key(self, target, key, type, size_bytes)
        ref: Ref[Any] = EntryRef(place, own) if isinstance(place, EntryPlace) else Ref(place, own)
        if priority is not None:
            ref.priority = priority
        if needs:
            ref.needs = tuple(needs)
        return ref

    def members(self, state: State | Branch, prefix: str = "", **options: Any) -> list[Ref[Any]]:
        """A Ref to each object whose key begins with ``prefix``, in order; for loading a part of a state.

        Args:
            state: A ref, snapshot, id or branch.
            prefix: The beginning of the keys.
            **options: ``type`` and ``priority``, as of ``register``.

        Raises:
            NotFoundError: There is no such state.

        *Cost*: the nodes that hold the keys; no content is read.
        """
        return [self.register(state, key, **options) for key in place_of(self, state).keys(prefix)]

    # -- loading

    def materialize(self, ref: Ref[T], *, timeout: float | None = None, deep: bool = False) -> T:
        """The object, with what it needs loaded before it.

        Args:
            ref: What to load.
            timeout: Seconds; None is ``load_seconds``, and where that is None, for ever.
            deep: Load also what the value's own Refs lead to, all of it.

        Raises:
            CasstoreError: As of ``Ref.get``.
        """
        if deep:
            return load_graph(self, ref, timeout)  # type: ignore[no-any-return]
        held = ref._held
        if type(held) is Held and held.value is not MISSING:
            value: T = held.value
            if held.used != self._loader.clock:
                self._loader.touched(ref, held)
            return value
        seconds = self.load_seconds if timeout is None else check_seconds(timeout)
        if seconds is None or self._pool.is_inside:
            # A thread of the pool must not wait for the pool.
            return self._here(ref, seconds)  # type: ignore[no-any-return]
        job = self._ask(ref, seconds)
        if not job.wait(seconds):
            self._pool.give_up(job, late=True)
            raise DeadlineError(
                f"{ref._place.name(ref._key)} was not loaded in {seconds} seconds; allow more, or mend its factory."
            )
        if job.error is not None:
            raise job.error
        return job.value  # type: ignore[no-any-return]

    def _here(self, ref: Ref[Any], seconds: float | None) -> Any:
        """Loads in this thread; a request for the same that still waits is served by it."""
        job = self._pool.jobs.get(id(ref))
        if job is None or job.ref is not ref or not self._pool.take(job):
            return self._bring(ref, None if seconds is None else time.monotonic() + seconds)
        try:
            value = self._bring(ref, job.deadline)
        except BaseException as error:
            self._finish(job, MISSING, error)
            raise
        self._finish(job, value, None)
        return value

    def _finish(self, job: Job, value: object, error: BaseException | None) -> None:
        with self._pool.lock:
            if self._pool.jobs.get(id(job.ref)) is job:
                del self._pool.jobs[id(job.ref)]
        job.finish(value, error, self._pool)

    def _bring(self, ref: Ref[Any], deadline: float | None, *, asked: bool = True) -> Any:
        if type(ref._own) is Own and ref._own.needs:
            for other in needs_first(ref)[:-1]:
                if not other.is_loaded:
                    self._loader.bring(other, deadline=deadline)
        return self._loader.bring(ref, asked=asked, deadline=deadline)

    def _ask(self, ref: Ref[Any], seconds: float | None) -> Job:
        """A request that somebody waits for; for the parts of this layer."""
        deadline = None if seconds is None else time.monotonic() + seconds
        # Asked for where no lock is held, as a search has a lock of its own.
        priority = ref.priority
        with self._pool.lock:
            job = self._pool.jobs.get(id(ref))
            if job is not None and not job.is_done:
                job.interest += 1
                job.deadline = None if job.deadline is None or deadline is None else max(job.deadline, deadline)
                self._pool.queue.change(job, waited=True)
                return job
            job = Job(ref, priority, waited=True, deadline=deadline)
            self._pool.submit(job)
            return job

    async def load(self, ref: Ref[T], *, timeout: float | None = None) -> T:
        """The object, for a coroutine: ``await materializer.load(ref)``; a thread of the pool loads it.

        Cancelling the task withdraws the request, if nobody else waits for it.

        Args:
            ref: What to load.
            timeout: Seconds; None is ``load_seconds``.

        Raises:
            CasstoreError: As of ``Ref.get``.
        """
        from casstore.objects.awaiting import load

        value: T = await load(self, ref, timeout)
        return value

    def preload(
        self, refs: Iterable[Ref[Any]], *, priority: float | None = None, timeout: float | None = None
    ) -> Preload:
        """Asks for objects ahead of need; returns at once, with a ticket.

        Args:
            refs: What to load; those of higher priority first.
            priority: Of all of them; None is each one's own.
            timeout: Seconds after which they are of no use any more.

        Raises:
            InvalidInputError: A priority is no number of 0 or more.
            ClosedError: The materializer is closed.
        """
        self._keep_up()
        seconds = self.load_seconds if timeout is None else check_seconds(timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        stated = None if priority is None else check_priority(priority)
        wanted = [(ref, ref.priority if stated is None else stated) for ref in refs]
        # In order, so that a thread that is idle does not take the first that comes.
        wanted.sort(key=lambda pair: -pair[1])
        threshold = self.threshold
        jobs: list[Job] = []
        admitted: list[Ref[Any]] = []
        rejected: list[Ref[Any]] = []
        for ref, own in wanted:
            if ref.is_loaded:
                admitted.append(ref)
            elif own < threshold:
                rejected.append(ref)
                with self._pool.lock:
                    self._pool.rejected += 1
            else:
                job = self._offer(ref, own, deadline)
                (rejected if job is None else admitted).append(ref)
                if job is not None:
                    jobs.append(job)
        return Preload(self._pool, jobs, admitted, rejected)

    def _offer(self, ref: Ref[Any], priority: float, deadline: float | None) -> Job | None:
        """A request that nobody waits for; None where the queue is full of better ones."""
        with self._pool.lock:
            job = self._pool.jobs.get(id(ref))
            if job is not None and not job.is_done:
                job.interest += 1
                if priority > job.priority:
                    self._pool.queue.change(job, priority=priority)
                return job
            job = Job(ref, priority, waited=False, deadline=deadline)
            return job if self._pool.submit(job) else None

    def slice(self, ref: Ref[Any], part: Any) -> Any:
        """A part of an array, read without the rest where its codec can do that.

        Args:
            ref: An array that need not be loaded, and is not by this.
            part: What stands between the brackets: an index, a slice, or a tuple of them.

        Raises:
            CasstoreError: As of ``Ref.get``.
            InvalidInputError: The object has no such part.
        """
        from casstore.objects.parts import part_of

        return part_of(ref, part)

    # -- letting go

    def unload(self, ref: Ref[Any], *, deep: bool = False) -> int:
        """Gives an object's memory back; returns the bytes, by estimate.

        Args:
            ref: What to unload.
            deep: Also what the loaded values lead to.

        Raises:
            InvalidInputError: One of them has changes; nothing was unloaded then.
        """
        if not deep:
            return ref.unload()
        found = loaded_graph(ref)
        for one in found:
            held = one._held
            if type(held) is Held and held.dirty:
                # Says what to do.
                one.unload()
        return sum(one.unload() for one in found)

    def save_all(self) -> int:
        """Saves every changed object to where it came from; returns how many.

        Raises:
            CasstoreError: As of ``Ref.save``; those before it are saved.
        """
        changed = list(self._loader.dirty.values())
        for ref in changed:
            ref.save()
        return len(changed)

    def close(self, *, discard: bool = False) -> None:
        """Ends the threads. Objects that are loaded stay with their Refs; nothing can be loaded any more.

        Args:
            discard: Drop changes that nobody saved.

        Raises:
            InvalidInputError: There are such changes, and ``discard`` is off; nothing was closed.
        """
        changed = list(self._loader.dirty.values())
        if changed and not discard:
            raise InvalidInputError(
                f"{len(changed)} objects have changes, {changed[0]._place.name(changed[0]._key)} first; `save_all()` "
                "(before it `ref.save(branch)` for what came from a snapshot, which never changes), or "
                "`close(discard=True)`."
            )
        for ref in changed:
            ref.discard()
        self._loader.closed = True
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._end.detach()
        self._pool.stop()

    def __enter__(self) -> Materializer:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # After an error, the error says more than what it left unsaved.
        self.close(discard=error is not None)

    # -- priorities and pressure

    def set_threshold(self, value: float) -> None:
        """Sets the priority that a request which nobody waits for needs without any pressure.

        Raises:
            InvalidInputError: It is no finite number of 0 or more.
        """
        self.admission = replace(self.admission, base=check_priority(value))

    @property
    def threshold(self) -> float:
        """The priority that a request which nobody waits for needs now; infinite under full pressure."""
        loader = self._loader
        expected = self.admission.expected(self._pressure, self._trend, loader.max_bytes)
        return self.admission.threshold(expected, loader.load_seconds, loader.hit_rate)

    def reprioritize(self) -> None:
        """Asks for all priorities anew: of what waits, and of what is loaded. Call it when the search has moved.

        Raises:
            InvalidInputError: A function gave no priority.
        """
        self.search.refresh()
        pressing.reprioritize(self._pool, self._loader)

    def follow(self, tree: SearchTree) -> Callable[[], None]:
        """A function that ends it: until then Refs without a priority of their own have that of the search.

        It is the sum of the weights of the nodes whose states have the same object under the same key, so that what
        many nodes share counts for all of them. Several searches add up; Refs of bare entries and functions have none.

        Weights are taken over by ``reprioritize``, and now and then when objects are asked for ahead or have to leave,
        for at most a twentieth of the time. The search is not kept alive.

        Args:
            tree: For example a ``StateTree``.

        Raises:
            InvalidInputError: It is no search.
        """
        ends = self.search.add(tree)
        keep_up = weakref.WeakMethod(self._keep_up)
        self._loader.before_room = lambda: _call(keep_up)
        self.reprioritize()
        return ends

    def _keep_up(self, *, in_haste: bool = True) -> None:
        if self.search.refresh_if_due(in_haste=in_haste):
            pressing.reprioritize(self._pool, self._loader)

    def _follow(self) -> None:
        monitor = self._monitor
        if monitor is not None:
            before, self._trend = self._pressure, pressing.trend_of(monitor)
            self._pressure = self._calm.update(monitor)
            if self._pressure > before:
                self._keep_up(in_haste=False)
            pressing.follow(self._loader, self.admission, self._pressure, pressing.sample_of(monitor))

    def status(self) -> MaterializerStatus:
        """Figures of now."""
        return status_of(self)

    def __repr__(self) -> str:
        return f"<Materializer, {len(self._loader.residents)} objects loaded>"


def _call(method: Callable[[], Callable[[], None] | None]) -> None:
    """Calls what a weak reference to a method leads to, if anything."""
    found = method()
    if found is not None:
        found()
