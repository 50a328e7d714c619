"""Artifactory: the conformance suite on what JFrog documents of it, and checksums that are not right."""

from __future__ import annotations

import hashlib
import io
import json
import os
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from drivers.artifactory import ArtifactoryDriver
from drivers.conformance import MIB, Bytes, DriverConformance
from lifecycle.errors import BadRequest, CorruptData, LifecycleError, NotFound, Unauthorized, Unavailable
from tests.drivers.urls import UrlStore
from tests.servers.artifactory import credentials
from tests.servers.httpd import Answer, Httpd
from tests.servers.proxy import Fault, Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.conformance import Store
    from tests.servers.artifactory import Artifactory


@pytest.fixture
def config(secrets) -> dict[str, Any]:
    return credentials(secrets)


@pytest.fixture
def driver(config: dict[str, Any], secrets) -> ArtifactoryDriver:
    return ArtifactoryDriver(config, secrets)


class TestArtifactory(DriverConformance):
    lists = False  # its listing is not in every edition

    @pytest.fixture
    def store(self, driver: ArtifactoryDriver, artifactory: Artifactory) -> Store:
        return UrlStore(driver, f"{artifactory.url}/test")


def failure(work: Any) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        work()
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 20 * MIB])
def test_every_checksum_goes_with_the_file(driver: ArtifactoryDriver, artifactory: Artifactory, size: int):
    data = os.urandom(size)
    driver.save(f"{artifactory.url}/x", io.BytesIO(data), None)

    sums = {name: hashlib.new(name, data).hexdigest() for name in ("sha256", "sha1", "md5")}
    assert artifactory.checksums == [sums]


def test_a_source_that_breaks_asks_nobody(driver: ArtifactoryDriver, httpd: Httpd):
    with pytest.raises(RuntimeError):
        driver.save(httpd.on("/x", Answer(201)), Bytes(20 * MIB, failure=RuntimeError()), None)

    assert httpd.requests == []


@pytest.mark.parametrize("size", [5, 20 * MIB])
def test_nothing_is_stored_without_the_password(config, secrets, artifactory: Artifactory, size: int):
    secrets.write("jfrog", password="wr0ng-passw0rd")
    driver = ArtifactoryDriver(config, secrets)
    for work in (lambda: driver.save(f"{artifactory.url}/x", Bytes(size), None), lambda: driver.open(artifactory.url)):
        found = failure(work)

        assert type(found) is Unauthorized
        assert "passwordSecret" in found.remedy
        assert "wr0ng" not in "".join(traceback.format_exception(found))
    assert artifactory.files() == []


@pytest.mark.parametrize("missing", ["usernameSecret", "passwordSecret"])
def test_half_a_credential_is_refused_by_name(config, secrets, missing: str):
    del config[missing]
    with pytest.raises(BadRequest, match=missing):
        ArtifactoryDriver(config, secrets)


@pytest.mark.parametrize("config", [{}, {"usernameSecret": None, "passwordSecret": None}, {"usernameSecret": {}}])
def test_no_credential_is_none(httpd: Httpd, secrets, config: dict[str, Any]):
    ArtifactoryDriver(config, secrets).open(httpd.on("/x", Answer())).close()

    assert "Authorization" not in httpd.requests[0].headers


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"OK",
        b"[]",
        b'{"checksums": null}',
        b'{"checksums": "none", "size": null}',
        b'{"size": 4}',
        b'{"size": "4"}',
        json.dumps({"checksums": {"sha1": hashlib.sha1(b"data").hexdigest().upper()}}).encode(),
        b'{"checksums": {"crc32": "00000000"}}',
    ],
)
def test_what_the_server_does_not_tell_is_not_compared(driver: ArtifactoryDriver, httpd: Httpd, answer: bytes):
    driver.save(httpd.on("/x", Answer(201, answer)), io.BytesIO(b"data"), None)


