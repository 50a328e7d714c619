"""``argoexec run`` under signals, at every stage: how it ends, what it saves, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.e2e.conftest import AT_ONCE, HANGS
from tests.servers.httpd import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Program, Runner

pytestmark = pytest.mark.sandbox

WISHES = [signal.SIGTERM, signal.SIGINT]
GRACE = 1.0
SAVES = {"artifacts": [{"name": "out", "path": "/tmp/out", "archive": {"none": {}}}]}
FOR_EVER = "while :; do sleep 60 & wait; done"
STUBBORN = f"trap 'echo term >&3' TERM; echo begun >&3; {FOR_EVER}"
DEAF = "trap '' TERM HUP INT; echo beside >&3; while :; do sleep 60; done"


class Line:
    """A FIFO among the secrets, the one directory of this machine that a container of `run` is shown.

    A container that begins with ``OPEN`` writes to descriptor 3 what the test waits for. The end of file comes when no
    process holds it open any more.
    """

    OPEN = "exec 3>/line/fifo; "

    def __init__(self, secrets: Path) -> None:
        path = secrets / "line/fifo"
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
        path.chmod(0o666)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._heard: list[bytes] = []
        self._poller = select.poll()
        self._poller.register(self.fd, select.POLLIN)

    def hear(self, *words: str) -> None:
        """Block until these words have been written, in any order."""
        missing = [word.encode() for word in words]
        while True:
            for word in [one for one in missing if one in self._heard]:
                missing.remove(word)
                self._heard.remove(word)
            if not missing:
                return
            assert self._poller.poll(HANGS * 1000), f"waited for {missing}, heard {self._heard}"
            data = os.read(self.fd, 4096)
            assert data, f"waited for {missing}, heard {self._heard} and the end"
            self._heard += data.split()

    def end(self) -> None:
        """Block until nobody holds it open."""
        data = b"more"
        while data:
            assert self._poller.poll(HANGS * 1000), "a process of the pod still lives"
            data = os.read(self.fd, 4096)


def processes(marker: str) -> dict[int, str]:
    """Every process of this machine that has the marker on its command line or in its environment."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                text = (path / name).read_bytes()
            except OSError:  # it has ended since, or is another user's
                continue
            if marker.encode() in text:
                found[int(path.name)] = text.replace(b"\0", b" ").decode(errors="replace")
    return found


def mounts() -> list[str]:
    """But those of docker's containers, which the daemon takes away when it likes."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if "/overlay2/" not in line]


class Watched:
    """Runs whose every process can be told by a marker, and whose end is checked."""

    def __init__(self, runner: Runner, line: Line) -> None:
        self.marker = f"m{uuid4().hex}"
        self.line = line
        self.runner = runner
        self.mounted = mounts()
        self.program: Program | None = None

    def start(self, template: dict[str, Any], **environ: str) -> Program:
        grace = {"ARGO_TERMINATION_GRACE_PERIOD_SECONDS": f"{GRACE:g}"}
        self.program = self.runner.start(
            template | {"volumes": [{"name": "line", "secret": {"secretName": "line"}}]},
            "--secrets", self.runner.directory / "secrets", "--workdir", self.workdir, name=self.marker,
            **grace | environ,
        )  # fmt: skip
        return self.program

    @property
    def workdir(self) -> Path:
        return self.runner.directory / "work"

    def stop(self, number: int) -> None:
        """As `kill` does; Ctrl-C goes to all of the terminal's foreground."""
        if number == signal.SIGINT:
            self.program.signal_group(number)
        else:
            self.program.signal(number)

    def ended(self, within: float = HANGS) -> dict[str, Any]:
        """Wait for the end: status 3, phase Failed, one object on stdout, nothing left."""
        result = self.program.end(3, within).result()
        assert result["phase"] == "Failed"
        assert self.program.stderr == ""
        assert result["lifecycle"][-1]["phase"] == "releasing"  # the whole table, whatever was left out
        self.check_nothing_is_left()
        return result

    def check_nothing_is_left(self) -> None:
        assert processes(self.marker) == {}
        assert mounts() == self.mounted
        assert str(self.workdir) not in Path("/proc/self/mountinfo").read_text()

    def stored(self, result: dict[str, Any], name: str) -> str:
        (found,) = [one for one in result["outputs"]["artifacts"] if one["name"] == name]
        return Path(found["fsspec"]["url"].removeprefix("file://")).read_text()


