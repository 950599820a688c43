# SPDX-License-Identifier: MIT
"""Targets: the decoders of ``casstore.format``.

Most formats carry a checksum, which chance never meets. So each is fed its input as it is, and once more with the
checksum set right, as whoever means harm would.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from blake3 import blake3

from casstore.address import ADDRESS_BYTES, Address, keyed_address, state_address, type_key
from casstore.compression import decompress, decompress_delta
from casstore.errors import InvalidInputError
from casstore.format import (
    bundle,
    chunk_list,
    entry,
    event,
    index_entry,
    node,
    posix,
    proof,
    record,
    retention,
    slots,
    snapshot,
    stat_cache,
    superblock,
    workspace_files,
)
from casstore.format import settings as settings_format
from casstore.format.canonical import canonical_json, parse_canonical_json
from casstore.format.kinds import RAW, ZSTD, ZSTD_BASE
from casstore.format.varint import decode_varint, encode_varint
from casstore.storage.leveldb_log import records
from casstore.storage.leveldb_manifest import parse_manifest
from casstore.tree.proof import verify_proof
from casstore.workspace.scanning.stat_cache import _unpacked
from tests.fuzz.target import MIB, Finding, Target, attempt, same

CONTENT: Final = Address(bytes(range(ADDRESS_BYTES)))
"""Whose chunk list a list is taken for."""
BASE: Final = bytes(range(256)) * 8
"""What a delta is taken to be stored against."""


def sealed_record(data: bytes) -> bytes:
    """A record's bytes with the lengths and the checksum that fit them."""
    if len(data) < record.HEADER_BYTES:
        return data
    stored = len(data) - record.HEADER_BYTES
    body = bytearray(data)
    body[0:4] = record.MAGIC
    body[16:20] = stored.to_bytes(4, "little")
    if body[14] == RAW:
        body[20:24] = body[16:20]
    body[4:12] = blake3(bytes(body[12:])).digest(record.CHECKSUM_BYTES)
    return bytes(body)


def run_record(data: bytes) -> bool:
    found = False
    for form in (data, sealed_record(data)):
        made = attempt(record.decode_record, form)
        if made is None:
            continue
        found = True
        same(record.encode_record(made), form, "a record encoded again")
        if made.encoding == ZSTD_BASE:
            raw = attempt(decompress_delta, made.stored[ADDRESS_BYTES:], made.raw_bytes, BASE)
        else:
            raw = attempt(decompress, made.encoding, made.stored, made.raw_bytes)
        if raw is not None:
            same(len(raw), made.raw_bytes, "the length of what a record unpacks to")
    return found


def run_decompress(data: bytes) -> bool:
    found = False
    for encoding in (ZSTD, RAW):
        for size in (len(data), int.from_bytes(data[:3], "little")):
            raw = attempt(decompress, encoding, data[3:], size)
            found |= raw is not None
    raw = attempt(decompress_delta, data[3:], int.from_bytes(data[:3], "little"), BASE)
    return found or raw is not None


def run_varint(data: bytes) -> bool:
    made = attempt(decode_varint, data, 0)
    if made is None:
        return False
    same(encode_varint(made[0]), data[: made[1]], "a number encoded again")
    return True


def run_index_entry(data: bytes) -> bool:
    made = attempt(index_entry.decode_entry, data)
    if made is not None:
        same(index_entry.encode_entry(made), data, "an index entry encoded again")
    number = attempt(index_entry.decode_number, data)
    if number is not None:
        same(index_entry.encode_number(number), data, "a counter encoded again")
    return made is not None or number is not None


def run_segment_state(data: bytes) -> bool:
    made = attempt(index_entry.decode_segment, data)
    if made is None:
        return False
    again = index_entry.encode_segment(made)
    same(index_entry.decode_segment(again), made, "a segment's state read again")
    return True


def run_superblock(data: bytes) -> bool:
    body = data[:64]
    sealed = body + keyed_address("superblock")(body)
    found = False
    for form in (data, sealed):
        made = attempt(superblock.decode_superblock, form)
        if made is not None:
            found = True
            again = superblock.encode_superblock(made)
            same(superblock.decode_superblock(again), made, "a superblock read again")
    return found


