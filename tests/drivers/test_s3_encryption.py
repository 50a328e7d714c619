"""`encryptionOptions` and `createBucketIfNotPresent`, on a SeaweedFS that encrypts, and what is refused beforehand."""

from __future__ import annotations

import base64
import io
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from drivers.conformance import MIB, Bytes
from drivers.s3 import S3Driver
from drivers.s3_encryption import encryption
from lifecycle.errors import BadRequest, LifecycleError, Unauthorized, Unsupported
from tests.servers.httpd import Answer, Httpd

if TYPE_CHECKING:
    from tests.servers.fixtures import Secrets
    from tests.servers.seaweedfs import SeaweedFS

CUSTOMER = {"serverSideCustomerKeySecret": {"name": "sse", "key": "password"}}


@pytest.fixture(autouse=True)
def _password(secrets: Secrets) -> None:
    secrets.write("sse", password="correct horse battery staple\n", empty="\n")


@pytest.fixture
def root() -> str:
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def secure(s3_config: dict[str, Any], secrets: Secrets, weed: SeaweedFS, certificate) -> dict[str, Any]:
    secrets.write("ca", pem=certificate[0].read_text())
    return s3_config | {
        "endpoint": weed.https_endpoint,
        "insecure": False,
        "caSecret": {"name": "ca", "key": "pem"},
        "encryptionOptions": {"enableEncryption": True} | CUSTOMER,
    }


def failure(work: Any) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        work()
    return caught.value


def content(driver: S3Driver, key: str) -> bytes:
    with driver.open(key) as stream:
        return stream.read()


@pytest.mark.parametrize("size", [5, 20 * MIB])
@pytest.mark.parametrize("fast", [False, True])
def test_the_store_encrypts_by_its_own_key(s3_config, secrets, weed: SeaweedFS, root: str, size: int, fast: bool):
    driver = S3Driver(s3_config | {"encryptionOptions": {"enableEncryption": True}}, secrets, fast=fast)
    driver.save(f"{root}/object", Bytes(size), None)

    head = weed.client().head_object(Bucket=weed.bucket, Key=f"{root}/object")
    assert head["ServerSideEncryption"] == "AES256"
    assert content(driver, f"{root}/object") == bytes(size)


@pytest.mark.parametrize("size", [5, 20 * MIB])
def test_the_store_encrypts_by_a_key_of_kms_in_a_context(s3_config, secrets, weed: SeaweedFS, root: str, size: int):
    options = {"enableEncryption": True, "kmsKeyId": "a-key", "kmsEncryptionContext": '{"team": "blue"}'}
    driver = S3Driver(s3_config | {"encryptionOptions": options}, secrets)
    driver.save(f"{root}/object", Bytes(size), None)

    head = weed.client().head_object(Bucket=weed.bucket, Key=f"{root}/object")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "a-key")
    if size < MIB:  # of parts it does not tell
        sent = head["ResponseMetadata"]["HTTPHeaders"]["x-amz-server-side-encryption-context"]
        assert json.loads(base64.b64decode(sent))["team"] == "blue"
    assert content(driver, f"{root}/object") == bytes(size)


@pytest.mark.parametrize("size", [5, 20 * MIB])
def test_a_customers_key_encrypts_and_opens(secure, secrets, weed: SeaweedFS, root: str, size: int):
    driver = S3Driver(secure, secrets)
    driver.save(f"{root}/object", Bytes(size), None)

    assert content(driver, f"{root}/object") == bytes(size)
    with driver.open(f"{root}/object") as stream:
        version = stream.version
    with driver.open_rest(f"{root}/object", 3, version) as rest:
        assert len(rest.read()) == size - 3
    without = {name: value for name, value in secure.items() if name != "encryptionOptions"}
    assert type(failure(lambda: S3Driver(without, secrets).open(f"{root}/object"))) is BadRequest


def test_another_password_does_not_open(secure, secrets, root: str):
    S3Driver(secure, secrets).save(f"{root}/object", io.BytesIO(b"x"), 1)
    secrets.write("sse", password="another")

    assert failure(lambda: S3Driver(secure, secrets).open(f"{root}/object"))


