"""What every storage driver must do: a suite for pytest. Whoever writes one derives from :class:`DriverConformance`.

Third parties import it from :mod:`drivers.testing`, which says how, so that its failures show what differs.

Ours all do, against real servers. It needs pytest (``argoexec[testing]``) and is imported by tests alone.
"""

from __future__ import annotations

import io
import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lifecycle.archive.stream import Readable
from lifecycle.errors import NotFound

if TYPE_CHECKING:
    from lifecycle.ports import Driver

MIB = 1 << 20
ODD_NAMES = (
    "a space", " leading and trailing ", "ünïcödé-日本", "a+b", "per%2Fcent", "100%", "hash#tag", "what?x=1&y=2",
    "quote'\"", "semi;colon,comma", "[x]{y}*", "tilde~", "back\\slash", "equals=at@", ".hidden", "a..b",
)  # fmt: skip


class Bytes(Readable):
    """A stream of so many bytes that are nowhere held, in reads as short as a pipe's; it may fail at the end."""

    def __init__(self, size: int, *, longest: int = 1 << 30, failure: Exception | None = None) -> None:
        self._left = size
        self._longest = longest
        self._failure = failure

    def read(self, size: int = -1, /) -> bytes:
        """Zeros."""
        if size < 0:
            return self.readall()
        count = min(size, self._left, self._longest)
        self._left -= count
        if count == 0 and size > 0 and self._failure is not None:
            raise self._failure
        return bytes(count)


@dataclass(frozen=True, slots=True)
class Store:
    """The store under test.

    Attributes:
        driver: for it, with credentials that allow everything.
        root: a key below which nothing is stored; another for every test.
    """

    driver: Driver
    root: str

    def key(self, name: str) -> str:
        """A key below the root."""
        return f"{self.root}/{name}"

    def put(self, name: str, data: bytes) -> None:
        """Store an object."""
        self.driver.save(self.key(name), io.BytesIO(data), len(data))

    def get(self, name: str) -> bytes:
        """An object's bytes, read in pieces."""
        with self.driver.open(self.key(name)) as stream:
            return b"".join(iter(lambda: stream.read(64 * 1024), b""))

    def names(self, name: str) -> list[str]:
        """What is listed below a key."""
        return [entry.path for entry in self.driver.list(self.key(name))]