def run_settings(data: bytes) -> bool:
    sealed = data + b"\n" + keyed_address("settings")(data).hex().encode() + b"\n"
    found = False
    for form in (data, sealed):
        made = attempt(settings_format.decode_settings, form)
        if made is not None:
            found = True
            again = settings_format.encode_settings(made)
            same(settings_format.decode_settings(again), made, "settings read again")
    return found


def run_retention(data: bytes) -> bool:
    value = attempt(parse_canonical_json, data)
    if value is None:
        return False
    rules = attempt(retention.parse_rules, value, errors=(InvalidInputError,))
    if rules is None:
        return False
    same(retention.parse_rules([rule.to_json() for rule in rules]), rules, "rules read again")
    return all(map(str, rules))


def run_canonical(data: bytes) -> bool:
    missing = object()
    value = attempt(lambda: (parse_canonical_json(data), missing))
    if value is None:
        return False
    same(canonical_json(value[0]), data, "JSON encoded again")
    return True


def run_snapshot(data: bytes) -> bool:
    made = attempt(snapshot.decode_snapshot, data)
    if made is None:
        return False
    same(snapshot.encode_snapshot(made), data, "a snapshot encoded again")
    snapshot.state_id_of(made.roots)
    return True


def run_event(data: bytes) -> bool:
    facts = attempt(event.event_facts, data)
    move = attempt(event.decode_ref_move, data)
    if move is not None:
        same(event.encode_ref_move(move), data, "a ref move encoded again")
        same(facts is None, False, "facts of a ref move refused")
    return facts is not None


def run_posix(data: bytes) -> bool:
    made = attempt(posix.decode_posix, data)
    if made is not None:
        same(posix.encode_posix(made), data, "POSIX metadata encoded again")
    path, directory = posix.posix_path(data)
    if path and not set(data) & {0}:
        posix.posix_key(path, directory=directory)
    return made is not None


def run_entry(data: bytes) -> bool:
    made = attempt(entry.decode_entry, data)
    if made is None:
        return False
    same(entry.encode_entry(made), data, "an entry encoded again")
    same(entry.entry_end(data, 0), (len(data), made.size), "the end of an entry")
    return True


def run_node(data: bytes) -> bool:
    made = attempt(node.decode_node, data)
    if made is None:
        return False
    chunks = made.chunks()
    same(node.encode_node(made.height, chunks), data, "a node encoded again")
    same(len(made.keys), len(chunks), "the number of a node's keys")
    summaries = []
    for place, key in enumerate(made.keys):
        summaries.append(made.child_summary(place))
        if made.height:
            child = node.chunk_child(key, chunks[place])
            same(child, made.children[place], "a child's address")
            same(node.encode_child(key, child, summaries[-1]), chunks[place], "a child encoded again")
        else:
            same(node.join_key(key, entry.encode_entry(made.entry(place))), chunks[place], "a leaf's entry")
    same(node.Summary(*map(sum, zip(*summaries))), made.summary, "a node's summary")
    same(len(made.references), len(made.contents) + len(made.snapshots), "a node's references")
    again = node.make_node(made.height, made.keys, chunks, made.children, made.summary)
    same((again.raw, list(again.offsets)), (data, list(made.offsets)), "a node made of its parts")
    attempt(node.check_node, made)
    return True


def run_proof(data: bytes) -> bool:
    found = False
    for form in (data, data + keyed_address("proof")(data)):
        made = attempt(proof.decode_proof, form)
        if made is None:
            continue
        found = True
        same(proof.encode_proof(made), form, "a proof encoded again")
        table = attempt(proof.decode_table, made.table)
        if table is not None:
            same(proof.encode_table(table), made.table, "a table of roots encoded again")
        attempt(verify_proof, state_address(made.table), form)
    return found


def run_chunk_list(data: bytes) -> bool:
    sealed = blake3(CONTENT + data, key=type_key("chunk-list")).digest() + data
    found = False
    for form in (data, sealed):
        made = attempt(chunk_list.decode_chunk_list, CONTENT, form)
        if made is not None:
            found = True
            same(chunk_list.encode_chunk_list(CONTENT, made.pieces), form, "a chunk list encoded again")
    return found


