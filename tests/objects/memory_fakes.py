# SPDX-License-Identifier: MIT
"""Fakes for memory monitoring: a clock, sources, and trees of kernel files."""

from __future__ import annotations

from pathlib import Path

from casstore.objects.kernel_files import KernelFiles
from casstore.objects.reading import Bound, Reading

MIB = 1 << 20


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeSources:
    """Readings of a process that takes ``used`` MiB of ``limit`` MiB; set the attributes between samples."""

    def __init__(self, used: float = 0, limit: float | None = 1000) -> None:
        self.used = used
        self.limit = limit
        self.stalled_us: int | None = None
        self.calls: list[str] = []
        self.error: BaseException | None = None

    def open(self) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")

    def read(self) -> Reading:
        if self.error is not None:
            raise self.error
        used = int(self.used * MIB)
        bounds = () if self.limit is None else (Bound("fake", used, int(self.limit * MIB)),)
        return Reading(rss_bytes=used, bounds=bounds, stalled_us=self.stalled_us)


def make_tree(root: Path, files: dict[str, str | None]) -> KernelFiles:
    """The files below ``root``; None is a folder in place of a file."""
    for path, text in files.items():
        place = root / path.lstrip("/")
        if text is None:
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
    return KernelFiles(str(root))


V2_MOUNT = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:4 - cgroup cgroup rw,memory\n"
OTHER_MOUNTS = (
    "23 1 8:1 / / rw,relatime - ext4 /dev/root rw\n34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
)
STAT_V2 = (
    "anon 100\nfile 50\nfile_dirty 4\nfile_writeback 1\ninactive_file 20\nactive_file 25\nslab_reclaimable 5\nshmem 5\n"
)
STAT_V1 = (
    "cache 50\nhierarchical_memory_limit 9223372036854771712\n"
    "total_dirty 4\ntotal_writeback 1\ntotal_inactive_file 20\ntotal_active_file 25\n"
)
MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\nHugePages_Total:       0\n"
PSI = "some avg10=12.50 avg60=1.00 avg300=0.00 total=4500000\nfull avg10=6.00 avg60=0.50 avg300=0.00 total=2000000\n"
STATM = "1000 500 100 5 0 300 0\n"
