# SPDX-License-Identifier: MIT
"""Serving requests in a thread of the pool, which keeps no materializer alive: it knows one by the request only."""

from __future__ import annotations

import time
from typing import Any

from casstore.errors import DeadlineError
from casstore.objects.jobs import Job


def serve(job: Job) -> Any:
    """The object of a request.

    Raises:
        DeadlineError: It is of no use any more, or memory got too short for it meanwhile.
        CasstoreError: As of ``Ref.get``.
    """
    home = job.ref._place.home
    if job.deadline is not None and time.monotonic() > job.deadline:
        with home._pool.lock:
            home._pool.late += not job.waited
        raise DeadlineError("no thread was free in the time allowed; ask again, or allow more.")
    if not job.waited and job.priority < home.threshold:
        # Pressure may have come since it was admitted.
        with home._pool.lock:
            home._pool.rejected += 1
        raise DeadlineError("memory is too short for what nobody waits for; ask again.")
    if job.entry is not None:
        # Loaded ahead: who guessed it has looked it up.
        return home._loader.bring(job.ref, asked=job.asked, deadline=job.deadline, entry=job.entry)
    return home._bring(job.ref, job.deadline, asked=job.asked)
