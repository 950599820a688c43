# SPDX-License-Identifier: MIT
"""What a fuzz target is: bytes from anywhere go into a decoder, and only casstore's own errors come out.

Targets change nothing outside themselves and give the same answer for the same bytes.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from casstore.errors import CasstoreError, CorruptionError, FactoryError, FormatVersionError

MIB: Final = 1024 * 1024
MAX_INPUT_BYTES: Final = 4096
FORMAT: Final = (CorruptionError, FormatVersionError)
"""What decoders of a format may raise; codecs raise ``FactoryError`` besides."""
CODEC: Final = (CorruptionError, FormatVersionError, FactoryError)


class Finding(Exception):
    """A property does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to fuzz.

    Attributes:
        run: Called with the bytes; returns whether any of them were accepted, raises where a property is broken.
        base_bytes: Memory that a run may take whatever its input.
        factor: Memory that it may take for each byte of input.
        seconds: Processor time of one run.
    """

    run: Callable[[bytes], bool]
    base_bytes: int = MIB
    factor: int = 64
    seconds: float = 1.0


def attempt(decode: Callable[..., Any], *arguments: Any, errors: tuple[type[CasstoreError], ...] = FORMAT) -> Any:
    """What ``decode`` gives; None where it refuses with one of ``errors``. Any other error is a finding."""
    try:
        return decode(*arguments)
    except errors as error:
        if not error.message:
            raise Finding(f"{type(error).__name__} says nothing") from error
        return None


def same(found: object, wanted: object, what: str) -> None:
    """Raises ``Finding`` unless both are equal."""
    if found != wanted:
        raise Finding(f"{what}: {found!r:.300} is not {wanted!r:.300}")


def measured(target: Target, data: bytes) -> bool:
    """What one run returns; raises ``Finding`` where it passes the target's bound of memory."""
    began = not tracemalloc.is_tracing()
    if began:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        accepted = target.run(data)
        taken = tracemalloc.get_traced_memory()[1] - before
    finally:
        if began:
            tracemalloc.stop()
    bound = target.base_bytes + target.factor * len(data)
    if taken > bound:
        raise Finding(f"{len(data)} bytes took {taken:,} bytes of memory, more than {bound:,}")
    return accepted


def timed(target: Target, data: bytes) -> None:
    """One run below the target's bound of processor time."""
    start = time.thread_time()
    target.run(data)
    taken = time.thread_time() - start
    if taken > target.seconds:
        # Once more, as the first run may have imported something.
        start = time.thread_time()
        target.run(data)
        taken = time.thread_time() - start
        if taken > target.seconds:
            raise Finding(f"{len(data)} bytes took {taken:.1f} s, more than {target.seconds} s")


def place_of(error: BaseException) -> str:
    """Where an error comes from: its type, and the innermost line of the library or of the targets."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/casstore/" in name or "/cli/" in name or "/fuzz/targets" in name:
            lines.append(f"{name.rpartition('/')[2]}:{trace.tb_frame.f_code.co_name}")
        trace = trace.tb_next
    # The innermost two, as helpers such as `same` say little alone.
    return f"{type(error).__name__} in {' < '.join(reversed(lines[-2:])) or sys.platform}"
