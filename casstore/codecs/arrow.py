# SPDX-License-Identifier: MIT
"""Arrow tables as an IPC stream in one canonical form: equal tables have equal bytes.

Two equal tables may differ in memory: in how columns are cut into chunks, in slices' offsets, in whether a column
without nulls has a bitmap, and in what lies below a null. So every column is laid out anew (``arrow_layout``): one
batch, no offsets, no needless bitmaps, zeros below nulls; the schema's metadata is sorted by key, and nothing is
compressed, as the store does that. Bytes are those of IPC as the installed pyarrow writes it.

pyarrow is imported on use only.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from casstore.errors import CorruptionError, FactoryError
from casstore.format.entry import Entry

if TYPE_CHECKING:
    import pyarrow

_TABLE_BYTES: Final = 4096
"""What a table takes beside its content, about."""


class ArrowFactory:
    """``pyarrow.Table``; what is read lies over the stored bytes and cannot be changed."""

    type_id: Final = "arrow"
    version: Final = 1

    def encode(self, value: pyarrow.Table) -> bytes:
        from casstore.codecs.arrow_layout import canonical_batch

        ipc = _pyarrow().ipc
        batch = canonical_batch(value)
        sink = _pyarrow().BufferOutputStream()
        with ipc.new_stream(sink, batch.schema, options=ipc.IpcWriteOptions(compression=None)) as writer:
            writer.write_batch(batch)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def decode(self, data: bytes) -> pyarrow.Table:
        arrow = _pyarrow()
        try:
            source = arrow.py_buffer(data)
            for message in arrow.ipc.MessageReader.open_stream(source):
                if is_compressed(message.metadata.to_pybytes(), message.type):
                    raise CorruptionError(
                        "an Arrow content is compressed within, as casstore never writes it; run `casstore verify`."
                    )
            table = arrow.ipc.open_stream(source).read_all()
            # Without this, offsets of somebody else's making would be followed wherever they point.
            table.validate(full=True)
            _check_fields(table.schema)
        except (arrow.ArrowException, OSError, struct.error, ValueError) as error:
            # pyarrow lets some of its checks end in a plain ValueError, names that are no UTF-8 among them.
            raise CorruptionError(f"not an Arrow content: {error}; run `casstore verify`.") from None
        return table

    def estimate_size(self, entry: Entry) -> int:
        return _TABLE_BYTES + entry.size


def _check_fields(schema: pyarrow.Schema) -> None:
    """Refuses names and types that casstore never writes, and that fail, or end the process, where they are used.

    Raises:
        CorruptionError: A type has no canonical layout, or a field of nulls alone is said to hold none.
        UnicodeDecodeError: A name is no UTF-8.
    """
    from casstore.codecs.arrow_layout import types_within

    is_null = _pyarrow().types.is_null
    waiting = list(schema)
    while waiting:
        field = waiting.pop()
        within = types_within(field.type)
        if within is None or field.name is None or (is_null(field.type) and not field.nullable):
            raise CorruptionError("an Arrow content has a column as casstore never writes it; run `casstore verify`.")
        waiting += within


def is_compressed(metadata: bytes, kind: str) -> bool:
    """Whether a message of an IPC stream says that its buffers are compressed, so could be of any size once read.

    Args:
        metadata: The message's FlatBuffer.
        kind: ``"schema"``, ``"record batch"`` or ``"dictionary"``, as pyarrow calls them.

    Raises:
        struct.error: It is no such buffer.

    *Source*: Apache Arrow, format/Message.fbs. pyarrow does not show this field.
    """
    if kind == "schema":
        return False
    (root,) = struct.unpack_from("<I", metadata)
    # Fields by their place: Message.header is 2, DictionaryBatch.data 1, RecordBatch.compression 3.
    header = _field(metadata, root, 2)
    if kind == "dictionary" and header is not None:
        header = _field(metadata, header, 1)
    return header is not None and _field(metadata, header, 3) is not None


def _field(data: bytes, table: int, place: int) -> int | None:
    """Where the table lies that a field of a FlatBuffer table refers to; None where the field is absent."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    if vtable < 0:
        raise struct.error("a table without fields")
    (size,) = struct.unpack_from("<H", data, vtable)
    at = 4 + 2 * place
    if at + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + at)
    if not offset:
        return None
    (distance,) = struct.unpack_from("<I", data, table + offset)
    return table + int(offset) + int(distance)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise FactoryError("Arrow tables need pyarrow; install casstore[arrow].") from error
    return pyarrow
