# SPDX-License-Identifier: MIT
"""The conformance suite of the ``Backend`` interface. Whoever writes a backend subclasses it in a test module::

    class TestMine(BackendSuite):
        def open(self, folder: str) -> Backend:
            return MyBackend(folder)

pytest finds the methods; no fixture but ``tmp_path`` is used, and nothing but the interface is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from casstore.address import Address, content_address
from casstore.errors import CasstoreError, ClosedError, CorruptionError, NotFoundError
from casstore.format.index_entry import DAMAGED_FLAG
from casstore.format.kinds import CHUNK, NODE, RAW
from casstore.format.record import HEADER_BYTES, Record
from casstore.storage.backend import Backend


def make_record(data: bytes, kind: int = CHUNK) -> Record:
    """A raw record of ``data`` under its content address."""
    return Record(kind, RAW, content_address(data), len(data), data)


def _error(wanted: type[CasstoreError], action: Callable[[], object]) -> CasstoreError:
    try:
        action()
    except wanted as error:
        return error
    raise AssertionError(f"{wanted.__name__} was not raised")


class BackendSuite:
    """What every backend must do. ``open`` is called again on the same folder to see what is durable."""

    durable = True
    """Whether a backend opened again finds what the one before synced."""
    trusts = True
    """Whether a list in place is taken for a proof of its pieces while no damage is known (else ``doubtful`` is on)."""

    def open(self, folder: str) -> Backend:
        """A backend for writing, on a folder that is empty or was used by a backend that is closed."""
        raise NotImplementedError

    def test_what_was_put_is_got(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        records = [make_record(bytes([number]) * number) for number in range(20)]
        backend.put(records)
        assert [backend.get(record.address) for record in records] == records
        backend.sync()
        assert [backend.get(record.address) for record in records] == records
        backend.close()

    def test_the_entry_says_what_the_record_is(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        record = make_record(b"node", NODE)
        backend.put([make_record(b"before"), record])
        for _ in range(2):
            entry = backend.find(record.address)
            assert entry is not None
            assert (entry.kind, entry.encoding, entry.stored_bytes, entry.raw_bytes) == (NODE, RAW, 4, 4)
            assert not entry.flags
            backend.sync()
        backend.close()

    def test_what_is_absent_is_named_in_the_error(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        address = content_address(b"absent")
        assert not backend.contains(address)
        assert backend.find(address) is None
        assert _error(NotFoundError, lambda: backend.get(address)).address == address
        backend.close()

    def test_the_same_record_twice_is_one_object(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        record = make_record(b"twice" * 10)
        backend.put([record, record])
        used = backend.used_bytes()
        assert used < 2 * (HEADER_BYTES + len(record.stored))
        backend.put([record])
        assert backend.used_bytes() == used
        assert [address for address, _ in backend.scan()] == [record.address]
        backend.close()

    def test_no_record_is_no_change(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        backend.put([])
        assert list(backend.scan()) == []
        assert backend.delete([]) == 0
        backend.close()

    def test_scan_is_sorted_and_takes_a_prefix(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        records = [make_record(b"%d" % number) for number in range(300)]
        backend.put(records[:150])
        backend.sync()
        backend.put(records[150:])
        wanted = sorted(record.address for record in records)
        assert [address for address, _ in backend.scan()] == wanted
        first = wanted[0][:1]
        assert [address for address, _ in backend.scan(first)] == [a for a in wanted if a.startswith(first)]
        assert list(backend.scan(b"\0" * 32)) == []
        backend.close()

    def test_scan_lives_with_changes_beside_it(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        records = [make_record(b"%d" % number) for number in range(50)]
        backend.put(records)
        seen: list[Address] = []
        for address, _ in backend.scan():
            if not seen:
                backend.put([make_record(b"meanwhile")])
                backend.sync()
            seen.append(address)
        assert set(seen) - {content_address(b"meanwhile")} == {record.address for record in records}
        assert len(seen) == len(set(seen))
        backend.close()

    def test_what_is_deleted_is_gone_and_can_come_back(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        kept, synced, waiting = (make_record(word * 9) for word in (b"kept", b"synced", b"waiting"))
        backend.put([kept, synced])
        backend.sync()
        backend.put([waiting])
        absent = content_address(b"absent")
        assert backend.delete([synced.address, waiting.address, absent]) == 2
        assert [address for address, _ in backend.scan()] == [kept.address]
        for record in (synced, waiting):
            assert not backend.contains(record.address)
            _error(NotFoundError, lambda address=record.address: backend.get(address))  # type: ignore[misc]
        backend.put([synced])
        assert backend.get(synced.address) == synced
        backend.close()

    def test_what_is_marked_damaged_is_absent_until_it_is_put_again(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        record = make_record(b"damaged")
        for _ in range(2):
            backend.put([record])
            backend.sync()
            self._assert_sound(backend)
            error = backend.damaged(record.address)
            assert isinstance(error, CorruptionError)
            assert error.address == record.address
            assert not backend.contains(record.address)
            assert backend.doubtful
            assert backend.hurt
            entry = backend.find(record.address)
            assert entry is not None
            assert entry.flags & DAMAGED_FLAG
            backend.mark_damaged(record.address)
            backend.sync()
            assert not backend.contains(record.address)
            backend.put([record])
            assert backend.contains(record.address)
            assert backend.get(record.address) == record
            self._assert_sound(backend)
        backend.mark_damaged(content_address(b"absent"))
        backend.close()

    def _assert_sound(self, backend: Backend) -> None:
        assert not (backend.doubtful and self.trusts)
        assert not backend.hurt

    def test_a_damaged_record_can_be_deleted(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        record = make_record(b"damaged")
        backend.put([record])
        backend.mark_damaged(record.address)
        assert backend.delete([record.address]) == 1
        assert backend.find(record.address) is None
        self._assert_sound(backend)
        backend.close()

    def test_touch_renews_the_stamp_and_never_sets_it_back(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        record = make_record(b"touched")
        backend.put([record])
        entry = backend.find(record.address)
        assert entry is not None
        later = entry.stamp + 1000
        for stamp, wanted in ((later, later), (later - 500, later)):
            backend.touch(record.address, stamp)
            backend.sync()
            found = backend.find(record.address)
            assert found is not None
            assert found.stamp == wanted
            assert backend.get(record.address) == record
        backend.touch(content_address(b"absent"), later)
        backend.close()

    def test_facts_are_kept_and_scanned_in_order(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        backend.sync({b"r2": b"two", b"r1": b"one", b"x": b"other"})
        assert backend.fact(b"r1") == b"one"
        assert list(backend.facts(b"r")) == [(b"r1", b"one"), (b"r2", b"two")]
        backend.sync({b"r1": None})
        assert backend.fact(b"r1") is None
        assert list(backend.facts(b"r")) == [(b"r2", b"two")]
        backend.close()

    def test_the_cache_is_kept_beside_the_facts(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        assert list(backend.cache(b"")) == []
        backend.put_cache({b"d2": b"two", b"d1": b"", b"\xff": b"other", b"": b"none"})
        assert list(backend.cache(b"d")) == [(b"d1", b""), (b"d2", b"two")]
        assert list(backend.cache(b"")) == [(b"", b"none"), (b"d1", b""), (b"d2", b"two"), (b"\xff", b"other")]
        backend.put_cache({b"d1": None, b"d2": b"new", b"never": None})
        assert list(backend.cache(b"d")) == [(b"d2", b"new")]
        for key in (b"d", b"d1", b"d2", b"never"):
            # No namespace of the facts, whatever the key.
            assert backend.fact(key) is None
        assert list(backend.facts(b"d")) == []
        backend.sync({b"d2": b"fact"})
        assert list(backend.cache(b"d")) == [(b"d2", b"new")]
        backend.sync({b"d2": None})
        backend.close()
        if self.durable:
            backend = self.open(str(tmp_path))
            assert list(backend.cache(b"")) == [(b"", b"none"), (b"d2", b"new"), (b"\xff", b"other")]
            backend.close()

    def test_the_cache_counts_for_nothing_else(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        record = make_record(b"beside")
        backend.put([record])
        backend.sync()
        batches, used = list(backend.facts(b"b")), backend.used_bytes()
        for number in range(20):
            backend.put_cache({b"%d" % number: bytes(1000)})
        assert list(backend.facts(b"b")) == batches
        assert backend.used_bytes() == used
        assert [address for address, _ in backend.scan()] == [record.address]
        backend.sync({b"rname": b"fact"})
        backend.close()
        if self.durable:
            backend = self.open(str(tmp_path))
            assert backend.get(record.address) == record
            assert backend.fact(b"rname") == b"fact"
            backend.close()

    def test_the_cache_may_change_while_it_is_read(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        backend.put_cache({b"%02d" % number: b"old" for number in range(50)})
        seen: list[tuple[bytes, bytes]] = []
        for key, value in backend.cache(b""):
            if not seen:
                backend.put_cache({b"%02d" % number: None for number in range(10, 50)})
            seen.append((key, value))
        assert seen[:10] == [(b"%02d" % number, b"old") for number in range(10)]
        assert len(list(backend.cache(b""))) == 10
        backend.close()

    def test_event_numbers_count_up(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        with backend.write_lock():
            first, second = backend.next_event(), backend.next_event()
        assert (first, second) == (1, 2)
        backend.sync()
        backend.close()
        if self.durable:
            backend = self.open(str(tmp_path))
            assert backend.next_event() == 3
            backend.close()

    def test_a_watch_sees_what_is_new_and_what_is_hit(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        old, node = make_record(b"old"), make_record(b"node", NODE)
        backend.put([old, node])
        with backend.watch() as watch, backend.watch() as other:
            assert backend.watches() == [watch, other]
            fresh = make_record(b"fresh")
            backend.put([fresh])
            entries = {record: backend.find(record.address) for record in (old, node, fresh)}
            place = entries[fresh]
            before = entries[old]
            parent = entries[node]
            assert place is not None
            assert before is not None
            assert parent is not None
            assert watch.is_new(place.segment, place.ordinal)
            assert not watch.is_new(before.segment, before.ordinal)
            assert (before.segment, before.ordinal) not in watch.chunks
            assert backend.hit(old.address, before)
            assert backend.hit(node.address, parent)
            for each in (watch, other):
                assert (before.segment, before.ordinal) in each.chunks
                assert each.parents == {node.address}
        assert backend.watches() == []
        backend.close()

    def test_a_hit_during_a_sweep_says_whether_it_came_in_time(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        record = make_record(b"swept")
        backend.put([record])
        entry = backend.find(record.address)
        assert entry is not None
        backend.sweeping = True
        assert backend.hit(record.address, entry)
        backend.delete([record.address])
        assert not backend.hit(record.address, entry)
        backend.sweeping = False
        backend.close()

    def test_space_is_accounted_and_comes_back(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        assert backend.used_bytes() == 0
        records = [make_record(b"%04d" % number * 100) for number in range(40)]
        backend.put(records)
        backend.sync()
        used = backend.used_bytes()
        assert used >= sum(len(record.stored) for record in records)
        infos = backend.segments()
        assert sum(info.records for info in infos) >= 40
        backend.delete([record.address for record in records[::2]])
        backend.compact([info.segment for info in infos])
        assert backend.used_bytes() < used * 0.6
        assert [backend.get(record.address) for record in records[1::2]] == records[1::2]
        assert list(backend.check_segments()) == []
        backend.close()

    def test_what_was_synced_is_there_after_reopening(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        records = [make_record(b"%d" % number) for number in range(100)]
        backend.put(records)
        backend.sync({b"rname": b"fact"})
        backend.delete([records[0].address])
        backend.mark_damaged(records[1].address)
        backend.close()
        if self.durable:
            backend = self.open(str(tmp_path))
            assert not backend.contains(records[0].address)
            assert not backend.contains(records[1].address)
            assert [backend.get(record.address) for record in records[2:]] == records[2:]
            assert backend.fact(b"rname") == b"fact"
            backend.close()

    def test_a_closed_backend_says_so(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        record = make_record(b"closed")
        backend.put([record])
        backend.close()
        backend.close()
        for action in (
            lambda: backend.put([make_record(b"more")]),
            lambda: backend.get(record.address),
            lambda: backend.contains(record.address),
            lambda: list(backend.scan()),
            lambda: list(backend.facts(b"r")),
            lambda: backend.fact(b"r"),
            lambda: list(backend.cache(b"")),
            lambda: backend.put_cache({b"key": b"value"}),
            lambda: backend.delete([record.address]),
            backend.sync,
        ):
            _error(ClosedError, action)

    def test_threads_may_write_and_read_at_once(self, tmp_path: Path) -> None:
        backend = self.open(str(tmp_path))
        wrong: list[Address] = []

        def work(start: int) -> None:
            for number in range(60):
                record = make_record(b"%d" % ((start * 20 + number) % 100))
                backend.put([record])
                if number % 20 == 19:
                    backend.sync()
                if backend.get(record.address) != record:
                    wrong.append(record.address)

        threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(list(backend.scan())) == 100
        backend.close()
