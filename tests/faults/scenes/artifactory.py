"""Artifactory, as JFrog documents it; a server that answers by script; and a proxy that breaks the way to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from tests.faults.stage import Scene, Stage, fault
from tests.servers.artifactory import Artifactory, credentials
from tests.servers.httpd import Answer, Httpd
from tests.servers.proxy import Fault, Proxy

DATA = bytes(range(256)) * 16384  # 4 MiB: more than goes from memory
SUMS = {"X-Checksum-Sha256": hashlib.sha256(DATA).hexdigest()}


def scripted(stage: Stage, *answers: Answer) -> Scene:
    httpd: Httpd = stage.fixture("httpd")
    httpd.grants = True
    url = httpd.on("/artifactory/it", *answers)
    location = {"artifactory": {"url": url} | credentials(stage.secrets)}
    return Scene(location, DATA, stored=lambda: httpd.requests[-1].body)


def documented(stage: Stage, config: dict[str, Any], through: Proxy | None = None, **more: Any) -> Scene:
    artifactory: Artifactory = stage.fixture("artifactory")
    path = artifactory.directory / "files/it"
    if stage.verb == "load":
        path.parent.mkdir()
        path.write_bytes(DATA)
    url = f"{artifactory.url}/it"
    if through is not None:
        url = url.replace(artifactory.endpoint, through.address)
    left = artifactory.files if stage.verb == "save" else list
    return Scene({"artifactory": {"url": url} | config}, DATA, left=left, stored=path.read_bytes, **more)


def proxied(stage: Stage, broken: Fault, **more: Any) -> Iterator[Scene]:
    artifactory: Artifactory = stage.fixture("artifactory")
    broken.upward = stage.verb == "save"
    with Proxy(artifactory.endpoint) as proxy:
        proxy.plan(broken)
        yield documented(stage, credentials(stage.secrets), proxy, **more)
        assert len(proxy.met) == 1


@fault("503 then success", "load", "save")
def unavailable_at_first(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(503, b"busy", {"Retry-After": "7"}), Answer(200, DATA, SUMS))


@fault("an error page", "load", "save")
def error_page(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(502, b"<html>sorry</html>"))


@fault("403", "load", "save")
def forbidden(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(403, b'{"errors": [{"status": 403}]}'))


@fault("unknown repository", "save")
def unknown_repository(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(404, b'{"errors": [{"status": 404}]}'))


@fault("no such object", "load")
def missing(stage: Stage) -> Iterator[Scene]:
    scene = documented(stage, credentials(stage.secrets))
    scene.location["artifactory"]["url"] += "-not"
    yield scene


@fault("wrong secret", "load", "save")
def wrong_secret(stage: Stage) -> Iterator[Scene]:
    yield documented(stage, credentials(stage.secrets, "wr0ng-passw0rd"))


@fault("unknown host", "load", "save")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    yield Scene({"artifactory": {"url": "http://no-such-host.invalid/it"} | credentials(stage.secrets)}, DATA)


@fault("server gone in mid-transfer", "load", "save")
def gone_in_mid_transfer(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, Fault("cut", after=len(DATA) // 2))


@fault("truncated body", "load", "save")
def truncated(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, Fault("end", after=len(DATA) // 2))


@fault("slow server", "load", "save")
def slow(stage: Stage) -> Iterator[Scene]:
    options = {"read_timeout": 1.5, "answer_timeout": 1.5}
    yield from proxied(stage, Fault("silence", after=len(DATA) // 2), options=options)


@fault("damaged bytes", "load")
def damaged(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(200, DATA[:-1] + b"x", SUMS))


@fault("damaged bytes", "save")
def damaged_there(stage: Stage) -> Iterator[Scene]:
    httpd: Httpd = stage.fixture("httpd")
    has = json.dumps({"size": str(len(DATA)), "checksums": {"sha1": "0" * 40}}).encode()
    yield scripted(stage, Answer(201, has), Answer(204))
    assert [request.method for request in httpd.requests] == ["PUT", "DELETE"]


@fault("damaged on the way, and refused", "save")
def refused_as_damaged(stage: Stage) -> Iterator[Scene]:
    yield scripted(stage, Answer(409))


@fault("disk full", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    with stage.small_disk(len(DATA) // 2) as room:
        yield documented(stage, credentials(stage.secrets), room=room)


@fault("no room for the file it is sent from", "save")
def no_room_to_spool(stage: Stage) -> Iterator[Scene]:
    with stage.small_disk(len(DATA) // 2) as room:
        yield documented(stage, credentials(stage.secrets), temporary=room)
