"""A pod of a real cluster whose containers begin their scripts when a test says so."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.ports import Container, Surroundings
from runtimes import credentials
from runtimes.api import ApiServer
from tests.servers.apiserver import container
from tests.servers.dockerd import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.ports import Runtime, RuntimeFactory
    from tests.servers.apiserver import Namespace
    from tests.servers.kubernetes import Cluster

HANGS = 60.0
"""Seconds after which what should have come has failed to."""

_GATE = "gate"
_BEGINS = 'exec sh -c "$(cat /go/NAME)"'
"""Opening a FIFO blocks until somebody writes: what a container runs, and when, comes through one."""

POD_RULES = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "watch"]}
API_RULES = (
    POD_RULES,
    {"apiGroups": [""], "resources": ["pods/log", "pods/exec"], "verbs": ["get"]},
)
NODE_RULES = {"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}


@dataclass
class ClusterPod:
    """One pod; it is there from the beginning, and starts no container before the first script."""

    here: Namespace
    directory: Path
    name: str
    runtime: Runtime
    admin: ApiServer
    started: set[str] = field(default_factory=set)

    def start_script(self, name: str, script: str, mounts: dict[str, Path] | None = None) -> Container:
        """Give a container its script; returns when its process runs."""
        assert not mounts, "no test needs any"
        if _GATE not in self.started:
            self._write(_GATE, "exit 0")
        self._write(name, script)
        pod = self.here.wait_pod(self.name, lambda pod: container(pod, name).get("containerID"))
        return Container(name, container(pod, name)["containerID"].rpartition("//")[2])

    def await_output(self, name: str, line: str) -> None:
        """Until it has written this line: its log is followed."""
        path, query = f"{self.here.pods}/{self.name}/log", [("container", name), ("follow", "true")]
        with self.admin.open("get", path, "pods/log", query=query, silence=HANGS) as answer:
            assert any(one == line.encode() for one in answer.lines())

    def _write(self, name: str, text: str) -> None:
        self.started.add(name)
        writing = threading.Thread(target=(self.directory / name).write_text, args=[text], daemon=True)
        writing.start()
        writing.join(HANGS)
        assert not writing.is_alive(), f"the container {name} does not start"


@contextlib.contextmanager
def running(
    cluster: Cluster, here: Namespace, directory: Path, factory: RuntimeFactory, environ: dict[str, str],
    names: tuple[str, ...] = ("main",), **spec: Any,
) -> Iterator[ClusterPod]:  # fmt: skip
    """A pod with the containers ``names``; it is gone afterwards."""
    for name in (_GATE, *names):
        os.mkfifo(directory / name)
    pod = f"pod-{uuid.uuid4().hex[:8]}"
    volume = {"name": "go", "hostPath": {"path": str(directory)}}

    def one(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "image": BUSYBOX,
            "command": ["sh", "-c", _BEGINS.replace("NAME", name)],
            "volumeMounts": [{"name": "go", "mountPath": "/go"}],
        }

    here.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False,
            "volumes": [volume], "initContainers": [one(_GATE)], "containers": [one(name) for name in names],
        } | spec,
    })  # fmt: skip
    kube = {
        "server": cluster.api.url, "certificate-authority": str(cluster.api.ca), "token": here.token,
        "namespace": here.name,
    }  # fmt: skip
    admin = credentials.find(kube | {"token": cluster.api.token}, {})
    surroundings = Surroundings(pod, environ, directory / "annotations", kube)
    try:
        yield ClusterPod(here, directory, pod, factory.from_pod(surroundings), ApiServer(admin))
    finally:
        here.delete_pod(pod, 0)
