"""HTTP: a server that answers by script, and a proxy that breaks the way to it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.stage import Scene, Stage, fault
from tests.servers.httpd import Answer, Httpd
from tests.servers.proxy import Fault, Proxy

DATA = bytes(range(256)) * 4096


@fault("503 then success", "load")
def unavailable_at_first(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    busy = Answer(503, b"busy", {"Retry-After": "7"})
    yield Scene({"http": {"url": httpd.on("/it", busy, busy, Answer(200, DATA))}}, DATA)


@fault("an error page", "load")
def error_page(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    yield Scene({"http": {"url": httpd.on("/it", Answer(500, b"<html>sorry</html>"))}})


@fault("server gone in mid-transfer", "load")
def gone_in_mid_transfer(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    httpd.on("/it", Answer(200, DATA))
    with Proxy(httpd.endpoint) as proxy:
        proxy.plan(Fault("cut", after=len(DATA) // 2))
        yield Scene({"http": {"url": f"http://{proxy.address}/it"}}, DATA)
        assert len(proxy.met) == 1
