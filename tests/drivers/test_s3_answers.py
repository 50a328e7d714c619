"""What the S3 driver sends, and what it makes of answers that no healthy server gives. Runs anywhere."""

from __future__ import annotations

import io
import logging
import socket
import threading
import traceback
from typing import Any

import pytest

from drivers.conformance import Bytes
from drivers.s3 import S3Driver
from drivers.s3_upload import MIB, PART, part_size
from lifecycle.errors import (
    BadRequest,
    CorruptData,
    Forbidden,
    InputError,
    LifecycleError,
    NotFound,
    Permanent,
    StorageFull,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from tests.servers.httpd import Answer, Httpd
from tests.servers.process import deaf_port

SELECTORS = {f"{name}KeySecret": {"name": "s3", "key": name} for name in ("access", "secret")}


@pytest.fixture
def config(httpd: Httpd, secrets) -> dict[str, Any]:
    secrets.write("s3", access="AK", secret="s3cr3t")
    return {"endpoint": httpd.endpoint, "bucket": "bucket", "insecure": True} | SELECTORS


@pytest.fixture
def driver(config: dict[str, Any], secrets) -> S3Driver:
    return S3Driver(config, secrets)


def failure(work: Any) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        work()
    return caught.value


def said(code: str, status: int, **headers: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>said the server</Message></Error>" if code else ""
    return Answer(status, body.encode(), {"Content-Type": "application/xml"} | headers)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("NoSuchKey", 404, NotFound),
        ("", 404, NotFound),
        ("NoSuchBucket", 404, BadRequest),
        ("NoSuchUpload", 404, Unavailable),
        ("SignatureDoesNotMatch", 403, Unauthorized),
        ("ExpiredToken", 400, Unauthorized),
        ("RequestTimeTooSkewed", 403, Unauthorized),
        ("AccessDenied", 403, Forbidden),
        ("", 403, Forbidden),
        ("", 401, Unauthorized),
        ("AuthorizationHeaderMalformed", 400, BadRequest),
        ("InvalidArgument", 400, BadRequest),
        ("XMinioStorageFull", 507, StorageFull),
        ("NotImplemented", 501, Unsupported),
    ],
)
def test_an_answer_means_what_its_code_says(
    httpd: Httpd, driver: S3Driver, code: str, status: int, error: type[LifecycleError]
):
    httpd.on("/bucket/key", said(code, status))
    found = failure(lambda: driver.open("key"))

    assert type(found) is error
    assert httpd.asked["/bucket/key"] == 1
    assert "'key' in bucket 'bucket'" in found.message
    assert (code or str(status)) in found.message


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("SlowDown", 503, Throttled),
        ("RequestLimitExceeded", 400, Throttled),
        ("", 429, Throttled),
        ("InternalError", 500, Unavailable),
        ("", 502, Unavailable),
        ("RequestTimeout", 400, TimedOut),
    ],
)
def test_transient_answers_are_tried_twice_and_passed_on(
    httpd: Httpd, driver: S3Driver, code: str, status: int, error: type[LifecycleError]
):
    httpd.on("/bucket/key", said(code, status, **{"Retry-After": "7"}))
    found = failure(lambda: driver.open("key"))

    assert type(found) is error
    assert httpd.asked["/bucket/key"] <= 2
    assert found.retry_after == 7


@pytest.mark.parametrize("body", [b"<html>not here</html>", b""])
def test_a_server_that_is_no_s3_and_has_nothing_there_is_a_configuration_error(
    httpd: Httpd, driver: S3Driver, body: bytes
):
    httpd.next = lambda _: Answer(404, body)  # type: ignore[method-assign]
    assert type(failure(lambda: driver.open("key"))) is NotFound  # which whoever loads follows by a listing
    with pytest.raises(BadRequest, match="ListBucket") as caught:
        list(driver.list("key"))

    assert "endpoint" in caught.value.remedy


def test_a_token_that_cannot_be_sent_is_a_bad_request_and_not_shown(config: dict[str, Any], secrets):
    secrets.write("s3", token="one\ns3cr3t")
    driver = S3Driver(config | {"sessionTokenSecret": {"name": "s3", "key": "token"}}, secrets)
    for work in (lambda: driver.open("key"), lambda: driver.save("key", Bytes(1), None)):
        with pytest.raises(BadRequest) as caught:
            work()
        assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
        assert "sessionTokenSecret" in caught.value.remedy


