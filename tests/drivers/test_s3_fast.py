"""The fast path: the same requests make the same objects, and what it cannot do boto3 does instead."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from drivers.conformance import MIB, ODD_NAMES
from drivers.s3 import S3Driver
from drivers.s3_fast import SMALL
from lifecycle.errors import BadRequest, Forbidden, LifecycleError, NotFound, TimedOut, Unauthorized, Unavailable
from tests.servers.httpd import Answer, Httpd

if TYPE_CHECKING:
    from tests.servers.fixtures import Secrets
    from tests.servers.seaweedfs import SeaweedFS

SELECTORS = {f"{name}KeySecret": {"name": "s3", "key": name} for name in ("access", "secret")}


@pytest.fixture
def config(httpd: Httpd, secrets: Secrets) -> dict[str, Any]:
    secrets.write("s3", access="AK", secret="s3cr3t")
    return {"endpoint": httpd.endpoint, "bucket": "bucket", "insecure": True} | SELECTORS


def failure(work: Any) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        work()
    return caught.value


def etag(data: bytes) -> dict[str, str]:
    return {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Last-Modified": "Wed, 25 Nov 2026 17:53:10 GMT"}


def served(driver: S3Driver) -> int:
    return driver._fast.served if driver._fast else -1


def content(driver: S3Driver, key: str) -> bytes:
    with driver.open(key) as stream:
        return stream.read()


@pytest.mark.server("seaweedfs")
def test_both_ways_make_the_same_objects(s3_config, secrets, weed: SeaweedFS):
    admin, root = weed.client(), f"test/{uuid.uuid4().hex}"
    names = ["a.json", "b.tgz", "c", "d.txt", "e.html.gz", *(name for name in ODD_NAMES if "\\" not in name)]
    data = os.urandom(3000)
    heads: list[dict[str, Any]] = []
    for way in (False, True):
        driver = S3Driver(s3_config, secrets, fast=way)
        for name in names:
            driver.save(f"{root}/{way}/{name}", io.BytesIO(data), None)
        assert served(driver) == (len(names) if way else -1)
        found = {}
        for name in names:
            head = admin.head_object(Bucket=weed.bucket, Key=f"{root}/{way}/{name}")
            told = {
                "ContentType",
                "ContentLength",
                "ContentEncoding",
                "ETag",
                "Metadata",
                "CacheControl",
                "StorageClass",
            }
            found[name] = {field: value for field, value in head.items() if field in told}
        heads.append(found)
    assert heads[0] == heads[1]
    assert heads[0]["a.json"]["ContentType"] == "application/json"

    for way in (False, True):
        reader = S3Driver(s3_config, secrets, fast=way)
        for name in names:
            with reader.open(f"{root}/{not way}/{name}") as stream:
                assert (stream.size, stream.version) == (len(data), heads[0][name]["ETag"])
                assert stream.read() == data


@pytest.mark.server("seaweedfs")
def test_the_objects_of_a_directory_take_it_and_one_alone_does_not(s3_config, secrets):
    root = f"test/{uuid.uuid4().hex}"
    writer = S3Driver(s3_config, secrets)
    writer.save(f"{root}/0", io.BytesIO(b"0"), 1)
    assert served(writer) == 0
    for number in range(1, 9):
        writer.save(f"{root}/{number}", io.BytesIO(b"x"), 1)
    writer.save(f"{root}/large", io.BytesIO(bytes(SMALL + 1)), None)
    assert served(writer) == 8

    reader = S3Driver(s3_config, secrets)
    assert content(reader, f"{root}/0") == b"0"
    assert served(reader) == 0
    names = [entry.path for entry in reader.list(root)]
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda name: len(content(reader, f"{root}/{name}")), names))
    assert sum(sizes) == 9 + SMALL + 1
    assert served(reader) == 9


@pytest.mark.server("seaweedfs")
def test_obstore_is_imported_for_a_directory_alone(s3_config, secrets, weed: SeaweedFS):
    script = f"""
import io, sys
from pathlib import Path
from drivers.s3 import S3Driver
from lifecycle.secret import SecretReader
driver = S3Driver({s3_config!r}, SecretReader(Path({str(secrets.root)!r})))
driver.save("test/import", io.BytesIO(b"x"), 1)
driver.open("test/import").close()
print("obstore" in sys.modules)
driver.save("test/import", io.BytesIO(b"x"), 1)
print("obstore" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=os.getcwd())
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [("NoSuchKey", 404, NotFound), ("NoSuchBucket", 404, BadRequest), ("AccessDenied", 403, Forbidden),
     ("SignatureDoesNotMatch", 403, Unauthorized), ("InternalError", 500, Unavailable)],
)  # fmt: skip
def test_what_is_wrong_is_told_as_precisely_as_by_boto3(httpd: Httpd, config, secrets, code: str, status: int, error):
    said = Answer(status, f"<Error><Code>{code}</Code><Message>said the server</Message></Error>".encode())
    httpd.on("/bucket/key", said)
    # Of an object that is saved none can be missing: there it is the store that is not right.
    saving = BadRequest if error is NotFound else error
    for work, expected in ((lambda d: d.open("key"), error), (lambda d: d.save("key", io.BytesIO(b"x"), 1), saving)):
        found, plain = (failure(lambda: work(S3Driver(config, secrets, fast=fast))) for fast in (True, False))  # noqa: B023
        assert type(found) is type(plain) is expected
        assert (found.message, found.remedy) == (plain.message, plain.remedy)


