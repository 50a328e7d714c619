"""A real gcp-storage-emulator on a loopback port of its own: Google's JSON API without its permissions.

It is a Python package in the servers' environment, whose interpreter ``ARGOEXEC_SERVERS_PYTHON`` names.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers.process import await_ready, free_port, installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
        program = installed("gcp-storage-emulator", "ARGOEXEC_SERVERS_PYTHON")
        argv = [program, "-m", "gcp_storage_emulator", "-d", str(directory / "data"), "start", "-q"]
        port = free_port()
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
            await_ready("the emulator", [process], [directory / "log"], server._look, (OSError,))
            yield server
        finally:
            process.kill()
            process.wait()

    def _look(self) -> None:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/", timeout=5).close()


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
