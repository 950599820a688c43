# SPDX-License-Identifier: MIT
"""Loading for coroutines: the event loop goes on while a thread of the pool loads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from casstore.errors import DeadlineError
from casstore.objects.admission import check_seconds

if TYPE_CHECKING:
    from casstore.objects.jobs import Job
    from casstore.objects.materializer import Materializer
    from casstore.objects.ref import Ref


async def load(home: Materializer, ref: Ref[Any], timeout: float | None) -> Any:
    """See ``Materializer.load``."""
    if ref.is_loaded:
        return ref.get()
    seconds = home.load_seconds if timeout is None else check_seconds(timeout)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(job: Job) -> None:
        if future.done():
            return
        if job.error is not None:
            future.set_exception(job.error)
        else:
            future.set_result(job.value)

    def done(job: Job) -> None:
        try:
            loop.call_soon_threadsafe(settle, job)
        except RuntimeError:
            # The loop was closed, and whoever waited went with it.
            return

    job = home._ask(ref, seconds)
    job.on_done(done, home._pool)
    try:
        return await asyncio.wait_for(future, seconds)
    except DeadlineError:
        raise
    except TimeoutError:
        home._pool.give_up(job, late=True)
        raise DeadlineError(
            f"{ref._place.name(ref._key)} was not loaded in {seconds} seconds; allow more, or mend its factory."
        ) from None
    except asyncio.CancelledError:
        home._pool.give_up(job)
        raise
