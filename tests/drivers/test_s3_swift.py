"""The S3 driver against a real Swift: a store that has only the plain part of S3, and says so."""

from __future__ import annotations

import io
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from drivers.conformance import MIB, Bytes, DriverConformance, Store
from drivers.s3 import S3Driver
from lifecycle.errors import BadRequest, LifecycleError, NotFound, Unauthorized, Unsupported
from tests.servers import swift as server
from tests.servers.swift import Swift

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fixtures import Secrets

pytestmark = pytest.mark.server("swift")


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with server.started(tmp_path_factory.mktemp("swift")) as one:
        yield one


@pytest.fixture
def config(swift: Swift, secrets: Secrets) -> dict[str, Any]:
    secrets.write("s3", access=swift.access_key, secret=swift.secret_key)
    selectors = {f"{name}KeySecret": {"name": "s3", "key": name} for name in ("access", "secret")}
    return {"endpoint": swift.endpoint, "bucket": swift.bucket, "insecure": True} | selectors


@pytest.fixture
def root() -> str:
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def driver(config: dict[str, Any], secrets: Secrets) -> S3Driver:
    return S3Driver(config, secrets)


class TestSwift(DriverConformance):
    """Nothing is left out: it keeps every name, and verifies the MD5 of every part."""

    @pytest.fixture
    def store(self, config: dict[str, Any], secrets: Secrets, root: str) -> Store:
        return Store(S3Driver(config, secrets, fast=False), root)


class TestSwiftByTheFastPath(DriverConformance):
    @pytest.fixture
    def store(self, config: dict[str, Any], secrets: Secrets, root: str) -> Store:
        return Store(S3Driver(config, secrets, fast=True), root)


def failure(work: Any) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        work()
    return caught.value


@pytest.mark.parametrize("size", [1, 9 * MIB])
@pytest.mark.parametrize("options", [{}, {"kmsKeyId": "key"}])
def test_an_encryption_that_it_does_not_have_is_unsupported(config, secrets, root: str, size: int, options):
    driver = S3Driver(config | {"encryptionOptions": {"enableEncryption": True} | options}, secrets)
    found = failure(lambda: driver.save(f"{root}/object", Bytes(size), None))

    assert type(found) is Unsupported
    assert "NotImplemented" in found.message
    assert type(failure(lambda: S3Driver(config, secrets).open(f"{root}/object"))) is NotFound


def test_a_bucket_is_made_where_there_is_none(config, secrets, swift: Swift):
    config |= {"bucket": f"made-{uuid.uuid4().hex}", "createBucketIfNotPresent": {}}
    driver = S3Driver(config, secrets)
    driver.save("a", io.BytesIO(b"x"), 1)
    driver.save("b", io.BytesIO(b"x"), 1)

    assert [entry.path for entry in driver.list("")] == ["a", "b"]


def test_a_bucket_that_is_not_locked_as_it_was_asked_is_not_left(config, secrets, swift: Swift):
    name = f"locked-{uuid.uuid4().hex}"
    driver = S3Driver(config | {"bucket": name, "createBucketIfNotPresent": {"objectLocking": True}}, secrets)
    found = failure(lambda: driver.save("a", io.BytesIO(b"x"), 1))

    assert type(found) is Unsupported
    assert "object lock" in found.message
    assert name not in [bucket["Name"] for bucket in swift.client().list_buckets()["Buckets"]]


def test_a_bucket_that_is_not_there_is_a_configuration_error(config, secrets):
    driver = S3Driver(config | {"bucket": "no-such-bucket"}, secrets)
    for work in (
        lambda: driver.open("k"),
        lambda: driver.save("k", io.BytesIO(b"x"), 1),
        lambda: list(driver.list("")),
    ):
        assert type(failure(work)) is BadRequest


def test_a_wrong_secret_is_unauthorized(config, secrets):
    secrets.write("s3", secret="wr0ng-s3cr3t")

    assert type(failure(lambda: S3Driver(config, secrets).open("k"))) is Unauthorized


def test_keys_with_empty_parts_are_other_keys(driver: S3Driver, root: str):
    for key in (f"{root}/a//b", f"{root}/a/b", f"{root}/a/b/"):
        driver.save(key, io.BytesIO(key.encode()), None)

    for key in (f"{root}/a//b", f"{root}/a/b", f"{root}/a/b/"):
        with driver.open(key) as stream:
            assert stream.read() == key.encode()
    driver.delete(f"{root}/a/b/")
    assert type(failure(lambda: driver.open(f"{root}/a/b/"))) is NotFound
    with driver.open(f"{root}/a/b") as stream:
        assert stream.read() == f"{root}/a/b".encode()


def test_the_rest_of_an_object_can_be_asked_for(driver: S3Driver, root: str):
    for size in (100, 9 * MIB):
        data = bytes(range(100)) * (size // 100)
        driver.save(f"{root}/object", io.BytesIO(data), None)
        with driver.open(f"{root}/object") as stream:
            version = stream.version
        with driver.open_rest(f"{root}/object", 60, version) as rest:
            assert rest.size == len(data) - 60
            assert rest.read() == data[60:]
    driver.save(f"{root}/object", io.BytesIO(b"another"), None)
    assert type(failure(lambda: driver.open_rest(f"{root}/object", 3, version))) is NotFound


def test_a_failing_source_leaves_no_parts(driver: S3Driver, swift: Swift, root: str):
    with pytest.raises(OSError, match="broke"):
        driver.save(f"{root}/object", Bytes(50 * MIB, failure=OSError("broke")), None)

    assert swift.client().list_multipart_uploads(Bucket=swift.bucket).get("Uploads", []) == []
