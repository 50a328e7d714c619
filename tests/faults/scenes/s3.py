"""S3: a real SeaweedFS behind a proxy that breaks the way to it, and a server that answers by script."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from tests.faults.stage import Scene, Stage, fault
from tests.servers.httpd import Answer, Httpd
from tests.servers.proxy import Fault, Proxy
from tests.servers.seaweedfs import READER, SeaweedFS

DATA = bytes(range(256)) * 4096
LARGE = bytes(range(256)) * 4096 * 20  # three parts
FIELDS = {"access": "accessKeySecret", "secret": "secretKeySecret", "token": "sessionTokenSecret"}
BEGUN = Answer(200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
DONE = Answer(200, b"<CompleteMultipartUploadResult/>")


def said(code: str, status: int, **headers: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>said it</Message></Error>".encode(), headers)


class Real:
    """SeaweedFS with one key for a scene."""

    def __init__(self, stage: Stage) -> None:
        self.server: SeaweedFS = stage.fixture("weed")
        self.client = self.server.client()
        self.key = f"faults/{uuid.uuid4().hex}"
        stage.secrets.write("s3", access=self.server.access_key, secret=self.server.secret_key)
        stage.secrets.write("reader", access=READER.access_key, secret=READER.secret_key)

    def put(self, data: bytes) -> None:
        self.client.put_object(Bucket=self.server.bucket, Key=self.key, Body=data)

    def stored(self) -> bytes:
        found = self.client.get_object(Bucket=self.server.bucket, Key=self.key)["Body"].read()
        assert not self.uploads()
        return bytes(found)

    def left(self) -> list[str]:
        """Objects and unfinished uploads of the key."""
        return self.objects() + self.uploads()

    def objects(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.server.bucket, Prefix=self.key).get("Contents", [])
        return [entry["Key"] for entry in found]

    def uploads(self) -> list[str]:
        found = self.client.list_multipart_uploads(Bucket=self.server.bucket).get("Uploads", [])
        return [entry["Key"] for entry in found if entry["Key"] == self.key]

    def location(self, **extra: Any) -> dict[str, Any]:
        return location(self.server.endpoint, self.key, bucket=self.server.bucket, **extra)


def location(endpoint: str, key: str = "key", *, token: bool = False, **extra: Any) -> dict[str, Any]:
    fields = [name for name in FIELDS if token or name != "token"]
    selectors = {FIELDS[name]: {"name": "s3", "key": name} for name in fields}
    return {"s3": {"endpoint": endpoint, "bucket": "bucket", "insecure": True, "key": key} | selectors | extra}


def scripted(stage: Stage) -> Httpd:
    stage.secrets.write("s3", access="AKEXPIRES", secret="s3cr3t-of-s3", token="old-t0ken")
    httpd: Httpd = stage.fixture("httpd")
    return httpd


@fault("wrong secret", "load", "save")
def wrong_secret(stage: Stage) -> Iterator[Scene]:
    real = Real(stage)
    stage.secrets.write("s3", secret="wr0ng-s3cr3t")
    yield Scene(real.location(), DATA, left=real.left)


@fault("unknown bucket", "load", "save")
def unknown_bucket(stage: Stage) -> Iterator[Scene]:
    """By script: SeaweedFS makes a bucket that somebody writes to."""
    httpd = scripted(stage)
    httpd.on("/bucket/key", said("NoSuchBucket", 404))
    yield Scene(location(httpd.endpoint), DATA, optional=True)


@fault("unknown bucket of SeaweedFS", "load")
def unknown_bucket_of_seaweedfs(stage: Stage) -> Iterator[Scene]:
    real = Real(stage)
    yield Scene(location(real.server.endpoint, bucket="no-such-bucket"), optional=True)


@fault("no such object, optional", "load")
def optional(stage: Stage) -> Iterator[Scene]:
    yield Scene(Real(stage).location(), optional=True)


@fault("403", "save")
def forbidden(stage: Stage) -> Iterator[Scene]:
    real = Real(stage)
    keys = {FIELDS[name]: {"name": "reader", "key": name} for name in ("access", "secret")}
    yield Scene(real.location(**keys), DATA, left=real.left)


@fault("403", "load")
def forbidden_to_read(stage: Stage) -> Iterator[Scene]:
    """By script: whoever SeaweedFS knows may read."""
    httpd = scripted(stage)
    httpd.on("/bucket/key", said("AccessDenied", 403))
    yield Scene(location(httpd.endpoint), optional=True)


@fault("unknown host", "load", "save")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    scripted(stage)
    yield Scene(location("no-such-host.invalid"), DATA)


@fault("503 then success", "load", "save")
def unavailable_at_first(stage: Stage) -> Iterator[Scene]:
    """Each attempt asks twice, a moment apart: the second attempt's first answer is the third."""
    httpd = scripted(stage)
    busy = said("SlowDown", 503, **{"Retry-After": "7"})
    httpd.on("/bucket/key", busy, busy, Answer(200, DATA if stage.verb == "load" else b""))
    yield Scene(location(httpd.endpoint), DATA, stored=lambda: httpd.requests[-1].body)


