"""The servers behind fsspec as fixtures, one of each for a run; `tests/conftest.py` gives them to every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.azurite import Azurite
from tests.servers.gcs import Gcs
from tests.servers.sftp import Sftp

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    with Gcs.started(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite.started(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sftp]:
    with Sftp.started(tmp_path_factory.mktemp("sftp")) as server:
        yield server
