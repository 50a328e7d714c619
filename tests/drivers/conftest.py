"""A clean environment for every test of a driver, and what several of them need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers import environment
from tests.servers.seaweedfs import READER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fixtures import Secrets
    from tests.servers.seaweedfs import SeaweedFS


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.clean(monkeypatch, tmp_path)


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