@fault("503 for ever", "load", "save")
def unavailable(stage: Stage) -> Iterator[Scene]:
    httpd = scripted(stage)
    httpd.on("/bucket/key", said("ServiceUnavailable", 503))
    yield Scene(location(httpd.endpoint), DATA)


@fault("server gone in mid-transfer", "load", "save")
def gone_in_mid_transfer(stage: Stage) -> Iterator[Scene]:
    real = Real(stage)
    if stage.verb == "load":
        real.put(LARGE)
    with Proxy(real.server.endpoint) as proxy:
        upward = stage.verb == "save"
        # A save's part is sent once more at once, on another connection; only then an attempt has failed.
        proxy.plan(Fault("cut", after=MIB, upward=upward, times=1 if stage.verb == "load" else 6))
        config = location(proxy.address, real.key, bucket=real.server.bucket)
        yield Scene(config, LARGE, stored=real.stored, left=real.left)
        assert proxy.met


@fault("server gone for good", "load", "save")
def gone_for_good(stage: Stage) -> Iterator[Scene]:
    real = Real(stage)
    if stage.verb == "load":
        real.put(LARGE)
    with Proxy(real.server.endpoint) as proxy:
        # An orderly end for a load: a reset may overtake the bytes before it, and then there is nothing to go on with.
        first = Fault("end", after=MIB) if stage.verb == "load" else Fault("cut", after=MIB, upward=True)
        proxy.plan(first, Fault("refuse", times=10_000))
        # Who cannot reach the store cannot end an upload there; there is no object, though.
        left = real.objects if stage.verb == "save" else list
        yield Scene(location(proxy.address, real.key, bucket=real.server.bucket), LARGE, left=left)


@fault("truncated body", "load")
def truncated(stage: Stage) -> Iterator[Scene]:
    """An orderly end before the announced size; the rest is asked for."""
    real = Real(stage)
    real.put(LARGE)
    with Proxy(real.server.endpoint) as proxy:
        proxy.plan(Fault("end", after=MIB))
        yield Scene(location(proxy.address, real.key, bucket=real.server.bucket), LARGE)
        assert proxy.met


@fault("slow server", "load")
def slow(stage: Stage) -> Iterator[Scene]:
    """It stops in the middle; the time-out is between two pieces, so the rest is asked for."""
    real = Real(stage)
    real.put(LARGE)
    with Proxy(real.server.endpoint) as proxy:
        proxy.plan(Fault("silence", after=MIB))
        yield Scene(location(proxy.address, real.key, bucket=real.server.bucket), LARGE, options={"read_timeout": 1.5})
        assert proxy.met


@fault("slow server", "save")
def slow_to_save(stage: Stage) -> Iterator[Scene]:
    """A part is sent once more at once; only then an attempt has failed."""
    real = Real(stage)
    with Proxy(real.server.endpoint) as proxy:
        proxy.plan(Fault("silence", after=MIB, upward=True, times=100))
        config = location(proxy.address, real.key, bucket=real.server.bucket)
        heal = lambda _: proxy.plan()
        options = {"read_timeout": 1.5}
        yield Scene(config, LARGE, stored=real.stored, left=real.left, on_attempt=heal, options=options)
        assert proxy.met


@fault("store full", "save")
def store_full(stage: Stage) -> Iterator[Scene]:
    httpd = scripted(stage)
    httpd.on("/bucket/key", said("XMinioStorageFull", 507))
    yield Scene(location(httpd.endpoint), DATA)


