# SPDX-License-Identifier: MIT
"""The main job on real input, through the ``casstore`` command: ``make demo``.

Takes the standard library of the Python that runs this, puts it into a new store, forks it, changes a copy, stores that
too, gets both back and compares them byte for byte, deletes one and shows that its space comes free. Everything happens
in one temporary folder, which is removed at the end. Exits with 1 as soon as anything is not as it should be.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

COMMAND = (sys.executable, "-m", "casstore_cli")
THIRD_PARTY = ("site-packages", "dist-packages")
RANDOM_BYTES = 8_000_000  # of a file that only the changed copy holds: collection must give them back


class Mismatch(Exception):
    """Something is not as it should be."""


def say(text: str = "") -> None:
    print(text, flush=True)


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


def casstore(store: Path, *words: str, expect: int = 0) -> str:
    """Runs one command, shows it, says how long the whole process took, and returns what it printed."""
    shown = " ".join(os.path.relpath(word, store.parent) if os.path.isabs(word) else word for word in words)
    say(f"  $ casstore --store {store.name} {shown}")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [*COMMAND, "--store", str(store), *words],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    seconds = time.perf_counter() - start
    if done.returncode != expect:
        raise Mismatch(f"exit code {done.returncode}, expected {expect}\n{done.stdout}{done.stderr}")
    say(f"    took {seconds:.2f} s")
    return done.stdout if expect == 0 else done.stderr


def show(text: str, most: int = 12) -> None:
    """Prints the first lines of a command's output, indented."""
    lines = text.rstrip().splitlines()
    for line in lines[:most]:
        say("    | " + line.encode("utf-8", "replace").decode("utf-8"))
    if len(lines) > most:
        say(f"    | … and {len(lines) - most:,} more lines")


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Each name below ``folder``, relative, with its own stat (symlinks are not followed)."""
    for here, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(here, name)
            yield os.path.relpath(path, folder), os.lstat(path)


def same_bytes(first: Path, second: Path) -> bool:
    """Whether two files hold the same bytes: all of them are read; nothing is guessed from sizes or times."""
    with first.open("rb") as a, second.open("rb") as b:
        while True:
            left, right = a.read(1 << 20), b.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True


def compare(expected: Path, found: Path) -> tuple[int, int]:
    """Number of names and of bytes compared: types, contents, permission bits, symlink targets, empty folders.

    Raises:
        Mismatch: The folders differ; the message names the first difference.
    """
    left, right = dict(walk(expected)), dict(walk(found))
    if left.keys() != right.keys():
        raise Mismatch(f"only in one of the two folders: {sorted(left.keys() ^ right.keys())[:5]}")
    total = 0
    for name, a in left.items():
        b = right[name]
        if stat.S_IFMT(a.st_mode) != stat.S_IFMT(b.st_mode):
            raise Mismatch(f"{name}: not of the same type")
        if stat.S_ISLNK(a.st_mode):
            if os.readlink(expected / name) != os.readlink(found / name):
                raise Mismatch(f"{name}: the symlink leads elsewhere")
            continue
        if stat.S_IMODE(a.st_mode) != stat.S_IMODE(b.st_mode):
            raise Mismatch(f"{name}: mode {stat.S_IMODE(a.st_mode):o} became {stat.S_IMODE(b.st_mode):o}")
        if stat.S_ISREG(a.st_mode):
            if not same_bytes(expected / name, found / name):
                raise Mismatch(f"{name}: the bytes differ")
            total += a.st_size
    return len(left), total


def copy(source: Path, target: Path, leave_out: Sequence[str] = ()) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*leave_out))


def change(folder: Path) -> tuple[set[str], set[str], set[str]]:
    """Edits the copy as a day's work would; returns the names that were added, modified and deleted."""
    folder.joinpath("json", "decoder.py").write_text("# rewritten\n")
    with folder.joinpath("argparse.py").open("a") as file:
        file.write("\n# one line at the end of a long file\n")
    added = {f"casstore_demo/{name}" for name in ("notes.txt", "run.sh", "latest", "empty", "random.bin")}
    new = folder / "casstore_demo"
    new.mkdir()
    new.joinpath("notes.txt").write_text("a new file\n")
    new.joinpath("run.sh").write_text("#!/bin/sh\nexec true\n")
    new.joinpath("run.sh").chmod(0o755)
    new.joinpath("latest").symlink_to("notes.txt")
    new.joinpath("empty").mkdir()
    new.joinpath("random.bin").write_bytes(os.urandom(RANDOM_BYTES))
    moved = {str(path.relative_to(folder)) for path in folder.joinpath("wsgiref").rglob("*") if not path.is_dir()}
    folder.joinpath("wsgiref").rename(new / "wsgiref")
    added |= {f"casstore_demo/{name}" for name in moved}
    gone = {str(path.relative_to(folder)) for path in folder.joinpath("unittest").rglob("*") if not path.is_dir()}
    shutil.rmtree(folder / "unittest")
    return added, {"json/decoder.py", "argparse.py"}, gone | moved


