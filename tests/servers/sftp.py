"""A real sshd on a loopback port of its own that gives SFTP to the user of the tests, by key or by none."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_START = 30.0


@dataclass(frozen=True, slots=True)
class Sftp:
    """A running server; it sees the file system of this machine."""

    port: int
    key: Path
    user: str

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path) -> Iterator[Sftp]:
        """Start one whose keys are in ``directory``; it and its sessions are killed at the end."""
        program = binary()
        directory.mkdir(parents=True, exist_ok=True)
        host, user = _key(directory / "host"), _key(directory / "user")
        (directory / "authorized").write_text(user.with_suffix(".pub").read_text())
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        config = {
            "ListenAddress": "127.0.0.1", "Port": port, "HostKey": host, "AuthorizedKeysFile": directory / "authorized",
            "PidFile": "none", "UsePAM": "no", "StrictModes": "no", "PasswordAuthentication": "no",
            "PermitRootLogin": "yes", "Subsystem": "sftp internal-sftp", "MaxStartups": 100, "UseDNS": "no",
        }  # fmt: skip
        (directory / "config").write_text("".join(f"{name} {value}\n" for name, value in config.items()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks up what has not logged in yet
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "-D", "-e", "-f", directory / "config"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _await(process, port, directory / "log")
            yield cls(port, user, getpass.getuser())
        finally:
            process.kill()
            process.wait()

    def url(self, path: Path) -> str:
        """Of a path of this machine."""
        return f"sftp://127.0.0.1:{self.port}{path}"

    def options(self) -> dict[str, Any]:
        """What fsspec's filesystem must be told."""
        return {"username": self.user, "key_filename": str(self.key), "allow_agent": False, "look_for_keys": False}


def binary() -> str:
    """The program; in ``make test`` nobody asks for it, and in ``make test-real`` it is there or the test fails."""
    reason = "needs OpenSSH's server: make test-real starts it"
    if os.environ.get("ARGOEXEC_TEST_REAL") != "1":
        pytest.skip(reason)
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not found or not shutil.which("ssh-keygen"):
        pytest.fail(reason)
    return found


def _key(path: Path) -> Path:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return path


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
        if process.returncode is not None or time.monotonic() > until:
            raise RuntimeError(f"sshd does not come up:\n{log.read_text(errors='replace')[-2000:]}")