def run_stat_cache(data: bytes) -> bool:
    head = attempt(stat_cache.decode_head, data)
    if head is not None:
        again = stat_cache.encode_head(head)
        same(stat_cache.decode_head(again), head, "a head read again")
    folder = attempt(stat_cache.decode_folder, data)
    if folder is not None:
        once = stat_cache.encode_folder(folder)
        same(stat_cache.encode_folder(stat_cache.decode_folder(once)), once, "a folder's record encoded again")
        for name in folder.members + folder.folders:
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
                raise Finding(f"{name!r} leads out of the folder")
    return head is not None or folder is not None


def run_packed_cache(data: bytes) -> bool:
    return attempt(_unpacked, stat_cache.PACKED + data) is not None


def run_leveldb(data: bytes) -> bool:
    attempt(lambda: list(records(data)))
    return attempt(parse_manifest, data) is not None


def run_slots(data: bytes) -> bool:
    slots.newest_slot(data)
    size = len(data) // slots.SLOTS
    sealed = bytearray(data)
    for number in range(slots.SLOTS if size >= 48 else 0):
        start = number * size
        length = min(int.from_bytes(data[start + 12 : start + 16], "little"), size - 48)
        sealed[start + 12 : start + 16] = length.to_bytes(4, "little")
        stop = start + 16 + length
        sealed[stop : stop + 32] = keyed_address("slot")(bytes(sealed[start:stop]))
    found = slots.newest_slot(bytes(sealed))
    if found is None:
        return False
    again = slots.newest_slot(slots.new_file(found, slots.slot_bytes_for(found.payload)))
    same(again, found, "a slot read again")
    return True


def _sealed_workspace(body: bytes, name: str) -> bytes:
    return body + b"\n" + keyed_address(name)(body).hex().encode() + b"\n"


def run_workspace(data: bytes) -> bool:
    info_body, _, journal_body = data.partition(b"\n")
    info, journal = _sealed_workspace(info_body, "workspace"), _sealed_workspace(journal_body, "journal")
    attempt(workspace_files.decode_state, data)
    made = attempt(workspace_files.decode_info, info)
    if made is not None:
        # What a path is used for; the system must take it, there or not.
        os.path.lexists(os.fsencode(made.path))
        again = workspace_files.encode_info(made)
        same(workspace_files.decode_info(again), made, "an info read again")
    begun = attempt(workspace_files.decode_journal, journal)
    if begun is not None:
        again = workspace_files.encode_journal(begun)
        same(workspace_files.decode_journal(again), begun, "a journal read again")
    both = attempt(workspace_files.decode_state, info + journal)
    if both is not None:
        same(both, (made, begun), "an info and a journal together")
    return made is not None or begun is not None


def run_manifest(data: bytes) -> bool:
    made = attempt(bundle.decode_manifest, data)
    if made is None:
        return False
    same(bundle.encode_manifest(made), data, "a manifest encoded again")
    return True


def _target(run: Callable[[bytes], bool], **bounds: Any) -> Target:
    return Target(run=run, **bounds)


# A record of a few bytes may unpack to 16 MiB, and no further.
FORMAT_TARGETS: Final = {
    "record": _target(run_record, base_bytes=40 * MIB),
    "decompress": _target(run_decompress, base_bytes=40 * MIB),
    "varint": _target(run_varint),
    "index_entry": _target(run_index_entry),
    "segment_state": _target(run_segment_state),
    "superblock": _target(run_superblock),
    "settings": _target(run_settings),
    "retention": _target(run_retention),
    "canonical": _target(run_canonical),
    "snapshot": _target(run_snapshot),
    "event": _target(run_event),
    "posix": _target(run_posix),
    "entry": _target(run_entry),
    "node": _target(run_node),
    "proof": _target(run_proof, factor=128),
    "chunk_list": _target(run_chunk_list),
    "stat_cache": _target(run_stat_cache),
    "packed_cache": _target(run_packed_cache, base_bytes=40 * MIB),
    "leveldb": _target(run_leveldb),
    "slots": _target(run_slots),
    "workspace": _target(run_workspace),
    "manifest": _target(run_manifest),
}
