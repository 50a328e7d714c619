"""Azure's blobs: Azurite, a proxy before it, and a server that answers by script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

from drivers.azure import AzureDriver
from drivers.objects import BLOCK
from tests.faults.stage import Scene, Stage, fault
from tests.servers.azurite import ACCOUNT, KEY, Azurite
from tests.servers.httpd import Answer, Httpd
from tests.servers.proxy import Fault, Proxy

DATA = bytes(range(256)) * 40_000
SMALL = DATA[:1000]  # goes by one request
TARGET = "/acc/c/it"


def location(stage: Stage, endpoint: str, container: str, *, key: str = KEY, blob: str = "it") -> dict[str, Any]:
    """With a secret that is written for it."""
    stage.secrets.write("azure", key=key)
    selector = {"name": "azure", "key": "key"}
    return {"azure": {"endpoint": endpoint, "container": container, "blob": blob, "accountKeySecret": selector}}


def scripted(stage: Stage, *answers: Answer, target: str = TARGET) -> dict[str, Any]:
    """A location in a server that gives these answers."""
    httpd: Httpd = stage.fixture("httpd")
    httpd.on(target, *answers)
    return location(stage, f"{httpd.url}/acc", "c")


def part(start: int, end: int, **more: Any) -> Answer:
    """The answer to a range."""
    span = f"bytes {start}-{min(end, len(DATA)) - 1}/{len(DATA)}"
    return Answer(206, DATA[start:end], {"Content-Range": span, "ETag": '"7"'}, **more)


PARTS = [part(start, start + BLOCK) for start in range(0, len(DATA), BLOCK)]
BUSY = Answer(503, b"", {"x-ms-error-code": "ServerBusy", "Retry-After": "7"})
EXPIRED = Answer(403, b"", {"x-ms-error-code": "AuthenticationFailed"})
CREATED = Answer(201, b"", {"ETag": '"7"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"})


@fault("unknown container", "load", "save")
def unknown_container(stage: Stage) -> Iterator[Scene]:
    azurite: Azurite = stage.fixture("azurite")
    yield Scene(location(stage, azurite.endpoint, "nowhere"), DATA, optional=stage.verb == "load")


@fault("wrong secret", "load", "save")
def wrong_secret(stage: Stage) -> Iterator[Scene]:
    azurite: Azurite = stage.fixture("azurite")
    key = base64.b64encode(b"not the key of this account").decode()
    yield Scene(location(stage, azurite.endpoint, azurite.container, key=key), DATA)


@fault("unknown host", "load", "save")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    yield Scene(location(stage, "http://account.no-such-host.invalid", "c"), DATA)


@fault("expired token", "load")
def expired(stage: Stage) -> Iterator[Scene]:
    yield Scene(scripted(stage, EXPIRED))


@fault("expired token in mid-transfer", "load")
def expired_while_loading(stage: Stage) -> Iterator[Scene]:
    yield Scene(scripted(stage, part(0, BLOCK), EXPIRED))


@fault("expired token in mid-transfer", "save")
def expired_while_saving(stage: Stage) -> Iterator[Scene]:
    """The second block is refused; what there is of the first is no blob."""
    httpd: Httpd = stage.fixture("httpd")
    answers = [CREATED, EXPIRED]
    httpd.next = lambda request: (httpd.requests.append(request), answers.pop(0))[1]  # type: ignore[method-assign]
    yield Scene(location(stage, f"{httpd.url}/acc", "c"), DATA)
    assert all("comp=block&" in request.target for request in httpd.requests)
    assert answers == []


@fault("503 then success", "load")
def unavailable_at_first(stage: Stage) -> Iterator[Scene]:
    yield Scene(scripted(stage, BUSY, BUSY, *PARTS), DATA)


@fault("503 then success", "save")
def unavailable_at_first_to_save(stage: Stage) -> Iterator[Scene]:
    where = scripted(stage, BUSY, BUSY, CREATED)
    yield Scene(where, SMALL, stored=lambda: stage.fixture("httpd").requests[-1].body)


@fault("403", "load", "save")
def forbidden(stage: Stage) -> Iterator[Scene]:
    yield Scene(scripted(stage, Answer(403, b"", {"x-ms-error-code": "AuthorizationPermissionMismatch"})), SMALL)


@fault("server gone in mid-transfer", "load")
def gone_while_loading(stage: Stage) -> Iterator[Scene]:
    azurite: Azurite = stage.fixture("azurite")
    where = location(stage, azurite.endpoint, azurite.container)
    AzureDriver(where["azure"], stage.secrets).save("it", io.BytesIO(DATA), None)
    with Proxy(azurite.endpoint.removeprefix("http://").partition("/")[0]) as proxy:
        # The library asks for a range up to three times by itself, a second apart: all of them within one attempt.
        proxy.plan(Fault("cut", after=BLOCK // 2, times=100))
        there = location(stage, f"http://{proxy.address}/{ACCOUNT}", azurite.container)
        yield Scene(there, DATA, on_attempt=lambda _: proxy.plan())
        assert 1 <= len(proxy.met) <= 3


@fault("server gone in mid-transfer", "save")
def gone_while_saving(stage: Stage) -> Iterator[Scene]:
    # aiohttp sends a PUT again by itself, once, if the connection broke in some ways and not in others.
    yield from saved(stage, Fault("cut", after=BLOCK, upward=True, times=100))


def saved(stage: Stage, broken: Fault, **more: Any) -> Iterator[Scene]:
    """To Azurite through a proxy that is whole again when the first attempt has failed."""
    azurite: Azurite = stage.fixture("azurite")
    where = location(stage, azurite.endpoint, azurite.container, blob="saved")

    def stored() -> bytes:
        with AzureDriver(where["azure"], stage.secrets).open("saved") as stream:
            return stream.read()

    with Proxy(azurite.endpoint.removeprefix("http://").partition("/")[0]) as proxy:
        proxy.plan(broken)
        there = location(stage, f"http://{proxy.address}/{ACCOUNT}", azurite.container, blob="saved")
        yield Scene(there, DATA, stored=stored, on_attempt=lambda _: proxy.plan(), **more)
        assert proxy.met


@fault("truncated body", "load")
def truncated(stage: Stage) -> Iterator[Scene]:
    short = part(0, 5, length=BLOCK)
    yield Scene(scripted(stage, short, short, short, *PARTS), DATA)


@fault("slow server", "load")
def slow(stage: Stage) -> Iterator[Scene]:
    """The library asks three times by itself, a second apart."""
    silent = part(0, 10, length=BLOCK, hangs=True)
    yield Scene(scripted(stage, silent, silent, silent, *PARTS), DATA, options={"read_timeout": 1.5})


@fault("slow server", "save")
def slow_to_save(stage: Stage) -> Iterator[Scene]:
    yield from saved(stage, Fault("silence", after=BLOCK, upward=True, times=100), options={"read_timeout": 1.5})


@fault("disk full", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    with stage.small_disk(1 << 20) as room:
        yield Scene(scripted(stage, *PARTS), room=room)


@fault("certificate that nobody trusts", "load", "save")
def untrusted(stage: Stage) -> Iterator[Scene]:
    with Httpd(stage.fixture("certificate")) as httpd:
        yield Scene(location(stage, f"{httpd.url}/acc", "c"), DATA)
