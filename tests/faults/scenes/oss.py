"""Alibaba's OSS: a server that checks signatures, as there is no emulator, and a proxy before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults.stage import Scene, Stage, fault
from tests.servers.httpd import Httpd
from tests.servers.oss import ACCESS, SECRET, Oss
from tests.servers.proxy import Fault, Proxy

DATA = bytes(range(256)) * 40_000  # two parts
HALF = len(DATA) // 2


def location(stage: Stage, endpoint: str, **more: Any) -> dict[str, Any]:
    """With secrets that are written for it."""
    stage.secrets.write("oss", access=ACCESS, secret=SECRET)
    keys = {
        name: {"name": "oss", "key": name.removesuffix("KeySecret")} for name in ("accessKeySecret", "secretKeySecret")
    }
    return {"oss": {"endpoint": endpoint, "bucket": "artifacts", "key": "it"} | keys | more}


def served(stage: Stage, oss: Oss, *, through: str = "", **more: Any) -> Scene:
    """An object of the server: there when it is loaded, and must be when it was saved."""
    objects = oss.objects["artifacts"]
    if stage.verb == "load":
        objects["it"] = DATA

    def left() -> list[str]:
        return [*oss.uploads, *(objects if stage.verb == "save" else [])]

    def stored() -> bytes:
        assert not oss.uploads
        return objects["it"]

    return Scene(location(stage, through or oss.endpoint), DATA, left=left, stored=stored, **more)


def proxied(stage: Stage, kind: str, **more: Any) -> Iterator[Scene]:
    with Oss() as oss, Proxy(oss.endpoint.removeprefix("http://")) as proxy:
        proxy.plan(Fault(kind, after=HALF, upward=stage.verb == "save"))
        yield served(stage, oss, through=f"http://{proxy.address}", **more)
        assert len(proxy.met) == 1


@fault("unknown bucket", "load", "save")
def unknown_bucket(stage: Stage) -> Iterator[Scene]:
    with Oss() as oss:
        yield Scene(location(stage, oss.endpoint, bucket="nowhere"), DATA, optional=stage.verb == "load")


@fault("unknown host", "load", "save")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    yield Scene(location(stage, "http://no-such-host.invalid"), DATA)


@fault("wrong secret", "load", "save")
def wrong_secret(stage: Stage) -> Iterator[Scene]:
    with Oss() as oss:
        scene = served(stage, oss)
        stage.secrets.write("oss", secret="wr0ng-s3cr3t")
        yield scene


@fault("403", "load", "save")
def forbidden(stage: Stage) -> Iterator[Scene]:
    with Oss() as oss:
        oss.refusals["/it"] = (403, "AccessDenied")
        yield served(stage, oss)


@fault("503 then success", "load", "save")
def unavailable_at_first(stage: Stage) -> Iterator[Scene]:
    with Oss() as oss:
        oss.failures = [(503, "ServiceUnavailable")] * 2
        yield served(stage, oss)


@fault("expired token in mid-transfer", "save")
def expired(stage: Stage) -> Iterator[Scene]:
    """The second part is refused, and the upload is ended."""
    with Oss() as oss:
        oss.refusals["partNumber=2"] = (403, "SecurityTokenExpired")
        yield served(stage, oss)
        assert any("partNumber=1" in target for _, target in oss.asked)


@fault("server gone in mid-transfer", "load", "save")
def gone(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, "cut")


@fault("truncated body", "load", "save")
def truncated(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, "end")


@fault("slow server", "load", "save")
def slow(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, "silence", options={"read_timeout": 1.5})


@fault("store full", "save")
def store_full(stage: Stage) -> Iterator[Scene]:
    with Oss() as oss:
        oss.refusals["/it"] = (403, "QuotaExceeded")
        yield served(stage, oss)


@fault("disk full", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    with Oss() as oss, stage.small_disk(1 << 20) as room:
        yield served(stage, oss, room=room)


@fault("certificate that nobody trusts", "load", "save")
def untrusted(stage: Stage) -> Iterator[Scene]:
    with Httpd(stage.fixture("certificate")) as httpd:
        yield Scene(location(stage, httpd.url), DATA)
