# SPDX-License-Identifier: MIT
"""What a command runs with: which store, in which mode, printing how; and the decorator that makes a command."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from .names import shell_join
from .output import Output
from .units import SECONDS

if TYPE_CHECKING:
    from casstore import Store
    from casstore.config import Config
    from casstore.storage.recovery import Recovered

DEFAULT_TIMEOUT_SECONDS: Final = 10.0


class Session:
    """What the command line said so far: made with the first context, filled while options are parsed."""

    __slots__ = ("as_json", "recovered", "store_path", "timeout_seconds")

    def __init__(self) -> None:
        self.store_path: str | None = None
        self.as_json = False
        self.timeout_seconds = DEFAULT_TIMEOUT_SECONDS
        self.recovered: Recovered | None = None
        """What an opening for writing had to make anew."""


class Call:
    """One run of one command: opens its store and owns its output."""

    __slots__ = ("_session", "name", "out")

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self.name = name
        self.out = Output(name, as_json=session.as_json)

    @property
    def store_path(self) -> str:
        """The store's folder.

        Raises:
            click.UsageError: None was named.
        """
        path = self._session.store_path
        if not path:
            raise click.UsageError("no store named; pass --store PATH or set CASSTORE_PATH.")
        return path

    @property
    def timeout_seconds(self) -> float:
        """How long to wait for another writer."""
        return self._session.timeout_seconds

    def read(self) -> Store:
        """The store, opened read-only: works beside a process that writes it."""
        import casstore

        return casstore.open(self.store_path, create=False, read_only=True)

    def write(self, *, create: bool = False, config: Config | None = None) -> Store:
        """The store, opened as its one writer; waits up to ``--timeout`` seconds for another one to finish."""
        import casstore

        store = casstore.open(self.store_path, create=create, timeout=self._session.timeout_seconds, config=config)
        return self._warned(store)

    def write_if_free(self) -> Store:
        """The store, opened as its one writer where nobody else is; otherwise read-only. Never waits."""
        from casstore.errors import FormatVersionError, LockedError, StorageError

        try:
            return self.write_at_once()
        except (LockedError, StorageError, FormatVersionError):
            return self.read()  # says what is wrong where reading fails too

    def write_at_once(self) -> Store:
        """The store, opened as its one writer; never waits."""
        import casstore

        return self._warned(casstore.open(self.store_path, create=False, timeout=0.0))

    def _warned(self, store: Store) -> Store:
        """The store; where its opening found it damaged, the person is told at once, a program in the JSON object."""
        if store.recovered is not None:
            self.out.note(f"casstore: {store.recovered}")
            self.out.recovered = self._session.recovered = store.recovered
        return store

    def shell_line(self, *words: str) -> str:
        """A ``casstore`` command on this store that can be pasted into a shell, in any folder."""
        return shell_join(["casstore", "--store", os.path.abspath(self.store_path), *words])


def _set_store(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).store_path = value


def _set_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).as_json = True


def _set_timeout(ctx: click.Context, _param: click.Parameter, value: float | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).timeout_seconds = value


def common_options(*, writes: bool = False) -> list[click.Parameter]:
    """``--json`` and ``--store``, which every command takes, and ``--timeout`` of those that write."""
    options: list[click.Parameter] = [
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_set_json,
            help="Print one JSON object instead of text.",
        ),
        click.Option(
            ["--store"],
            metavar="PATH",
            expose_value=False,
            is_eager=True,
            callback=_set_store,
            help="The store's folder.",
        ),
    ]
    if writes:
        timeout = click.Option(
            ["--timeout"],
            type=SECONDS,
            metavar="SECONDS",
            expose_value=False,
            callback=_set_timeout,
            help=f"How long to wait for another writer (default: {DEFAULT_TIMEOUT_SECONDS:g}).",
        )
        options.insert(0, timeout)
    return options


def store_command(
    name: str, *, example: str, writes: bool = False, cls: type[click.Command] = click.Command
) -> Callable[[Callable[..., None]], click.Command]:
    """A decorator that makes a command of a function whose first argument is its ``Call``.

    Args:
        name: As typed, with its group: ``"log"``, ``"refs set"``. JSON output carries it as ``command``.
        example: Command lines that the help shows, one per line.
        writes: Whether the command opens the store for writing, and so takes ``--timeout``.
        cls: Class of the command.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            session = click.get_current_context().ensure_object(Session)
            function(Call(session, name), **arguments)

        made = click.command(name.rpartition(" ")[2], cls=cls, epilog=help_example(example))(run)
        made.params += common_options(writes=writes)
        return made

    return decorate


def help_example(example: str) -> str:
    """The epilog that shows ``example``, kept as written by click."""
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    return f"\b\nExample:\n{lines}"


def complete_state(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Refs that start with what was typed, for the shell's completion. Nothing where the store cannot be read."""
    session = ctx.find_object(Session) or Session()
    root = ctx.find_root()
    path = session.store_path or root.params.get("store")
    if not path:
        return []
    import casstore
    from casstore.errors import CasstoreError

    try:
        with casstore.open(path, create=False, read_only=True) as store:
            return [name for name, _ in store.refs.ids() if name.startswith(incomplete)]
    except (CasstoreError, OSError):
        return []
