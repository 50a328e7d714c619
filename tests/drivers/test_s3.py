"""The S3 driver against a real SeaweedFS: the conformance suite, permissions, parts, paging."""

from __future__ import annotations

import io
import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from drivers.conformance import MIB, Bytes, DriverConformance, Store
from drivers.s3 import S3Driver
from lifecycle.errors import BadRequest, Forbidden, LifecycleError, NotFound, Permanent, Unauthorized
from tests.servers.httpd import Answer, Httpd
from tests.servers.seaweedfs import READER, SeaweedFS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server("seaweedfs")


@pytest.fixture
def driver(s3_config: dict[str, Any], secrets) -> S3Driver:
    return S3Driver(s3_config, secrets)


@pytest.fixture
def admin(weed: SeaweedFS) -> Iterator[Any]:
    client = weed.client()
    yield client
    client.close()


@pytest.fixture
def root() -> str:
    return f"test/{uuid.uuid4().hex}"


class _Conformance(DriverConformance):
    odd_names = tuple(name for name in DriverConformance.odd_names if "\\" not in name)  # it makes slashes of them


class TestSeaweedFS(_Conformance):
    @pytest.fixture
    def store(self, s3_config: dict[str, Any], secrets, root: str) -> Store:
        return Store(S3Driver(s3_config, secrets, fast=False), root)


class TestSeaweedFSByTheFastPath(_Conformance):
    @pytest.fixture
    def store(self, s3_config: dict[str, Any], secrets, root: str) -> Store:
        return Store(S3Driver(s3_config, secrets, fast=True), root)


def failure(work: Any) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        work()
    return caught.value


def test_a_wrong_secret_is_told_at_the_first_attempt(s3_config, secrets, weed: SeaweedFS):
    secrets.write("s3", secret="wr0ng-s3cr3t")
    found = failure(lambda: S3Driver(s3_config, secrets).open("some/key"))

    assert type(found) is Unauthorized
    for part in ("'some/key'", repr(weed.bucket), weed.endpoint, "SignatureDoesNotMatch", "s3:GetObject"):
        assert part in found.message
    assert "secretKeySecret (key 'secret' of secret 's3')" in found.remedy


def test_an_unknown_access_key_is_unauthorized(s3_config, secrets):
    secrets.write("s3", access="AKNOBODY")
    found = failure(lambda: S3Driver(s3_config, secrets).open("some/key"))

    assert type(found) is Unauthorized
    assert "InvalidAccessKeyId" in found.message


def test_no_error_shows_a_secret(s3_config, secrets):
    secrets.write("s3", access="AKNOBODY", secret="wr0ng-s3cr3t", token="t0ken-t0ken")
    config = s3_config | {"sessionTokenSecret": {"name": "s3", "key": "token"}}
    driver = S3Driver(config, secrets)
    calls = (
        lambda: driver.open("k"),
        lambda: driver.save("k", io.BytesIO(b"x"), 1),
        lambda: driver.save("k", Bytes(9 * MIB), None),
        lambda: list(driver.list("k")),
        lambda: driver.delete("k"),
    )
    for call in calls:
        error: BaseException | None = failure(call)
        while error is not None:
            for shown in (str(error), repr(error), repr(vars(error)), getattr(error, "remedy", "")):
                assert "wr0ng-s3cr3t" not in shown
                assert "t0ken-t0ken" not in shown
            error = error.__cause__


def test_a_bucket_that_is_not_there_is_a_configuration_error(s3_config, secrets):
    driver = S3Driver(s3_config | {"bucket": "no-such-bucket"}, secrets)
    for work in (lambda: driver.open("k"), lambda: list(driver.list("k"))):  # a PUT makes it, in SeaweedFS
        found = failure(work)

        assert type(found) is BadRequest
        assert "'no-such-bucket'" in found.message
        assert "create the bucket" in found.remedy


def test_a_bucket_that_cannot_be_is_a_bad_request(s3_config, secrets):
    assert type(failure(lambda: S3Driver(s3_config | {"bucket": "a b"}, secrets).open("k"))) is BadRequest


def test_a_reader_may_read_and_list(s3_config, secrets, driver: S3Driver, root: str):
    driver.save(f"{root}/object", io.BytesIO(b"data"), 4)
    selectors = {f"{name}KeySecret": {"name": "reader", "key": name} for name in ("access", "secret")}
    reader = S3Driver(s3_config | selectors, secrets)

    with reader.open(f"{root}/object") as stream:
        assert stream.read() == b"data"
    assert [entry.path for entry in reader.list(root)] == ["object"]


