# SPDX-License-Identifier: MIT
"""casstore and its peers as ``series`` runs them: one command per import, one per restore.

Settings of the peers are those that made them fastest here without giving up what the task needs; they are named in
``settings`` and printed with the results.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.environment import program_version
from benchmarks.process import Run, casstore_command, run


class Tool:
    """A program that stores folders. ``folder`` is an empty folder of its own; everything it writes goes there."""

    name = ""
    settings = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"

    @classmethod
    def version(cls) -> str | None:
        """The version, or None where the program is not installed."""
        return program_version([cls.name, "--version"])

    def prepare(self) -> None:
        """Makes an empty repository; not timed."""

    def store(self, source: Path) -> list[Run]:
        """Stores a folder."""
        raise NotImplementedError

    def restore(self, source: Path, target: Path) -> list[Run]:
        """Writes what was stored last, from ``source``, to ``target``, an empty folder."""
        raise NotImplementedError

    def restored(self, source: Path, target: Path) -> Path:
        """Where below ``target`` the files of ``source`` were restored."""
        return target

    def stored_bytes(self) -> int:
        """Bytes of all files in the repository (not the blocks they occupy, and not the folders)."""
        return sum(
            os.lstat(os.path.join(here, name)).st_size for here, _, files in os.walk(self.repository) for name in files
        )


class Casstore(Tool):
    name = "casstore"
    settings = "defaults; the first import makes the store; the file `reserve`, which holds nothing, is not counted"

    @classmethod
    def version(cls) -> str | None:
        return program_version([*casstore_command(), "--version"])

    def stored_bytes(self) -> int:
        reserve = self.repository / "reserve"
        return super().stored_bytes() - (reserve.stat().st_size if reserve.exists() else 0)

    def store(self, source: Path) -> list[Run]:
        words = ["--store", str(self.repository), "import", str(source), "--ref", "main"]
        return [run([*casstore_command(), *words])]

    def restore(self, source: Path, target: Path) -> list[Run]:
        return [run([*casstore_command(), "--store", str(self.repository), "checkout", "main", str(target)])]


class Restic(Tool):
    name = "restic"
    settings = "repository format 2, compression auto, no local cache, repository made beforehand"

    @classmethod
    def version(cls) -> str | None:
        return program_version(["restic", "version"])

    def _run(self, *words: str, cwd: Path | None = None) -> Run:
        environment = {"RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": "benchmark"}
        return run(["restic", "--no-cache", "--quiet", *words], cwd=cwd, environment=environment)

    def prepare(self) -> None:
        self._run("init")

    def store(self, source: Path) -> list[Run]:
        return [self._run("backup", "--force", ".", cwd=source)]

    def restore(self, source: Path, target: Path) -> list[Run]:
        return [self._run("restore", "latest", "--target", str(target))]

    def restored(self, source: Path, target: Path) -> Path:
        inside = target / source.resolve().relative_to("/")
        return inside if inside.is_dir() else target


class Borg(Tool):
    name = "borg"
    settings = "encryption none, compression zstd,1, files cache disabled, repository made beforehand"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._count = 0

    def _run(self, *words: str, cwd: Path | None = None) -> Run:
        environment = {
            "BORG_BASE_DIR": str(self.folder / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        return run(["borg", *words], cwd=cwd, environment=environment)

    def prepare(self) -> None:
        self._run("init", "--encryption", "none", str(self.repository))

    def store(self, source: Path) -> list[Run]:
        self._count += 1
        options = ["--compression", "zstd,1", "--files-cache", "disabled"]
        return [self._run("create", *options, f"{self.repository}::r{self._count}", ".", cwd=source)]

    def restore(self, source: Path, target: Path) -> list[Run]:
        return [self._run("extract", f"{self.repository}::r{self._count}", cwd=target)]


class Git(Tool):
    name = "git"
    settings = "one work tree per release, `add --all` and `commit`, no automatic repacking, no fsync of loose objects"

    def _run(self, tree: Path, *words: str) -> Run:
        environment = {
            "GIT_DIR": str(self.repository),
            "GIT_WORK_TREE": str(tree),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": "benchmark" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        return run(["git", *words], cwd=tree, environment=environment)

    def prepare(self) -> None:
        self.repository.mkdir()
        self._run(self.folder, "init", "--quiet")
        self._run(self.folder, "config", "gc.auto", "0")

    def store(self, source: Path) -> list[Run]:
        return [self._run(source, "add", "--all"), self._run(source, "commit", "--quiet", "--message", source.name)]

    def restore(self, source: Path, target: Path) -> list[Run]:
        return [self._run(target, "checkout", "--quiet", "--force", "HEAD", "--", ".")]


class Casync(Tool):
    name = "casync"
    settings = "chunk store with zstd, defaults"

    def _index(self, source: Path) -> str:
        return str(self.repository / f"{source.name}.caidx")

    def prepare(self) -> None:
        self.repository.mkdir()

    def store(self, source: Path) -> list[Run]:
        chunks = f"--store={self.repository / 'default.castr'}"
        return [run(["casync", "make", chunks, self._index(source), str(source)])]

    def restore(self, source: Path, target: Path) -> list[Run]:
        chunks = f"--store={self.repository / 'default.castr'}"
        return [run(["casync", "extract", chunks, self._index(source), str(target)])]


class Copy(Tool):
    """Not a store: the time that writing the files alone takes."""

    name = "cp -a"
    settings = "`cp -a` of the release, the floor for a restore"

    @classmethod
    def version(cls) -> str | None:
        return "" if shutil.which("cp") else None

    def store(self, source: Path) -> list[Run]:
        return []

    def restore(self, source: Path, target: Path) -> list[Run]:
        return [run(["cp", "-a", f"{source}/.", str(target)])]


TOOLS: tuple[type[Tool], ...] = (Casstore, Restic, Borg, Git, Casync, Copy)
