# SPDX-License-Identifier: MIT
"""Content-defined chunking: where content is cut into chunks.

A cut depends only on the bytes since the cut before it, at most ``max_bytes`` of them; so the same bytes are cut at
the same places whatever buffers they arrive in.

Source: W. Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication", USENIX
ATC 2016, in the variant of the package ``fastcdc`` (right-shifting gear hash, normalized chunking level 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from casstore.errors import InvalidInputError, StorageError

READ_BYTES: Final = 1024 * 1024

_kernel: Callable[..., Any] | None = None


def load_kernel() -> Callable[..., Any]:
    """FastCDC's compiled kernel.

    Raises:
        StorageError: ``fastcdc`` is installed without it. The pure-Python kernel is a thousand times slower, so it
            is never used silently.
    """
    global _kernel
    if _kernel is None:
        try:
            from fastcdc.fastcdc_cy import fastcdc_cy
        except ImportError as error:
            raise StorageError(
                "fastcdc is installed without its compiled kernel; install a wheel for this Python, or a C compiler "
                "and then `pip install --no-binary fastcdc --force-reinstall fastcdc`."
            ) from error
        _kernel = fastcdc_cy
    return _kernel


class Chunker:
    """Cuts content with one set of parameters, all in bytes. Thread-safe: it holds no state between calls."""

    __slots__ = ("avg_bytes", "max_bytes", "min_bytes", "whole_bytes")

    def __init__(self, min_bytes: int, avg_bytes: int, max_bytes: int) -> None:
        power = avg_bytes & (avg_bytes - 1) == 0
        fits = 64 <= min_bytes < avg_bytes < max_bytes and avg_bytes >= 256 and 1024 <= max_bytes <= 8 * 1024 * 1024
        if not (fits and power):
            raise InvalidInputError(
                f"chunk sizes {min_bytes}/{avg_bytes}/{max_bytes} do not fit; the average is a power of two from 256, "
                "the minimum (from 64) is below it, the maximum (1 KiB to 8 MiB) above it."
            )
        self.min_bytes = min_bytes
        self.avg_bytes = avg_bytes
        self.max_bytes = max_bytes
        # Cutting short content costs more in records and lists than its dedup saves: docs/design/004-chunk-size.md.
        # No more than one chunk may hold, or a stream would have cut already what the whole keeps in one piece.
        self.whole_bytes = min(2 * avg_bytes, max_bytes)

    def lengths(self, data: bytes | memoryview) -> list[int]:
        """Lengths in bytes of the chunks that ``data`` is cut into; they add up to ``len(data)``.

        Content of up to ``whole_bytes``, about twice the average, stays one chunk.

        Cost: O(len(data)), about 0.4 ns a byte; holds the interpreter lock.
        """
        if len(data) <= self.whole_bytes:
            return [len(data)] if data else []
        return self._cut(data)

    def _cut(self, data: bytes | memoryview) -> list[int]:
        kernel = _kernel or load_kernel()
        return [chunk.length for chunk in kernel(data, self.min_bytes, self.avg_bytes, self.max_bytes)]

    def stream(self, source: BinaryIO) -> Iterator[bytes]:
        """The chunks of everything that ``source`` still holds, in order, with a few MiB of memory."""
        kernel = load_kernel()
        low, average, high = self.min_bytes, self.avg_bytes, self.max_bytes
        rest = b""
        cut_before = False
        while True:
            # At least one whole chunk must lie in the buffer, however large chunks are.
            data = source.read(max(READ_BYTES, 2 * high))
            if not isinstance(data, bytes):
                raise InvalidInputError(
                    f"the file gave {type(data).__name__} instead of bytes; open it in binary mode, and blocking."
                )
            if not data:
                break
            buffer = rest + data if rest else data
            view = memoryview(buffer)
            end = len(buffer) - high
            start = 0
            if end > 0:
                for chunk in kernel(buffer, low, average, high):
                    # A cut is final only where the chunk could not have been longer.
                    if start > end:
                        break
                    yield bytes(view[start : start + chunk.length])
                    start += chunk.length
                    cut_before = True
            rest = buffer[start:]
        view = memoryview(rest)
        start = 0
        for length in self._cut(rest) if cut_before else self.lengths(rest):
            yield bytes(view[start : start + length])
            start += length
