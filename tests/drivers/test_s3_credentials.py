"""Credentials that end in the middle, and those that are there by then; a role that a real STS gives."""

from __future__ import annotations

import base64
import hmac
import io
import json
import threading
import uuid
from typing import TYPE_CHECKING, Any

import boto3.session
import pytest

from drivers.conformance import MIB, Bytes
from drivers.s3 import S3Driver
from drivers.s3_upload import PART
from lifecycle.errors import LifecycleError, Unauthorized
from tests.servers.httpd import Answer, Httpd
from tests.servers.seaweedfs import ROLE, SIGNING_KEY, SeaweedFS

if TYPE_CHECKING:
    from tests.servers.fixtures import Secrets

FIELDS = {"access": "accessKeySecret", "secret": "secretKeySecret", "token": "sessionTokenSecret"}
SELECTORS = {field: {"name": "s3", "key": key} for key, field in FIELDS.items()}
EXPIRED = Answer(400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>")
BEGUN = Answer(200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")


@pytest.fixture
def config(httpd: Httpd, secrets: Secrets) -> dict[str, Any]:
    secrets.write("s3", access="AK", secret="s3cr3t", token="old-t0ken")
    return {"endpoint": httpd.endpoint, "bucket": "bucket", "insecure": True} | SELECTORS


def failure(work: Any) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        work()
    return caught.value


def tokens(httpd: Httpd) -> list[str]:
    return [request.headers["x-amz-security-token"] for request in httpd.requests]


def test_a_part_that_a_token_ended_at_is_sent_again_with_the_new_one(httpd: Httpd, config, secrets):
    httpd.on("/bucket/key?uploads", BEGUN)
    httpd.on("/bucket/key?uploadId=u&partNumber=1", Answer(200, headers={"ETag": '"1"'}))
    httpd.on("/bucket/key?uploadId=u&partNumber=2", EXPIRED, Answer(200, headers={"ETag": '"2"'}))
    httpd.on("/bucket/key?uploadId=u", Answer(200, b"<CompleteMultipartUploadResult/>"))

    class Source(Bytes):
        """Mounted secrets change while the second part is read."""

        def read(self, size: int = -1, /) -> bytes:
            if self._left < PART:
                secrets.write("s3", access="AK2", token="new-t0ken")
            return super().read(size)

    S3Driver(config, secrets).save("key", Source(PART + 5), None)

    assert httpd.asked["/bucket/key?uploads"] == 1
    assert httpd.asked["/bucket/key?uploadId=u&partNumber=1"] == 1
    assert httpd.asked["/bucket/key?uploadId=u&partNumber=2"] == 2
    assert {"old-t0ken", "new-t0ken"} == set(tokens(httpd))
    assert tokens(httpd)[-1] == "new-t0ken"
    assert "Credential=AK2/" in httpd.requests[-1].headers["Authorization"]


def test_a_token_that_nobody_renewed_is_told(httpd: Httpd, config, secrets):
    httpd.on("/bucket/key?uploads", BEGUN)
    httpd.on("/bucket/key?uploadId=u&partNumber=1", EXPIRED)
    httpd.on("/bucket/key?uploadId=u", Answer(204))
    found = failure(lambda: S3Driver(config, secrets).save("key", Bytes(2 * PART), None))

    assert type(found) is Unauthorized
    assert "ExpiredToken" in found.message
    assert "no newer ones" in found.remedy
    assert "sessionTokenSecret (key 'token' of secret 's3')" in found.remedy
    assert httpd.asked["/bucket/key?uploadId=u&partNumber=1"] == 1
    assert httpd.requests[-1].method == "DELETE"


@pytest.mark.parametrize("fast", [False, True])
def test_a_token_that_was_renewed_is_used_for_everything_else(httpd: Httpd, config, secrets, fast: bool):
    listing = b"<ListBucketResult><Contents><Key>d/a</Key><Size>1</Size></Contents></ListBucketResult>"
    httpd.on("/bucket?list-type=2&prefix=d%2F&encoding-type=url", EXPIRED, Answer(200, listing))
    httpd.on("/bucket/d/a", EXPIRED, EXPIRED, Answer(200, b"x"))
    driver = S3Driver(config, secrets, fast=fast)
    secrets.write("s3", token="new-t0ken")

    assert [entry.path for entry in driver.list("d")] == ["a"]
    assert tokens(httpd) == ["old-t0ken", "new-t0ken"]
    if not fast:
        httpd.scripts["/bucket/d/a"] = [Answer(200, b"x")]
    else:
        secrets.write("s3", token="third-t0ken")
    with driver.open("d/a") as stream:
        assert stream.read() == b"x"
    # The fast path was refused, then boto3, which looked for others.
    assert tokens(httpd)[2:] == (["new-t0ken", "new-t0ken", "third-t0ken"] if fast else ["new-t0ken"])


def test_a_secret_that_is_being_replaced_is_no_news(httpd: Httpd, config, secrets):
    httpd.on("/bucket/key", EXPIRED)
    driver = S3Driver(config, secrets)
    (secrets.root / "s3/token").unlink()

    assert "ExpiredToken" in failure(lambda: driver.open("key")).message


def test_threads_look_for_new_credentials_once(httpd: Httpd, config, secrets):
    driver = S3Driver(config, secrets, fast=False)
    credentials = driver._connection.credentials
    used = credentials.get_frozen_credentials()
    secrets.write("s3", token="new-t0ken")
    together = threading.Barrier(8)
    found: list[bool] = []

    def look() -> None:
        together.wait()
        found.append(credentials.renewed(used))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [True] * 8
    assert credentials.get_frozen_credentials().token == "new-t0ken"
    assert not credentials.renewed(credentials.get_frozen_credentials())


def test_a_token_without_keys_is_refused(config, secrets):
    config = {name: value for name, value in config.items() if not name.endswith("KeySecret")}

    assert "sessionTokenSecret" in failure(lambda: S3Driver(config, secrets)).message


def test_a_roles_credentials_that_are_refused_are_fetched_anew(
    httpd: Httpd, config, secrets, monkeypatch: pytest.MonkeyPatch
):
    def role(token: str) -> Answer:
        keys = f"<AccessKeyId>AKROLE</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>{token}"
        given = f"<Credentials>{keys}</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>"
        return Answer(
            200, f"<AssumeRoleResponse><AssumeRoleResult>{given}</AssumeRoleResult></AssumeRoleResponse>".encode()
        )

    for name, value in (("ACCESS_KEY_ID", "AK"), ("SECRET_ACCESS_KEY", "s"), ("ENDPOINT_URL_STS", httpd.url)):
        monkeypatch.setenv(f"AWS_{name}", value)
    httpd.on("/", role("first"), role("second"))
    httpd.on("/bucket/key", EXPIRED, Answer(200, b"data"))
    config = {name: value for name, value in config.items() if name not in SELECTORS} | {"roleARN": ROLE}
    with S3Driver(config, secrets).open("key") as stream:
        assert stream.read() == b"data"

    assert [request.headers["x-amz-security-token"] for request in httpd.requests if request.method == "GET"] == [
        "first",
        "second",
    ]


def test_a_role_that_nobody_can_assume_is_unauthorized(config, secrets):
    config = {name: value for name, value in config.items() if name not in SELECTORS} | {"roleARN": ROLE}
    found = failure(lambda: S3Driver(config, secrets).open("key"))

    assert type(found) is Unauthorized
    assert "credentials" in found.message


@pytest.mark.server("seaweedfs")
def test_a_token_that_a_real_sts_let_expire_is_told_until_it_is_renewed(s3_config, secrets, weed: SeaweedFS):
    """The least that STS gives is 15 minutes; the server's own signing key makes an older one of it."""
    session = boto3.session.Session(weed.access_key, weed.secret_key, region_name="us-east-1")
    sts = session.client("sts", endpoint_url=f"http://{weed.endpoint}")
    given = sts.assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]
    secrets.write("s3", access=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"])
    config = s3_config | {"sessionTokenSecret": SELECTORS["sessionTokenSecret"]}
    driver = S3Driver(config, secrets)
    key = f"test/{uuid.uuid4().hex}"
    driver.save(key, io.BytesIO(b"x"), 1)

    secrets.write("s3", token=expired(given["SessionToken"]))
    old = S3Driver(config, secrets)
    found = failure(lambda: old.open(key))
    assert type(found) is Unauthorized, found
    secrets.write("s3", token=given["SessionToken"])
    with old.open(key) as stream:
        assert stream.read() == b"x"


def expired(token: str) -> str:
    """The same JWT, but of yesterday."""

    def text(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head, claims, _ = token.encode().split(b".")
    told = json.loads(base64.urlsafe_b64decode(claims + b"=="))
    told |= {name: told[name] - 86_400 for name in ("exp", "iat", "nbf") if name in told}
    signed = head + b"." + text(json.dumps(told).encode())
    return (signed + b"." + text(hmac.digest(SIGNING_KEY, signed, "sha256"))).decode()


@pytest.mark.server("seaweedfs")
def test_a_role_of_a_real_sts_saves_and_loads(s3_config, secrets, weed: SeaweedFS, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", weed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", weed.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://{weed.endpoint}")
    config = {name: value for name, value in s3_config.items() if not name.endswith("KeySecret")} | {"roleARN": ROLE}
    driver = S3Driver(config, secrets, fast=True)
    root = f"test/{uuid.uuid4().hex}"
    for size in (5, 9 * MIB):
        driver.save(f"{root}/object", Bytes(size), None)
        with driver.open(f"{root}/object") as stream:
            assert stream.read() == bytes(size)
    assert driver._connection.credentials.get_frozen_credentials().token


@pytest.mark.server("seaweedfs")
def test_a_session_token_of_a_real_sts_is_verified(s3_config, secrets, weed: SeaweedFS):
    session = boto3.session.Session(weed.access_key, weed.secret_key, region_name="us-east-1")
    sts = session.client("sts", endpoint_url=f"http://{weed.endpoint}")
    given = sts.assume_role(RoleArn=ROLE, RoleSessionName="test")["Credentials"]
    secrets.write("s3", access=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"])
    config = s3_config | {"sessionTokenSecret": SELECTORS["sessionTokenSecret"]}
    key = f"test/{uuid.uuid4().hex}"
    S3Driver(config, secrets).save(key, io.BytesIO(b"x"), 1)
    secrets.write("s3", token=f"forged{given['SessionToken']}")
    driver = S3Driver(config, secrets)
    assert not failure(lambda: driver.open(key)).transient
    secrets.write("s3", token=given["SessionToken"])  # rotated while the driver lives

    with driver.open(key) as stream:
        assert stream.read() == b"x"
