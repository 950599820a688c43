# SPDX-License-Identifier: MIT
"""The ``casstore`` command group.

Invariant: ``casstore --help`` imports click and nothing heavier. A command's module is imported when that command
runs, and the library when that command opens a store.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from . import errors
from .session import Session, help_example

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("init", "Make an empty store."),
    "import": ("import_", "Snapshot a directory and point a ref at it."),
    "checkout": ("checkout", "Write a state's files to a directory."),
    "status": ("status", "What a directory changed since its base."),
    "switch": ("switch", "Turn a directory into another state."),
    "undo": ("undo", "Take back a directory's last switch."),
    "refs": ("refs", "List, set, delete, rename and undo refs."),
    "log": ("log", "Snapshots that led to a state, newest first."),
    "ls": ("ls", "List what a state holds."),
    "cat": ("cat", "Print one content's bytes."),
    "diff": ("diff", "What differs between two states."),
    "fork": ("fork", "Make a new ref at a state, or a new directory."),
    "workspace": ("workspace", "List, save, use, mount and remove workspaces."),
    "merge": ("merge", "Merge two states and move a ref to the result."),
    "prove": ("prove", "Prove what a state holds, or check a proof."),
    "tree": ("tree", "Show or prune a saved search tree."),
    "bundle": ("bundle", "Export states to a file, adopt or show one."),
    "gc": ("gc", "Free what nothing names any more."),
    "verify": ("verify", "Check that a store is sound."),
    "repair": ("repair", "Mend a damaged store, and say what is still hurt."),
    "migrate": ("migrate", "Bring a store up to what this version writes."),
    "stats": ("stats", "Sizes, counts and ratios of a store."),
    "deduplicate": ("deduplicate", "Show what states share; changes nothing."),
    "inspect": ("inspect", "Look inside a store, a snapshot or a key."),
    "config": ("config", "Show or change a store's settings."),
    "completion": ("completion", "Print a shell completion script."),
}
"""Command → its module below ``commands`` and the line that ``casstore --help`` shows."""


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and the one place where errors become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None where no such command exists."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".commands.{COMMANDS[cmd_name][0]}", __package__)
        command = module.command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands from the table above, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command.

        Raises:
            click.exceptions.Exit: With the error's exit code, after the error was reported.
        """
        session = ctx.ensure_object(Session)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except click.exceptions.Exit:
            raise
        except BrokenPipeError:
            errors.settle_stdout()
            raise click.exceptions.Exit(errors.BROKEN_PIPE) from None
        except (errors.casstore_error(), OSError) as error:
            code = errors.report(error, as_json=session.as_json, recovered=session.recovered)
            errors.settle_stdout()
            raise click.exceptions.Exit(code) from None
        return result

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Parses ``args``, runs the command and leaves the process with its exit code."""
        words = list(sys.argv[1:] if args is None else args)
        session = extra.setdefault("obj", Session())
        for stream in (sys.stdout, sys.stderr):
            # A name that the terminal's encoding cannot show is escaped; printing never fails because of a name.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            result = super().main(words, prog_name or "casstore", complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            sys.exit(errors.report_usage(error, as_json=_wants_json(words), recovered=session.recovered))
        except click.Abort:
            sys.exit(errors.report_interrupt(as_json=_wants_json(words), recovered=session.recovered))
        sys.exit(result if isinstance(result, int) else 0)


def _wants_json(words: Sequence[str]) -> bool:
    """Whether a command line that could not be parsed, or was interrupted, asked for JSON."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        import casstore

        click.echo(f"casstore {casstore.__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=help_example(
        "casstore --store state.cas import src --ref main\ncasstore --store state.cas checkout main out"
    ),
)
@click.option("--store", metavar="PATH", envvar="CASSTORE_PATH", help="The store's folder [env: CASSTORE_PATH].")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context, store: str | None) -> None:
    """A content-addressable store with snapshots: directories in, the same directories out.

    A STATE is the name of a ref, or at least 4 digits of a snapshot's id. NAME:files/path is a place in it.
    """
    ctx.ensure_object(Session).store_path = store


def main() -> NoReturn:
    """Entry point of the ``casstore`` command."""
    if sys.platform == "win32":
        sys.exit("casstore: Windows is not supported; use Linux, macOS or WSL.")
    # A command makes many objects and few cycles; looking for cycles every 700 objects took a tenth of an import.
    gc.set_threshold(50_000)
    # Threads that compress must not keep the one that reads waiting for 5 ms each time: a tenth of an import, too.
    sys.setswitchinterval(0.0005)
    cli.main()
