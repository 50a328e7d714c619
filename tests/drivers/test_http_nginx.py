"""The http driver against a real nginx with DAV and a real OAuth2 server: conformance with each kind of auth."""

from __future__ import annotations

import io
import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from drivers.conformance import MIB, Bytes, DriverConformance
from drivers.http import HttpDriver
from lifecycle.errors import BadRequest, Forbidden, LifecycleError, NotFound, Unauthorized
from tests.drivers.urls import UrlStore
from tests.servers.nginx import basic, certified
from tests.servers.oauth2 import OAuth2, bearer

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.conformance import Store
    from tests.servers.nginx import Nginx

pytestmark = pytest.mark.server("nginx")


@pytest.fixture(autouse=True)
def _trust(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


class Dav(DriverConformance):
    lists = False  # HTTP knows no directories
    kind = "open"
    tls = False

    @pytest.fixture
    def config(self) -> dict[str, Any]:
        return {}

    @pytest.fixture
    def store(self, nginx: Nginx, config: dict[str, Any], secrets: Any) -> Store:
        base = nginx.https if self.tls else nginx.http
        return UrlStore(HttpDriver(config, secrets), f"{base}/{self.kind}/{uuid.uuid4().hex}")

    def test_a_directory_is_not_an_object(self, store: Store) -> None:
        # nginx leads to the URL with a slash, and refuses to list it: a page of its own, and no artifact.
        store.put("directory/object", b"x")
        with pytest.raises(Forbidden):
            store.driver.open(store.key("directory"))


class TestOpen(Dav):
    pass


class TestOpenByTls(Dav):
    tls = True


class TestViaFile(Dav):
    @pytest.fixture
    def config(self) -> dict[str, Any]:
        return {"saveStreamViaFile": True}


class TestBasic(Dav):
    kind = "basic"

    @pytest.fixture
    def config(self, secrets: Any) -> dict[str, Any]:
        return basic(secrets)


class TestBasicByTls(TestBasic):
    tls = True


class TestBearer(Dav):
    kind = "bearer"

    @pytest.fixture
    def config(self, secrets: Any, oauth2: OAuth2) -> dict[str, Any]:
        return bearer(secrets, oauth2)


class TestBearerByTls(TestBearer):
    tls = True


class TestClientCertificate(Dav):
    @pytest.fixture
    def store(self, nginx: Nginx, secrets: Any, client_certificate: tuple[Path, Path]) -> Store:
        driver = HttpDriver(certified(secrets, client_certificate), secrets)
        return UrlStore(driver, f"{nginx.mtls}/open/{uuid.uuid4().hex}")


def failure(work: Any) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        work()
    return caught.value


def place(nginx: Nginx, kind: str) -> str:
    return f"{nginx.http}/{kind}/{uuid.uuid4().hex}"


@pytest.mark.parametrize("kind", ["basic", "bearer"])
@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_without_credentials_nothing_is_stored(nginx: Nginx, secrets, kind: str, size: int):
    url = place(nginx, kind)
    source = Bytes(size)
    found = failure(lambda: HttpDriver({}, secrets).save(url, source, None))

    assert type(found) is Unauthorized
    assert "401" in found.message
    assert not (nginx.data / url.rpartition("/")[2]).exists()


def test_a_refusal_costs_no_body(nginx: Nginx, secrets):
    source = Bytes(30 * MIB)
    failure(lambda: HttpDriver({}, secrets).save(place(nginx, "basic"), source, None))

    assert len(source.readall()) == 29 * MIB  # the first one is read before the server is asked


def test_a_wrong_password_is_unauthorized_and_names_the_secret(nginx: Nginx, secrets):
    driver = HttpDriver(basic(secrets, "wr0ng-passw0rd"), secrets)
    for work in (driver.open, lambda url: driver.save(url, io.BytesIO(b"x"), None), driver.delete):
        found = failure(lambda work=work: work(place(nginx, "basic")))

        assert type(found) is Unauthorized
        assert "passwordSecret: key 'password' of secret 'dav'" in found.remedy


def test_a_client_without_its_certificate_is_refused(nginx: Nginx, secrets):
    found = failure(lambda: HttpDriver({}, secrets).open(f"{nginx.mtls}/open/x"))

    assert type(found) is BadRequest
    assert "client certificate" in found.remedy


def test_another_clients_certificate_is_refused(nginx: Nginx, secrets, certificate):
    found = failure(lambda: HttpDriver(certified(secrets, certificate), secrets).open(f"{nginx.mtls}/open/x"))

    assert type(found) is BadRequest


def test_a_wrong_client_secret_is_unauthorized_and_names_the_secret(nginx: Nginx, oauth2: OAuth2, secrets):
    driver = HttpDriver(bearer(secrets, oauth2, "wr0ng-secret"), secrets)
    found = failure(lambda: driver.open(place(nginx, "bearer")))

    assert type(found) is Unauthorized
    assert found.message == "the request for a token: 401 invalid_client"
    assert "clientSecretSecret: key 'secret' of secret 'oauth'" in found.remedy


def test_one_token_serves_all_requests(nginx: Nginx, oauth2: OAuth2, secrets):
    driver = HttpDriver(bearer(secrets, oauth2), secrets)
    before = len(oauth2.issued())
    for _ in range(3):
        url = place(nginx, "bearer")
        driver.save(url, io.BytesIO(b"data"), None)
        driver.open(url).close()

    assert len(oauth2.issued()) == before + 1


def test_scopes_and_more_parameters_are_asked_for(nginx: Nginx, oauth2: OAuth2, secrets):
    config = bearer(secrets, oauth2)
    config["auth"]["oauth2"]["endpointParams"] = [{"key": "audience", "value": "https://store"}]
    HttpDriver(config, secrets).save(place(nginx, "bearer"), io.BytesIO(b"x"), None)

    assert oauth2.issued()[-1] == "read write https://store"


@pytest.mark.parametrize("size", [1000, 30 * MIB])
def test_a_token_that_ends_in_mid_work_is_replaced_once(nginx: Nginx, oauth2: OAuth2, secrets, size: int):
    driver = HttpDriver(bearer(secrets, oauth2), secrets)
    url = place(nginx, "bearer")
    driver.save(url, io.BytesIO(b"first"), None)
    before = len(oauth2.issued())
    oauth2.revoke()
    driver.save(url, Bytes(size), None)
    oauth2.revoke()
    with driver.open(url) as stream:
        assert len(stream.read()) == size

    assert len(oauth2.issued()) == before + 2


def test_a_token_server_that_takes_the_secret_in_the_body_only_is_served(secrets, nginx: Nginx):
    with OAuth2.started(method="client_secret_post") as other:
        driver = HttpDriver(bearer(secrets, other), secrets)
        found = failure(lambda: driver.open(place(nginx, "bearer")))  # it has a token, of another realm

        assert len(other.issued()) == 1
    assert type(found) is Unauthorized
    assert "clientSecretSecret" in found.remedy


def test_a_token_is_not_used_when_it_is_about_to_end(secrets, nginx: Nginx):
    with OAuth2.started(lifetime=9) as other:
        driver = HttpDriver(bearer(secrets, other), secrets)
        for _ in range(2):
            failure(lambda: driver.open(place(nginx, "bearer")))

        assert len(other.issued()) == 2


def test_a_broken_source_leaves_what_was_there(nginx: Nginx, secrets):
    url = place(nginx, "open")
    driver = HttpDriver({}, secrets)
    driver.save(url, io.BytesIO(b"what was there"), None)
    with pytest.raises(OSError, match="disk") as caught:
        driver.save(url, Bytes(20 * MIB, failure=OSError(5, "the source's disk")), None)

    assert caught.value.__cause__ is None
    with driver.open(url) as stream:
        assert stream.read() == b"what was there"


def test_the_rest_of_a_file_can_be_asked_for(nginx: Nginx, secrets):
    url, data = place(nginx, "open"), os.urandom(3 * MIB)
    driver = HttpDriver({}, secrets)
    driver.save(url, io.BytesIO(data), None)
    with driver.open(url) as stream:
        version = stream.version
        assert stream.read(MIB) == data[:MIB]
    with driver.open_rest(url, MIB, version) as rest:
        assert rest.size == 2 * MIB
        assert rest.version == version
        assert rest.read() == data[MIB:]


def test_the_rest_of_another_version_is_not_found(nginx: Nginx, secrets):
    url = place(nginx, "open")
    driver = HttpDriver({}, secrets)
    driver.save(url, io.BytesIO(b"the first"), None)
    with driver.open(url) as stream:
        version = stream.version
    driver.save(url, io.BytesIO(b"the second one"), None)

    assert type(failure(lambda: driver.open_rest(url, 4, version))) is NotFound