def test_a_server_that_redirects_everything_is_a_bad_request(httpd: Httpd, driver: S3Driver):
    asked: list[Any] = []

    def login(request: Any) -> Answer:
        asked.append(request)
        return Answer(302, b"", {"Location": "http://127.0.0.1:1/login"})

    httpd.next = login  # type: ignore[method-assign]
    with pytest.raises(BadRequest, match="302") as caught:
        driver.open("key")
    assert "login page" in caught.value.remedy
    assert [one.method for one in asked] == ["GET", "HEAD"]


def test_a_web_page_is_no_object(httpd: Httpd, driver: S3Driver):
    page = Answer(200, b"<!doctype html><title>MinIO Console</title>", {"Content-Type": "text/html; charset=utf-8"})
    httpd.on("/bucket/key", page)
    with pytest.raises(BadRequest, match="no S3") as caught:
        driver.open("key")
    assert "endpoint" in caught.value.remedy

    stored = Answer(200, page.body, {**page.headers, "ETag": '"e"'})
    httpd.on("/bucket/key", stored)
    with driver.open("key") as stream:
        assert stream.read() == page.body


def test_deleting_what_is_not_there_is_success(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket/key", said("NoSuchKey", 404))  # Google's S3 says so, AWS does not
    driver.delete("key")
    httpd.on("/bucket/key", said("NoSuchBucket", 404))
    with pytest.raises(BadRequest):
        driver.delete("key")


@pytest.mark.parametrize("size", [1, 2 * PART])
def test_saving_to_a_bucket_that_is_not_there_is_a_configuration_error(httpd: Httpd, driver: S3Driver, size: int):
    for target in ("/bucket/key", "/bucket/key?uploads"):
        httpd.on(target, said("NoSuchBucket", 404))

    assert type(failure(lambda: driver.save("key", Bytes(size), None))) is BadRequest


def test_a_hiccup_is_not_noticed(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket/key", said("InternalError", 500), Answer(200, b"data"))
    with driver.open("key") as stream:
        assert stream.read() == b"data"


def test_an_answer_that_is_not_xml_is_taken_for_a_network_in_trouble(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket?list-type=2&prefix=d%2F&encoding-type=url", Answer(200, b"welcome to the console"))

    assert type(failure(lambda: list(driver.list("d")))) is Unavailable


def test_an_sts_that_is_none_is_a_configuration_error(
    httpd: Httpd, config: dict[str, Any], secrets, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKCHAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "chain")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", httpd.url)
    httpd.on("/", Answer(200, b"welcome to the console"))
    config = {name: value for name, value in config.items() if name not in SELECTORS}
    found = failure(lambda: S3Driver(config | {"roleARN": "arn:aws:iam::1:role/r"}, secrets).open("key"))

    assert type(found) is BadRequest
    assert "STS" in found.remedy


def test_a_role_that_may_not_be_assumed_is_told(
    httpd: Httpd, config: dict[str, Any], secrets, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKCHAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "chain")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", httpd.url)
    error = "<Error><Code>AccessDenied</Code><Message>not authorized to perform sts:AssumeRole</Message></Error>"
    httpd.on("/", Answer(403, f"<ErrorResponse>{error}</ErrorResponse>".encode()))
    config = {name: value for name, value in config.items() if name not in SELECTORS}
    found = failure(lambda: S3Driver(config | {"roleARN": "arn:aws:iam::1:role/r"}, secrets).open("key"))

    assert type(found) is Forbidden
    assert "grant sts:AssumeRole" in found.remedy


def test_nobody_at_the_port_is_unavailable(config: dict[str, Any], secrets):
    with deaf_port() as port:
        found = failure(lambda: S3Driver(config | {"endpoint": f"127.0.0.1:{port}"}, secrets).open("key"))

    assert type(found) is Unavailable
    assert "Connection refused" in found.message


def test_a_server_that_does_not_answer_times_out(config: dict[str, Any], secrets):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config["endpoint"] = f"127.0.0.1:{silent.getsockname()[1]}"
        assert type(failure(lambda: S3Driver(config, secrets, read_timeout=0.2).open("key"))) is TimedOut


def test_a_server_that_stops_sending_times_out(httpd: Httpd, config: dict[str, Any], secrets):
    httpd.on("/bucket/key", Answer(200, b"half", length=8, hangs=True))
    with S3Driver(config, secrets, read_timeout=2.0).open("key") as stream:
        assert stream.read(4) == b"half"
        assert type(failure(lambda: stream.read(4))) is TimedOut


def test_a_body_that_breaks_off_is_not_an_object(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket/key", Answer(200, b"half", length=8))
    with driver.open("key") as stream:
        assert type(failure(stream.read)) is Unavailable


def test_bodies_are_sent_at_once_and_without_trailers(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket/key", Answer(200))
    driver.save("key", Bytes(3 * MIB), None)
    request = httpd.requests[0]

    assert len(request.body) == 3 * MIB
    # This server never says "100 Continue": with botocore's header it would take a second longer.
    assert "Expect" not in request.headers
    assert "x-amz-trailer" not in request.headers
    assert len(request.headers["x-amz-content-sha256"]) == 64


def test_parts_are_sent_at_once_too(httpd: Httpd, driver: S3Driver):
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    httpd.on("/bucket/key?uploads", Answer(200, begun))
    for number in (1, 2):
        httpd.on(f"/bucket/key?uploadId=u&partNumber={number}", Answer(200, headers={"ETag": f'"{number}"'}))
    httpd.on("/bucket/key?uploadId=u", Answer(200, b"<CompleteMultipartUploadResult/>"))
    driver.save("key", Bytes(PART + 1), None)

    assert [request.method for request in httpd.requests] == ["POST", "PUT", "PUT", "POST"]
    assert not any("Expect" in request.headers for request in httpd.requests)
    assert sorted(len(request.body) for request in httpd.requests if request.method == "PUT") == [1, PART]


def test_a_part_that_fails_aborts_the_upload(httpd: Httpd, driver: S3Driver):
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    httpd.on("/bucket/key?uploads", Answer(200, begun))
    httpd.on("/bucket/key?uploadId=u&partNumber=1", said("AccessDenied", 403))
    httpd.on("/bucket/key?uploadId=u", Answer(204))
    found = failure(lambda: driver.save("key", Bytes(2 * PART), None))

    assert type(found) is Forbidden
    assert (httpd.requests[-1].method, httpd.requests[-1].target) == ("DELETE", "/bucket/key?uploadId=u")


def test_an_upload_that_cannot_even_be_aborted_reports_its_first_error(
    httpd: Httpd, driver: S3Driver, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)  # a test of the command line ends it
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    httpd.on("/bucket/key?uploads", Answer(200, begun))
    httpd.on("/bucket/key?uploadId=u", said("AccessDenied", 403))
    with pytest.raises(RuntimeError, match="broke"):
        driver.save("key", Bytes(PART, failure=RuntimeError("broke")), None)

    assert "s3:AbortMultipartUpload" in caplog.text


def test_what_an_attempt_could_not_abort_the_next_one_does(httpd: Httpd, config: dict[str, Any], secrets):
    """Who cannot send a part cannot send that either; once it can, the parts of both attempts must not stay.

    Each attempt has a driver of its own.
    """
    driver, again = S3Driver(config, secrets), S3Driver(config, secrets)
    begun = b"<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>"
    httpd.on("/bucket/key?uploads", *(Answer(200, begun % name) for name in (b"first", b"second")))
    away = said("ServiceUnavailable", 503)
    httpd.on("/bucket/key?uploadId=first&partNumber=1", away)
    httpd.on("/bucket/key?uploadId=first", away, away, Answer(204))
    for number in (1, 2):
        httpd.on(f"/bucket/key?uploadId=second&partNumber={number}", Answer(200, headers={"ETag": f'"{number}"'}))
    httpd.on("/bucket/key?uploadId=second", Answer(200, b"<CompleteMultipartUploadResult/>"))
    assert type(failure(lambda: driver.save("key", Bytes(PART), None))) is Unavailable

    again.save("key", Bytes(PART + 1), None)
    again.save("key", Bytes(PART + 1), None)

    assert [request.target for request in httpd.requests if request.method == "DELETE"] == [
        "/bucket/key?uploadId=first"
    ] * 3


def test_an_abort_whose_answer_was_lost_has_aborted(httpd: Httpd, driver: S3Driver, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)  # a test of the command line ends it
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    httpd.on("/bucket/key?uploads", Answer(200, begun))
    httpd.on("/bucket/key?uploadId=u", said("NoSuchUpload", 404))
    with pytest.raises(RuntimeError, match="broke"):
        driver.save("key", Bytes(PART, failure=RuntimeError("broke")), None)

    assert caplog.text == ""


def test_keys_that_lead_out_of_a_directory_are_refused(httpd: Httpd, driver: S3Driver):
    for key in ("d/../x", "d/a/../../x", "d//etc/passwd"):
        listing = f"<ListBucketResult><Contents><Key>{key}</Key><Size>1</Size></Contents></ListBucketResult>"
        httpd.on("/bucket?list-type=2&prefix=d%2F&encoding-type=url", Answer(200, listing.encode()))
        found = failure(lambda: list(driver.list("d")))

        assert type(found) is BadRequest
        assert repr(key) in found.message


@pytest.mark.parametrize("missing", ["accessKeySecret", "secretKeySecret"])
def test_half_of_the_credentials_is_an_error_that_names_the_other(config: dict[str, Any], secrets, missing: str):
    del config[missing]
    with pytest.raises(BadRequest, match=f"no `{missing}`"):
        S3Driver(config, secrets)


def test_a_selector_without_a_name_is_no_selector(config: dict[str, Any], secrets):
    config |= {"accessKeySecret": {"name": "", "key": ""}, "secretKeySecret": None}
    found = failure(lambda: S3Driver(config, secrets).open("key"))

    assert type(found) is Unauthorized
    assert "IAM role" in found.remedy


def test_a_secret_that_is_not_there_is_named(config: dict[str, Any], secrets):
    config["secretKeySecret"] = {"name": "gone", "key": "k"}
    with pytest.raises(Unauthorized, match="gone"):
        S3Driver(config, secrets)


def test_a_profile_that_is_not_there_is_unauthorized(config: dict[str, Any], secrets, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    config = {name: value for name, value in config.items() if name not in SELECTORS}
    found = failure(lambda: S3Driver(config, secrets).open("key"))

    assert type(found) is Unauthorized
    assert "nobody" in found.message


def test_a_session_token_is_sent(httpd: Httpd, config: dict[str, Any], secrets):
    secrets.write("s3", token="t0ken")
    driver = S3Driver(config | {"sessionTokenSecret": {"name": "s3", "key": "token"}}, secrets)
    failure(lambda: driver.open("key"))

    assert httpd.requests[0].headers["x-amz-security-token"] == "t0ken"


def test_a_role_is_assumed_with_the_credentials_of_the_chain(
    httpd: Httpd, config: dict[str, Any], secrets, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKCHAIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "chain")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", httpd.url)
    credentials = "<AccessKeyId>AKROLE</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>t</SessionToken>"
    credentials = f"<Credentials>{credentials}<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>"
    result = f"<AssumeRoleResult>{credentials}</AssumeRoleResult>"
    httpd.on("/", Answer(200, f"<AssumeRoleResponse>{result}</AssumeRoleResponse>".encode()))
    httpd.on("/bucket/key", Answer(200, b"data"))
    config = {name: value for name, value in config.items() if name not in SELECTORS}
    driver = S3Driver(config | {"roleARN": "arn:aws:iam::1:role/r"}, secrets)
    with driver.open("key") as stream:
        assert stream.read() == b"data"

    assume, get = httpd.requests
    assert b"RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr" in assume.body
    assert "Credential=AKCHAIN/" in assume.headers["Authorization"]
    assert "Credential=AKROLE/" in get.headers["Authorization"]
    assert get.headers["x-amz-security-token"] == "t"


@pytest.mark.parametrize(
    ("extra", "region"),
    [({}, "us-east-1"), ({"region": "eu-west-3"}, "eu-west-3")],
)
def test_the_region_is_signed_for(httpd: Httpd, config: dict[str, Any], secrets, extra: dict[str, str], region: str):
    failure(lambda: S3Driver(config | extra, secrets).open("key"))

    assert f"/{region}/s3/aws4_request" in httpd.requests[0].headers["Authorization"]


@pytest.mark.parametrize(
    ("extra", "url"),
    [
        ({"endpoint": "s3.amazonaws.com"}, "https://bucket.s3.amazonaws.com/k"),
        ({"endpoint": ""}, "https://bucket.s3.amazonaws.com/k"),
        ({"endpoint": "s3.amazonaws.com", "region": "eu-west-3"}, "https://bucket.s3.eu-west-3.amazonaws.com/k"),
        ({"endpoint": "s3.eu-west-3.amazonaws.com"}, "https://bucket.s3.eu-west-3.amazonaws.com/k"),
        ({"endpoint": "oss-cn-hangzhou.aliyuncs.com"}, "https://bucket.oss-cn-hangzhou.aliyuncs.com/k"),
        ({"endpoint": "storage.googleapis.com"}, "https://bucket.storage.googleapis.com/k"),
        ({"endpoint": "s3.amazonaws.com", "bucket": "b.c"}, "https://s3.amazonaws.com/b.c/k"),
        ({"endpoint": "minio:9000"}, "https://minio:9000/bucket/k"),
        ({"endpoint": "minio:9000", "insecure": True}, "http://minio:9000/bucket/k"),
        ({"endpoint": "minio:9000", "insecure": "true"}, "https://minio:9000/bucket/k"),
        ({"endpoint": "minio:9000", "addressingStyle": "virtual-hosted"}, "https://bucket.minio:9000/k"),
        ({"endpoint": "s3.amazonaws.com", "addressingStyle": "path"}, "https://s3.amazonaws.com/bucket/k"),
    ],
)
def test_buckets_are_addressed_as_their_servers_expect(secrets, extra: dict[str, Any], url: str):
    secrets.write("s3", access="AK", secret="s3cr3t")
    driver = S3Driver({"bucket": "bucket"} | SELECTORS | extra, secrets)
    bucket = extra.get("bucket", "bucket")
    signed = driver._connection.client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})

    assert signed.partition("?")[0] == url


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"endpoint": "https://minio:9000"}, "scheme"),
        ({"bucket": ""}, "bucket"),
        ({"addressingStyle": "sideways"}, "sideways"),
        ({"caSecret": {"name": "s3", "key": "secret"}}, "caSecret"),
    ],
)
def test_a_location_that_cannot_work_is_refused(config: dict[str, Any], secrets, extra: dict[str, Any], named: str):
    found = failure(lambda: S3Driver(config | extra, secrets))

    assert type(found) is BadRequest
    assert named in found.message + found.remedy


