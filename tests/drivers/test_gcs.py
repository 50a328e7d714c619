"""Google Cloud Storage: the conformance run on the emulator, and by script what no emulator does."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from drivers.conformance import DriverConformance, Store
from drivers.gcs import GcsDriver
from tests.servers.gcs import Gcs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    with Gcs.started(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture
def emulated(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> Gcs:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    return gcs


class TestConformance(DriverConformance):
    @pytest.fixture
    def store(self, emulated: Gcs, secrets) -> Store:
        return Store(GcsDriver({"bucket": emulated.bucket}, secrets), f"test/{uuid4().hex}")
