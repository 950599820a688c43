# SPDX-License-Identifier: MIT
"""What changes for objects when memory does, or the search moves: how much may be loaded, and what matters most."""

from __future__ import annotations

from typing import Final

from casstore.objects.admission import Admission
from casstore.objects.loading import Loader
from casstore.objects.pool import Pool

CALM: Final = 0.05
"""Pressure has to fall this far below what it was before anything is loosened again."""


def follow(loader: Loader, admission: Admission, before: float, pressure: float) -> float:
    """Takes over a new pressure: what does not fit any more leaves. Returns the pressure that counts from now on."""
    if not 0 <= pressure <= 1:
        pressure = 0.0 if pressure < 0 else 1.0
    # Hysteresis: at the edge, every sample would load and unload.
    if before - CALM < pressure < before:
        return before
    loader.allowed_bytes = admission.allowed_bytes(pressure, loader.max_bytes)
    loader.make_room()
    return pressure


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
        held.priority = max((ref.priority for ref in held.refs()), default=0.0)
