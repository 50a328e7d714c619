"""Containers of the executor's image, with a pod that the local runtime takes for one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.files import LocalFiles
from runtimes.downward import EXECUTION, TEMPLATE, write_annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.dockerd import Dockerd

STRICT = ("--network", "none", "--read-only", "--tmpfs", "/tmp")
"""A container with neither a network nor anything to write to but /tmp, as a careful cluster makes them."""

TERMINATE = {"deadline": "0001-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Executor:
    """The image in a dockerd."""

    dockerd: Dockerd
    image: str

    def run(self, *command: str, options: tuple[str, ...] = STRICT) -> str:
        """What it prints, in a container of its own that must end with 0."""
        return self.dockerd.docker("run", "--rm", *options, self.image, *command).decode()

    def start(self, *command: str, options: tuple[str, ...] = STRICT) -> str:
        """A container that goes on; its id."""
        return self.dockerd.docker("run", "--detach", *options, self.image, *command).decode().strip()

    def sh(self, container: str, script: str, *arguments: str) -> str:
        """What a script prints in it, as when a controller execs."""
        return self.dockerd.docker("exec", container, "sh", "-c", script, "sh", *arguments).decode()

    def ended(self, container: str) -> int:
        """Its exit status, once it has one."""
        return int(self.dockerd.docker("wait", container))


@pytest.fixture
def executor(dockerd: Dockerd, executor_image: str) -> Iterator[Executor]:
    yield Executor(dockerd, executor_image)
    if left := dockerd.docker("ps", "-aq", "--filter", f"ancestor={executor_image}").decode().split():
        dockerd.docker("rm", "-f", *left)


class LocalPod:
    """What ``init`` and ``wait`` find of a pod on this machine, where no API server is."""

    def __init__(self, directory: Path, template: dict[str, Any]) -> None:
        self._directory = directory
        self._template = template
        self._pod = directory / "pod"
        self._pod.mkdir()
        LocalFiles(self._pod).write()
        self._link = directory / "annotations" / "now"
        self._link.parent.mkdir()
        self.say()
        for path in (self._pod, *directory.rglob("*")):
            path.chmod(0o777)

    def say(self, execution: dict[str, Any] | None = None) -> None:
        """Other annotations, in another directory that a link leads to: who watches the file's directory sees nothing
        of it, as nobody does in a cluster before the kubelet comes round."""
        home = self._link.parent / ("then" if execution else "first")
        home.mkdir()
        said = {TEMPLATE: json.dumps(self._template)}
        if execution:
            said[EXECUTION] = json.dumps(execution)
        write_annotations(home / "annotations", said)
        (home / "annotations").chmod(0o644)
        new = self._link.with_name("new")
        new.symlink_to(home.name)
        new.replace(self._link)

    def loaded(self, name: str) -> Path:
        """Where `init` puts an input artifact."""
        return self._pod / "volumes/input-artifacts" / name

    def reported(self) -> str:
        """What the controller would be told."""
        return (self._pod / "reported.json").read_text()

    @property
    def options(self) -> tuple[str, ...]:
        """Of a container in it."""
        return (
            *("--volume", f"{self._pod}:/pod", "--volume", f"{self._link.parent}:/annotations:ro"),
            *("--env", "ARGO_POD_NAME=p", "--env", "ARGO_CONTAINER_RUNTIME_EXECUTOR=local"),
            *("--env", "ARGOEXEC_LOCAL_POD=/pod"),
        )

    def command(self, name: str) -> tuple[str, ...]:
        """``argoexec init`` or ``wait``."""
        return ("argoexec", name, "--pod-annotations", "/annotations/now/annotations")


@pytest.fixture
def local_pod(tmp_path: Path) -> Callable[..., LocalPod]:
    def make(**template: Any) -> LocalPod:
        return LocalPod(tmp_path, {"name": "t", "container": {"image": "i", "command": ["true"]}} | template)

    return make
