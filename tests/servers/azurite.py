"""A real Azurite on a loopback port of its own: Azure's blob service, which verifies signatures and SAS tokens.

The program is the one named by ``ARGOEXEC_AZURITE``, or ``azurite-blob`` on the PATH; ``make test-real`` installs it
from ``azurite/package-lock.json``.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT = "argoexec"
KEY = base64.b64encode(b"the key of the account in tests!").decode()
CONTAINER = "artifacts"
_START = 60.0


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running server with one account and one container."""

    endpoint: str
    container: str = CONTAINER

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path) -> Iterator[Azurite]:
        """Start one whose data is below ``directory``; it is killed at the end."""
        program = binary()
        data = directory / "data"
        data.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        argv = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "-l", str(data), "--silent"]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*argv, "--disableTelemetry", "--skipApiVersionCheck", "--disableProductStyleUrl"],
                cwd=data,
                env=os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        server = cls(f"http://127.0.0.1:{port}/{ACCOUNT}")
        try:
            server._await(process, directory / "log")
            yield server
        finally:
            process.kill()
            process.wait()

    def client(self) -> Any:
        """A plain client, to prepare and to look."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self.endpoint, {"account_name": ACCOUNT, "account_key": KEY}, retry_total=0)

    def sas(self, permission: str, *, minutes: int = 60) -> str:
        """A token for the container that is valid so many minutes from now on; less than none has expired."""
        from azure.storage.blob import generate_container_sas

        now = datetime.fromtimestamp(time.time(), UTC)
        return generate_container_sas(
            ACCOUNT,
            self.container,
            KEY,
            permission=permission,
            start=now - timedelta(hours=2),
            expiry=now + timedelta(minutes=minutes),
        )

    def _await(self, process: subprocess.Popen[bytes], log: Path) -> None:
        from azure.core.exceptions import AzureError

        until = time.monotonic() + _START
        with self.client() as client:
            while True:
                try:
                    client.create_container(self.container)
                    return
                except AzureError as error:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(0.05)
                    if process.returncode is not None or time.monotonic() > until:
                        tail = log.read_text(errors="replace")[-2000:]
                        raise RuntimeError(f"Azurite does not come up ({error}):\n{tail}") from error


def binary() -> str:
    """The program; without it the test is skipped by name, and fails in ``make test-real``."""
    found = os.environ.get("ARGOEXEC_AZURITE") or shutil.which("azurite-blob")
    if found and os.access(found, os.X_OK):
        return found
    reason = "needs Azurite: make test-real starts it"
    if os.environ.get("ARGOEXEC_TEST_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
