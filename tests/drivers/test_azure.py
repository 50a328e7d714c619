"""Azure Blob Storage: the conformance run on Azurite, and by script what it does not do."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from drivers.azure import AzureDriver
from drivers.conformance import DriverConformance, Store
from tests.servers.azurite import KEY, Azurite

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite.started(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def config(secrets, azurite: Azurite) -> dict[str, object]:
    secrets.write("azure", key=KEY)
    return {
        "endpoint": azurite.endpoint,
        "container": azurite.container,
        "accountKeySecret": {"name": "azure", "key": "key"},
    }


class TestConformance(DriverConformance):
    # Azure makes a slash of a backslash in a name.
    odd_names = tuple(name for name in DriverConformance.odd_names if "\\" not in name)

    @pytest.fixture
    def store(self, config: dict[str, object], secrets) -> Store:
        return Store(AzureDriver(config, secrets), f"test/{uuid4().hex}")
