# SPDX-License-Identifier: MIT
"""Made ``base_store``, which the target ``store`` damages: ``python -m tests.fuzz.make_base FOLDER``.

Inputs say which byte of which file to change, so they mean something only for the very bytes they were found with: the
store is kept, and never made anew.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import casstore
from casstore.codecs import Members
from casstore.workspace import import_directory

CONFIG = casstore.Config(
    chunk_min_bytes=64,
    chunk_avg_bytes=256,
    chunk_max_bytes=1024,
    segment_bytes=4096,
    threads=1,
    sync="off",
    actor="somebody",
)
LEFT_OUT = ("lock", "reserve", "index/LOCK", "index/LOG", "index/LOG.old")


def make(target: Path) -> None:
    """A store of 14 KB with a list, a delta, metadata, objects, members, two refs and the history of a third."""
    draw = random.Random(4)
    text = b"".join(b"line %d says %d\n" % (number, draw.randrange(10**6)) for number in range(40))
    with tempfile.TemporaryDirectory() as folder:
        project, path = Path(folder, "project"), Path(folder, "store")
        (project / "d").mkdir(parents=True)
        (project / "none").mkdir()
        (project / "text").write_bytes(text)
        (project / "large").write_bytes(draw.randbytes(2500))
        (project / "d/small").write_bytes(b"inline")
        (project / "run").write_bytes(b"#!")
        (project / "run").chmod(0o755)
        os.symlink("../text", project / "d/link")
        with casstore.open(path, config=CONFIG) as store:
            import_directory(store, str(project), ref="main", metadata="full")
            (project / "text").write_bytes(text.replace(b"line 7", b"LINE 7"))
            import_directory(store, str(project), ref="main", metadata="full")
            branch = store.branch("main")
            branch.objects["memory"] = {"step": 3, "texts": ["x" * 200]}
            branch.objects["parts"] = Members(a=1, b="text" * 50)
            for number in range(14):
                branch.files[f"many/{number:02}"] = b"%d" % number
            store.refs["try/1"] = branch.commit("objects")
            store.refs["gone"] = store.snapshot("main")
            del store.refs["gone"]
            store.configure(grace_seconds=60, max_bytes=10**9)
        shutil.copytree(path, target)
    for name in LEFT_OUT:
        (target / name).unlink(missing_ok=True)
    shutil.rmtree(target / "readers", ignore_errors=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
