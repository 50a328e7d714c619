"""What a scenario is made of, and one run of it: by one runtime, under one contract, on one cluster."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from tests.pods.layout import CONTRACTS, RUNTIMES, Json, Options, Side
from tests.servers.dockerd import BUSYBOX

if TYPE_CHECKING:
    from tests.pods.play import Play
    from tests.pods.seen import Seen

SECRET = "artifact-store"
"""The secret with the store's credentials, in the namespace of the pods."""

BOTH = ("docker", "pns")
"""Runtimes that read main's base layer."""
NEITHER = ("kubelet", "k8sapi")
"""Runtimes that cannot, and that reach a container only by a command in it."""
STORED = ("v2.3", "v3.0")
"""Contracts under which the controller pushes a new deadline."""
GIVEN = ("v3.2", "v3.3")
"""Contracts under which the deadline is given once, in the environment."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What all pods of a cluster have around them.

    Attributes:
        flavour: ``docker`` or ``containerd``.
        s3: endpoint and bucket of the store.
        http: the URL of a directory of the web server.
        executor_image: has ``argoexec``.
        docker_socket: of the node.
        kubelet_port: of the node's API.
        proxies: an address for the mesh proxy of each runtime: pods share the machine's loopback.
    """

    flavour: str
    s3: Mapping[str, str]
    http: str
    executor_image: str
    docker_socket: str = ""
    kubelet_port: int = 10250
    namespace: str = ""
    proxies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must have become of a pod.

    Attributes:
        outputs: the Outputs as they are reported, in the order of their keys; ``...`` stands for anything, ``None`` for
            nothing.
        init, wait, main: exit codes; ``None``: no such container, or no matter.
        others: exit codes of sidecars.
        objects: what is in the store below the pod's key: bytes, or the entries of a tar.gz.
        message: words of the message to the controller, in any order; without any there is no message; ``None``: no
            matter.
        also: looks at what else there is.
    """

    outputs: Json | EllipsisType | None = None
    init: int | None = None
    wait: int | None = 0
    main: int | None = 0
    others: Mapping[str, int] = field(default_factory=dict)
    objects: Mapping[str, bytes | list[Entry]] = field(default_factory=dict)
    message: tuple[str, ...] | None = ()
    also: Callable[[Seen], None] | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A template, what happens while it runs, and what must come of it.

    Attributes:
        during: plays the controller, or the user, while the pod runs.
        contracts, runtimes: those it is about; a pod of it has one of each.
        options: more of :class:`~tests.pods.layout.Options`.
        captures: the controller wants stdout as the result (under v2.3 scripts always have one).
        every_contract: each gets a pod of its own.
        account: the service account; ``""`` is the one that may do all it needs.
        deleted: the pod is gone at the end.
        stuck: the pod never ends, since main never starts; ``wait`` does.
        seconds: by when it must have ended.
    """

    name: str
    template: Callable[[Case], Json]
    expected: Callable[[Case], Expected]
    during: Callable[[Play], None] | None = None
    contracts: tuple[str, ...] = CONTRACTS
    runtimes: tuple[str, ...] = RUNTIMES
    options: Callable[[Case], Json] = lambda _: {}
    captures: bool = False
    every_contract: bool = False
    account: str = ""
    deleted: bool = False
    stuck: bool = False
    seconds: float = 240.0


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a scenario."""

    scenario: Scenario
    runtime: str
    contract: str
    stage: Stage
    number: int = 0

    @property
    def pod(self) -> str:
        """Its pod's name."""
        number = f"-{self.number}" if self.number else ""
        return f"{self.scenario.name}-{self.runtime}-{self.contract.replace('.', '')}{number}"

    @property
    def home(self) -> Json:
        """The ``s3`` of the archive location, with the key that is the pod's own."""
        return {
            "endpoint": self.stage.s3["endpoint"],
            "bucket": self.stage.s3["bucket"],
            "insecure": True,
            "accessKeySecret": {"name": SECRET, "key": "access"},
            "secretKeySecret": {"name": SECRET, "key": "secret"},
            "key": self.key(""),
        }

    def key(self, file: str) -> str:
        """An object's, below the pod's."""
        return "/".join(filter(None, ("pods", self.stage.namespace, self.pod, file)))

    def options(self) -> Options:
        """What the controller knows."""
        given: Json = {
            "name": self.pod,
            "namespace": self.stage.namespace,
            "executor_image": self.stage.executor_image,
            "wait": Side(self.contract, self.runtime),
            "docker_socket": self.stage.docker_socket,
            "kubelet_port": self.stage.kubelet_port,
            "include_script_output": self.scenario.captures,
            "service_account": self.scenario.account,
        }
        return Options(**(given | self.scenario.options(self)))

    def reported(self, name: str, path: str, file: str, **more: Any) -> Json:
        """An output artifact as it is reported: from v3.0 on one of the repository has only its key (spec 5.7)."""
        own = self.home if self.contract == "v2.3" else {}
        shown = {"name": name, "path": path} if path else {"name": name, "archiveLogs": True}
        return shown | {"s3": own | {"key": self.key(file)}} | more


Entry = tuple[str, str, int, str]
"""Of a tar: name, ``file``, ``directory`` or ``link``, mode, and content or target."""


def entries(archive: bytes) -> list[Entry]:
    """What a tar.gz has, in its order."""
    found: list[Entry] = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for one in tar:
            mode = stat.S_IMODE(one.mode)
            if one.isdir():
                found.append((one.name.rstrip("/"), "directory", mode, ""))
            elif one.issym():
                found.append((one.name, "link", mode, one.linkname))
            else:
                file = tar.extractfile(one)
                found.append((one.name, "file", mode, file.read().decode() if file else "?"))
    return found


def shell(source: str, **more: Any) -> Json:
    """A container whose command is a shell script."""
    return {"image": BUSYBOX, "command": ["sh", "-c", source]} | more


VOLUME: Json = {"name": "work", "emptyDir": {}}
MOUNT: Json = {"name": "work", "mountPath": "/work"}
