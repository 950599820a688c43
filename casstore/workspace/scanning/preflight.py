# SPDX-License-Identifier: MIT
"""What an import would take, found out without reading a single file.

Names and sizes are all that is looked at. So ``Survey.bytes`` is the content of the files, each path counted by itself;
what the store adds is known only to who reads them: at most that and a little for addresses and names, and less by
whatever the store has already, occurs twice, or can be compressed.

A name looks like a secret if it is in ``SECRETS``, upper and lower case being the same. That is a hint and no more: a
``.pem`` may be public, and a password may be in ``README``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final

from casstore.errors import InvalidInputError
from casstore.workspace.report import LeftOut, Progress
from casstore.workspace.scanning.ignoring import Rules
from casstore.workspace.scanning.scan import (
    CHANGED_ERRNOS,
    UNREADABLE,
    Scan,
    Visit,
    folder_name,
    identity_of,
    is_inside,
)
from casstore.workspace.selection import Selection

SOURCES: Final = b"".join(
    b"!*.%b\n" % ending
    for ending in (
        b"c cc cpp cs go h hpp html java js jsx kt md mjs php proto py pyc pyi rb rs rst scss svg swift ts tsx"
    ).split()
)
"""Files that are about secrets more often than they hold some."""

SECRETS: Final[tuple[tuple[str, bytes], ...]] = (
    (
        "environment variables, which often hold passwords",
        b".env\n.env.*\n*.env\n.envrc\n!*.example\n!*.sample\n!*.template\n!*.dist\n",
    ),
    (
        "a private key",
        b"id_rsa\nid_dsa\nid_ecdsa\nid_ecdsa_sk\nid_ed25519\nid_ed25519_sk\n*.pem\n*.key\n*.ppk\n*.pk8\n"
        b"secring.gpg\n**/private-keys-v1.d/*\n*.age-key\n*.wg.conf\n",
    ),
    ("a key store", b"*.p12\n*.pfx\n*.jks\n*.keystore\n*.kdb\n*.kdbx\n*.keychain\n*.keychain-db\n"),
    (
        "the credentials of a tool",
        b".npmrc\n.pypirc\n.netrc\n_netrc\n.git-credentials\n.pgpass\n.my.cnf\n.htpasswd\n.dockercfg\n.boto\n.s3cfg\n"
        b".vault-token\n.terraformrc\n*.tfstate\n*.tfstate.backup\n*.tfvars\nrclone.conf\nkubeconfig\n"
        b"**/.docker/config.json\n**/.kube/config\n**/.aws/credentials\n**/.cargo/credentials.toml\n"
        b"**/.config/gh/hosts.yml\n",
    ),
    (
        "credentials by its name",
        b"credentials*\n*-credentials.*\n*_credentials.*\nclient_secret*\nservice-account*.json\nservice_account*.json\n"
        b"secret\nsecrets\nsecret.*\nsecrets.*\n*.secret\nmaster.key\npasswords\npasswords.*\n**/secrets/*\n" + SOURCES,
    ),
    ("a token by its name", b"token\n.token\ntoken.*\n*.token\n*_token\n*-token\ntokens.*\n" + SOURCES),
)
"""What it may be, and names by git's rules for ignore files."""

Named = tuple[bytes, str]
"""A path and why it is named."""

# What counts is what an open would be judged by; not every system can tell.
_EFFECTIVE: Final = os.access in os.supports_effective_ids
_KINDS: Final = tuple((why, Rules.start(names)) for why, names in SECRETS)


@dataclass(frozen=True, slots=True)
class Sized:
    """A file and its size.

    Attributes:
        path: Below the directory; bytes that are not UTF-8 are surrogate escapes.
        bytes: Of its content.
    """

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A file whose name looks like a secret.

    Attributes:
        path: Below the directory; bytes that are not UTF-8 are surrogate escapes.
        why: What it may be, in words.
    """

    path: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What an import would take.

    Attributes:
        files: Regular files.
        directories: Directories, without the one that was asked about.
        symlinks: Symlinks.
        bytes: Content of all regular files, hard links and holes in full. What the store adds is not known before the
            files are read: at most this and some hundred bytes per file, less by what it has or can compress.
        largest: The largest files, the largest first.
        secrets: Files to keep and symlinks whose names look like secrets, by path.
        left_out: What would not be in the snapshot, as an import reports it, by path.
        unreadable: Paths that an import needs ``skip_unreadable`` for.
        free_bytes: What may still be written to the store's disk (without a store: the directory's).
    """

    files: int
    directories: int
    symlinks: int
    bytes: int
    largest: tuple[Sized, ...]
    secrets: tuple[Suspect, ...]
    left_out: tuple[LeftOut, ...]
    unreadable: tuple[str, ...]
    free_bytes: int


