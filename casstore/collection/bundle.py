# SPDX-License-Identifier: MIT
"""Bundles: states in a file of their own, for workers, export, import and backup.

``export_bundle`` writes one, ``read_bundle`` says what is in one, ``adopt_bundle`` takes one into a store after
verifying all of it. ``docs/bundles.md`` has the whole story, ``format/bundle.py`` the layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from casstore.address import Address
from casstore.collection.bundle_adopt import AdoptReport, adopt_bundle
from casstore.collection.bundle_export import BundleReport, export_bundle
from casstore.collection.bundle_file import BundleFile, Source
from casstore.collection.bundle_reader import OverlayReader, RecordReader, StorageReader, StoredReader
from casstore.errors import CorruptionError
from casstore.format.kinds import KIND_NAMES

__all__ = [
    "AdoptReport",
    "BundleInfo",
    "BundleReport",
    "OverlayReader",
    "RecordReader",
    "StorageReader",
    "StoredReader",
    "adopt_bundle",
    "export_bundle",
    "read_bundle",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInfo:
    """What a bundle says of itself, and what it is made of.

    Attributes:
        tips: Ids of the snapshots that it brings (32 bytes each).
        refs: Names that some of them had where it was made.
        excluded: Ids of the snapshots that a receiver must have.
        records: Number of records.
        kinds: Number of records by kind.
        bytes: Length of the bundle.
        raw_bytes: Bytes that the records unpack to.
        shallow: Ids of the snapshots that it brings without their parents, which were given up.
    """

    tips: tuple[Address, ...]
    refs: Mapping[str, Address]
    excluded: tuple[Address, ...]
    records: int
    kinds: Mapping[str, int]
    bytes: int
    raw_bytes: int
    shallow: tuple[Address, ...] = ()


def read_bundle(source: Source) -> BundleInfo:
    """What is in a bundle. Its framing, checksums and digest are verified, its records' contents are not.

    Args:
        source: Path of the bundle, or a binary file that can seek.

    Raises:
        NotFoundError: There is no such file.
        CorruptionError: Torn, damaged, or no bundle.
        FormatVersionError: A bundle of a later format.
        InvalidInputError: It cannot be read.

    *Cost*: reads the whole file once.
    """
    kinds: Counter[int] = Counter()
    raw_bytes = 0
    with BundleFile(source) as file:
        for _, header, _ in file.records():
            kinds[header.kind] += 1
            raw_bytes += header.raw_bytes
        manifest, size = file.manifest, file.size
    if manifest is None:
        raise CorruptionError("the bundle has no manifest; have it made again.")
    return BundleInfo(
        tips=manifest.tips,
        refs=dict(manifest.refs),
        excluded=manifest.excluded,
        records=manifest.records,
        kinds={KIND_NAMES[kind]: count for kind, count in sorted(kinds.items())},
        bytes=size,
        raw_bytes=raw_bytes,
        shallow=manifest.shallow,
    )
