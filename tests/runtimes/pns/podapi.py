"""As much of an API server as shows one pod: its object, its watch, its logs. The test is its kubelet."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.runtimes.pns.agent import NAMESPACE, POD
from tests.servers.loopback import Loopback, LoopbackHandler

_POD = f"/api/v1/namespaces/{NAMESPACE}/pods"


class PodApi(Loopback):
    """``logs`` gives the command that prints a container's output, to its end."""

    def __init__(self, logs: Any) -> None:
        self.changed = threading.Condition()
        self.version = 1
        self.statuses: dict[str, dict[str, Any]] = {}
        self.phase = "Running"
        self.forbidden = False
        self.away = False
        self.requests: list[str] = []
        self.logs = logs
        super().__init__(_Handler)

    def set(self, name: str, container: str, **state: Any) -> None:
        """A container's new state: ``running={}`` and the like."""
        with self.changed:
            self.version += 1
            status = {"name": name, "state": state}
            if container:
                status["containerID"] = f"docker://{container}"
            self.statuses[name] = status
            self.changed.notify_all()

    def clear(self) -> None:
        with self.changed:
            self.version += 1
            self.statuses.clear()
            self.changed.notify_all()

    def pod(self) -> dict[str, Any]:
        return {
            "metadata": {"name": POD, "resourceVersion": str(self.version)},
            "spec": {},
            "status": {"phase": self.phase, "containerStatuses": list(self.statuses.values())},
        }


class _Handler(LoopbackHandler):
    def do_GET(self) -> None:  # noqa: N802 - the base class names it
        api: PodApi = self.server.owner
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        api.requests.append(self.path)
        if api.away:
            self.close_connection = True
            return
        if api.forbidden:
            self._whole(403, {"kind": "Status", "reason": "Forbidden", "message": "not for you"})
        elif url.path == f"{_POD}/{POD}/log":
            self._log(api.logs(query["container"][0]))
        elif "watch" in query:
            self._watch(api)
        else:
            self._whole(200, api.pod())

    def _whole(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _log(self, argv: list[str]) -> None:
        self._begin()
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            while data := process.stdout.read1(65536):
                self._chunk(data)
        self._chunk(b"")

    def _watch(self, api: PodApi) -> None:
        self._begin()
        seen = 0
        while not api.away:
            with api.changed:
                api.changed.wait_for(lambda seen=seen: api.version != seen or api.away, 1.0)
                if api.version == seen:
                    continue
                kind, seen, pod = "MODIFIED" if seen else "ADDED", api.version, api.pod()
            self._chunk(json.dumps({"type": kind, "object": pod}).encode() + b"\n")
