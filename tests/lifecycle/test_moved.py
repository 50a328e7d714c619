"""A download that breaks goes on where it was; and how far it is, is told."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lifecycle import transfer
from lifecycle.commands.explain import explain
from lifecycle.engine import Engine
from lifecycle.errors import NotFound, Transient, Unavailable
from lifecycle.moved import Moved, Resumed
from lifecycle.pod import INIT_TABLE, WAIT_TABLE
from lifecycle.ports import StoredObject
from lifecycle.progress import EVERY
from lifecycle.table import Verdict
from tests.fakes import World

DATA = bytes(range(256)) * 64


class Breaking(io.BytesIO):
    """A body that breaks off after so many bytes, unless there are fewer."""

    def __init__(self, data: bytes, after: int, version: str = "v1") -> None:
        super().__init__(data)
        self.size = len(data)
        self.version = version
        self._left = after

    def read(self, size: int | None = -1) -> bytes:
        if self._left <= 0 < self.size - self.tell():
            raise Unavailable(f"it broke off at {self.tell()}")
        data = super().read(min(size if size is not None and size >= 0 else 1 << 20, 1000, max(self._left, 0)))
        self._left -= len(data)
        return data


class Store:
    """Objects of DATA whose every body breaks after ``after`` bytes; ``rests`` are the offsets that were asked for."""

    def __init__(self, after: int, *, version: str = "v1", now: str = "v1", keys: tuple[str, ...] = ("o",)) -> None:
        self.after = after
        self.version = version
        self.now = now
        self.keys = keys
        self.rests: list[int] = []
        self.opened = 0

    def open(self, key: str) -> Breaking:
        if key not in self.keys:
            raise NotFound(f"there is no {key}")
        self.opened += 1
        return Breaking(DATA, self.after, self.version)

    def open_rest(self, key: str, offset: int, version: str) -> Breaking:
        self.rests.append(offset)
        if version != self.now:
            raise NotFound(f"{key} is another one")
        return Breaking(DATA[offset:], self.after, version)

    def list(self, key: str) -> Iterator[StoredObject]:
        return (StoredObject(name.removeprefix(f"{key}/"), len(DATA)) for name in self.keys if name.startswith(key))

    def save(self, key: str, stream: io.BytesIO, size_hint: int | None) -> None:
        raise NotImplementedError

    def delete(self, key: str) -> None:
        raise NotImplementedError


class WithoutRest(Store):
    """A store that gives only whole objects."""

    open_rest = None  # type: ignore[assignment]


def again(broken: Transient, work):
    """A policy that always tries once more."""
    return work()


def test_it_goes_on_at_the_byte_where_it_broke():
    store = Store(after=5000)
    with Resumed(store, "o", Moved(resume=again)) as stream:
        assert stream.read() == DATA

    assert store.rests == [5000, 10000, 15000]
    assert store.opened == 1


@pytest.mark.parametrize("store", [WithoutRest(5000), Store(5000, version="")])
def test_a_store_that_cannot_give_the_rest_breaks_as_it_did(store):
    with Resumed(store, "o", Moved(resume=again)) as stream, pytest.raises(Unavailable, match="broke off at 5000"):
        stream.read()


def test_another_content_under_the_key_is_not_gone_on_with():
    store = Store(after=5000, now="v2")
    with Resumed(store, "o", Moved(resume=again)) as stream, pytest.raises(Unavailable, match="changed while"):
        stream.read()


def test_a_break_without_progress_ends_it():
    store = Store(after=0)
    with Resumed(store, "o", Moved(resume=again)) as stream, pytest.raises(Unavailable, match="broke off at 0"):
        stream.read()
    assert store.rests == []


def test_a_rest_that_ends_early_without_having_said_its_size_is_no_whole_object():
    class Silent(Store):
        def open_rest(self, key, offset, version):
            self.rests.append(offset)
            return io.BytesIO(DATA[offset : offset + 3000])

    store = Silent(5000)
    with Resumed(store, "o", Moved(resume=again)) as stream:
        assert stream.read() == DATA

    assert store.rests == list(range(5000, len(DATA), 3000))


def test_nothing_goes_on_where_nobody_decides():
    with Resumed(Store(5000), "o", Moved()) as stream, pytest.raises(Unavailable):
        stream.read()


def world_with(tmp_path, store, **artifact):
    raw = {"name": "a", "path": "/a", "s3": {"bucket": "b", "key": "o"}, "archive": {"none": {}}} | artifact
    world = World(tmp_path, {"name": "t", "container": {"image": "i"}, "inputs": {"artifacts": [raw]}})
    world.pod.drivers = lambda _: store
    return world


def lines(world, kind):
    return [line for line in world.journal.lines if line["kind"] == kind]


def test_each_break_is_an_attempt_with_its_wait_and_nothing_is_read_twice(tmp_path):
    store = Store(after=5000)
    world = world_with(tmp_path, store)

    assert Engine(INIT_TABLE, world.pod).run() is Verdict.SUCCEEDED
    assert (tmp_path / "argo/inputs/artifacts/a").read_bytes() == DATA
    item = lines(world, "item")[0]["item"]
    assert (item["attempts"], item["bytes"]) == (4, len(DATA))
    assert [line["attempt"] for line in lines(world, "attempt")] == [1, 2, 3]
    assert all(line["wait"] >= 1 for line in lines(world, "attempt"))


def test_a_download_may_break_more_often_than_the_policy_has_attempts_as_long_as_it_gets_on(tmp_path):
    store = Store(after=1000)
    world = world_with(tmp_path, store)

    assert Engine(INIT_TABLE, world.pod).run() is Verdict.SUCCEEDED
    assert lines(world, "item")[0]["item"]["attempts"] == len(DATA) // 1000 + 1


def test_a_store_that_stays_away_is_given_up_by_the_policy(tmp_path):
    class Gone(Store):
        def open_rest(self, key, offset, version):
            self.rests.append(offset)
            raise Unavailable("nobody there")

        def open(self, key):
            if self.opened:
                raise Unavailable("nobody there")
            return super().open(key)

    store = Gone(after=5000)
    world = world_with(tmp_path, store)

    assert Engine(INIT_TABLE, world.pod).run() is Verdict.FAILED
    # The break and four tries to go on are one attempt of the item's; four more begin at the first byte.
    assert store.rests == [5000] * 4
    failure = world.pod.record.first
    assert (failure.attempt, failure.attempts) == (9, None)
    assert str(failure).endswith("nobody there (attempt 9)")
    assert not (tmp_path / "argo/inputs/artifacts/a").exists()


def test_an_object_that_changed_is_read_anew_from_its_first_byte(tmp_path):
    class Changed(Store):
        def open(self, key):
            if self.opened:
                self.after, self.version = 1 << 20, "v2"
            return super().open(key)

    store = Changed(after=5000, now="v2")
    world = world_with(tmp_path, store)

    assert Engine(INIT_TABLE, world.pod).run() is Verdict.SUCCEEDED
    assert (store.opened, store.rests) == (2, [5000])
    assert (tmp_path / "argo/inputs/artifacts/a").read_bytes() == DATA


def test_the_objects_of_a_directory_go_on_each_for_itself(tmp_path):
    store = Store(after=9000, keys=("o/1", "o/2/3"))
    world = world_with(tmp_path, store)

    assert Engine(INIT_TABLE, world.pod).run() is Verdict.SUCCEEDED
    assert store.rests == [9000, 9000]
    assert (tmp_path / "argo/inputs/artifacts/a/2/3").read_bytes() == DATA


def told_of(world):
    """Every progress that is told, as bytes and total."""
    from dataclasses import replace

    told: list[tuple[int, int | None]] = []
    world.pod.settings = replace(world.pod.settings, progress=lambda item, done, total: told.append((done, total)))
    return told


def test_a_load_tells_bytes_done_of_the_objects_total(tmp_path):
    world = world_with(tmp_path, Store(after=1 << 20))
    told = told_of(world)
    Engine(INIT_TABLE, world.pod).run()

    assert told[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_directory_of_objects_tells_the_total_of_all(tmp_path):
    world = world_with(tmp_path, Store(after=1 << 20, keys=("o/1", "o/2")))
    told = told_of(world)
    Engine(INIT_TABLE, world.pod).run()

    assert max(told) == (2 * len(DATA), 2 * len(DATA))


@pytest.mark.parametrize("archive", [{"none": {}}, {"tar": {}}])
def test_a_save_tells_bytes_done_of_the_contents_total(tmp_path, archive):
    artifact = {"name": "a", "path": "/vol/d", "archive": archive, "s3": {"bucket": "b", "key": "o"}}
    mounts = [{"name": "v", "mountPath": "/vol"}]
    world = World(
        tmp_path,
        {"name": "t", "container": {"image": "i", "volumeMounts": mounts}, "outputs": {"artifacts": [artifact]}},
    )
    (tmp_path / "mainctrfs/vol/d/e").mkdir(parents=True)
    (tmp_path / "mainctrfs/vol/d/e/one").write_bytes(b"1" * 700_000)
    (tmp_path / "mainctrfs/vol/d/two").write_bytes(b"2" * 5)
    told = told_of(world)

    assert Engine(WAIT_TABLE, world.pod).run() is Verdict.SUCCEEDED
    assert {total for _, total in told} == {700_005}
    assert max(told) == (700_005, 700_005)


def test_a_long_transfer_is_in_the_journal_every_ten_seconds_and_a_short_one_is_not(tmp_path):
    class Slow(Store):
        """Four virtual seconds a chunk."""

        def open(self, key):
            body = super().open(key)
            read = body.read
            body.read = lambda size=-1: (world.clock.sleep(4.0, world.pod.cancel), read(size))[1]
            return body

    world = world_with(tmp_path, Slow(after=1 << 20))
    Engine(INIT_TABLE, world.pod).run()

    seen = lines(world, "progress")
    assert len(seen) == 4 * (len(DATA) // 1000 + 1) // (EVERY + 2)
    assert all(line["item"] == "input a" and line["total"] == len(DATA) for line in seen)
    shown = "\n".join(explain(world.journal.lines))
    assert "… input a: 2.9 KiB of 16.0 KiB" in shown
    assert "B/s" in shown

    quick = world_with(tmp_path / "quick", Store(after=1 << 20))
    Engine(INIT_TABLE, quick.pod).run()
    assert lines(quick, "progress") == []


@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/evil", "."])
def test_a_key_that_leads_out_of_its_directory_is_refused(tmp_path, path):
    class Leading(Store):
        def list(self, key):
            return iter([StoredObject("good", 1), StoredObject(path, 1)])

    world = world_with(tmp_path, Leading(1 << 20, keys=("o/good", f"o/{path}")))

    assert Engine(INIT_TABLE, world.pod).run() is Verdict.FAILED
    assert world.pod.record.first.error == "CorruptData"
    assert repr(path) in world.pod.record.first.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gone", ["between", "middle"])
def test_an_object_that_goes_away_while_it_is_loaded_is_not_forgiven_by_optional(tmp_path, gone):
    class Going(Store):
        def list(self, key):
            return iter([StoredObject("one", len(DATA)), StoredObject("two", len(DATA))])

        def open(self, key):
            if gone == "between" or key == "o":
                return super().open(key)
            body = Breaking(DATA, 1 << 20)
            body.read = lambda _: (_ for _ in ()).throw(NotFound("it was there"))
            return body

    world = world_with(tmp_path, Going(1 << 20, keys=("o/one",)), optional=True)

    assert Engine(INIT_TABLE, world.pod).run() is Verdict.FAILED
    assert world.pod.record.first.error == "Unavailable"
    assert len(lines(world, "attempt")) > 1  # it may have been replaced, and be there again


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a", "a/b/c")])
def test_an_object_below_another_one_is_not_forgiven_by_optional(tmp_path, paths):
    class Both(Store):
        def list(self, key):
            return iter([StoredObject(path, 1) for path in paths])

    world = world_with(tmp_path, Both(1 << 20, keys=tuple(f"o/{path}" for path in paths)), optional=True)

    assert Engine(INIT_TABLE, world.pod).run() is Verdict.FAILED
    assert world.pod.record.first.error == "BadRequest"
    # Whichever comes second, as they are loaded at the same time.
    assert any(repr(path) in world.pod.record.first.message for path in paths)


def test_after_an_error_only_those_that_have_begun_are_ended(monkeypatch):
    ending = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            ending.set()
            super().shutdown(wait=wait)

    begun = []

    def work(number):
        begun.append(number)
        if number == 1:
            raise Unavailable("down")
        ending.wait(60)

    monkeypatch.setattr(transfer, "ThreadPoolExecutor", Pool)
    with pytest.raises(Unavailable):
        transfer._in_parallel(work, range(100), 2)

    assert set(begun) <= {0, 1, 2}
