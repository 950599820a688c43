# SPDX-License-Identifier: MIT
"""``casstore init``: an empty store."""

from __future__ import annotations

from typing import Any, Literal

import click

from ..session import Call, store_command
from ..units import SIZE, format_size


@store_command(
    "init", example="casstore --store state.cas init\ncasstore --store debug.cas init --backend files", writes=True
)
@click.option(
    "--backend",
    type=click.Choice(["segments", "files"]),
    default="segments",
    show_default=True,
    help="Append-only segments, or a file per object (slow, for debugging).",
)
@click.option("--chunk-min", type=SIZE, metavar="BYTES", help="Smallest chunk.")
@click.option("--chunk-avg", type=SIZE, metavar="BYTES", help="Average chunk.")
@click.option("--chunk-max", type=SIZE, metavar="BYTES", help="Largest chunk.")
@click.option(
    "--deltas/--no-deltas",
    default=True,
    show_default=True,
    help="Store contents against the version before them where that saves.",
)
def command(
    call: Call,
    backend: Literal["segments", "files"],
    chunk_min: int | None,
    chunk_avg: int | None,
    chunk_max: int | None,
    deltas: bool,
) -> None:
    """Make an empty store.

    Backend, chunk sizes and deltas are fixed for the store's life. `import` makes a missing store by itself, so this is
    only needed to choose them.
    """
    from casstore.config import Config
    from casstore.errors import ConflictError
    from casstore.storage.opening import is_store

    if is_store(call.store_path):
        raise ConflictError(f"{call.store_path} is a store already; use it, or choose another path.")
    wanted: dict[str, Any] = {"chunk_min_bytes": chunk_min, "chunk_avg_bytes": chunk_avg, "chunk_max_bytes": chunk_max}
    config = Config(
        backend=backend, deltas=deltas, **{name: value for name, value in wanted.items() if value is not None}
    )
    with call.write(create=True, config=config) as store:
        fields = store.format_fields
        if call.out.as_json:
            call.out.json(path=store.path, store_id=store.store_id, format=fields)
            return
        average = format_size(int(fields["chunk_avg_bytes"]))
        call.out.line(f"made {store.path}: store {store.store_id}, backend {backend}, chunks of {average} on average")