@pytest.mark.parametrize("extra", [{"encryptionOptions": {}}, {"encryptionOptions": {"enableEncryption": False}}])
def test_options_that_ask_for_nothing_are_no_obstacle(config: dict[str, Any], secrets, extra: dict[str, Any]):
    S3Driver(config | extra, secrets)


def test_an_empty_key_is_a_bad_request(driver: S3Driver):
    assert type(failure(lambda: driver.open(""))) is BadRequest
    assert type(failure(lambda: driver.save("", io.BytesIO(b"x"), 1))) is BadRequest


def test_a_selector_without_a_key_is_an_input_error(config: dict[str, Any], secrets):
    config["accessKeySecret"] = {"name": "s3"}
    with pytest.raises(InputError):
        S3Driver(config, secrets)


@pytest.mark.parametrize("gib", [0, 1, 70, 71, 500, 5 * 1024])
def test_ten_thousand_parts_suffice_for_a_known_length(gib: int):
    size = gib * 1024 * MIB
    part = part_size(1, size)

    assert part >= PART
    assert size / part <= 9_000


def test_parts_of_an_unknown_length_grow_late_and_hold_350_gib():
    sizes = [part_size(number, None) for number in range(1, 10_001)]

    assert sizes[:5_000] == [PART] * 5_000
    assert sum(sizes) > 350 * 1024 * MIB


