"""A real Azurite on a loopback port of its own: Azure's blob service, which verifies signatures and SAS tokens.

The program is the one named by ``ARGOEXEC_AZURITE``, or ``azurite-blob`` on the PATH; ``make test-real`` installs it
from ``azurite/package-lock.json``.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.servers.process import await_ready, free_port, installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT = "argoexec"
KEY = base64.b64encode(b"the key of the account in tests!").decode()
CONTAINER = "artifacts"


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running server with one account and one container."""

    endpoint: str
    container: str = CONTAINER

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path) -> Iterator[Azurite]:
        """Start one whose data is below ``directory``; it is killed at the end."""
        from azure.core.exceptions import AzureError

        program = installed("Azurite", "ARGOEXEC_AZURITE", "azurite-blob")
        data = directory / "data"
        data.mkdir(parents=True)
        port = free_port()
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
            await_ready("Azurite", [process], [directory / "log"], server._make_container, (AzureError,))
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

    def _make_container(self) -> None:
        with self.client() as client:
            client.create_container(self.container)
