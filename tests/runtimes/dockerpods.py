"""Pods on a real dockerd, their containers labelled as the kubelet labels them."""

from __future__ import annotations

import contextlib
import threading
import uuid
from typing import TYPE_CHECKING

from lifecycle.clock import NEVER
from lifecycle.ports import Container
from runtimes.docker import KIND, NAME, NAMESPACE, POD, UID, DockerRuntime
from runtimes.dockerapi import Daemon
from tests.servers.dockerd import BUSYBOX

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.dockerd import Dockerd

HANGS = 60.0
"""Seconds after which a test that waits for something has failed; nothing takes a tenth of it."""


class DockerPod:
    """One pod: the container that holds its network, and what a test starts."""

    def __init__(self, dockerd: Dockerd, *, namespace: str = "argo", url: str = "") -> None:
        self.dockerd = dockerd
        self.labels = {NAMESPACE: namespace, POD: f"pod-{uuid.uuid4().hex[:8]}", UID: str(uuid.uuid4())}
        self.daemon = Daemon({"DOCKER_HOST": url or dockerd.url})
        self.runtime = DockerRuntime(self.daemon, self.labels)
        self.start("POD", "sleep", "100000", labels={KIND: "podsandbox"})

    def create(self, name: str, *argv: str, labels: dict[str, str] | None = None, options: tuple[str, ...] = ()) -> str:
        found = self.labels | {NAME: name, KIND: "container"} | (labels or {})
        words = [word for key, value in found.items() for word in ("--label", f"{key}={value}")]
        made = self.dockerd.docker("create", "--network", "none", *words, *options, BUSYBOX, *argv)
        return made.decode().strip()

    def start(
        self, name: str, *argv: str, labels: dict[str, str] | None = None, options: tuple[str, ...] = ()
    ) -> Container:
        made = self.create(name, *argv, labels=labels, options=options)
        self.dockerd.docker("start", made)
        return Container(name, made)

    def start_script(self, name: str, script: str, mounts: dict[str, Path] | None = None) -> Container:
        options = tuple(word for target, source in (mounts or {}).items() for word in ("-v", f"{source}:{target}"))
        return self.start(name, "sh", "-c", script, options=options)

    def run(self, script: str, *options: str) -> Container:
        """Main, at its end."""
        main = self.start("main", "sh", "-c", script, options=options)
        assert self.runtime.wait(main, NEVER, HANGS) is not None
        return main

    def await_output(self, name: str, line: str) -> None:
        """Block until the container has written this line."""
        found = next(one for one in self.daemon.containers(self.labels) if one["Labels"][NAME] == name)
        query = {"stdout": 1, "stderr": 1, "follow": 1}
        with self.daemon.stream("GET", f"/containers/{found['Id']}/logs", query, silence=HANGS) as body:
            seen = b""
            while line.encode() not in seen:
                piece = body.read1()
                assert piece, f"{name} has ended, and written {seen!r}"
                seen += piece

    def close(self) -> None:
        for one in self.daemon.containers(self.labels):
            with contextlib.suppress(RuntimeError):  # a test removed it
                self.dockerd.docker("rm", "-f", one["Id"])


def await_no_threads() -> None:
    """Block until none of the adapter's threads lives."""
    for one in threading.enumerate():
        if one.name.startswith("docker-"):
            one.join(HANGS)
            assert not one.is_alive(), one
