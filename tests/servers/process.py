"""A server as a child process: in a group of its own, awaited by its port, killed by its id with all it has started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_START = 30.0


def needs(what: str, *programs: str) -> str:
    """The path of the first of the programs, all of which must be there.

    The test is skipped by name but in `make test-real`, where it fails without them: `make test` starts no server,
    even where one happens to be installed.
    """
    if os.environ.get("ARGOEXEC_TEST_REAL") != "1":
        pytest.skip(f"needs {what}: make test-real starts it")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    found = [shutil.which(program, path=path) for program in programs]
    if not all(found):
        pytest.fail(f"needs {what}: make test-real installs it")
    return found[0] or ""


def free_port() -> int:
    """A TCP port of loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


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
                raise RuntimeError(f"{argv[0]} does not come up:\n{log.read_text(errors='replace')[-2000:]}")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int, path: Path | None) -> bool:
    family = socket.AF_UNIX if path else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        return one.connect_ex(str(path) if path else ("127.0.0.1", port)) == 0
