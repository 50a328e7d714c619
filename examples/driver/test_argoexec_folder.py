"""All that a storage driver must do: argoexec's own suite."""

from pathlib import Path

import pytest
from argoexec_folder import FolderDriver

from drivers.testing import DriverConformance, Store
from lifecycle.secret import SecretReader


class TestFolder(DriverConformance):
    @pytest.fixture
    def store(self, tmp_path):
        driver = FolderDriver({"folder": str(tmp_path)}, SecretReader(Path("/nowhere")))
        return Store(driver, "a/key/below/which/nothing/is")
