"""A scripted API server over TLS, and what a pod's own program knows of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from lifecycle.ports import Surroundings
from runtimes.api import ApiServer
from tests.servers.httpd import Answer

if TYPE_CHECKING:
    from runtimes.pods import PodWatch
    from tests.servers.httpd import Httpd

POD = "/api/v1/namespaces/flows/pods/p"


def account(directory: Path, certificate: tuple[Path, Path], token: str = "t0ken") -> Path:
    """The files of a service account."""
    directory.mkdir(exist_ok=True)
    (directory / "token").write_text(token)
    (directory / "namespace").write_text("flows")
    (directory / "ca.crt").write_bytes(certificate[0].read_bytes())
    return directory


def surroundings(server: Httpd, **environ: str) -> Surroundings:
    """Of the pod ``p``; the service account is where :data:`runtimes.credentials.SERVICE_ACCOUNT` says."""
    host, _, port = server.endpoint.rpartition(":")
    known = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    return Surroundings("p", known | environ, Path("annotations"))


def api_of(server: Httpd) -> ApiServer:
    return ApiServer.of(surroundings(server))


def over(watch: PodWatch) -> None:
    """End it, before its server goes: a client that is about to connect then leaves a socket behind (CPython's ssl)."""
    watch.close()
    if (thread := watch._thread) is not None:
        thread.join(30)
        assert not thread.is_alive()


def watch(version: str = "0") -> str:
    """What is asked for to watch the pod, from a version on."""
    query = {
        "watch": "true", "fieldSelector": "metadata.name=p", "timeoutSeconds": "290", "allowWatchBookmarks": "true",
        "resourceVersion": version,
    }  # fmt: skip
    return f"/api/v1/namespaces/flows/pods?{urlencode(query)}"


def pod(version: str, main: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A pod whose main is in this state; without one the kubelet has told nothing yet."""
    told = [] if main is None else [{"name": "main", "containerID": "docker://abc", "state": main}]
    return {
        "metadata": {"name": "p", "namespace": "flows", "resourceVersion": version, "annotations": {}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main"}, {"name": "wait"}]},
        "status": {"phase": "Pending", "containerStatuses": told} | status,
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def ended(code: int, reason: str = "Completed") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def event(kind: str, found: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


def found(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def refused(code: int, reason: str, message: str) -> Answer:
    return found({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}, code)
