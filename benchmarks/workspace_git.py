# SPDX-License-Identifier: MIT
"""git as the parts of ``workspace`` run it: a repository inside a directory, one process per command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.process import BenchmarkError, run

CONFIGURATION = {"gc.auto": "0", "core.fsmonitor": "false", "core.untrackedCache": "false"}


class Repository:
    """A git repository whose work tree is ``folder``; made on construction, nothing added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "GIT_DIR": str(folder / ".git"),
            "GIT_WORK_TREE": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_NAME": "benchmark" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "benchmark@localhost" for who in ("AUTHOR", "COMMITTER")},
        }
        self.time("init", "--quiet")
        for name, value in CONFIGURATION.items():
            self.time("config", name, value)

    def time(self, *words: str, cwd: Path | None = None, **more: str) -> float:
        """Seconds of one command; ``more`` is added to its environment."""
        return run(["git", *words], cwd=cwd or self.folder, environment={**self.environment, **more}).seconds

    def read(self, *words: str) -> str:
        """What one command prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(["git", *words], cwd=self.folder, env=environment, capture_output=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"git {' '.join(words)}: {done.stderr.decode('utf-8', 'replace').strip()}")
        return done.stdout.decode("utf-8").strip()

    def add(self) -> float:
        """Seconds of adding whatever changed."""
        return self.time("add", "--all")

    def commit(self) -> float:
        """Seconds of committing what was added."""
        return self.time("commit", "--quiet", "--message", "round")

    def save(self) -> str:
        """Adds and commits all; the commit."""
        self.add()
        self.commit()
        return self.read("rev-parse", "HEAD")

    def checkout(self, commit: str) -> float:
        """Seconds of going to a commit."""
        return self.time("checkout", "--quiet", "--detach", commit)

    def clean_reset_checkout(self, commit: str) -> float:
        """Seconds of the three commands that restore a commit whatever the directory holds."""
        took = self.time("clean", "-fd", "--quiet") + self.time("reset", "--quiet", "--hard")
        return took + self.checkout(commit)
