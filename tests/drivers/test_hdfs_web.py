"""The hdfs driver by WebHDFS: on real clusters, and on a scripted server for what those do not do."""

from __future__ import annotations

import pytest

from drivers.conformance import DriverConformance, Store
from drivers.hdfs import HdfsDriver
from tests.servers.clusters import fresh


class TestPlain(DriverConformance):
    @pytest.fixture
    def store(self, plain_config, hadoop, secrets):
        return Store(HdfsDriver(plain_config | {"addresses": [hadoop.url]}, secrets), fresh())


class TestKeytab(DriverConformance):
    @pytest.fixture
    def store(self, keytab_config, kerberized, secrets):
        del keytab_config["dataTransferProtection"]
        return Store(HdfsDriver(keytab_config | {"addresses": [kerberized.url]}, secrets), fresh())


class TestCredentialCache(DriverConformance):
    @pytest.fixture
    def store(self, cache_config, kerberized, secrets):
        del cache_config["dataTransferProtection"]
        return Store(HdfsDriver(cache_config | {"addresses": [kerberized.url]}, secrets), fresh())