def test_an_etag_that_is_not_the_md5_proves_nothing(httpd: Httpd, config, secrets):
    """KMS by the bucket's default, or a flipped bit: boto3 asks again, and after the third time at once."""
    httpd.on("/bucket/key", Answer(200, b"data", etag(b"other")))
    driver = S3Driver(config, secrets, fast=True)
    for number in range(5):
        assert content(driver, "key") == b"data"
        assert httpd.asked["/bucket/key"] == min(2 * (number + 1), number + 4)
    assert served(driver) == 0


def test_what_was_stored_otherwise_is_sent_again_with_its_md5(httpd: Httpd, config, secrets):
    httpd.on("/bucket/key", Answer(200, headers=etag(b"other")), Answer(200, headers=etag(b"data")))
    driver = S3Driver(config, secrets, fast=True)
    driver.save("key", io.BytesIO(b"data"), None)

    assert [request.body for request in httpd.requests] == [b"data", b"data"]
    assert httpd.requests[1].headers["Content-MD5"]


def test_failures_of_boto3_too_are_no_reason_to_leave_it(httpd: Httpd, config, secrets):
    httpd.on("/bucket/there", Answer(200, b"data", etag(b"data")))
    driver = S3Driver(config, secrets, fast=True)
    for _ in range(5):
        assert type(failure(lambda: driver.open("gone"))) is NotFound

    assert content(driver, "there") == b"data"
    assert served(driver) == 1


def test_a_body_that_breaks_off_is_asked_for_again(httpd: Httpd, config, secrets):
    httpd.on("/bucket/key", Answer(200, b"da", etag(b"data"), length=4), Answer(200, b"data", etag(b"data")))

    assert content(S3Driver(config, secrets, fast=True), "key") == b"data"


def test_a_server_that_does_not_answer_times_out(config, secrets):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config["endpoint"] = f"127.0.0.1:{silent.getsockname()[1]}"
        driver = S3Driver(config, secrets, read_timeout=0.2, fast=True)
        assert type(failure(lambda: driver.open("key"))) is TimedOut


def test_large_objects_are_left_to_boto3(httpd: Httpd, config, secrets):
    data = bytes(SMALL + 1)
    httpd.on("/bucket/key", Answer(200, data, etag(data)))
    driver = S3Driver(config, secrets, fast=True)
    for _ in range(4):
        with driver.open("key") as stream:
            assert sum(len(chunk) for chunk in iter(lambda: stream.read(MIB), b"")) == len(data)
    assert served(driver) == 0


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "a/../b", "./a"])
def test_keys_that_it_would_change_are_not_for_it(httpd: Httpd, config, secrets, key: str):
    driver = S3Driver(config, secrets, fast=True)
    failure(lambda: driver.save(key, io.BytesIO(b"x"), 1))

    assert {request.target.partition("?")[0] for request in httpd.requests} == {f"/bucket/{key}"}


@pytest.mark.parametrize(
    ("environment", "extra", "plain"),
    [
        ({}, {}, True),
        ({"ARGOEXEC_S3_FAST": "off"}, {}, False),
        ({"AWS_REGION": "eu-west-3", "AWS_CA_BUNDLE": "/etc/ca.pem"}, {}, True),
        ({"AWS_REQUEST_PAYER": "requester"}, {}, False),
        ({"AWS_ENDPOINT_URL_S3": "http://elsewhere"}, {}, False),
        ({"HTTPS_PROXY": "http://proxy:3128"}, {}, False),
        ({"AWS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt"}, {"insecure": False}, False),
        ({"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}, {"insecure": False}, False),
        ({}, {"encryptionOptions": {"enableEncryption": True}}, True),
        ({}, {"encryptionOptions": {"enableEncryption": True, "kmsKeyId": "k"}}, False),
    ],
)
def test_what_obstore_would_take_otherwise_is_not_plain(
    config, secrets, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], extra: dict[str, Any], plain: bool
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert (S3Driver(config | extra, secrets)._fast is not None) is plain


def test_without_obstore_everything_goes_by_boto3(httpd: Httpd, config, secrets, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    httpd.on("/bucket/key", Answer(200, headers=etag(b"data")), Answer(200, b"data", etag(b"data")))
    driver = S3Driver(config, secrets, fast=True)
    driver.save("key", io.BytesIO(b"data"), None)

    assert content(driver, "key") == b"data"
    assert httpd.asked["/bucket/key"] == 2