def shell(script: str, **more: Any) -> dict[str, Any]:
    mount = [{"name": "line", "mountPath": "/line"}]
    return {"command": ["sh", "-c", Line.OPEN + script], "volumeMounts": mount} | more


@pytest.fixture
def watched(runner: Runner, tmp_path: Path) -> Iterator[Watched]:
    line = Line(tmp_path / "secrets")
    yield Watched(runner, line)
    os.close(line.fd)


# --- before main ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", WISHES)
@pytest.mark.parametrize("count", [1, 3])
def test_a_signal_ends_loading_although_the_server_says_nothing_more(watched, httpd, number, count):
    artifacts = [
        {"name": f"slow-{n}", "path": f"/slow-{n}",
         "http": {"url": httpd.on(f"/{n}", Answer(body=b"x" * 1000, length=2000, hangs=True))}}
        for n in range(count)
    ]  # fmt: skip
    watched.start({"inputs": {"artifacts": artifacts}, "outputs": SAVES, "container": shell("true")})
    for _ in artifacts:
        httpd.await_requests(1)

    watched.stop(number)

    result = watched.ended(within=AT_ONCE)
    assert result["exitCode"] is None
    assert f"terminated by {number.name}" in result["message"]
    assert "starting" not in [one["phase"] for one in result["lifecycle"]]
    assert list((watched.workdir / "pod/volumes/input-artifacts").iterdir()) == []


def test_a_signal_ends_loading_what_never_ends(watched):
    """The server sends on and on, so that no read ever times out."""
    closing, asked = threading.Event(), threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            asked.set()
            while not closing.wait(0.02):
                connection.sendall(b"x" * 100)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/endless"
            watched.start({"inputs": {"artifacts": [{"name": "a", "path": "/a", "http": {"url": url}}]},
                           "container": shell("true")})  # fmt: skip
            assert asked.wait(HANGS)

            watched.stop(signal.SIGTERM)

            assert "terminated by SIGTERM" in watched.ended(within=AT_ONCE)["message"]
        finally:
            closing.set()
            server.join()


def test_a_signal_ends_the_wait_for_another_attempt(watched, httpd):
    url = httpd.on("/busy", Answer(503, headers={"Retry-After": "300"}))
    watched.start({"inputs": {"artifacts": [{"name": "a", "path": "/a", "http": {"url": url}}]},
                   "container": shell("true")})  # fmt: skip
    httpd.await_requests(1)

    watched.stop(signal.SIGTERM)

    assert "terminated by SIGTERM" in watched.ended(within=AT_ONCE)["message"]


@pytest.mark.slow
@pytest.mark.parametrize("number", WISHES)
@pytest.mark.parametrize("script", ["echo begun >&3; exec sleep 60", STUBBORN])
def test_a_signal_ends_an_init_container(watched, number, script):
    watched.start({"initContainers": [{"name": "prepare", **shell(script)}], "container": shell("true")})
    watched.line.hear("begun")

    watched.stop(number)

    result = watched.ended(within=AT_ONCE)
    assert result["exitCode"] is None
    assert f"terminated by {number.name}" in result["message"]
    watched.line.end()


# --- while the sidecars are started: main runs already ----------------------------------------------------------------


def test_a_signal_while_sidecars_are_started_gives_main_its_grace(watched):
    sidecars = [{"name": f"beside-{number}", **shell("exec sleep 60")} for number in range(6)]
    watched.start(
        {
            "outputs": SAVES,
            "container": shell(f"trap 'echo late > /tmp/out; exit 5' TERM; echo begun >&3; {FOR_EVER}"),
            "sidecars": sidecars,
        }
    )
    watched.line.hear("begun")

    watched.stop(signal.SIGTERM)

    result = watched.ended(within=AT_ONCE)
    assert (result["exitCode"], result["message"]) == (5, "terminated by SIGTERM")
    assert watched.stored(result, "out") == "late\n"
    watched.line.end()