def survey(
    directory: str | os.PathLike[str],
    *,
    exclude: str | os.PathLike[str] | None = None,
    selection: Selection | None = None,
    largest: int = 10,
    progress: Progress | None = None,
) -> Survey:
    """What an import of ``directory`` would take; nothing is read but names and sizes.

    Args:
        directory: The folder, followed if it is a symlink.
        exclude: The store's folder: it is passed over, and its disk is the one to have room. It need not exist yet.
        selection: What to leave out.
        largest: How many of the largest files to name.
        progress: Called after each folder with ``"looking"``, the files seen so far, and None.

    Raises:
        InvalidInputError: The directory is not there, is none, is ``/``, the home folder or in the store.
        ConflictError: A folder changed into something else meanwhile.

    *Cost*: a ``stat`` of each file. Memory: O(names of the largest folder + what the report names).
    """
    folder = folder_name(directory)
    store = None if exclude is None else folder_name(exclude)
    own = None if store is None else identity_of(store)
    if store is not None and own is not None and is_inside(folder, store):
        raise InvalidInputError(f"{folder!r} belongs to the store itself; give another folder.", path=folder)
    scan = Scan(folder, exclude=own, skip_unreadable=True, selection=selection)
    try:
        look = _Look(scan, progress)
        found = nsmallest(max(largest, 0), look.sizes())
    finally:
        scan.close()
    return Survey(
        files=look.files,
        directories=look.directories - len(scan.lost),
        symlinks=look.symlinks,
        bytes=look.bytes,
        largest=tuple([Sized(os.fsdecode(path), -size) for size, path in found]),
        secrets=tuple([Suspect(os.fsdecode(path), why) for path, why in sorted(look.secrets)]),
        left_out=tuple([LeftOut(path, why) for path, why in sorted(map(_shown, look.left_out + scan.lost))]),
        unreadable=tuple(sorted([_shown(item)[0] for item in look.unreadable + _unreadable_folders(scan)])),
        free_bytes=_free_bytes(folder if store is None else store),
    )


def looks_secret(path: bytes) -> str | None:
    """What a file of that name may be, in words; None if it looks harmless."""
    lowered = path.lower()
    for why, rules in _KINDS:
        if rules.leaves_out(lowered, directory=False):
            return why
    return None


class _Look:
    """Counts what a walk meets."""

    __slots__ = (
        "_progress",
        "_scan",
        "bytes",
        "directories",
        "files",
        "left_out",
        "secrets",
        "symlinks",
        "unreadable",
    )

    def __init__(self, scan: Scan, progress: Progress | None) -> None:
        self._scan = scan
        self._progress = progress
        self.files = self.directories = self.symlinks = self.bytes = 0
        self.secrets: list[Named] = []
        self.left_out: list[Named] = []
        self.unreadable: list[Named] = []

    def sizes(self) -> Iterator[tuple[int, bytes]]:
        """Each file's size, made negative, and path."""
        for visit in self._scan.folders():
            self.directories += len(visit.folders)
            self.symlinks += len(visit.links)
            self.left_out += [(visit.prefix + name, why) for name, why in visit.left_out]
            for name in visit.names or ():
                path = visit.prefix + name
                why = looks_secret(path)
                if why is not None:
                    self.secrets.append((path, why))
                if name not in visit.links:
                    yield from self._size(visit, name, path)
            if self._progress is not None:
                self._progress("looking", self.files, None)

    def _size(self, visit: Visit, name: bytes, path: bytes) -> Iterator[tuple[int, bytes]]:
        place = visit.below + name
        try:
            status = os.stat(place, dir_fd=visit.at, follow_symlinks=False)
            readable = os.access(place, os.R_OK, dir_fd=visit.at, effective_ids=_EFFECTIVE)
        except OSError as error:
            if error.errno in CHANGED_ERRNOS:
                # Gone since its folder was listed, so it will not be imported either.
                return
            named = (path, self._scan.unreadable(path, error))
            self.left_out.append(named)
            self.unreadable.append(named)
            return
        if not stat.S_ISREG(status.st_mode):
            return
        self.files += 1
        self.bytes += status.st_size
        if not readable:
            self.unreadable.append((path, UNREADABLE))
        yield -status.st_size, path


def _unreadable_folders(scan: Scan) -> list[Named]:
    return [(path, why) for path, why in scan.lost if why.startswith(UNREADABLE)]


def _shown(named: Named) -> tuple[str, str]:
    return os.fsdecode(named[0].rstrip(b"/")), named[1]


def _free_bytes(path: str) -> int:
    """What may be written where ``path`` is, or will be."""
    place = os.path.realpath(path)
    while True:
        try:
            found = os.statvfs(place)
        except (FileNotFoundError, NotADirectoryError):
            place = os.path.dirname(place)
        else:
            return found.f_bavail * found.f_frsize
