"""Google Cloud Storage: the emulator, a proxy before it, and a server that answers by script."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from drivers.gcs import GcsDriver
from drivers.objects import BLOCK, PART
from tests.faults.stage import Scene, Stage, fault
from tests.servers.gcs import Gcs, service_account
from tests.servers.httpd import Answer, Httpd
from tests.servers.proxy import Fault, Proxy

DATA = bytes(range(256)) * 40_000  # three blocks to read, two parts to send
SMALL = DATA[:1000]  # goes by one request
MEDIA = "/storage/v1/b/artifacts/o/it?alt=media"
UPLOAD = "/upload/storage/v1/b/artifacts/o"
RESUMABLE = f"{UPLOAD}?uploadType=resumable&name=it"
INVALID = Answer(401, b'{"error": {"message": "Invalid Credentials"}}')
LOCATION: dict[str, Any] = {"gcs": {"bucket": "artifacts", "key": "it"}}


def at(stage: Stage, url: str) -> None:
    """Where Google is for the scene."""
    stage.fixture("monkeypatch").setenv("STORAGE_EMULATOR_HOST", url)


def part(start: int, end: int, **more: Any) -> Answer:
    """The answer to a range."""
    span = f"bytes {start}-{min(end, len(DATA)) - 1}/{len(DATA)}"
    return Answer(206, DATA[start:end], {"Content-Range": span, "x-goog-generation": "7"}, **more)


def stored(stage: Stage, url: str, key: str) -> bytes:
    """What the emulator has."""
    at(stage, url)
    with GcsDriver({"bucket": "artifacts"}, stage.secrets).open(key) as stream:
        return stream.read()


@fault("unknown bucket", "load", "save")
def unknown_bucket(stage: Stage) -> Iterator[Scene]:
    at(stage, stage.fixture("gcs").url)
    yield Scene({"gcs": {"bucket": "nowhere", "key": "it"}}, DATA, optional=stage.verb == "load")


@fault("wrong secret", "load", "save")
def wrong_secret(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    at(stage, httpd.url)
    httpd.on("/token", Answer(400, b'{"error": "invalid_grant"}'))
    stage.secrets.write("gcs", key=service_account(f"{httpd.url}/token"))
    yield Scene({"gcs": LOCATION["gcs"] | {"serviceAccountKeySecret": {"name": "gcs", "key": "key"}}}, DATA)


@fault("unknown host", "load", "save")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    at(stage, "http://no-such-host.invalid")
    yield Scene(LOCATION, DATA)


@fault("503 then success", "load", "save")
def unavailable_at_first(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    at(stage, httpd.url)
    busy = Answer(503, b"busy", {"Retry-After": "7"})
    for target in (MEDIA, f"{UPLOAD}?uploadType=media&name=it"):
        httpd.on(target, busy, busy, Answer(200, SMALL))
    yield Scene(LOCATION, SMALL, stored=lambda: httpd.requests[-1].body)


@fault("403", "load", "save")
def forbidden(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    at(stage, httpd.url)
    said = json.dumps({"error": {"message": "somebody does not have storage.objects access"}}).encode()
    httpd.on(MEDIA, Answer(403, said))
    httpd.on(RESUMABLE, Answer(403, said))
    yield Scene(LOCATION, DATA)


@fault("expired token in mid-transfer", "load")
def expired(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    at(stage, httpd.url)
    httpd.on(MEDIA, part(0, BLOCK))
    httpd.on(f"{MEDIA}&generation=7", INVALID)
    yield Scene(LOCATION, DATA)


@fault("expired token in mid-transfer", "save")
def expired_while_saving(stage: Stage) -> Iterator[Scene]:
    """The second part is refused, and the upload is ended."""
    httpd: Httpd = stage.fixture("httpd")
    at(stage, httpd.url)
    httpd.on(RESUMABLE, Answer(200, headers={"Location": f"{httpd.url}/session"}))
    httpd.on("/session", Answer(308, headers={"Range": f"bytes=0-{PART - 1}"}), INVALID)
    yield Scene(LOCATION, DATA)
    assert [request.method for request in httpd.requests] == ["POST", "POST", "POST", "DELETE"]


@fault("server gone in mid-transfer", "load")
def gone_while_loading(stage: Stage) -> Iterator[Scene]:
    gcs: Gcs = stage.fixture("gcs")
    at(stage, gcs.url)
    GcsDriver({"bucket": "artifacts"}, stage.secrets).save("it", io.BytesIO(DATA), None)
    with Proxy(gcs.url.removeprefix("http://")) as proxy:
        at(stage, f"http://{proxy.address}")
        proxy.plan(Fault("cut", after=BLOCK // 2))
        yield Scene(LOCATION, DATA)
        assert len(proxy.met) == 1


@fault("server gone in mid-transfer", "save")
def gone_while_saving(stage: Stage) -> Iterator[Scene]:
    yield from saved(stage, Fault("cut", after=BLOCK, upward=True))


def saved(stage: Stage, broken: Fault, **more: Any) -> Iterator[Scene]:
    """To the emulator through a proxy."""
    gcs: Gcs = stage.fixture("gcs")
    with Proxy(gcs.url.removeprefix("http://")) as proxy:
        at(stage, f"http://{proxy.address}")
        proxy.plan(broken)
        where = {"gcs": LOCATION["gcs"] | {"key": "saved"}}
        # The emulator serves one at a time: it must be rid of a connection that nothing comes by.
        heal = lambda _: proxy.hang_up()
        yield Scene(where, DATA, stored=lambda: stored(stage, gcs.url, "saved"), on_attempt=heal, **more)
        assert len(proxy.met) == 1


@fault("truncated body", "load")
def truncated(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    at(stage, httpd.url)
    httpd.on(MEDIA, part(0, BLOCK))
    rests = [part(start, start + BLOCK) for start in (BLOCK, 2 * BLOCK)]
    short = part(BLOCK, BLOCK + 5, length=BLOCK)
    httpd.on(f"{MEDIA}&generation=7", short, *rests)
    yield Scene(LOCATION, DATA)


@fault("slow server", "load")
def slow(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    at(stage, httpd.url)
    httpd.on(MEDIA, part(0, 10, length=BLOCK, hangs=True))
    yield Scene(LOCATION, options={"read_timeout": 1.5})


@fault("slow server", "save")
def slow_to_save(stage: Stage) -> Iterator[Scene]:
    yield from saved(stage, Fault("silence", after=BLOCK, upward=True), options={"read_timeout": 1.5})


@fault("disk full", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    at(stage, httpd.url)
    httpd.on(MEDIA, Answer(200, DATA))
    with stage.small_disk(1 << 20) as room:
        yield Scene(LOCATION, room=room)


@fault("certificate that nobody trusts", "load", "save")
def untrusted(stage: Stage) -> Iterator[Scene]:
    with Httpd(stage.fixture("certificate")) as httpd:
        at(stage, httpd.url)
        yield Scene(LOCATION, DATA)