@pytest.mark.parametrize("size", [1, 20 * MIB])
def test_a_reader_who_saves_is_told_what_to_grant(s3_config, secrets, root: str, size: int):
    selectors = {f"{name}KeySecret": {"name": "reader", "key": name} for name in ("access", "secret")}
    reader = S3Driver(s3_config | selectors, secrets)
    found = failure(lambda: reader.save(f"{root}/object", Bytes(size), None))

    assert type(found) is Forbidden
    assert "s3:PutObject" in found.message
    assert "grant s3:PutObject" in found.remedy
    assert READER.secret_key not in repr(found)
    assert type(failure(lambda: reader.delete(f"{root}/object"))) is Forbidden


def test_a_pipe_is_saved_in_parts(driver: S3Driver, admin: Any, weed: SeaweedFS, root: str):
    reading, writing = os.pipe()
    data = os.urandom(MIB) * 40

    def write() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    with open(reading, "rb", buffering=0) as pipe:
        driver.save(f"{root}/object", pipe, None)
    writer.join()

    head = admin.head_object(Bucket=weed.bucket, Key=f"{root}/object")
    assert head["ETag"].endswith('-5"')
    with driver.open(f"{root}/object") as stream:
        assert stream.size == len(data)
        assert stream.read() == data


def test_a_failing_source_leaves_no_parts(driver: S3Driver, admin: Any, weed: SeaweedFS, root: str):
    with pytest.raises(OSError, match="broke"):
        driver.save(f"{root}/object", Bytes(50 * MIB, failure=OSError("broke")), None)

    assert admin.list_multipart_uploads(Bucket=weed.bucket).get("Uploads", []) == []


def test_an_upload_that_was_aborted_by_others_can_be_tried_again(driver: S3Driver, admin: Any, weed: SeaweedFS, root):
    class Source(Bytes):
        def read(self, size: int = -1, /) -> bytes:
            for upload in admin.list_multipart_uploads(Bucket=weed.bucket).get("Uploads", []):
                admin.abort_multipart_upload(Bucket=weed.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            return super().read(size)

    assert failure(lambda: driver.save(f"{root}/object", Source(20 * MIB), None)).transient


def test_the_name_decides_the_content_type(driver: S3Driver, admin: Any, weed: SeaweedFS, root: str):
    expected = {"a.json": "application/json", "b.tgz": "application/x-tar", "c": "application/octet-stream"}
    for name in expected:
        driver.save(f"{root}/{name}", io.BytesIO(b"x"), 1)
    driver.save(f"{root}/d.txt", Bytes(9 * MIB), None)

    for name, kind in (expected | {"d.txt": "text/plain"}).items():
        assert admin.head_object(Bucket=weed.bucket, Key=f"{root}/{name}")["ContentType"] == kind


def test_long_listings_come_in_pages(driver: S3Driver, root: str):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: driver.save(f"{root}/d/{n:04}", io.BytesIO(b""), 0), range(1500)))

    assert [entry.path for entry in driver.list(f"{root}/d")] == [f"{n:04}" for n in range(1500)]


def test_folder_markers_are_no_objects(driver: S3Driver, admin: Any, weed: SeaweedFS, root: str):
    for name in ("d/", "d/below/", "d/below/object"):
        admin.put_object(Bucket=weed.bucket, Key=f"{root}/{name}", Body=b"")

    assert [entry.path for entry in driver.list(f"{root}/d")] == ["below/object"]


def test_an_empty_key_lists_the_bucket(s3_config, secrets, admin: Any):
    admin.create_bucket(Bucket="another")
    driver = S3Driver(s3_config | {"bucket": "another"}, secrets)
    for name in ("top", "d/below"):
        driver.save(name, io.BytesIO(b"x"), 1)

    assert [entry.path for entry in driver.list("")] == ["d/below", "top"]


def test_a_region_is_no_obstacle(s3_config, secrets, root: str):
    driver = S3Driver(s3_config | {"region": "eu-central-1"}, secrets)
    driver.save(f"{root}/object", io.BytesIO(b"x"), 1)

    assert len(list(driver.list(root))) == 1


def test_the_ca_of_a_secret_is_trusted(s3_config, secrets, weed: SeaweedFS, certificate, root: str):
    secrets.write("ca", pem=certificate[0].read_text())
    config = s3_config | {"endpoint": weed.https_endpoint, "insecure": False, "caSecret": {"name": "ca", "key": "pem"}}
    driver = S3Driver(config, secrets)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: driver.save(f"{root}/{n}", io.BytesIO(b"x"), 1), range(8)))

    assert len(list(driver.list(root))) == 8


