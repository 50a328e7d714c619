"""A server as a child process: in a group of its own, awaited by its port, killed by its id with all it has started."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_START = 30.0
_READY = 60.0


def needs(what: str, *programs: str) -> str:
    """The path of the first of the programs, all of which must be there.

    The test is skipped by name but in `make test-real`, where it fails without them: `make test` starts no server,
    even where one happens to be installed.
    """
    if os.environ.get("ARGOEXEC_TEST_REAL") != "1":
        pytest.skip(f"needs {what}: make test-real starts it")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    found = {program: shutil.which(program, path=path) for program in programs}
    if missing := [program for program, where in found.items() if where is None]:
        pytest.fail(f"needs {what}: make test-real installs it; there is no {', '.join(missing)}")
    return found[programs[0]] or ""


def installed(what: str, variable: str, program: str = "") -> str:
    """The program that an environment variable names, else ``program`` on the PATH.

    Without it the test is skipped by name, and fails in `make test-real`. It is used wherever it is there: nobody has
    it by chance.
    """
    found = os.environ.get(variable) or shutil.which(program)
    if found and os.access(found, os.X_OK):
        return found
    reason = f"needs {what}: make test-real starts it"
    if os.environ.get("ARGOEXEC_TEST_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A TCP port of loopback that nobody has."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port that is bound and not listened at: whoever connects is refused, and nobody else gets it meanwhile."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield nobody.getsockname()[1]


def await_ready(
    what: str,
    processes: Sequence[subprocess.Popen[bytes]],
    logs: Sequence[Path],
    ask: Callable[[], None],
    not_yet: tuple[type[Exception], ...],
) -> None:
    """Ask a server until it does what it is there for, which may take longer than its port.

    Args:
        what: its name.
        processes: whose end is the end of waiting, too.
        logs: what the error quotes.
        ask: raises one of ``not_yet`` until it is ready.
        not_yet: what it raises before.

    Raises:
        RuntimeError: a process has ended, or a minute has passed.
    """
    until = time.monotonic() + _READY
    while True:
        try:
            ask()
            return
        except not_yet as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                processes[-1].wait(0.05)
            if any(one.poll() is not None for one in processes) or time.monotonic() > until:
                tails = "\n".join(f"{log}: {log.read_text(errors='replace')[-2000:]}" for log in logs)
                raise RuntimeError(f"{what} does not come up ({error}):\n{tails}") from error


@contextlib.contextmanager
def started_process(
    argv: Sequence[str | Path], log: Path, environment: Mapping[str, str], *, port: int = 0, path: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start one, and wait until its port or its Unix socket takes connections."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        until = time.monotonic() + _START
        while not _answers(port, path):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
            if process.returncode is not None or time.monotonic() > until:
                raise RuntimeError(f"{argv[0]} does not come up, see {log}:\n{log.read_text(errors='replace')[-2000:]}")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass
class Daemon:
    """A process that can be taken away for a while, and comes back."""

    argv: Sequence[str | Path]
    log: Path
    port: int = 0
    path: Path | None = None
    """A Unix socket, in place of a port."""
    ready: Callable[[subprocess.Popen[bytes]], None] = lambda _: None
    """Waits for what it is there for, which may take longer than its port."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More of it than where programs are."""
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        known = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(self.log.parent)}
        environment = known | dict(self.environment)
        one = started_process(self.argv, self.log, environment, port=self.port, path=self.path)
        self._process = self._running.enter_context(one)
        self.ready(self._process)

    def stop(self) -> None:
        """Kill it, and wait for the end of what it has started as its own."""
        with contextlib.ExitStack() as held:
            ends = select.poll()
            count = 0
            for process in _below(self._process.pid) if self._process else ():
                with contextlib.suppress(ProcessLookupError):
                    end = os.pidfd_open(process)
                    held.callback(os.close, end)
                    ends.register(end, select.POLLIN)
                    count += 1
            self._running.close()
            self._process = None
            until = time.monotonic() + _START
            while count and (left := until - time.monotonic()) > 0:
                for end, _ in ends.poll(left * 1000):
                    ends.unregister(end)
                    count -= 1

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """It is not there: connections are refused. Afterwards it is again, with what it has stored."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections, and says nothing."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)


def _below(process: int) -> list[int]:
    """The descendants of a process."""
    children: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for tasks in Path(f"/proc/{process}/task").iterdir():
            children += map(int, (tasks / "children").read_text().split())
    return [one for child in children for one in (child, *_below(child))]


def _answers(port: int, path: Path | None) -> bool:
    family = socket.AF_UNIX if path else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        return one.connect_ex(str(path) if path else ("127.0.0.1", port)) == 0
