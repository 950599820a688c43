# SPDX-License-Identifier: MIT
"""A reader of the soak: a process that opens the store beside the writer and looks at the same view, over and over."""

from __future__ import annotations

import json
import select
import sys
import time
from typing import Any

import casstore
from benchmarks.soak_writer import _digest

PAUSE_SECONDS = 0.3


def main() -> None:
    """Opens at ``{"op": "open"}``, tells what it sees, looks at some of it over and over until ``{"op": "close"}``."""
    path = sys.argv[1]
    config = casstore.Config(cache_bytes=2**20)
    for line in sys.stdin:
        digests: dict[str, str] = json.loads(line)["digests"]
        started = time.perf_counter()
        with casstore.open(path, read_only=True, config=config) as store:
            opened = time.perf_counter() - started
            answer({"refs": {name: store.refs[name].state_id.hex() for name in store.refs}, "opened": opened})
            looks, wrong = watch(store, digests)
        answer({"looks": looks, "wrong": wrong})


def watch(store: Any, digests: dict[str, str]) -> tuple[int, list[str]]:
    """How many states were read until somebody said that it is enough, and which were not as they must be."""
    looks = 0
    wrong: list[str] = []
    while True:
        for ref, digest in digests.items():
            try:
                if _digest(store.branch(ref)) != digest:
                    wrong.append(f"{ref} differs")
            except casstore.CasstoreError as error:
                wrong.append(f"{ref}: {type(error).__name__}: {error}")
            looks += 1
            if select.select([sys.stdin], [], [], 0)[0]:
                sys.stdin.readline()
                return looks, wrong
        store.storage.cache.clear()
        store.nodes.clear()
        if wrong:
            del wrong[20:]
        time.sleep(PAUSE_SECONDS)


def answer(value: dict[str, Any]) -> None:
    """Says something to the parent."""
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
