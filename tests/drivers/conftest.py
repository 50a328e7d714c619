"""Secrets in a directory, servers, and an environment in which no proxy, profile or credential of the machine is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lifecycle.secret import SecretReader
from tests.servers.certificates import self_signed
from tests.servers.httpd import Httpd
from tests.servers.seaweedfs import READER, SeaweedFS, binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("AWS_") or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Secrets(SecretReader):
    """Mounted secrets that a test can write."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root

    def write(self, name: str, **values: str) -> None:
        (self.root / name).mkdir(parents=True, exist_ok=True)
        for key, value in values.items():
            (self.root / name / key).write_text(value)


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path / "secrets")


@pytest.fixture
def httpd() -> Iterator[Httpd]:
    with Httpd() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[SeaweedFS]:
    binary()
    certificate = request.getfixturevalue("certificate")
    with SeaweedFS.started(tmp_path_factory.mktemp("seaweedfs"), certificate) as server:
        yield server


@pytest.fixture
def s3_config(weed: SeaweedFS, secrets: Secrets) -> dict[str, object]:
    """The administrator's location; the reader's secret is there, too."""
    secrets.write("s3", access=weed.access_key, secret=f"{weed.secret_key}\n")
    secrets.write("reader", access=READER.access_key, secret=READER.secret_key)
    return {
        "endpoint": weed.endpoint,
        "bucket": weed.bucket,
        "insecure": True,
        "accessKeySecret": {"name": "s3", "key": "access"},
        "secretKeySecret": {"name": "s3", "key": "secret"},
    }