CRC32 = {"x-amz-checksum-crc32": "rfPzYw=="}  # of b"data"


def test_an_object_that_is_not_its_checksums_is_corrupt(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket/key", Answer(200, b"data", CRC32), Answer(200, b"dada", CRC32))
    with driver.open("key") as stream:
        assert stream.read() == b"data"
    assert httpd.requests[0].headers["x-amz-checksum-mode"] == "ENABLED"
    with driver.open("key") as stream:
        found = failure(lambda: stream.read(4))  # with its last byte, not at an end that nobody asks for

    assert type(found) is CorruptData
    assert "'key' in bucket 'bucket'" in found.message


@pytest.mark.parametrize("headers", [{"x-amz-checksum-crc32": "rfPzYw==-2"}, {"x-amz-checksum-crc64nvme": "abc="}])
def test_a_checksum_of_parts_or_of_an_unknown_kind_is_not_compared(httpd: Httpd, driver: S3Driver, headers):
    httpd.on("/bucket/key", Answer(200, b"data", headers))
    with driver.open("key") as stream:
        assert stream.read() == b"data"


def test_every_body_has_its_md5(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket/key", Answer(200))
    driver.save("key", io.BytesIO(b"data"), None)

    assert httpd.requests[0].headers["Content-MD5"] == "jXd/OF09/siBXSD3SWAm3A=="


def test_the_rest_is_asked_for_by_range_and_etag(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket/key", Answer(206, b"ta", {"ETag": '"v"', "Content-Range": "bytes 2-3/4"}))
    with driver.open_rest("key", 2, '"v"') as rest:
        assert (rest.size, rest.read()) == (2, b"ta")
    sent = httpd.requests[0].headers

    assert (sent["Range"], sent["If-Match"]) == ("bytes=2-", '"v"')
    assert "x-amz-checksum-mode" not in sent  # a store may answer with the checksum of the whole


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said("PreconditionFailed", 412), NotFound),
        (said("InvalidRange", 416), NotFound),
        (said("NoSuchKey", 404), NotFound),
        (Answer(206, b"ta", {"ETag": '"w"', "Content-Range": "bytes 2-3/4"}), NotFound),
        (Answer(200, b"data", {"ETag": '"v"'}), Unavailable),
        (Answer(206, b"data", {"ETag": '"v"', "Content-Range": "bytes 0-3/4"}), Unavailable),
    ],
)
def test_a_rest_that_is_another_objects_or_not_a_rest_is_refused(
    httpd: Httpd, driver: S3Driver, answer: Answer, error: type[LifecycleError]
):
    httpd.on("/bucket/key", answer)

    assert type(failure(lambda: driver.open_rest("key", 2, '"v"'))) is error