@pytest.mark.parametrize(
    "answer", [{"size": "3"}, {"size": 5}, {"checksums": {"md5": "0" * 32}}, {"checksums": {"sha256": "0" * 64}}]
)
def test_what_it_has_otherwise_is_corrupt_and_deleted(driver: ArtifactoryDriver, httpd: Httpd, answer: dict[str, Any]):
    url = httpd.on("/x?hidden", Answer(201, json.dumps(answer).encode()))
    found = failure(lambda: driver.save(url, io.BytesIO(b"data"), None))

    assert type(found) is CorruptData
    assert "hidden" not in found.message
    assert [request.method for request in httpd.requests] == ["PUT", "DELETE"]


def test_a_conflict_says_what_it_may_be(driver: ArtifactoryDriver, httpd: Httpd):
    found = failure(lambda: driver.save(httpd.on("/x", Answer(409)), io.BytesIO(b"data"), None))

    assert type(found) is BadRequest
    assert "other bytes" in found.remedy


@pytest.mark.parametrize("name", ["Sha256", "Sha1", "Md5"])
@pytest.mark.parametrize("length", [None, -1])
def test_bytes_that_do_not_have_their_checksum_are_no_artifact(
    driver: ArtifactoryDriver, httpd: Httpd, name: str, length: int | None
):
    right = hashlib.new(name, b"data").hexdigest()
    for body in (b"data", b"dbta"):
        url = httpd.on(f"/{body.decode()}", Answer(200, body, {f"X-Checksum-{name}": right.upper()}, length=length))
        with driver.open(url) as stream:
            if body == b"data":
                assert stream.read() == b"data"
                continue
            assert stream.read(2) == b"db"
            with pytest.raises(CorruptData, match=right):
                stream.read()


def test_a_download_that_broke_is_checked_as_a_whole(driver: ArtifactoryDriver, artifactory: Artifactory):
    data = os.urandom(3 * MIB)
    url = f"{artifactory.url}/x"
    driver.save(url, io.BytesIO(data), None)
    with Proxy(artifactory.endpoint) as proxy:
        proxy.plan(Fault("cut", after=MIB))
        through = url.replace(artifactory.endpoint, proxy.address)
        got, version = broken(driver, through)
        assert 0 < len(got) < len(data)
        with driver.open_rest(through, len(got), version) as rest:
            assert got + rest.read() == data


def test_the_rest_of_another_file_is_not_found(driver: ArtifactoryDriver, artifactory: Artifactory):
    url = f"{artifactory.url}/x"
    driver.save(url, io.BytesIO(b"the first"), None)
    with driver.open(url) as stream:
        version = stream.version
    driver.save(url, io.BytesIO(b"the second one"), None)

    assert type(failure(lambda: driver.open_rest(url, 4, version))) is NotFound


def test_the_rest_of_a_damaged_file_is_corrupt(driver: ArtifactoryDriver, httpd: Httpd):
    sums = {"X-Checksum-Sha256": hashlib.sha256(b"whole data").hexdigest()}
    url = httpd.on(
        "/x",
        Answer(200, b"whole", sums, length=10),
        Answer(206, b" dbta", sums | {"Content-Range": "bytes 5-9/10"}),
    )
    got, version = broken(driver, url)
    with driver.open_rest(url, len(got), version) as rest, pytest.raises(CorruptData):
        rest.read()


def broken(driver: ArtifactoryDriver, url: str) -> tuple[bytes, str]:
    got = b""
    with driver.open(url) as stream:
        try:
            while data := stream.read(65536):
                got += data
        except Unavailable:
            return got, stream.version
    pytest.fail("it did not break")


def test_a_large_file_waits_where_no_name_leads(driver: ArtifactoryDriver, httpd: Httpd, tmp_path: Path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    driver.save(httpd.on("/x", Answer(201)), Bytes(20 * MIB), None)

    assert list((tmp_path / "spool").iterdir()) == []
    assert len(httpd.requests[0].body) == 20 * MIB
