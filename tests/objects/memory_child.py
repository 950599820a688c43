# SPDX-License-Identifier: MIT
"""A reader whose hot cache and loaded values outgrow its address space; run by test_monitor_limit.py.

Arguments: the store, ``with`` or ``without`` a monitor, bytes of address space beyond those in use. Each line of the
input is an address. Reads everything three times over, and keeps what it loaded until the monitor says that memory is
short. Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys

import casstore
from casstore.address import Address, content_address
from casstore.objects.assessing import Sample
from casstore.objects.monitor import MemoryMonitor


def main(path: str, mode: str, more_bytes: int) -> None:
    addresses = [Address(bytes.fromhex(line)) for line in sys.stdin.read().split()]
    store = casstore.open(path, create=False, config=casstore.Config(cache_bytes=1 << 30, threads=1))
    loaded: dict[Address, bytearray] = {}
    store.get(addresses[0])
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more_bytes,) * 2)
    unloaded = read_bytes = 0
    monitor = MemoryMonitor(interval_seconds=0.1)

    def unload(sample: Sample) -> None:
        nonlocal unloaded
        if sample.pressure >= 2 / 3:
            for address in list(loaded)[: len(loaded) // 2 + 1]:
                loaded.pop(address, None)
                unloaded += 1

    if mode == "with":
        monitor.subscribe(unload)
        following = monitor.follow(store)
        monitor.start()
    for _ in range(3):
        for address in addresses:
            if mode == "with":
                monitor.expect(1 << 17)
            data = store.get(address)
            if content_address(data) != address:
                raise SystemExit("read something else")
            loaded[address] = bytearray(data)
            read_bytes += len(data)
    monitor.stop()
    last = monitor.sample()
    print(
        json.dumps(
            {
                "read_bytes": read_bytes,
                "unloaded": unloaded,
                "cache_let_go_bytes": following.figures().let_go_bytes if mode == "with" else 0,
                "limit_name": last.limit_name,
                "limit_bytes": last.limit_bytes,
                "used_bytes": last.used_bytes,
                "failures": monitor.figures().failures,
                "problems": last.problems,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
