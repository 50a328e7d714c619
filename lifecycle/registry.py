"""Names of adapters and drivers → ``module:attr``, imported when they are first asked for.

A pod imports only what its template needs. The built-in names are here, so that no metadata is read for them;
those of third parties come from the entry points ``argoexec.runtimes`` and ``argoexec.drivers``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError, Unsupported
from lifecycle.secret import SecretReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lifecycle.location import Location
    from lifecycle.ports import Driver, Surroundings

RUNTIMES = {
    "docker": "runtimes.docker:DockerRuntime",
    "kubelet": "runtimes.kubelet:KubeletRuntime",
    "k8sapi": "runtimes.k8sapi:KubernetesRuntime",
    "pns": "runtimes.pns:NamespaceRuntime",
    "local": "runtimes.local:LocalRuntime",
}
SANDBOXES = {"local": "runtimes.sandbox:LocalSandbox", "docker": "runtimes.dockersandbox:DockerSandbox"}
CONTROL_PLANES = {
    "local": "runtimes.downward:DownwardControlPlane",
    "kubernetes": "runtimes.controlplane:PodControlPlane",
}
DRIVERS = {
    "s3": "drivers.s3:S3Driver",
    "http": "drivers.http:HttpDriver",
    "git": "drivers.git:GitDriver",
    "artifactory": "drivers.artifactory:ArtifactoryDriver",
    "hdfs": "drivers.hdfs:HdfsDriver",
    "raw": "drivers.raw:RawDriver",
    "gcs": "drivers.gcs:GcsDriver",
    "oss": "drivers.oss:OssDriver",
    "azure": "drivers.azure:AzureDriver",
    "fsspec": "drivers.fsspec:FsspecDriver",
    "plugin": "drivers.plugin:plugin_driver",
}
OBJECTS = {"kubernetes": "runtimes.objects:ClusterObjects"}
CONFIG_MAPS = {"kubernetes": "runtimes.configmaps:ClusterConfigMaps"}
RENDERERS = {
    "mermaid": "diagrams.mermaid:render",
    "dot": "diagrams.dot:render",
    "svg": "diagrams.svg:render",
    "html": "diagrams.page:render",
}

LATER = {
    "runtime": ("emissary",),
}
"""Names of the original that this release does not have yet: asking for one says so."""

_TABLES = {
    "runtime": (RUNTIMES, "argoexec.runtimes"),
    "sandbox": (SANDBOXES, "argoexec.sandboxes"),
    "control plane": (CONTROL_PLANES, "argoexec.controlplanes"),
    "driver": (DRIVERS, "argoexec.drivers"),
    "objects": (OBJECTS, "argoexec.objects"),
    "config maps": (CONFIG_MAPS, "argoexec.configmaps"),
    "diagram format": (RENDERERS, "argoexec.diagrams"),
}


def resolve(kind: str, name: str) -> Any:
    """What a name stands for.

    Args:
        kind: ``runtime``, ``sandbox``, ``control plane``, ``driver``, ``config maps`` or ``diagram
            format``.
        name: as the template or the environment gives it.

    Raises:
        Unsupported: one of the original's that comes with a later release.
        InputError: nobody registered it, or what it leads to cannot be imported.
    """
    table, group = _TABLES[kind]
    target = table.get(name) or _entry_point(group, name)
    if target is None:
        if name in LATER.get(kind, ()):
            raise Unsupported(
                f"the {kind} {name!r} comes with a later release of this executor",
                remedy=f"this one has: {', '.join(sorted(table))}",
            )
        raise InputError(
            f"there is no {kind} {name!r}",
            remedy=f"there are: {', '.join(sorted(table))}; a package can register more as entry points {group!r}",
        )
    module, _, attr = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attr)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the {kind} {name!r} cannot be imported from {target}: {error}") from error


def drivers(secrets: Path, here: Surroundings | None = None) -> Callable[[Location], Driver]:
    """Makes the driver of a location, anew at every call: credentials are read when they are needed.

    Args:
        secrets: the directory of mounted secrets.
        here: the pod, whose cluster has the config maps that a location may name; ``None`` for none.
    """
    asked = None if here is None else (lambda: resolve("config maps", "kubernetes")(here))
    reader = SecretReader(secrets, asked)

    def make(location: Location) -> Driver:
        driver: Driver = resolve("driver", location.type)(location.config, reader)
        return driver

    return make


def _entry_point(group: str, name: str) -> str | None:
    from importlib.metadata import entry_points  # noqa: PLC0415 - 20 ms, only for names that are not ours

    return next((point.value for point in entry_points(group=group, name=name)), None)
