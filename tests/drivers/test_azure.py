"""Azure Blob Storage: the conformance run on Azurite, and by script what it does not do."""

from __future__ import annotations

import base64
import errno
import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiohttp import ClientOSError

from drivers.azure import AzureDriver, _account
from drivers.conformance import Bytes, DriverConformance, Store
from drivers.objects import BLOCK
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    InputError,
    NotFound,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from lifecycle.network import broken
from lifecycle.ports import StoredObject
from tests.servers.azurite import KEY, Azurite
from tests.servers.httpd import Answer, Httpd

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.fixture
def driver(config: dict[str, Any], secrets) -> AzureDriver:
    return AzureDriver(config, secrets)


def test_a_failed_save_keeps_what_was_there_and_shows_no_block(driver: AzureDriver, azurite: Azurite):
    driver.save("kept/it", io.BytesIO(b"old"), None)
    for key in ("kept/it", "kept/other"):
        with pytest.raises(RuntimeError):
            driver.save(key, Bytes(20 << 20, failure=RuntimeError("broke")), None)

    assert driver.open("kept/it").read() == b"old"
    assert [entry.path for entry in driver.list("kept")] == ["it"]


def test_the_rest_is_given_of_the_same_blob_only(driver: AzureDriver):
    driver.save("rest/it", io.BytesIO(b"0123456789"), None)
    with driver.open("rest/it") as stream:
        version = stream.version
    with driver.open_rest("rest/it", 4, version) as rest:
        assert (rest.size, rest.read()) == (6, b"456789")
    driver.save("rest/it", io.BytesIO(b"another"), None)

    with pytest.raises(NotFound):
        driver.open_rest("rest/it", 4, version)


def test_a_blob_that_is_replaced_while_it_is_read_is_no_missing_one(driver: AzureDriver):
    driver.save("replaced/it", Bytes(BLOCK + 1), None)
    with driver.open("replaced/it") as stream:
        driver.save("replaced/it", Bytes(BLOCK + 1), None)
        with pytest.raises(Unavailable, match="changed while it was read"):
            stream.read()


def test_the_markers_of_directories_are_no_blobs(driver: AzureDriver, azurite: Azurite):
    with azurite.client() as client:
        for name in ("gen2/d", "gen2/d/e"):
            client.get_blob_client(azurite.container, name).upload_blob(b"", metadata={"hdi_isfolder": "true"})
    driver.save("gen2/d/e/it", io.BytesIO(b"x"), None)

    assert list(driver.list("gen2")) == [StoredObject("d/e/it", 1)]
    with pytest.raises(NotFound):
        driver.open("gen2/d")


def test_a_container_that_is_not_there_is_never_not_found(config, secrets):
    driver = AzureDriver(config | {"container": "nowhere"}, secrets)
    for work in (
        lambda: driver.open("it"),
        lambda: driver.save("it", Bytes(10), None),
        lambda: driver.save("it", Bytes(20 << 20), None),
        lambda: list(driver.list("it")),
        lambda: driver.delete("it"),
    ):
        with pytest.raises(BadRequest, match="'nowhere'") as caught:
            work()
        assert "create the container" in caught.value.remedy


def test_a_wrong_key_is_refused_and_the_field_named(config, secrets):
    secrets.write("azure", key=base64.b64encode(b"another key").decode())
    # Azure itself says AuthenticationFailed, which is an Unauthorized: see below.
    with pytest.raises(Forbidden, match="403 AuthorizationFailure") as caught:
        AzureDriver(config, secrets).open("it")

    assert "accountKeySecret" in caught.value.remedy
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("prefix", ["", "?"])
def test_a_sas_token_stands_for_a_key(config, secrets, azurite: Azurite, prefix: str):
    secrets.write("azure", key=prefix + azurite.sas("rwdl"))
    driver = AzureDriver(config, secrets)
    driver.save("sas/it", io.BytesIO(b"x"), None)

    assert driver.open("sas/it").read() == b"x"
    assert [entry.path for entry in driver.list("sas")] == ["it"]


def test_a_sas_token_that_has_expired_is_refused_and_not_shown(config, secrets, azurite: Azurite):
    token = azurite.sas("rwdl", minutes=-30)
    secrets.write("azure", key=token)
    with pytest.raises(Forbidden) as caught:
        AzureDriver(config, secrets).open("it")

    assert caught.value.__cause__ is None
    assert token.rpartition("sig=")[2] not in f"{caught.value}{caught.value.remedy}"


def test_a_sas_token_that_does_not_suffice_is_forbidden(config, secrets, azurite: Azurite):
    secrets.write("azure", key=azurite.sas("r"))
    with pytest.raises(Forbidden) as caught:
        AzureDriver(config, secrets).save("it", io.BytesIO(b"x"), None)

    assert "grant" in caught.value.remedy


# --- by script --------------------------------------------------------------------------------------------------------


@pytest.fixture
def scripted(httpd: Httpd, secrets) -> AzureDriver:
    secrets.write("azure", key=KEY)
    key = {"name": "azure", "key": "key"}
    return AzureDriver({"endpoint": f"{httpd.url}/acc", "container": "c", "accountKeySecret": key}, secrets)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "BlobNotFound", NotFound),
        (404, "ContainerNotFound", BadRequest),
        (403, "AuthorizationPermissionMismatch", Forbidden),
        (403, "AuthenticationFailed", Unauthorized),
        (401, "NoAuthenticationInformation", Unauthorized),
        (400, "InvalidHeaderValue", BadRequest),
        (429, "TooManyRequests", Throttled),
        (500, "OperationTimedOut", Unavailable),
        (503, "ServerBusy", Unavailable),
    ],
)
def test_refusals_are_told_by_code_and_status_and_asked_for_once(
    scripted: AzureDriver, httpd: Httpd, status: int, code: str, expected: type[Exception]
):
    httpd.on("/acc/c/it", Answer(status, b"", {"x-ms-error-code": code, "Retry-After": "7"}))
    with pytest.raises(expected, match=code) as caught:
        scripted.open("it")

    assert type(caught.value) is expected
    assert getattr(caught.value, "retry_after", 7.0) == 7.0
    assert len(httpd.requests) == 1
    assert httpd.requests[0].headers["Authorization"].startswith("SharedKey acc:")


