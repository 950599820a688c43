# SPDX-License-Identifier: MIT
"""What searches of this benchmark look at: a site of pages, each an array of a mebibyte, linked as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.process import BenchmarkError

if TYPE_CHECKING:
    import casstore

LINKS = 8
"""Pages that one page leads to."""
USED = 1 / 6.5
"""Share of a page's cells that are not 0: zstandard makes a page a fifth as large, and no two are alike."""
REF = "site"


def arrays() -> Any:
    """NumPy.

    Raises:
        BenchmarkError: It is not installed.
    """
    try:
        import numpy
    except ImportError as error:
        raise BenchmarkError("NumPy is not installed; the pages are its arrays.") from error
    return numpy


def page(number: int, size_bytes: int) -> Any:
    """The page of that number: ``size_bytes // 4`` numbers of 32 bits."""
    numpy = arrays()
    cells = size_bytes // 4
    generator = numpy.random.default_rng(number)
    found = numpy.zeros(cells, dtype=numpy.float32)
    used = max(1, int(cells * USED))
    found[generator.integers(0, cells, size=used)] = generator.random(used, dtype=numpy.float32)
    return found


def key_of(number: int) -> str:
    return f"page/{number:05d}"


def links_of(number: int, pages: int) -> Iterator[int]:
    """Numbers of the pages that a page leads to; page 0 is where everybody begins."""
    first = LINKS * number + 1
    return iter(range(first, min(first + LINKS, pages)))


def way_to(number: int) -> list[int]:
    """The page, the one that leads to it, and the one before that, as far as there are any."""
    found = [number]
    while number and len(found) < 3:
        number = (number - 1) // LINKS
        found.append(number)
    return found


def fill(path: str, pages: int, size_bytes: int) -> None:
    """Makes a store with a site in it."""
    import casstore

    # Quick to make: what a level of compression costs is not asked here.
    config = casstore.Config(compression_level=1, cache_bytes=8 * 2**20)
    with casstore.open(path, config=config) as store:
        branch = store.branch()
        for number in range(pages):
            branch.objects[key_of(number)] = page(number, size_bytes)
        branch.commit("the site", ref=REF)


def site_of(store: casstore.Store) -> casstore.Snapshot:
    """The state that has the pages."""
    found = store.refs[REF]
    return found