def stored_bytes(store: Path) -> int:
    return sum(info.st_size for _, info in walk(store) if stat.S_ISREG(info.st_mode))


def check_diff(text: str, added: set[str], modified: set[str], deleted: set[str]) -> None:
    """The diff names exactly what was changed."""
    expected = {("A", name) for name in added} | {("M", name) for name in modified} | {("D", name) for name in deleted}
    found = {(letter, path) for letter, _, path in (line.partition(" ") for line in text.splitlines())}
    if found != expected:
        raise Mismatch(f"the diff and the changes disagree about {sorted(found ^ expected)[:5]}.")


def run(work: Path) -> None:
    library = Path(sysconfig.get_paths()["stdlib"])
    original, changed, store = work / "python", work / "changed", work / "demo.cas"

    say("1. The input: this Python's own standard library, without packages that were installed into it.")
    copy(library, original, THIRD_PARTY)
    names = dict(walk(original))
    size = sum(info.st_size for info in names.values() if stat.S_ISREG(info.st_mode))
    say(f"   {library}: {len(names):,} names, {megabytes(size)}")

    say("\n2. Put it into a new store, under the name `main`.")
    options = ("--metadata", "full")
    show(casstore(store, "import", str(original), "--ref", "main", *options, "--message", "the library as installed"))

    say("\n3. Import it again: nothing changed, so the ref stays where it is.")
    before = casstore(store, "refs", "list")
    show(casstore(store, "import", str(original), "--ref", "main", *options))
    if casstore(store, "refs", "list") != before:
        raise Mismatch("an import of an unchanged folder moved a ref")

    say("\n4. Fork it: `work` names the same snapshot; nothing is copied.")
    show(casstore(store, "fork", "main", "work"))

    say("\n5. Change a copy of the folder: edit, append, add, move and delete; then import it as `work`.")
    copy(original, changed)
    added, modified, deleted = change(changed)
    say(f"   {len(added)} names added, {len(modified)} modified, {len(deleted)} deleted (some of them moved)")
    show(casstore(store, "import", str(changed), "--ref", "work", *options, "--message", "a day's work"))

    say("\n6. Look at it: history, differences, sizes (raw bytes, stored bytes, dedup and compression apart).")
    history = casstore(store, "log", "work")
    show(history)
    doomed = history.split()[0]
    difference = casstore(store, "diff", "main", "work")
    show(difference, 8)
    check_diff(difference, added, modified, deleted)
    say("    the diff names exactly what was changed")
    show(casstore(store, "stats"), 30)

    say("\n7. Get both states back, and compare them with what went in, byte for byte.")
    for ref, expected in (("main", original), ("work", changed)):
        target = work / f"restored-{ref}"
        show(casstore(store, "checkout", ref, str(target)))
        start = time.perf_counter()
        count, total = compare(expected, target)
        took = time.perf_counter() - start
        say(
            f"    the same: {count:,} names, {megabytes(total)}, modes, symlinks, empty folders "
            f"(compared in {took:.2f} s)"
        )

    say("\n8. A mistake does no harm: a checkout into a folder that is not empty is refused.")
    show(casstore(store, "checkout", "main", str(work / "restored-work"), expect=exit_code("invalid-input")))

    say("\n9. Delete `work` and collect at once (without the usual days in which a deleted ref can be brought back).")
    full = stored_bytes(store)
    casstore(store, "refs", "delete", "work")
    show(casstore(store, "gc", "--undo-keep", "0", "--grace", "0"))
    left = stored_bytes(store)
    say(f"    the store's folder: {megabytes(full)} before, {megabytes(left)} after")
    if left > full - RANDOM_BYTES * 9 // 10:
        raise Mismatch("the collection did not free what only the deleted snapshot held")
    casstore(store, "log", doomed, expect=exit_code("not-found"))
    say(f"    the deleted snapshot {doomed} is gone")

    say("\n10. Verify everything that is left, and get `main` back once more.")
    show(casstore(store, "verify"))
    casstore(store, "checkout", "main", str(work / "restored-again"))
    count, total = compare(original, work / "restored-again")
    say(f"    the same: {count:,} names, {megabytes(total)}")
    say(f"\nAll of it worked. {megabytes(size)} of files took {megabytes(left)} in the store.")


def exit_code(kind: str) -> int:
    """The exit code that the command gives to one class of errors."""
    from casstore_cli.errors import EXIT_CODES

    return int(EXIT_CODES[kind])


def main() -> int:
    work = Path(tempfile.mkdtemp(prefix="casstore-demo-"))
    say(f"casstore demo, in {work} (removed at the end)\n")
    start = time.perf_counter()
    try:
        run(work)
    except Mismatch as error:
        say(f"\nFAILED: {error}")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"The demo took {time.perf_counter() - start:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
