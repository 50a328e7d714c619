"""git as child processes: in a session of their own, killed as a group, never waited for without a limit.

What one prints is kept only as far as an error needs it, with every credential taken out.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lifecycle.errors import BadRequest, TimedOut, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_CHUNK: Final = 64 * 1024
_KEPT: Final = 32 * 1024
"""Bytes of stderr that are kept: an error is the last thing a program says."""
_LISTING: Final = 256 * 1024 * 1024
"""Bytes that a listing of refs may have: three million of them."""


class Failed(Exception):
    """A git command ended with an error.

    Attributes:
        status: its exit status, negative after a signal.
        text: the end of what it said, without credentials.
        network: whether it spoke to a server.
    """

    def __init__(self, command: str, status: int, text: str, *, network: bool) -> None:
        super().__init__(f"git {command} ended with {status}: {text}")
        self.status = status
        self.text = text
        self.network = network


class Children:
    """The processes of one driver, so that another thread can end them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._aborted = False

    def start(self, argv: list[str], cwd: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """A process that leads a session: no terminal to ask a person on; ``None`` after :meth:`abort`."""
        with self._lock:
            if self._aborted:
                return None
            process = subprocess.Popen(
                argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
            return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill it, and all it has started."""
        with self._lock:
            if process in self._running:
                _kill(process)

    def reap(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for its end, and leave nothing of its group behind; gives the exit status."""
        # Not reaped before the group is killed: until then its number cannot be another's.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            _kill(process)
            self._running.discard(process)
            return process.wait()

    def abort(self) -> None:
        """Kill them all, and start no more."""
        with self._lock:
            self._aborted = True
            for process in self._running:
                _kill(process)

    @property
    def aborted(self) -> bool:
        """Whether that was asked for."""
        return self._aborted


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Command:
    """Runs git in one directory.

    Attributes:
        program: its path.
        directory: where.
        environment: all of it; nothing is inherited.
        children: who can end it.
        where: for messages.
        redact: takes credentials out of a text.
        silence: seconds without any sign of life after which a command that speaks to a server is ended.
    """

    program: str
    directory: Path
    environment: Mapping[str, str]
    children: Children
    where: str
    redact: Callable[[str], str]
    silence: float

    def run(self, *arguments: str, network: bool = False) -> str:
        """What it prints on stdout.

        Args:
            arguments: the command and its own.
            network: whether it speaks to a server; one that does not may take any time.

        Raises:
            Failed: it ended with an error.
            TimedOut: it was silent for too long.
            Unavailable: it was aborted.
            OSError: it cannot be started.
        """
        process = self.children.start([self.program, *arguments], self.directory, self.environment)
        if process is None:
            raise Unavailable(f"{self.where}: it was stopped")
        try:
            output, said = self._listen(process, self.silence if network else None)
        except BaseException:
            self.children.kill(process)
            raise
        finally:
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            status = self.children.reap(process)
        if self.children.aborted:
            raise Unavailable(f"{self.where}: it was stopped")
        if status != 0:
            raise Failed(arguments[0], status, self.redact(_readable(said)), network=network)
        return output.decode(errors="surrogateescape")

    def _listen(self, process: subprocess.Popen[bytes], silence: float | None) -> tuple[bytes, bytes]:
        output, said = bytearray(), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout or -1, selectors.EVENT_READ, output)
            selector.register(process.stderr or -1, selectors.EVENT_READ, said)
            while selector.get_map():
                ready = selector.select(silence)
                if not ready:
                    raise TimedOut(f"{self.where}: no sign of life for {silence:.0f} s")
                for key, _ in ready:
                    data = os.read(key.fd, _CHUNK)
                    if not data:
                        selector.unregister(key.fileobj)
                    key.data.extend(data)
                del said[:-_KEPT]
                if len(output) > _LISTING:
                    raise BadRequest(f"{self.where}: its list of refs is longer than {_LISTING >> 20} MiB")
        return bytes(output), bytes(said)


def _readable(said: bytes) -> str:
    """Without progress, which ends in carriage returns, and without control characters."""
    lines = (line.rpartition("\r")[2] for line in said.decode(errors="replace").replace("\r\n", "\n").split("\n"))
    shown = ("".join(char if char.isprintable() else "?" for char in line.expandtabs()) for line in lines)
    return "\n".join(line.rstrip() for line in shown if line.strip())
