# SPDX-License-Identifier: MIT
"""Errors become a message, a JSON object and an exit code here, and nowhere else."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import click

from .names import printable

EXIT_CODES: Final = {
    "error": 1,
    "usage": 2,
    "not-found": 3,
    "corruption": 4,
    "format-version": 5,
    "conflict": 6,
    "locked": 7,
    "read-only": 8,
    "closed": 9,
    "invalid-input": 10,
    "quota": 11,
    "factory": 12,
    "deadline": 13,
    "storage": 14,
    "search": 15,
}
"""Kind of an error → exit code. Both are for scripts: never change a number."""

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""What a shell reports for a process that SIGPIPE ended."""

_FIELDS: Final = ("segment", "offset", "path", "pid")

_ADVICE: Final = {
    "wait for it, pass a timeout, or open read-only": "wait for it, or give it longer with `--timeout SECONDS`",
    "is in use by another process; open read-only": "is in use by another process; wait for it, then try again",
    "with `casstore import DIR --ref NAME`": "with `casstore import DIR --ref NAME`, again if it was only imported "
    "before and moved since, or if the index was made anew",
}
"""What the library advises programs → what somebody can type instead."""


def casstore_error() -> type[Exception]:
    """The library's base error, imported only when an exception is looked at."""
    from casstore.errors import CasstoreError

    return CasstoreError


def report(error: BaseException, *, as_json: bool, recovered: object = None) -> int:
    """Prints ``error`` to stderr and returns its exit code.

    Args:
        error: A ``CasstoreError``, or an ``OSError`` that reached the command itself.
        as_json: Print a JSON object instead of a line of text.
        recovered: What opening the store had to make anew, for the JSON object.
    """
    kind = getattr(error, "kind", "storage" if isinstance(error, OSError) else "error")
    fields: dict[str, Any] = {}
    address = getattr(error, "address", None)
    if address is not None:
        fields["address"] = bytes(address).hex()
    for name in _FIELDS:
        value = getattr(error, name, None)
        if value is not None:
            fields[name] = value
    if isinstance(error, OSError) and not fields and error.filename is not None:
        fields["path"] = os.fsdecode(error.filename) if not isinstance(error.filename, int) else error.filename
    report_value = getattr(error, "report", None)
    if report_value is not None and as_json:
        from .output import plain_value

        fields["report"] = plain_value(report_value)
    message = str(error)
    for advice, typed in _ADVICE.items():
        message = message.replace(advice, typed)
    _print(kind, message, fields, as_json=as_json, recovered=recovered)
    return EXIT_CODES.get(kind, 1)


def report_usage(error: click.ClickException, *, as_json: bool, recovered: object = None) -> int:
    """Prints what was wrong with the command line and returns the exit code."""
    if as_json:
        _print("usage", error.format_message(), {}, as_json=True, recovered=recovered)
    else:
        error.show()
    return error.exit_code


def report_interrupt(*, as_json: bool, recovered: object = None) -> int:
    """Prints that the command was interrupted and returns the exit code."""
    message = "interrupted; run the command again to finish."
    _print("interrupted", message, {}, as_json=as_json, recovered=recovered)
    return INTERRUPTED


def settle_stdout() -> None:
    """Writes out what is left; where that fails, points stdout at nothing, so that the interpreter's end is quiet."""
    try:
        sys.stdout.flush()
        return
    except OSError:
        pass
    try:
        target = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, target)
    os.close(nothing)


def _print(kind: str, message: str, fields: dict[str, Any], *, as_json: bool, recovered: object) -> None:
    if not as_json:
        click.echo(f"casstore: {printable(message, keep_newlines=True)}", err=True)
        return
    import json

    from .names import json_name
    from .output import recovered_fields

    shown: dict[str, Any] = {"kind": kind, "message": printable(message, keep_newlines=True)}
    for name, value in fields.items():
        shown.update(json_name(name, value) if isinstance(value, str) else {name: value})
    click.echo(json.dumps({"version": 1, "error": shown, **recovered_fields(recovered)}), err=True)
