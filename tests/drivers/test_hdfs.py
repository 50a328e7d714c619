"""The hdfs driver by RPC, on real clusters."""

from __future__ import annotations

import pytest

from drivers.conformance import DriverConformance, Store
from drivers.hdfs import HdfsDriver
from tests.servers.clusters import fresh


class TestPlain(DriverConformance):
    @pytest.fixture
    def store(self, plain_config, secrets):
        return Store(HdfsDriver(plain_config, secrets), fresh())


class TestKeytab(DriverConformance):
    @pytest.fixture
    def store(self, keytab_config, secrets):
        return Store(HdfsDriver(keytab_config, secrets), fresh())


class TestCredentialCache(DriverConformance):
    @pytest.fixture
    def store(self, cache_config, secrets):
        return Store(HdfsDriver(cache_config, secrets), fresh())
