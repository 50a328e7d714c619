"""Ports of 127.0.0.1 for servers that must be told theirs, and the wait until one listens."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def free(count: int) -> list[int]:
    """So many that nobody has, all different."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def await_listening(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 30.0) -> None:
    """Until the port takes connections; an error with the end of the log when it never does."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
            if process.returncode is not None or time.monotonic() > until:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{process.args!r} does not come up:\n{tail}") from error


def stop(process: subprocess.Popen[bytes]) -> None:
    """By its process id; bounded."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
