"""Which process is main where the pod may not be watched: every search ends."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from lifecycle.clock import NEVER
from lifecycle.errors import Forbidden, LifecycleError, MainNotStarted
from lifecycle.ports import Container
from runtimes.pns import NamespaceRuntime
from runtimes.processes import Processes
from runtimes.scan import Scan
from tests.runtimes.pns.test_processes import ID, process

OURS = 4242
BEGAN = "4242 (wait) S 0 " + "0 " * 17 + "0 "
"""Long ago: 0 clock ticks after boot."""


class Refused:
    """The watch of a service account that may do nothing."""

    error = Forbidden("watch /api: 403", remedy="grant `watch` on `pods`")

    def await_main(self, *_):
        raise self.error

    wait_for = await_main


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """A namespace with our own container and nothing else."""
    monkeypatch.setattr("os.getpid", lambda: OURS)
    process(tmp_path / "proc", OURS, 0, stat=BEGAN)
    return tmp_path / "proc"


@pytest.fixture
def hosts(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("")
    os.utime(path, (1, 1))  # before this machine has booted: for our own container
    return path


@pytest.fixture
def child():
    """A real process, as one must be to be held."""
    with subprocess.Popen(["sleep", "1000"]) as child:
        yield child.pid
        child.kill()


@pytest.fixture
def runtime(proc, hosts):
    runtime = NamespaceRuntime(Refused(), None, Scan(Processes(str(proc)), str(hosts)))
    yield runtime
    runtime.close()


def container(proc, pid, name):
    """One more container, there as a whole at once: somebody looks."""
    process(proc.parent, pid, 0, stat=BEGAN, cgroup=f"0::/docker/{ID}\n",
            environ=b"PATH=/bin\0" + (f"ARGO_CONTAINER_NAME={name}\0".encode() if name else b""))  # fmt: skip
    made = proc.parent / str(pid)
    (made / "root").mkdir()
    (made / "ns").mkdir()
    (made / "ns/mnt").touch()
    made.rename(proc / str(pid))


def test_a_main_that_was_made_a_minute_ago_and_has_no_process_has_ended(runtime, hosts, caplog):
    """What it wrote into volumes is saved then; how it ended nobody may say."""
    written = time.time() - 61
    os.utime(hosts, (written, written))

    assert runtime.find_main(NEVER) == Container("main")
    assert "ended before it could be seen" in caplog.text
    with pytest.raises(Forbidden, match="403"):
        runtime.wait(Container("main"), NEVER)


def test_a_main_that_is_being_made_has_its_minute(runtime, hosts, monkeypatch):
    monkeypatch.setattr("runtimes.search._MADE", 1e6)
    written = time.time() - 61
    os.utime(hosts, (written, written))
    waits = []

    def wait(seconds):
        waits.append(seconds)
        monkeypatch.setattr("runtimes.search._MADE", 0.0)

    monkeypatch.setattr(runtime._scan.changed, "wait", wait)
    runtime.find_main(NEVER)
    assert [one for one in waits if one is not None] == [pytest.approx(1e6 - 61, abs=30)]


def test_a_main_that_is_never_made_is_not_waited_for_without_an_end(runtime, monkeypatch):
    monkeypatch.setattr("runtimes.search._UNSEEN", 0.0)

    with pytest.raises(MainNotStarted, match="the pod cannot be watched: watch /api: 403") as caught:
        runtime.find_main(NEVER)
    assert caught.value.remedy == "grant `watch` on `pods`"


def test_the_only_container_is_main_unless_it_is_called_something_else(runtime, proc, child, monkeypatch):
    container(proc, child, "side")
    monkeypatch.setattr("runtimes.search._UNSEEN", 0.0)
    with pytest.raises(MainNotStarted):
        runtime.find_main(NEVER)


@pytest.mark.parametrize(("names_all", "found"), [(False, True), (True, False)])
def test_one_without_a_name_is_main_unless_the_controller_names_main(
    runtime, proc, child, monkeypatch, names_all, found
):
    """Then it is what somebody has injected into the pod."""
    container(proc, child, "")
    monkeypatch.setattr("runtimes.search._UNSEEN", 0.0)
    if names_all:
        monkeypatch.setenv("ARGO_CONTAINER_NAME", "wait")
    if found:
        assert runtime.find_main(NEVER) == Container("main", ID)
        return
    with pytest.raises(MainNotStarted):
        runtime.find_main(NEVER)


def test_whatever_is_put_off_for_main_goes_on_when_main_is_seen_or_late(proc, hosts, child):
    scan = Scan(Processes(str(proc)), str(hosts))
    scan.begin()
    assert scan.await_first(0.0) is False
    container(proc, child, "main")
    assert scan.await_first(1e6) is True
    scan.close()


def test_what_breaks_the_scan_ends_the_search(proc, hosts, monkeypatch):
    """It looks in a thread of its own, whose end nobody would notice."""
    scan = Scan(Processes(str(proc)), str(hosts))
    monkeypatch.setattr("runtimes.scan._URGENT", 0.0)  # it is watched once nothing is urgent any more
    monkeypatch.setattr("runtimes.scan._watch", lambda _: 1 / 0)
    runtime = NamespaceRuntime(Refused(), None, scan)
    with pytest.raises(LifecycleError, match="ZeroDivisionError"):
        runtime.find_main(NEVER)
    runtime.close()


def test_a_defect_of_the_watch_is_told(runtime, monkeypatch):
    monkeypatch.setattr("runtimes.search._UNSEEN", 0.0)
    monkeypatch.setattr(Refused, "error", KeyError("name"))

    with pytest.raises(MainNotStarted, match="KeyError"):
        runtime.find_main(NEVER)
