"""A real gcp-storage-emulator on a loopback port of its own: Google's JSON API without its permissions.

It is a Python package in the servers' environment, whose interpreter ``ARGOEXEC_SERVERS_PYTHON`` names.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START = 60.0
_BUCKET = "artifacts"


@dataclass(frozen=True, slots=True)
class Gcs:
    """A running emulator with one bucket."""

    url: str
    bucket: str = _BUCKET

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path) -> Iterator[Gcs]:
        """Start one whose data is below ``directory``; it is killed at the end."""
        argv = [python(), "-m", "gcp_storage_emulator", "-d", str(directory / "data"), "start", "-q"]
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*argv, "-H", "127.0.0.1", "--port", str(port), "--default-bucket", _BUCKET],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        server = cls(f"http://127.0.0.1:{port}")
        try:
            _await(process, server.url, directory / "log")
            yield server
        finally:
            process.kill()
            process.wait()


def service_account(token_uri: str) -> str:
    """The JSON key of an account that nobody has."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "private_key": key.decode(),
            "private_key_id": "1",
            "client_email": "tests@argoexec.example",
            "token_uri": token_uri,
        }
    )


def python() -> str:
    """The interpreter of the servers; without it the test is skipped by name, and fails in ``make test-real``."""
    found = os.environ.get("ARGOEXEC_SERVERS_PYTHON")
    if found and os.access(found, os.X_OK):
        return found
    reason = "needs gcp-storage-emulator: make test-real starts it"
    if os.environ.get("ARGOEXEC_TEST_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + _START
    while True:
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/", timeout=5).close()
            return
        except (urllib.error.URLError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            if process.returncode is not None or time.monotonic() > until:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the emulator does not come up ({error}):\n{tail}") from error
