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


@fault("unknown container", "load", "save")
def unknown_container(stage: Stage) -> Iterator[Scene]:
    azurite: Azurite = stage.fixture("azurite")
    yield Scene(location(stage, azurite.endpoint, "nowhere"), DATA, optional=stage.verb == "load")


@fault("wrong secret", "load", "save")
def wrong_secret(stage: Stage) -> Iterator[Scene]:
    azurite: Azurite = stage.fixture("azurite")
    key = base64.b64encode(b"not the key of this account").decode()
    yield Scene(location(stage, azurite.endpoint, azurite.container, key=key), DATA)


@fault("expired token", "load")
def expired(stage: Stage) -> Iterator[Scene]:
    yield Scene(scripted(stage, Answer(403, b"", {"x-ms-error-code": "AuthenticationFailed"})))


@fault("503 then success", "load")
def unavailable_at_first(stage: Stage) -> Iterator[Scene]:
    busy = Answer(503, b"", {"x-ms-error-code": "ServerBusy", "Retry-After": "7"})
    parts = [part(start, start + BLOCK) for start in range(0, len(DATA), BLOCK)]
    yield Scene(scripted(stage, busy, busy, *parts), DATA)


@fault("403", "load")
def forbidden(stage: Stage) -> Iterator[Scene]:
    yield Scene(scripted(stage, Answer(403, b"", {"x-ms-error-code": "AuthorizationPermissionMismatch"})))


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
    azurite: Azurite = stage.fixture("azurite")
    where = location(stage, azurite.endpoint, azurite.container, blob="saved")

    def stored() -> bytes:
        with AzureDriver(where["azure"], stage.secrets).open("saved") as stream:
            return stream.read()

    with Proxy(azurite.endpoint.removeprefix("http://").partition("/")[0]) as proxy:
        # aiohttp sends a PUT again by itself, once, if the connection broke in some ways and not in others.
        proxy.plan(Fault("cut", after=BLOCK, upward=True, times=100))
        there = location(stage, f"http://{proxy.address}/{ACCOUNT}", azurite.container, blob="saved")
        yield Scene(there, DATA, stored=stored, on_attempt=lambda _: proxy.plan())
        assert proxy.met


@fault("truncated body", "load")
def truncated(stage: Stage) -> Iterator[Scene]:
    short = part(0, 5, length=BLOCK)
    parts = [part(start, start + BLOCK) for start in range(0, len(DATA), BLOCK)]
    yield Scene(scripted(stage, short, short, short, *parts), DATA)


@fault("slow server", "load")
def slow(stage: Stage) -> Iterator[Scene]:
    yield Scene(scripted(stage, part(0, 10, length=BLOCK, hangs=True)), options={"read_timeout": 0.2})


@fault("disk full", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    parts = [part(start, start + BLOCK) for start in range(0, len(DATA), BLOCK)]
    with stage.small_disk(1 << 20) as room:
        yield Scene(scripted(stage, *parts), room=room)
