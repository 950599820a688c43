# SPDX-License-Identifier: MIT
"""Chunk and hash: how fast content gets its addresses."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from benchmarks.options import Options
from benchmarks.table import Goal, gigabytes_per_second

TOTAL_BYTES = 256 * 2**20
PIECE_BYTES = 8 * 2**20


def workload(options: Options) -> str:
    return (
        f"{TOTAL_BYTES // 2**20} MiB of random bytes in contents of {PIECE_BYTES // 2**20} MiB, in memory, one thread: "
        "cut with the default parameters, BLAKE3 of each chunk and of each whole content. Nothing is stored."
    )


def measure(options: Options) -> list[Goal]:
    from casstore.address import content_address
    from casstore.chunking import Chunker
    from casstore.config import DEFAULT_CHUNK_BYTES

    chunker = Chunker(*DEFAULT_CHUNK_BYTES)
    pieces = [os.urandom(PIECE_BYTES) for _ in range(TOTAL_BYTES // PIECE_BYTES)]

    def cut_and_hash(piece: bytes) -> None:
        view = memoryview(piece)
        start = 0
        for length in chunker.lengths(piece):
            content_address(view[start : start + length])
            start += length
        content_address(piece)

    def rate(work: Callable[[bytes], object]) -> list[float]:
        work(pieces[0])
        found = []
        for _ in range(max(options.repeat, 3)):
            start = time.perf_counter()
            for piece in pieces:
                work(piece)
            found.append(TOTAL_BYTES / (time.perf_counter() - start))
        return found

    both, cut, hashed = rate(cut_and_hash), rate(chunker.lengths), rate(content_address)
    return [
        Goal(
            "chunk + hash, incompressible, one thread",
            statistics.median(both),
            gigabytes_per_second,
            bar=0.8e9,
            aim=1e9,
            higher=True,
            detail={"samples": both},
            note="content and chunk addresses",
        ),
        Goal("chunk alone", statistics.median(cut), gigabytes_per_second, detail={"samples": cut}),
        Goal(
            "hash alone",
            statistics.median(hashed),
            gigabytes_per_second,
            detail={"samples": hashed},
            note=f"BLAKE3 of {PIECE_BYTES // 2**20} MiB contents",
        ),
    ]
