"""All that a storage driver must do: argoexec's own suite."""

import uuid
from pathlib import Path

import pytest
from argoexec_sqlite import SqliteDriver

from drivers.testing import DriverConformance, Store
from lifecycle.secret import SecretReader


class TestSqlite(DriverConformance):
    @pytest.fixture
    def store(self, tmp_path):
        driver = SqliteDriver({"file": str(tmp_path / "artifacts.db")}, SecretReader(Path("/nowhere")))
        return Store(driver, uuid.uuid4().hex)
