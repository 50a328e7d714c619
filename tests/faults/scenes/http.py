"""HTTP: nginx, a server that answers by script, and a proxy that breaks the way to them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from tests.faults.stage import Scene, Stage, fault
from tests.servers.httpd import Answer, Httpd
from tests.servers.nginx import Nginx, basic
from tests.servers.oauth2 import OAuth2, bearer
from tests.servers.proxy import Fault, Proxy

DATA = bytes(range(256)) * 16384  # 4 MiB: more than goes from memory


def scripted(stage: Stage, *answers: Answer, **more: Any) -> Scene:
    """A server of the test's own; what it has is what the last request brought."""
    httpd: Httpd = stage.fixture("httpd")
    httpd.grants = True
    scene = Scene({"http": {"url": httpd.on("/it", *answers)}}, DATA, **more)
    scene.stored = lambda: httpd.requests[-1].body
    return scene


def real(stage: Stage, kind: str, config: dict[str, Any], *, through: Proxy | None = None, **more: Any) -> Scene:
    """A file of nginx's: there when it is loaded, and must be when it was saved."""
    nginx: Nginx = stage.fixture("nginx")
    path = nginx.data / uuid.uuid4().hex
    if stage.verb == "load":
        path.write_bytes(DATA)
    base = nginx.http if through is None else f"http://{through.address}"
    location = {"http": {"url": f"{base}/{kind}/{path.name}"} | config}
    left = path.exists if stage.verb == "save" else lambda: False
    return Scene(location, DATA, left=left, stored=path.read_bytes, **more)


def proxied(stage: Stage, broken: Fault, kind: str = "open", config: Any = None, **more: Any) -> Iterator[Scene]:
    nginx: Nginx = stage.fixture("nginx")
    broken.upward = stage.verb == "save"
    with Proxy(nginx.http.removeprefix("http://")) as proxy:
        proxy.plan(broken)
        yield real(stage, kind, config or {}, through=proxy, **more)
        assert len(proxy.met) == 1


@fault("503 then success", "load", "save")
def unavailable_at_first(stage: Stage) -> Iterator[Scene]:
    busy = Answer(503, b"busy", {"Retry-After": "7"})
    yield scripted(stage, busy, busy, Answer(200, DATA))


@fault("an error page", "load", "save")
def error_page(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(500, b"<html>sorry</html>"))


@fault("a page to log in at", "save")
def login_page(stage: Stage) -> Iterator[Scene]:
    stage.fixture("httpd").on("/login", Answer(200, b"<html>who are you?</html>"))
    yield scripted(stage, Answer(302, headers={"Location": "/login"}, early=True))


@fault("403", "load", "save")
def forbidden(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(403, b"<html>no</html>"))


@fault("no such object", "load")
def missing(stage: Stage) -> Iterator[Scene]:
    scene = real(stage, "open", {})
    scene.location["http"]["url"] += "-not"
    yield scene


@fault("no such object, optional", "load")
def missing_optional(stage: Stage) -> Iterator[Scene]:
    scene = real(stage, "open", {}, optional=True)
    scene.location["http"]["url"] += "-not"
    yield scene


@fault("wrong secret", "load", "save")
def wrong_secret(stage: Stage) -> Iterator[Scene]:
    yield real(stage, "basic", basic(stage.secrets, "wr0ng-passw0rd"))


@fault("wrong client secret", "load", "save")
def wrong_client_secret(stage: Stage) -> Iterator[Scene]:
    yield real(stage, "bearer", bearer(stage.secrets, stage.fixture("oauth2"), "wr0ng-secret"))


@fault("unknown host", "load", "save")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    yield Scene({"http": {"url": "http://no-such-host.invalid/it"}}, DATA, optional=False)


@fault("unknown token host", "load", "save")
def unknown_token_host(stage: Stage) -> Iterator[Scene]:
    nowhere = OAuth2("http://no-such-host.invalid")
    yield real(stage, "bearer", bearer(stage.secrets, nowhere))


@fault("expired token in mid-transfer", "load", "save")
def expired_token(stage: Stage) -> Iterator[Scene]:
    """The connection breaks, and when it is gone on with, the token is not valid any more."""
    oauth2: OAuth2 = stage.fixture("oauth2")
    config = bearer(stage.secrets, oauth2)
    cut = Fault("cut", after=len(DATA) // 2)
    yield from proxied(stage, cut, "bearer", config, on_attempt=lambda _: oauth2.revoke())


@fault("server gone in mid-transfer", "load", "save")
def gone_in_mid_transfer(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, Fault("cut", after=len(DATA) // 2))


@fault("server that cannot go on, gone in mid-transfer", "load")
def gone_and_without_ranges(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    httpd.on("/it", Answer(200, DATA))
    with Proxy(httpd.endpoint) as proxy:
        proxy.plan(Fault("cut", after=len(DATA) // 2))
        yield Scene({"http": {"url": f"http://{proxy.address}/it"}}, DATA)
        assert len(proxy.met) == 1


@fault("truncated body", "load", "save")
def truncated(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, Fault("end", after=len(DATA) // 2))


@fault("slow server", "load", "save")
def slow(stage: Stage) -> Iterator[Scene]:
    options = {"read_timeout": 1.5, "answer_timeout": 1.5}
    yield from proxied(stage, Fault("silence", after=len(DATA) // 2), options=options)


@fault("disk full", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    with stage.small_disk(len(DATA) // 2) as room:
        yield real(stage, "open", {}, room=room)


@fault("server's disk full", "save")
def server_disk_full(stage: Stage) -> Iterator[Scene]:
    certificate, client = stage.fixture("certificate"), stage.fixture("client_certificate")
    with (
        stage.small_disk(len(DATA) // 2) as room,
        Nginx.started(room, certificate, client[0], "http://127.0.0.1:1/") as nginx,
    ):
        yield Scene({"http": {"url": f"{nginx.http}/open/it"}}, DATA, left=(nginx.data / "it").exists)


@fault("server's quota used up", "save")
def quota(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(507))


@fault("no room for the file it is sent from", "save")
def no_room_to_spool(stage: Stage) -> Iterator[Scene]:
    with stage.small_disk(len(DATA) // 2) as room:
        scene = scripted(stage, Answer(201), temporary=room)
        scene.location["http"]["saveStreamViaFile"] = True
        yield scene
        assert stage.fixture("httpd").requests == []
