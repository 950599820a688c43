# SPDX-License-Identifier: MIT
"""What a record can be, and how its bytes can be stored. The numbers are on disk: never reuse or renumber one."""

from __future__ import annotations

from typing import Final

CHUNK: Final = 1
"""Raw bytes of a content, or of a piece of one."""
CHUNK_LIST: Final = 2
"""The pieces of a content, in order; stored under the content's own address."""
NODE: Final = 3
"""A node of a Merkle tree."""
SNAPSHOT: Final = 4
EVENT: Final = 5
"""A fact that cannot be recomputed: a ref move, a shallow mark, an accepted repair."""

KIND_NAMES: Final = {CHUNK: "chunk", CHUNK_LIST: "chunk list", NODE: "node", SNAPSHOT: "snapshot", EVENT: "event"}

RAW: Final = 0
ZSTD: Final = 1
ZSTD_DICTIONARY: Final = 2
"""Reserved: a format 1 reader without the feature refuses it."""
ZSTD_BASE: Final = 3
"""A delta: the address of a base, a chunk that is no delta itself, and a zstandard frame with the base's raw bytes as
prefix. Only chunks are stored so: a chunk refers to nothing, so one that is kept only as a base promises nothing."""

ENCODING_NAMES: Final = {RAW: "raw", ZSTD: "zstd", ZSTD_DICTIONARY: "zstd+dictionary", ZSTD_BASE: "zstd+base"}

MAX_RAW_BYTES: Final = 16 * 1024 * 1024
"""No record unpacks to more than this; checked before anything is decompressed."""