def test_a_customers_key_is_the_one_that_minio_go_makes(secrets):
    """Argon2id, 1 pass, 64 MiB, 4 lanes, bucket and key as salt; this value is the reference implementation's."""
    secrets.write("sse", password="password")
    found = encryption({"bucket": "bucket", "encryptionOptions": {"enableEncryption": True} | CUSTOMER}, secrets)
    begin, part = found.of("key")

    assert begin == part
    assert begin["SSECustomerKey"].hex() == "8a665350ddf46db248383041be300571187c0d8d6d5a4fe24429464b2998567b"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"encryptionOptions": {"kmsKeyId": "k"}}, "kmsKeyId"),
        ({"encryptionOptions": {"enableEncryption": False} | CUSTOMER}, "serverSideCustomerKeySecret"),
        ({"encryptionOptions": {"enableEncryption": True, "kmsKeyId": "k"} | CUSTOMER}, "exclude each other"),
        ({"encryptionOptions": {"enableEncryption": True} | CUSTOMER, "insecure": True}, "needs TLS"),
        ({"encryptionOptions": {"enableEncryption": True, "kmsEncryptionContext": "{}"}}, "needs `kmsKeyId`"),
        (
            {"encryptionOptions": {"enableEncryption": True, "kmsKeyId": "k", "kmsEncryptionContext": "a=b"}},
            "kmsEncryptionContext",
        ),
        (
            {
                "encryptionOptions": {
                    "enableEncryption": True,
                    "serverSideCustomerKeySecret": {"name": "sse", "key": "empty"},
                }
            },
            "empty",
        ),
    ],
)
def test_options_that_cannot_take_effect_are_refused(secrets, extra: dict[str, Any], named: str):
    found = failure(lambda: S3Driver({"bucket": "b"} | extra, secrets))

    assert type(found) is BadRequest
    assert named in found.message


def test_a_password_that_is_not_there_is_named(secrets):
    options = {"enableEncryption": True, "serverSideCustomerKeySecret": {"name": "sse", "key": "gone"}}

    assert type(failure(lambda: S3Driver({"bucket": "b", "encryptionOptions": options}, secrets))) is Unauthorized


def test_a_store_that_ignores_the_wish_keeps_nothing(httpd: Httpd, secrets):
    """Ceph answers 200 to the headers of SSE-S3, and stores the object as it is."""
    secrets.write("s3", access="AK", secret="s3cr3t")
    config = {"endpoint": httpd.endpoint, "bucket": "bucket", "insecure": True}
    config |= {f"{name}KeySecret": {"name": "s3", "key": name} for name in ("access", "secret")}
    httpd.on("/bucket/key", Answer(200), Answer(200), Answer(204))
    driver = S3Driver(config | {"encryptionOptions": {"enableEncryption": True}}, secrets)
    found = failure(lambda: driver.save("key", io.BytesIO(b"x"), 1))

    assert type(found) is Unsupported
    assert "did not encrypt" in found.message
    assert [request.method for request in httpd.requests] == ["PUT", "HEAD", "DELETE"]
    assert httpd.requests[0].headers["x-amz-server-side-encryption"] == "AES256"


@pytest.mark.parametrize("locked", [False, True])
def test_a_bucket_is_made_before_the_first_object(s3_config, secrets, weed: SeaweedFS, locked: bool):
    name = f"made-{uuid.uuid4().hex[:12]}"
    config = s3_config | {"bucket": name, "createBucketIfNotPresent": {"objectLocking": locked}}
    driver = S3Driver(config, secrets)
    assert type(failure(lambda: driver.open("object"))) is BadRequest  # reading makes none
    for _ in range(2):
        driver.save("object", Bytes(9 * MIB), None)

    assert content(driver, "object") == bytes(9 * MIB)
    found = weed.client()
    if locked:
        lock = found.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
        assert lock["ObjectLockEnabled"] == "Enabled"
    else:
        with pytest.raises(found.exceptions.ClientError):
            found.get_object_lock_configuration(Bucket=name)


def test_a_bucket_that_is_there_is_left_as_it_is(s3_config, secrets, root: str):
    driver = S3Driver(s3_config | {"createBucketIfNotPresent": {"objectLocking": True}}, secrets)
    driver.save(f"{root}/object", io.BytesIO(b"x"), 1)

    assert content(driver, f"{root}/object") == b"x"


def test_who_may_not_make_a_bucket_is_told(s3_config, secrets):
    selectors = {f"{name}KeySecret": {"name": "reader", "key": name} for name in ("access", "secret")}
    config = s3_config | selectors | {"bucket": "not-to-be-made", "createBucketIfNotPresent": {}}
    found = failure(lambda: S3Driver(config, secrets).save("object", io.BytesIO(b"x"), 1))

    assert not found.transient
    assert "s3:" in found.message


def test_no_log_shows_a_customers_key(secure, secrets, root: str, caplog: pytest.LogCaptureFixture):
    """botocore logs every request with its headers."""
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "urllib3")  # the Kubernetes client, once it was imported, holds it at WARNING
    driver = S3Driver(secure, secrets)
    driver.save(f"{root}/object", io.BytesIO(b"x"), 1)
    key = driver._encryption.of(f"{root}/object")[0]["SSECustomerKey"]

    assert "/object" in caplog.text  # urllib3's
    for secret in (base64.b64encode(key).decode(), "correct horse", "s3cr3t-of-ADMIN"):
        assert secret not in caplog.text