class DriverConformance:
    """Derive, and supply a fixture ``store`` that gives a :class:`Store`.

    Set ``flat`` to false where the store itself is in the memory of this process, ``lists`` where it knows no
    directories, so that every listing must be empty, and narrow ``odd_names`` where names such as those cannot be
    stored: then say why.
    """

    flat = True
    lists = True
    odd_names = ODD_NAMES

    def _listed(self, *names: str) -> list[str]:
        return list(names) if self.lists else []

    @pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1])
    @pytest.mark.parametrize("hint", [None, 0, 64 * MIB])
    def test_what_was_saved_is_what_opens(self, store: Store, size: int, hint: int | None) -> None:
        data = os.urandom(size)
        upper = None if hint is None else max(hint, size)
        store.driver.save(store.key("object"), io.BytesIO(data), upper)

        assert store.get("object") == data

    def test_the_size_is_told_right_or_not_at_all(self, store: Store) -> None:
        store.put("object", b"four")
        with store.driver.open(store.key("object")) as stream:
            assert getattr(stream, "size", None) in {None, 4}

    def test_a_source_may_give_less_than_it_is_asked_for(self, store: Store) -> None:
        store.driver.save(store.key("object"), Bytes(9 * MIB + 5, longest=65536 - 1), None)

        assert len(store.get("object")) == 9 * MIB + 5

    def test_reading_all_gives_all(self, store: Store) -> None:
        store.put("object", b"x" * 300_000)
        with store.driver.open(store.key("object")) as stream:
            assert stream.read(5) == b"xxxxx"
            assert len(stream.read()) == 299_995
            assert stream.read(1) == b""
            assert stream.read() == b""

    def test_an_object_that_is_not_there_is_not_found(self, store: Store) -> None:
        store.put("other", b"x")
        with pytest.raises(NotFound) as caught:
            store.driver.open(store.key("object"))

        assert type(caught.value) is NotFound
        assert "object" in str(caught.value)

    def test_a_directory_is_not_an_object(self, store: Store) -> None:
        store.put("directory/object", b"x")
        with pytest.raises(NotFound):
            store.driver.open(store.key("directory"))

    def test_a_name_is_not_a_prefix(self, store: Store) -> None:
        store.put("object-1", b"x")
        with pytest.raises(NotFound):
            store.driver.open(store.key("object"))

    def test_saving_again_replaces(self, store: Store) -> None:
        store.put("object", b"the first, longer one")
        store.put("object", b"the second")

        assert store.get("object") == b"the second"

    def test_a_listing_is_relative_sorted_and_complete(self, store: Store) -> None:
        for name in ("d/b", "d/a/2", "d/a/1", "d/c/x/y"):
            store.put(name, name.encode())

        found = list(store.driver.list(store.key("d")))
        assert [entry.path for entry in found] == self._listed("a/1", "a/2", "b", "c/x/y")
        assert {entry.size for entry in found} <= {None, 3, 5, 7}

    def test_a_listing_ends_at_the_slash(self, store: Store) -> None:
        for name in ("foo/a", "foobar/b", "foo2"):
            store.put(name, b"x")

        assert store.names("foo") == self._listed("a")

    def test_a_trailing_slash_changes_no_listing(self, store: Store) -> None:
        store.put("foo/a", b"x")

        assert store.names("foo/") == self._listed("a")

    def test_an_object_is_not_below_itself(self, store: Store) -> None:
        store.put("object", b"x")

        assert store.names("object") == []

    def test_listing_nothing_is_no_error(self, store: Store) -> None:
        assert store.names("nowhere") == []

    def test_what_a_listing_names_can_be_opened(self, store: Store) -> None:
        for name in self.odd_names:
            store.put(f"odd/{name}", name.encode())

        assert sorted(store.names("odd")) == sorted(self._listed(*self.odd_names))
        for name in self.odd_names:
            assert store.get(f"odd/{name}") == name.encode()

    def test_a_listing_shows_what_was_saved_since_the_last_one(self, store: Store) -> None:
        store.put("d/a", b"x")
        store.names("d")
        store.put("d/b", b"x")

        assert store.names("d") == self._listed("a", "b")

    def test_deleting_twice_is_deleting_once(self, store: Store) -> None:
        store.put("object", b"x")
        store.driver.delete(store.key("object"))
        store.driver.delete(store.key("object"))

        with pytest.raises(NotFound):
            store.driver.open(store.key("object"))

    @pytest.mark.parametrize("size", [0, 3 * MIB, 8 * MIB, 30 * MIB])
    def test_a_source_that_fails_leaves_nothing_and_its_own_error(self, store: Store, size: int) -> None:
        failure = RuntimeError("the source broke")
        with pytest.raises(RuntimeError) as caught:
            store.driver.save(store.key("d/object"), Bytes(size, failure=failure), None)

        assert caught.value is failure
        with pytest.raises(NotFound):
            store.driver.open(store.key("d/object"))
        assert store.names("d") == []

    def test_a_source_is_not_closed(self, store: Store) -> None:
        source = io.BytesIO(b"x")
        store.driver.save(store.key("object"), source, 1)

        assert not source.closed

    def test_one_driver_serves_several_threads(self, store: Store) -> None:
        together = threading.Barrier(8, timeout=60)

        def work(number: int) -> bool:
            data = bytes([number]) * (MIB + number)
            try:
                together.wait()
                store.put(f"d/{number}", data)
                together.wait()
                return store.get(f"d/{number}") == data
            except BaseException:
                together.abort()  # the others need not wait for it
                raise

        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(work, number) for number in range(8)]
        errors = [error for one in done if (error := one.exception()) is not None]
        assert [error for error in errors if not isinstance(error, threading.BrokenBarrierError)] == []
        assert [one.result() for one in done] == [True] * 8
        assert len(store.names("d")) == len(self._listed(*"12345678"))

    def test_streams_can_be_read_in_turns(self, store: Store) -> None:
        for name in ("a", "b"):
            store.put(name, name.encode() * 3 * MIB)
        with store.driver.open(store.key("a")) as a, store.driver.open(store.key("b")) as b:
            for _ in range(3):
                assert a.read(1000) == b"a" * 1000
                assert b.read(1000) == b"b" * 1000

    def test_a_stream_may_be_closed_before_its_end(self, store: Store) -> None:
        store.put("object", bytes(8 * MIB))
        for _ in range(20):  # more than any pool of connections has
            stream = store.driver.open(store.key("object"))
            stream.read(10)
            stream.close()
            stream.close()

        with pytest.raises(ValueError, match="closed"):
            stream.read(1)
        assert len(store.get("object")) == 8 * MIB

    def test_memory_does_not_grow_with_what_is_saved(self, store: Store) -> None:
        if not self.flat:
            return
        tracemalloc.start()
        try:
            store.driver.save(store.key("object"), Bytes(160 * MIB, longest=MIB), None)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak < 80 * MIB

    def test_memory_does_not_grow_with_what_is_read(self, store: Store) -> None:
        if not self.flat:
            return
        store.driver.save(store.key("object"), Bytes(100 * MIB), None)
        tracemalloc.start()
        try:
            with store.driver.open(store.key("object")) as stream:
                while stream.read(MIB):
                    pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak < 40 * MIB