@pytest.mark.parametrize(("etag", "version"), [('"v"', '"v"'), ('W/"v"', ""), ("", "")])
def test_only_a_strong_etag_is_a_version(httpd: Httpd, driver: S3Driver, etag: str, version: str):
    httpd.on("/bucket/key", Answer(200, b"data", {"ETag": etag} if etag else {}))
    with driver.open("key") as stream:
        assert stream.version == version


def test_pages_are_asked_for_until_the_last(httpd: Httpd, driver: S3Driver):
    def page(name: str, token: str) -> Answer:
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        return Answer(
            200, f"<ListBucketResult>{more}<Contents><Key>d/{name}</Key></Contents></ListBucketResult>".encode()
        )

    first = "/bucket?list-type=2&prefix=d%2F&encoding-type=url"
    second = "/bucket?list-type=2&prefix=d%2F&continuation-token=t&encoding-type=url"
    httpd.on(first, page("a", "t"))
    httpd.on(second, page("b", ""))
    assert [entry.path for entry in driver.list("d")] == ["a", "b"]

    httpd.scripts[second] = [page("b", "t")]  # a store that turns in a circle, or gives no token
    assert type(failure(lambda: list(driver.list("d")))) is Permanent
    httpd.scripts[first] = [Answer(200, b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")]
    assert type(failure(lambda: list(driver.list("d")))) is Permanent


def test_a_read_that_blocks_can_be_ended_from_another_thread(httpd: Httpd, driver: S3Driver):
    httpd.on("/bucket/key", Answer(200, b"half", CRC32, length=8, hangs=True))
    with driver.open("key") as stream:
        assert stream.read(4) == b"half"
        ended = threading.Timer(0.1, stream.abort)
        ended.start()
        assert failure(lambda: stream.read(4)).transient
        ended.join()