@fault("token expires in mid-transfer, not renewed", "load")
def token_expired_while_loading(stage: Stage) -> Iterator[Scene]:
    """The body breaks off, and the rest is refused: by the fast path, and by boto3."""
    httpd = scripted(stage)
    half = Answer(200, DATA[: len(DATA) // 2], {"ETag": '"7"'}, length=len(DATA))
    httpd.on("/bucket/key", half, said("ExpiredToken", 400))
    yield Scene(location(httpd.endpoint, token=True))


@fault("disk full", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    real = Real(stage)
    real.put(LARGE)
    with stage.small_disk(4 * MIB) as room:
        yield Scene(real.location(), room=room)


@fault("token expires in mid-transfer, renewed", "save")
def token_renewed(stage: Stage) -> Iterator[Scene]:
    httpd = scripted(stage)
    httpd.on("/bucket/key?uploads", BEGUN)
    for number in (1, 3):
        httpd.on(f"/bucket/key?uploadId=u&partNumber={number}", Answer(200, headers={"ETag": f'"{number}"'}))
    httpd.on("/bucket/key?uploadId=u&partNumber=2", said("ExpiredToken", 400), Answer(200, headers={"ETag": '"2"'}))
    httpd.on("/bucket/key?uploadId=u", DONE)
    with _when_refused(httpd, lambda: stage.secrets.write("s3", token="new-t0ken")):
        yield Scene(location(httpd.endpoint, token=True), LARGE, stored=lambda: _parts(httpd))
    assert httpd.asked["/bucket/key?uploads"] == 1


@fault("token expires in mid-transfer, not renewed", "save")
def token_expired(stage: Stage) -> Iterator[Scene]:
    httpd = scripted(stage)
    httpd.on("/bucket/key?uploads", BEGUN)
    for number in (1, 3):
        httpd.on(f"/bucket/key?uploadId=u&partNumber={number}", Answer(200, headers={"ETag": f'"{number}"'}))
    httpd.on("/bucket/key?uploadId=u&partNumber=2", said("ExpiredToken", 400))
    httpd.on("/bucket/key?uploadId=u", Answer(204))
    yield Scene(location(httpd.endpoint, token=True), LARGE)
    assert httpd.requests[-1].method == "DELETE"


@fault("token expires in a directory, renewed", "load")
def token_renewed_in_a_directory(stage: Stage) -> Iterator[Scene]:
    httpd = scripted(stage)
    httpd.on("/bucket/key", said("NoSuchKey", 404))
    entries = "".join(f"<Contents><Key>key/{name}</Key><Size>1</Size></Contents>" for name in "abcd")
    httpd.on("/bucket?list-type=2&prefix=key%2F&encoding-type=url", Answer(200, f"<L>{entries}</L>".encode()))
    for name in "abd":
        httpd.on(f"/bucket/key/{name}", Answer(200, name.encode()))
    expired = said("ExpiredToken", 400)
    httpd.on("/bucket/key/c", expired, expired, Answer(200, b"c"))  # the fast path, boto3, and with the new token
    with _when_refused(httpd, lambda: stage.secrets.write("s3", token="new-t0ken")):
        yield Scene(location(httpd.endpoint, token=True), {name: name.encode() for name in "abcd"})
    assert httpd.asked["/bucket/key/c"] == 3


@fault("corrupt data", "load")
def corrupt(stage: Stage) -> Iterator[Scene]:
    httpd = scripted(stage)
    httpd.on("/bucket/key", Answer(200, b"dada", {"x-amz-checksum-crc32": "rfPzYw=="}))
    yield Scene(location(httpd.endpoint))


MIB = 1 << 20


@contextlib.contextmanager
def _when_refused(httpd: Httpd, work: Callable[[], None]) -> Iterator[None]:
    """Do it while the server says that a token has expired: whoever mounts secrets may be that late."""
    answering = httpd.next

    def answer(request: Any) -> Answer:
        given = answering(request)
        if b"ExpiredToken" in given.body:
            work()
        return given

    httpd.next = answer  # type: ignore[method-assign]
    yield


def _parts(httpd: Httpd) -> bytes:
    """What the server has of the upload, the last of each part."""
    found = {one.target: one.body for one in httpd.requests if "partNumber" in one.target}
    return b"".join(found[f"/bucket/key?uploadId=u&partNumber={number}"] for number in (1, 2, 3))