def test_the_ca_of_the_system_is_trusted(
    s3_config, secrets, weed: SeaweedFS, certificate, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    driver = S3Driver(s3_config | {"endpoint": weed.https_endpoint, "insecure": None}, secrets)

    assert type(failure(lambda: driver.open("k"))) is NotFound


def test_a_certificate_that_nobody_vouches_for_is_permanent(s3_config, secrets, weed: SeaweedFS):
    driver = S3Driver(s3_config | {"endpoint": weed.https_endpoint, "insecure": False}, secrets)
    found = failure(lambda: driver.open("k"))

    assert type(found) is Permanent
    assert "certificate" in found.message
    assert "caSecret" in found.remedy


def test_credentials_of_the_aws_tools_serve_where_no_secret_is_named(
    s3_config, secrets, weed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
):
    config = {name: value for name, value in s3_config.items() if not name.endswith("Secret")}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", weed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", weed.secret_key)

    assert type(failure(lambda: S3Driver(config, secrets).open("k"))) is NotFound


def test_the_answers_of_a_broken_connection_are_worth_another_attempt(s3_config, secrets):
    with Httpd() as httpd:
        httpd.on("/artifacts/half", Answer(200, b"half", length=8))
        driver = S3Driver(s3_config | {"endpoint": httpd.endpoint}, secrets)
        with driver.open("half") as stream:
            assert stream.size == 8
            assert failure(stream.read).transient


@pytest.mark.parametrize("size", [1000, 20 * MIB])
def test_the_rest_of_an_object_is_what_comes_after_a_byte(driver: S3Driver, root: str, size: int):
    data = os.urandom(1000) * (size // 1000)
    driver.save(f"{root}/object", io.BytesIO(data), None)
    with driver.open(f"{root}/object") as stream:
        version = stream.version

    with driver.open_rest(f"{root}/object", 300, version) as rest:
        assert (rest.size, rest.version) == (len(data) - 300, version)
        assert rest.read() == data[300:]


def test_there_is_no_rest_of_an_object_that_changed(driver: S3Driver, root: str):
    driver.save(f"{root}/object", io.BytesIO(b"the first, longer one"), None)
    with driver.open(f"{root}/object") as stream:
        version = stream.version
    driver.save(f"{root}/object", io.BytesIO(b"another"), None)

    assert type(failure(lambda: driver.open_rest(f"{root}/object", 3, version))) is NotFound
    driver.delete(f"{root}/object")
    assert type(failure(lambda: driver.open_rest(f"{root}/object", 3, version))) is NotFound


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_bytes_that_change_on_their_way_are_refused(driver: S3Driver, weed: SeaweedFS, root: str, size: int):
    """What the signature says of the body is not verified by SeaweedFS: without Content-MD5 it stores anything."""

    def flip(request: Any, **_: Any) -> None:
        if request.method == "PUT":
            request.body = b"\1" + bytes(request.body)[1:]

    driver._connection.client.meta.events.register("before-send.s3", flip)
    found = failure(lambda: driver.save(f"{root}/object", Bytes(size), None))

    assert "BadDigest" in found.message
    assert found.transient
    assert list(driver.list(root)) == []
    assert weed.client().list_multipart_uploads(Bucket=weed.bucket).get("Uploads", []) == []


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_a_checksum_that_the_store_keeps_is_compared(driver, admin: Any, weed: SeaweedFS, root: str, algorithm: str):
    data = os.urandom(100_000)
    admin.put_object(Bucket=weed.bucket, Key=f"{root}/object", Body=data, ChecksumAlgorithm=algorithm)
    with driver.open(f"{root}/object") as stream:
        assert stream.read() == data


def test_the_marker_of_a_folder_is_a_directory(driver: S3Driver, admin: Any, weed: SeaweedFS, root: str):
    for name in ("d/", "d/object"):
        admin.put_object(Bucket=weed.bucket, Key=f"{root}/{name}", Body=b"")

    assert type(failure(lambda: driver.open(f"{root}/d/"))) is NotFound
    assert [entry.path for entry in driver.list(f"{root}/d/")] == ["object"]
    driver.delete(f"{root}/d/")
    assert [entry.path for entry in driver.list(f"{root}/d")] == ["object"]


def test_an_empty_prefix_has_no_objects(driver: S3Driver, root: str):
    assert list(driver.list(f"{root}/nothing")) == []
    assert list(driver.list(f"{root}/nothing/")) == []
