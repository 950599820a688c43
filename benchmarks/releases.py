# SPDX-License-Identifier: MIT
"""The input of ``series``: ten releases of Django, as wheels, unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.process import BenchmarkError

VERSIONS = ("4.2.1", "4.2.5", "4.2.10", "4.2.15", "5.0.1", "5.0.6", "5.1.1", "5.1.4", "5.2.1", "5.2.4")


def releases(cache: Path, given: Path | None) -> list[Path]:
    """One unpacked folder per version, oldest first.

    Args:
        cache: Folder that downloads are kept in.
        given: Folder that already holds one folder per version; nothing is downloaded then.

    Raises:
        BenchmarkError: A version is missing from ``given``, or pip could not download it.
    """
    if given is not None:
        missing = [version for version in VERSIONS if not (given / version / "django").is_dir()]
        if missing:
            raise BenchmarkError(f"{given} lacks the releases {', '.join(missing)}.")
        return [given / version for version in VERSIONS]
    return [unpacked(cache / "django", version) for version in VERSIONS]


def unpacked(folder: Path, version: str) -> Path:
    target = folder / version
    if target.is_dir():
        return target
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    if not (found := sorted(wheels.glob(f"*jango-{version}-py3-none-any.whl"))):
        print(f"downloading Django {version} …", file=sys.stderr, flush=True)
        words = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels)]
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, f"django=={version}"]
        if subprocess.run(command, check=False).returncode:
            raise BenchmarkError(f"pip could not download Django {version}; give --releases FOLDER.")
        found = sorted(wheels.glob(f"*jango-{version}-py3-none-any.whl"))
    temporary = folder / f"{version}.tmp"
    with zipfile.ZipFile(found[0]) as wheel:
        wheel.extractall(temporary)
    temporary.rename(target)
    return target


def warm(folders: list[Path]) -> tuple[int, int]:
    """Reads every file once, so that all tools find them in the page cache; number of files and of bytes."""
    files = size = 0
    for folder in folders:
        for here, _, names in os.walk(folder):
            for name in names:
                with open(os.path.join(here, name), "rb") as file:
                    size += len(file.read())
                files += 1
    return files, size