def test_a_sidecar_that_cannot_be_started_is_known_before_main_has_done_anything(watched):
    watched.start(
        {
            "outputs": SAVES,
            "container": shell("echo made > /tmp/out"),
            "sidecars": [{"name": "broken", "command": ["/no/such/program"]}],
        }
    )

    result = watched.program.end(1, within=AT_ONCE).result()

    assert result["phase"] == "Error"
    assert "container broken" in result["message"]
    assert result["exitCode"] is None
    watched.check_nothing_is_left()


# --- while main runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", WISHES)
def test_main_that_handles_term_writes_its_output_in_the_grace(watched, number):
    watched.start(
        {
            "outputs": SAVES | {"parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}]},
            "container": shell(
                f"trap 'echo late > /tmp/out; echo 1 > /tmp/p; exit 5' TERM; echo begun >&3; {FOR_EVER}"
            ),
            "sidecars": [{"name": "beside", **shell("echo beside >&3; exec sleep 60")}],
        }
    )
    watched.line.hear("begun", "beside")

    watched.stop(number)

    result = watched.ended(within=AT_ONCE)
    assert result["exitCode"] == 5
    assert result["message"] == f"terminated by {number.name}"
    assert watched.stored(result, "out") == "late\n"
    assert result["outputs"]["parameters"][0]["value"] == "1"
    watched.line.end()


@pytest.mark.slow
@pytest.mark.parametrize("number", WISHES)
def test_main_that_ignores_term_is_killed_after_the_grace(watched, number):
    watched.start(
        {
            "outputs": SAVES,
            "container": shell(f"echo half > /tmp/out; {STUBBORN}"),
            "sidecars": [{"name": "beside", **shell(DEAF)}],
        }
    )
    watched.line.hear("begun", "beside")
    began = time.monotonic()

    watched.stop(number)

    result = watched.ended(within=AT_ONCE)
    assert time.monotonic() - began >= 2 * GRACE  # main's, then the sidecar's
    assert result["exitCode"] == 137
    assert watched.stored(result, "out") == "half\n"
    watched.line.hear("term")
    watched.line.end()


@pytest.mark.parametrize("second", WISHES)
def test_a_second_signal_kills_at_once(watched, second):
    watched.start(
        {
            "outputs": SAVES,
            "container": shell(f"echo half > /tmp/out; {STUBBORN}"),
            "sidecars": [{"name": "beside", **shell(DEAF)}],
        },
        ARGO_TERMINATION_GRACE_PERIOD_SECONDS="3600",
    )
    watched.line.hear("begun", "beside")
    watched.stop(signal.SIGINT)
    watched.line.hear("term")

    watched.stop(second)

    result = watched.ended(within=AT_ONCE)
    assert result["exitCode"] == 137
    assert watched.stored(result, "out") == "half\n"
    watched.line.end()


def test_a_burst_of_signals_neither_hangs_nor_breaks_it(watched):
    """How many arrive is the kernel's choice; from the third on it may abandon what is not saved, which is an Error."""
    watched.start({"container": shell(STUBBORN)})
    watched.line.hear("begun")

    for _ in range(20):
        watched.stop(signal.SIGTERM)
        watched.stop(signal.SIGHUP)

    result = watched.program.end(within=AT_ONCE).result()
    assert (result["phase"], watched.program.process.returncode) in [("Failed", 3), ("Error", 1)]
    assert result["exitCode"] == 137
    assert result["message"].startswith("terminated by SIG")
    watched.check_nothing_is_left()
    watched.line.end()


def test_children_that_main_leaves_behind_end_with_it(watched):
    child = "setsid sh -c 'trap \"\" TERM HUP; echo child >&3; while :; do sleep 60; done'"
    watched.start({"container": shell(f"({child} &); echo begun >&3; exec sleep 60")})
    watched.line.hear("begun", "child")

    watched.stop(signal.SIGTERM)

    assert watched.ended(within=AT_ONCE)["exitCode"] == 143
    watched.line.end()


# --- after main -------------------------------------------------------------------------------------------------------


def test_a_signal_while_sidecars_are_given_their_grace_does_not_lose_the_outputs(watched):
    """Main has ended well; the second wish leaves the sidecar no more grace."""
    go = watched.runner.directory / "secrets/line/go"
    os.mkfifo(go)
    watched.start(
        {
            "outputs": SAVES,
            "container": shell("echo whole > /tmp/out; read line < /line/go"),
            "sidecars": [{"name": "beside", **shell(STUBBORN)}],
        }
    )
    watched.line.hear("begun")
    with go.open("w") as file:
        file.write("go\n")
    watched.line.hear("term")  # the sidecar is being killed: main has ended

    watched.stop(signal.SIGTERM)

    result = watched.program.end(within=AT_ONCE).result()
    assert (result["phase"], watched.program.process.returncode) in [("Succeeded", 0), ("Failed", 3)]
    assert result["exitCode"] == 0
    assert watched.stored(result, "out") == "whole\n"
    watched.check_nothing_is_left()
    watched.line.end()


# --- no chance to tidy up ---------------------------------------------------------------------------------------------


def test_kill_9_of_the_runner_leaves_no_process_of_a_container(watched):
    program = watched.start(
        {
            "container": shell("echo begun >&3; exec sleep 60"),
            "sidecars": [{"name": "beside", **shell(DEAF)}],
        }
    )
    watched.line.hear("begun", "beside")
    alive = processes(watched.marker)
    assert len(alive) > 5, alive  # the runner, and of each container its shim, its init and its command
    held = [os.pidfd_open(pid) for pid in alive]

    program.signal(signal.SIGKILL)

    for fd in held:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        assert poller.poll(HANGS * 1000), f"one of these still lives: {processes(watched.marker)}"
        os.close(fd)
    watched.line.end()
    assert program.end().process.returncode == -signal.SIGKILL
    assert program.stdout == ""
    watched.check_nothing_is_left()
    journal = [json.loads(line) for line in (watched.workdir / "journal.jsonl").read_text().splitlines()]
    assert journal[0]["kind"] == "pod"
    assert "end" not in [line["kind"] for line in journal]


def test_what_a_killed_run_left_can_be_explained(watched, start):
    program = watched.start({"container": shell("echo begun >&3; exec sleep 60")})
    watched.line.hear("begun")
    program.signal(signal.SIGKILL)
    watched.line.end()
    program.end()

    told = start(watched.runner.directory, "explain", watched.workdir / "journal.jsonl").end(0)

    assert watched.marker in told.stdout
    assert "was killed" in told.stdout


# --- whoever asks -----------------------------------------------------------------------------------------------------


def test_sigusr1_says_where_a_run_is_on_stderr_where_stdout_is_for_programs(watched):
    watched.start({"container": shell(f"echo begun >&3; {FOR_EVER}")})
    watched.line.hear("begun")

    watched.program.signal(signal.SIGUSR1)
    watched.program.await_line(" (since ")  # main may run a moment before the phase that waits for it begins

    watched.stop(signal.SIGTERM)
    assert watched.program.end(3).result()["phase"] == "Failed"
    watched.check_nothing_is_left()


def test_sigusr1_and_signs_of_life_are_lines_of_the_display_where_a_person_looks(runner):
    program = runner.start({"container": {"command": ["sleep", "60"]}}, "-o", "text", ARGOEXEC_HEARTBEAT="1h")
    program.await_line("starting")

    program.signal(signal.SIGUSR1)
    program.await_line(" (since ")
    assert any(line.startswith("  · ") and " (since " in line for line in program.stdout.splitlines())

    program.signal(signal.SIGTERM)
    assert program.end(3).stderr == ""
