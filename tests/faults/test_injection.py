"""Proxies around ports: what goes wrong where, how often, and what stays as it was."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.clock import Cancel, VirtualClock, terminated
from lifecycle.errors import InputError, Terminated, Throttled, Unavailable
from lifecycle.faults.injection import Faults, Injected
from lifecycle.faults.plan import parse
from lifecycle.faults.streams import Damaged
from lifecycle.faults.testing import faults
from lifecycle.files import PodFiles
from lifecycle.ports import Container, Driver, RangeDriver, RootHolder, TreeDriver
from tests.fakes import FakeContainer, FakeRuntime, FakeStore

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.faults.testing import Wrap

__all__ = ["faults"]


def injected(*lines: str) -> Faults:
    return Faults(parse(lines), VirtualClock())


@pytest.fixture
def store() -> FakeStore:
    made = FakeStore()
    made.objects = {"a/model.tgz": b"0123456789", "a/b/1": b"1", "a/b/2": b"2"}
    return made


def test_the_nth_call_and_so_many_times(store):
    driver = injected("driver.open#2:throttled×2").around(store, "driver")

    assert driver.open("a/model.tgz").read() == b"0123456789"
    for _ in range(2):
        with pytest.raises(Throttled, match=r"injected: \*:driver.open#2:throttled×2"):
            driver.open("a/model.tgz")
    assert driver.open("a/b/1").read() == b"1"


def test_an_item_is_known_by_the_end_of_its_key_with_suffix_and_without(store):
    driver = injected("driver.open(model):unavailable", "driver.open(1):unavailable").around(store, "driver")

    assert driver.open("a/b/2").read() == b"2"
    for key in ("a/model.tgz", "a/b/1"):
        with pytest.raises(Unavailable):
            driver.open(key)


def test_a_phase_has_its_own_faults(store):
    made = injected("saving:driver.open:unavailable")
    driver = made.around(store, "driver")
    made.entered("loading")
    driver.open("a/b/1")
    made.entered("saving")

    with pytest.raises(Unavailable):
        driver.open("a/b/1")


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("driver.open:truncated", b"01234"),
        ("driver.open:truncated=0", b""),
        ("driver.open:truncated=0.9", b"012345678"),
        ("driver.open:wrong", b"01234\xca6789"),
        ("driver.open:wrong=0", b"\xcf123456789"),
        ("driver.open:short", b"0123456789"),
    ],
)
@pytest.mark.parametrize(("size", "step"), [(10, 3), (10, 64), (None, 64)])
def test_bytes_come_out_damaged_where_it_was_said(line: str, given: bytes, size: int | None, step: int):
    stream = Damaged(io.BytesIO(b"0123456789"), parse([line]).faults[0], size)

    assert b"".join(iter(lambda: stream.read(step), b"")) == given


@pytest.mark.parametrize(
    ("line", "kind"), [("driver.open:broken=0.3", Unavailable), ("driver.open:disk-full=0.3", OSError)]
)
def test_a_stream_breaks_off_where_it_was_said(store, line: str, kind: type[Exception]):
    stream = injected(line).around(store, "driver").open("a/model.tgz")

    assert stream.read(64) == b"012"
    with pytest.raises(kind, match="injected"):
        stream.read(64)


def test_a_full_disk_is_the_kernel_s_own_error(store):
    with pytest.raises(OSError, match="No space left") as caught:
        injected("driver.save:disk-full").around(store, "driver").save("k", io.BytesIO(b"1"), None)

    assert caught.value.errno == errno.ENOSPC
    assert "k" not in store.objects


def test_a_store_is_given_damaged_bytes(store):
    injected("driver.save:truncated").around(store, "driver").save("k", io.BytesIO(b"0123456789"), 10)

    assert store.objects["k"] == b"01234"


def test_a_listing_ends_early_or_breaks_off(store):
    driver = injected("driver.list:truncated", "driver.list#2:broken").around(store, "driver")

    assert [one.path for one in driver.list("a/b")] == ["1"]
    with pytest.raises(Unavailable):
        list(driver.list("a/b"))


def test_a_lost_answer_is_one_of_a_call_that_was_made(store):
    driver = injected("driver.save:lost").around(store, "driver")

    with pytest.raises(Unavailable, match="injected"):
        driver.save("k", io.BytesIO(b"1"), None)
    assert store.objects["k"] == b"1"


def test_a_defect_is_none_of_our_errors(store):
    with pytest.raises(Injected):
        injected("driver.delete:defect").around(store, "driver").delete("k")


def test_a_delay_is_virtual_time_and_a_hang_ends_by_the_token_of_its_call():
    made = injected("runtime.find_main:delay=7", "runtime.find_main:hang")
    clock = made.clock
    runtime = made.around(FakeRuntime(clock, {"main": FakeContainer(clock)}), "runtime")
    cancel = Cancel()
    clock.start(lambda: (clock.sleep(60.0, Cancel()), cancel.set(terminated())), "somebody")

    with pytest.raises(Terminated):
        runtime.find_main(cancel)
    assert clock.monotonic() == pytest.approx(60.0)


def test_a_hang_without_a_token_ends_with_the_faults():
    made = injected("runtime.others:hang")
    clock = made.clock
    runtime = made.around(FakeRuntime(clock, {}), "runtime")
    clock.start(lambda: (clock.sleep(60.0, Cancel()), made.close()), "somebody")

    with pytest.raises(Terminated, match="the faults are over"):
        runtime.others()


def test_the_wall_clock_jumps_and_the_monotonic_one_does_not():
    made = injected("runtime.others:clock=-60")
    before = made.clock.now()
    made.around(FakeRuntime(made.clock, {}), "runtime").others()

    assert (made.clock.now() - before).total_seconds() == -60
    assert made.clock.monotonic() == 0


def test_a_kill_is_the_end_of_this_process(store):
    killed = []
    made = Faults(parse(["driver.open:kill"]), VirtualClock(), kill=lambda: killed.append(1))
    made.around(store, "driver").open("a/b/1")

    assert killed


def test_a_proxy_is_what_it_is_around_and_no_more(store, tmp_path: Path):
    made = injected("files.script:disk-full")
    clock = made.clock
    driver = made.around(store, "driver")
    runtime = made.around(FakeRuntime(clock, {"main": FakeContainer(clock)}), "runtime")
    files = made.around(PodFiles(tmp_path), "files")

    assert isinstance(driver, Driver)
    assert not isinstance(driver, RangeDriver | TreeDriver)
    assert not isinstance(runtime, RootHolder)
    assert runtime.reads_base_layer
    assert runtime.open_output(Container("main"), combined=False).read() == b""
    assert files.manifest == tmp_path / "tmp/manifest.yaml"
    with pytest.raises(OSError, match="injected"):
        _ = files.script


def test_the_fixture_wraps_a_driver(faults: Wrap, store: FakeStore):
    driver: Any = faults(store, "driver.open(model):throttled", clock=VirtualClock())

    with pytest.raises(Throttled):
        driver.open("a/model.tgz")
    assert driver.open("a/model.tgz").read() == b"0123456789"


def test_the_fixture_takes_faults_of_one_port(faults: Wrap, store: FakeStore):
    for lines in ((), ("driver.open:hang", "runtime.wait:hang"), ("*.*:hang",)):
        with pytest.raises(InputError, match="the faults of one port"):
            faults(store, *lines)


def test_the_fixture_fails_a_test_in_which_a_fault_did_not_happen(tmp_path: Path):
    (tmp_path / "test_it.py").write_text(
        "from lifecycle.faults.testing import faults\n"
        "def test_it(faults):\n"
        "    faults(object(), 'driver.open:throttled')\n"
    )

    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "test_it.py"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert "1 passed, 1 error" in done.stdout
    assert "did not happen: --fault '*:driver.open:throttled'" in done.stdout
