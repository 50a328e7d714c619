# ruff: noqa: N803 - boto3 names its arguments so
"""Any number of uploads at once in one budget of bytes, which failing ones give back."""

import gc
import io
import random
import threading
import tracemalloc

import pytest

from drivers import s3_upload
from drivers.s3_upload import BUDGET, MIB, Budget, Target, upload

PART = 64 * 1024


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(s3_upload, "PART", PART)
    monkeypatch.setattr(s3_upload, "_MEMORY", 4 * PART)
    monkeypatch.setattr(s3_upload, "_PIECE", PART // 8)


class Client:
    """Keeps the parts, and how many bytes were on their way at once; ``fails`` says of which key which part does.

    ``together`` of them are answered at a time.
    """

    place = None

    def __init__(self, fails=None, together=1):
        self.fails = fails or {}
        self.gate = threading.Barrier(together)
        self.lock = threading.Lock()
        self.now = self.peak = self.count = self.most = 0
        self.parts = {}
        self.objects = {}
        self.aborted = []

    def ask(self, operation, action, key, **arguments):
        """As a connection, without the arguments that are about the content."""
        for name in ("ContentType", "ContentMD5"):
            arguments.pop(name, None)
        return getattr(self, operation)(**arguments)

    def _send(self, key, number, body):
        with self.lock:
            self.now += len(body)
            self.count += 1
            self.peak, self.most = max(self.peak, self.now), max(self.most, self.count)
        time_out(0.001)  # others get their turn
        self.gate.wait(30)  # until so many are here at once; else it raises
        with self.lock:
            self.now -= len(body)
            self.count -= 1
        if self.fails.get(key) == number:
            raise ConnectionResetError(f"part {number}")
        return bytes(body)

    def put_object(self, Key, Body):
        self.objects[Key] = self._send(Key, 1, Body)

    def create_multipart_upload(self, Key):
        if self.fails.get(Key) == 0:
            raise ConnectionResetError("not begun")
        return {"UploadId": "u"}

    def upload_part(self, Key, UploadId, PartNumber, Body):
        self.parts[Key, PartNumber] = self._send(Key, PartNumber, Body)
        return {"ETag": str(PartNumber)}

    def complete_multipart_upload(self, Key, UploadId, MultipartUpload):
        self.objects[Key] = b"".join(self.parts[Key, one["PartNumber"]] for one in MultipartUpload["Parts"])

    def abort_multipart_upload(self, Key, UploadId):
        self.aborted.append(Key)


def time_out(seconds):
    threading.Event().wait(seconds)


class Source(io.RawIOBase):
    """A stream by uneven pieces, that may break."""

    def __init__(self, data, breaks=None):
        self.data, self.at, self.breaks = data, 0, breaks
        self.random = random.Random(len(data))

    def readable(self):
        return True

    def read(self, size=-1):
        if self.breaks is not None and self.at >= self.breaks:
            raise ValueError("the source broke")
        piece = self.data[self.at : self.at + self.random.randint(1, size)]
        self.at += len(piece)
        return piece


def together(work, count):
    """Call it for each number in a thread of its own; gives what was raised."""
    raised = {}

    def one(number):
        try:
            work(number)
        except Exception as error:
            raised[number] = error

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not [thread for thread in threads if thread.is_alive()], "deadlock"
    return raised


@pytest.mark.parametrize("parts", [1, 4, 5, 6])
def test_many_uploads_stay_in_the_budget(parts):
    """The bound is exact: parts on their way and parts that are being read are no more than the budget together."""
    budget = Budget(parts * PART)
    client = Client()
    most = []
    take = budget.take

    def taken(count):
        room = take(count)
        idle = sum(map(len, budget._rooms))
        most.append(budget.used + idle)
        return room

    budget.take = taken
    data = {n: random.Random(n).randbytes(n * 37_777 + 5) for n in range(24)}
    assert together(lambda n: upload(Target(client, f"k{n}"), Source(data[n]), None, budget), 24) == {}
    assert client.peak <= budget.size
    assert max(most) <= budget.size
    assert (budget.used, budget._rooms) == (0, [])
    assert client.objects == {f"k{n}": data[n] for n in data}


def test_one_upload_alone_has_its_four_parts():
    assert BUDGET.size >= 4 * 8 * MIB
    client = Client(together=4)
    upload(Target(client, "k"), io.BytesIO(bytes(12 * PART)), None)
    assert client.most == 4


def test_those_that_fail_give_their_bytes_back_and_stop_nobody():
    budget = Budget(5 * PART)
    client = Client(fails={f"k{n}": n % 4 for n in range(0, 24, 2)})
    data = bytes(6 * PART)

    def work(n):
        source = Source(data, breaks=3 * PART if n % 3 == 0 else None)
        upload(Target(client, f"k{n}"), source, None, budget)

    raised = together(work, 24)
    assert set(raised) == {n for n in range(24) if n % 2 == 0 or n % 3 == 0}
    assert (budget.used, budget._rooms) == (0, [])
    assert set(client.objects) == {f"k{n}" for n in range(24) if n not in raised}
    assert set(client.aborted) == {f"k{n}" for n in raised if client.fails.get(f"k{n}") != 0}


def test_a_part_larger_than_the_budget_is_sent_alone(monkeypatch):
    monkeypatch.setattr(s3_upload, "part_size", lambda number, hint: hint or PART)
    budget = Budget(2 * PART)
    client = Client()
    sizes = [8 * PART if n % 2 else None for n in range(8)]
    data = bytes(17 * PART)
    assert together(lambda n: upload(Target(client, f"k{n}"), Source(data), sizes[n], budget), 8) == {}
    assert client.peak <= 8 * PART
    assert budget.used == 0


def test_a_small_object_waits_for_no_slow_one():
    """What is not needed of a part's size is given back when the source has ended."""
    budget = Budget(4 * PART)
    client = Client(together=16)
    assert together(lambda n: upload(Target(client, f"k{n}"), io.BytesIO(b"x" * 100), None, budget), 16) == {}
    assert client.most == 16


def test_who_came_first_is_first():
    budget = Budget(10)
    budget.take(8)
    order = []

    def wait(count):
        budget.take(count)
        order.append(count)
        budget.give(count)

    threads = []
    for n, count in enumerate((10, 2, 12, 1), 1):  # 2 would fit at once, and keep 10 waiting forever
        threads.append(threading.Thread(target=wait, args=(count,), daemon=True))
        threads[-1].start()
        while len(budget._waiting) < n:
            time_out(0.001)
    budget.give(8)
    for thread in threads:
        thread.join(10)
    assert order[:3] == [10, 2, 12]
    assert budget.used == 0


def test_an_error_that_is_kept_keeps_no_part():
    class Broken(Client):
        def upload_part(self, **arguments):
            error = ConnectionResetError("reset")
            error.request = arguments
            try:
                raise error
            except ConnectionResetError as cause:
                raise OSError("send") from cause

    source = Source(bytes(32 * PART))
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match="send") as raised:
            upload(Target(Broken(), "k"), source, None)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < PART, raised
