# SPDX-License-Identifier: MIT
"""What changes for objects when memory does, or the search moves: how much may be loaded, and what matters most.

Pressure, in one place. There is one scale, 0 to 1, made by the monitor (``memory_levels``): 1/3 is where ``medium``
begins, 2/3 ``high``, 1 ``critical``. Who does what with it:

- The monitor alone foresees: its pressure has the trend in it, as far as 0.6. ``Admission`` adds a trend only where the
  monitor says of itself that it does not foresee (``foresees`` is false or missing), never a second time.
- Rising counts at once. Falling counts late: once it stayed ``CALM`` below what counted before for as long as the
  monitor holds its levels (``Limits.hold_seconds``), down to the worst of that time, and never below where the level
  begins. Of a monitor that says nothing of time it counts once it fell by ``CALM``.
- From ``Admission.easy`` on (1/3: ``medium``) the threshold rises and the bound of what is loaded falls, at once: least
  priority first, of equals the least recently used. It is a share of ``max_bytes``, or of what is loaded and the memory
  left, where that is less. Up to there nothing changes, so what lies below ``medium`` is for
  caches alone: the hot cache (``following``) stays below it by itself.
- From ``Admission.full`` on (1: ``critical``) nothing is admitted that nobody waits for, and the bound is at its least.
- A request that waits in the queue is looked at again when a thread takes it: so a storm is refused from below, in the
  order of priorities, and a caller that waits is never refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from casstore.objects.admission import Admission, Pressure
from casstore.objects.assessing import Sample
from casstore.objects.loading import Loader
from casstore.objects.memory_levels import LEVEL_STARTS, LEVELS, Limits
from casstore.objects.pool import Pool

if TYPE_CHECKING:
    from casstore.objects.ref import Ref

CALM: Final = 0.05
"""Pressure has to fall this far below what it was before anything is loosened again."""


class Calm:
    """The pressure that counts: it rises at once, and falls late.

    *Thread safety*: for one thread at a time, as a monitor calls.
    """

    __slots__ = ("_below_since", "_worst", "pressure")

    def __init__(self) -> None:
        self.pressure = 0.0
        self._below_since: float | None = None
        self._worst = 0.0

    def update(self, monitor: Pressure) -> float:
        """The pressure that counts after what a monitor says now."""
        pressure, seconds, hold_seconds = _said(monitor)
        if pressure >= self.pressure:
            self.pressure, self._below_since = pressure, None
        elif pressure > self.pressure - CALM:
            # At the edge, every sample would load and unload.
            self._below_since = None
        else:
            if self._below_since is None or seconds < self._below_since:
                self._below_since, self._worst = seconds, pressure
            self._worst = max(self._worst, pressure)
            if seconds - self._below_since >= hold_seconds:
                self.pressure, self._below_since = self._worst, None
        return self.pressure


def _said(monitor: Pressure) -> tuple[float, float, float]:
    """A monitor's pressure, when that was, and for how long its levels hold; 0.0 where it says nothing of time."""
    pressure = monitor.pressure
    if not 0 <= pressure <= 1:
        # What is no number is no reason to take more memory.
        pressure = 0.0 if pressure < 0 else 1.0
    level = getattr(monitor, "level", None)
    if level in LEVELS:
        pressure = max(pressure, LEVEL_STARTS[LEVELS.index(level)])
    last, limits = getattr(monitor, "last", None), getattr(monitor, "limits", None)
    if isinstance(last, Sample) and isinstance(limits, Limits):
        return pressure, last.time_seconds, limits.hold_seconds
    return pressure, 0.0, 0.0


def trend_of(monitor: Pressure) -> float:
    """The trend, where the pressure does not have it in it already."""
    return 0.0 if getattr(monitor, "foresees", False) else monitor.trend


def follow(loader: Loader, admission: Admission, pressure: float, sample: Sample | None = None) -> None:
    """Takes over a new pressure: what does not fit any more leaves."""
    allowed = admission.allowed_bytes(pressure, _bound(loader, admission, pressure, sample))
    if allowed != loader.allowed_bytes or loader.residents.used_bytes > allowed:
        loader.allowed_bytes = allowed
        loader.make_room()


def _bound(loader: Loader, admission: Admission, pressure: float, sample: Sample | None) -> int:
    """What pressure takes its share of: the stated bound, or what is loaded and the memory left, where that is less.

    Of a bound beyond all memory a share would be no bound at all.
    """
    used = loader.residents.used_bytes
    if pressure <= admission.easy or sample is None:
        loader.pressed_bytes = 0
        return loader.max_bytes
    if sample.free_bytes is None:
        # Nobody says how much is left, only that tasks wait for it. Not of what is loaded now, which would shrink with
        # every sample, but of the most since it began.
        bound = max(loader.pressed_bytes, used)
    else:
        bound = used + sample.free_bytes
        if loader.pressed_bytes and pressure == loader.pressure and bound > loader.pressed_bytes * (1 - CALM):
            # What flutters about an edge moves nothing.
            bound = loader.pressed_bytes
    loader.pressed_bytes, loader.pressure = bound, pressure
    return min(loader.max_bytes, bound)


def sample_of(monitor: Pressure) -> Sample | None:
    """The last sample of a monitor that has any."""
    last = getattr(monitor, "last", None)
    return last if isinstance(last, Sample) else None


def reprioritize(pool: Pool, loader: Loader) -> None:
    """See ``Materializer.reprioritize``."""
    with pool.lock:
        jobs = list(pool.queue.jobs())
    # Asked for where no lock is held, as a search has a lock of its own.
    weights = [(job, job.ref.priority) for job in jobs]
    with pool.lock:
        for job, priority in weights:
            pool.queue.change(job, priority=priority)
    with loader.lock:
        residents = list(loader.residents)
    for held in residents:
        held.priority = together(held.refs())


def together(refs: Iterable[Ref[Any]]) -> float:
    """The priority of an object that several Refs stand for.

    What was stated counts once, the highest; what the search says is added up, once for each state or, where the search
    knows all nodes that reach a key's object, once for each key.
    """
    stated = 0.0
    found: dict[object, float] = {}
    for ref in refs:
        if ref.has_own_priority:
            stated = max(stated, ref.priority)
        else:
            origin = ref._place.origin(ref._key)
            if origin not in found:
                found[origin] = ref.priority
    return max(stated, sum(found.values()))
