"""The bridge to fsspec over SFTP: paramiko against OpenSSH."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from drivers.conformance import Bytes, DriverConformance, Store
from drivers.fsspec import FsspecDriver
from lifecycle.errors import NotFound, Unauthorized, Unavailable
from tests.servers.sftp import Sftp

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def driver(sftp: Sftp, secrets) -> FsspecDriver:
    return FsspecDriver({"options": sftp.options()}, secrets)


class TestConformance(DriverConformance):
    # In a URL `?` begins a query, which fsspec takes off.
    odd_names = tuple(name for name in DriverConformance.odd_names if "?" not in name)

    @pytest.fixture
    def store(self, driver: FsspecDriver, sftp: Sftp, tmp_path: Path) -> Store:
        return Store(driver, sftp.url(tmp_path / uuid4().hex))


def test_a_failed_save_keeps_the_file_that_was_there(driver: FsspecDriver, sftp: Sftp, tmp_path: Path):
    (tmp_path / "object").write_bytes(b"old")
    with pytest.raises(RuntimeError):
        driver.save(sftp.url(tmp_path / "object"), Bytes(3 << 20, failure=RuntimeError("broke")), None)

    assert (tmp_path / "object").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["object"]


def test_the_rest_of_a_file_is_given_as_long_as_it_is_the_same(driver: FsspecDriver, sftp: Sftp, tmp_path: Path):
    (tmp_path / "object").write_bytes(b"0123456789")
    url = sftp.url(tmp_path / "object")
    with driver.open(url) as stream:
        version = stream.version
        assert stream.size == 10
    with driver.open_rest(url, 4, version) as rest:
        assert (rest.size, rest.read()) == (6, b"456789")
    (tmp_path / "object").write_bytes(b"another")

    with pytest.raises(NotFound):
        driver.open_rest(url, 4, version)


def test_a_key_that_is_not_accepted_is_told_without_a_trace_of_it(sftp: Sftp, secrets, tmp_path: Path):
    driver = FsspecDriver({"options": sftp.options() | {"key_filename": str(sftp.key.with_name("host"))}}, secrets)
    with pytest.raises(Unauthorized) as caught:
        driver.open(sftp.url(tmp_path / "object"))

    assert "key_filename" in caught.value.remedy


def test_nobody_at_the_port_is_unavailable(sftp: Sftp, secrets):
    driver = FsspecDriver({"options": sftp.options()}, secrets)
    with pytest.raises(Unavailable, match="refused"):
        driver.open("sftp://127.0.0.1:1/x")


def test_a_read_that_blocks_is_ended_from_another_thread(driver: FsspecDriver, sftp: Sftp, tmp_path: Path):
    driver.save(sftp.url(tmp_path / "object"), io.BytesIO(bytes(4 << 20)), None)
    stream = driver.open(sftp.url(tmp_path / "object"))
    stream.read(10)
    stream.abort()

    with pytest.raises(Unavailable):
        stream.read()
