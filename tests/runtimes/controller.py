"""What a pod is given by controllers of several releases (spec 1.5, 5.7 to 5.10), over a scripted API server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.ports import Surroundings
from runtimes.controlplane import PodControlPlane
from runtimes.downward import TEMPLATE, write_annotations

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.servers.httpd import Httpd

POD = "/api/v1/namespaces/flows/pods/wf-1"
RESULTS = "/apis/argoproj.io/v1alpha1/namespaces/flows/workflowtaskresults"
NODE = f"{RESULTS}/node-1"

_V3_2 = {"ARGO_CONTAINER_NAME": "wait", "ARGO_DEADLINE": "0001-01-01T00:00:00Z"}
CONTRACTS: Mapping[str, Mapping[str, str]] = {
    "v2.3": {},
    "v3.0": {"ARGO_CONTAINER_NAME": "wait"},
    "v3.2": _V3_2,
    "v3.3": _V3_2
    | {
        "ARGO_NODE_ID": "node-1",
        "ARGO_WORKFLOW_NAME": "wf",
        "ARGO_WORKFLOW_UID": "uid-of-wf",
        "ARGO_POD_UID": "uid-of-pod",
        "ARGO_INSTANCE_ID": "blue",
    },
}
BY_FILE = ("v2.3", "v3.0")


@dataclass
class Controller:
    """Lays out what one pod of it finds."""

    directory: Path
    environ: dict[str, str]
    """Of the API server."""

    @property
    def annotations(self) -> Path:
        return self.directory / "annotations"

    def pod(
        self,
        contract: str,
        template: Mapping[str, Any] | None = None,
        annotations: Mapping[str, str] | None = None,
        **environ: str,
    ) -> PodControlPlane:
        """The control plane in a pod of that release."""
        text = json.dumps({"name": "t"} if template is None else template)
        env = self.environ | CONTRACTS[contract] | environ
        if contract in BY_FILE:
            write_annotations(self.annotations, {TEMPLATE: text} | dict(annotations or {}))
        else:
            env.setdefault("ARGO_TEMPLATE", text)
        return self.bare(**env)

    def bare(self, **environ: str) -> PodControlPlane:
        """One that is given nothing but this."""
        return PodControlPlane.from_pod(Surroundings("wf-1", self.environ | environ, self.annotations))


def asked(api: Httpd) -> list[tuple[str, str]]:
    """What the API server was asked, in order."""
    return [(one.method, one.target) for one in api.requests]


def pod(annotations: Mapping[str, str] | None = None, **more: Any) -> bytes:
    """The pod's object; ``more`` is of its metadata, but for ``spec`` and ``status``."""
    raw = {key: more.pop(key, {}) for key in ("spec", "status")}
    return json.dumps({"metadata": {"name": "wf-1", "annotations": dict(annotations or {}), **more}, **raw}).encode()


def status(reason: str, message: str) -> bytes:
    return json.dumps({"kind": "Status", "reason": reason, "message": message}).encode()