def test_a_blob_that_somebody_has_leased_is_neither_missing_nor_deleted(scripted: AzureDriver, httpd: Httpd):
    httpd.on("/acc/c/it", Answer(412, b"", {"x-ms-error-code": "LeaseIdMissing"}))
    for work in (lambda: scripted.delete("it"), lambda: scripted.save("it", io.BytesIO(b"x"), None)):
        with pytest.raises(BadRequest, match="LeaseIdMissing") as caught:
            work()
        assert "container" not in caught.value.remedy


def test_an_account_that_is_gone_is_unavailable(secrets):
    secrets.write("azure", key=KEY)
    config = {
        "endpoint": "http://127.0.0.1:1/acc",
        "container": "c",
        "accountKeySecret": {"name": "azure", "key": "key"},
    }
    with pytest.raises(Unavailable, match="Connection refused"):
        AzureDriver(config, secrets).open("it")


def test_a_store_that_says_nothing_has_timed_out(httpd: Httpd, secrets):
    secrets.write("azure", key=KEY)
    httpd.on("/acc/c/it", Answer(206, b"x", {"Content-Range": "bytes 0-9/10"}, length=10, hangs=True))
    config = {"endpoint": f"{httpd.url}/acc", "container": "c", "accountKeySecret": {"name": "azure", "key": "key"}}
    with pytest.raises(TimedOut):
        AzureDriver(config, secrets, read_timeout=0.2).open("it")


def test_no_default_credentials_is_unauthorized(secrets, monkeypatch):
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")  # of which there is none here
    config = {"endpoint": "https://127.0.0.1:1/acc", "container": "c", "useSDKCreds": True}
    with pytest.raises(Unauthorized, match="no access token") as caught:
        AzureDriver(config, secrets).open("it")

    assert "useSDKCreds" in caught.value.remedy


@pytest.mark.parametrize(
    ("endpoint", "account"),
    [
        ("https://acc.blob.core.windows.net", "acc"),
        ("https://acc.blob.core.windows.net:1234/", "acc"),
        ("http://localhost:10000/acc", "acc"),
        ("http://127.0.0.1:10000/acc/", "acc"),
        ("http://[::1]:10000/acc", "acc"),
    ],
)
def test_the_account_is_read_from_the_endpoint(endpoint: str, account: str):
    assert _account(endpoint)[0] == account


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"container": ""}, r"azure\.container"),
        ({"endpoint": None}, r"azure\.endpoint"),
        ({"endpoint": "acc.blob.core.windows.net"}, r"azure\.endpoint"),
        ({"endpoint": "https://acc.blob.core.windows.net/?sv=1&sig=s3cr3t"}, r"azure\.endpoint"),
        ({"endpoint": "http://127.0.0.1:10000"}, r"azure\.endpoint"),
        ({"accountKeySecret": None}, "useSDKCreds"),
    ],
)
def test_a_field_that_cannot_be_is_named(secrets, change: dict[str, Any], says: str):
    secrets.write("azure", key=KEY)
    key = {"name": "azure", "key": "key"}
    config = {"endpoint": "https://acc.blob.core.windows.net", "container": "c", "accountKeySecret": key}
    with pytest.raises(InputError, match=says) as caught:
        AzureDriver(config | change, secrets)

    assert "s3cr3t" not in str(caught.value)


def test_a_missing_package_names_the_extra(secrets, monkeypatch):
    monkeypatch.setitem(sys.modules, "adlfs", None)
    secrets.write("azure", key=KEY)
    config = {"endpoint": "https://a.b", "container": "c", "accountKeySecret": {"name": "azure", "key": "key"}}
    with pytest.raises(Unsupported) as caught:
        AzureDriver(config, secrets)

    assert "argoexec[azure]" in caught.value.remedy


def test_a_process_that_used_it_ends_at_once_and_says_nothing(httpd: Httpd, tmp_path: Path):
    (tmp_path / "azure").mkdir()
    (tmp_path / "azure/key").write_text(KEY)
    httpd.on("/acc/c/it", Answer(206, b"data", {"Content-Range": "bytes 0-3/4", "ETag": '"1"'}))
    program = (
        "import sys; from drivers.azure import AzureDriver\n"
        "from lifecycle.secret import SecretReader; from pathlib import Path\n"
        "config = {'endpoint': sys.argv[1], 'container': 'c', 'accountKeySecret': {'name': 'azure', 'key': 'key'}}\n"
        "print(AzureDriver(config, SecretReader(Path(sys.argv[2]))).open('it').read())"
    )
    argv = [sys.executable, "-W", "always::ResourceWarning", "-c", program, f"{httpd.url}/acc", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=True)

    assert (done.stdout, done.stderr) == (b"b'data'\n", b"")


def test_a_broken_connection_does_not_show_the_url_with_its_signature():
    # What aiohttp raises when the connection breaks while a body is sent.
    error = ClientOSError(errno.EPIPE, "Can not write request body for https://acc/c/it?sv=1&sig=s3cr3t")

    assert str(broken("writing 'it'", error)) == "writing 'it': Broken pipe"
    assert "s3cr3t" not in str(broken("writing 'it'", ClientOSError(None, "for https://acc/c/it?sv=1&sig=s3cr3t")))
