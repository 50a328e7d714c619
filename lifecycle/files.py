"""Where the executor finds its files: fixed paths in a pod (spec 1.5.2), directories of the work dir locally.

The two differ in nothing else, so the phases know only this port.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lifecycle.errors import InputError
from lifecycle.mirror import Mirrored
from lifecycle.template import lies_below, normal

if TYPE_CHECKING:
    from collections.abc import Iterable

STAGED_SCRIPT = "/argo/staging/script"
INPUT_ARTIFACTS = "input-artifacts"
STAGING = "argo-staging"


class Files(Protocol):
    """Where the executor's side of main's mounts is."""

    @property
    def script(self) -> Path:
        """Where a script's source is staged."""

    @property
    def manifest(self) -> Path:
        """Where a resource's manifest is staged."""

    @property
    def secrets(self) -> Path:
        """The directory of mounted secrets."""

    def own(self, path: str) -> Path:
        """A path of this container's own, which a `resource` template's artifact is mounted at."""

    def input_artifact(self, name: str) -> Path:
        """Where an input artifact is loaded to, to be mounted into main by its name."""

    def mirrored(self, path: str) -> Mirrored:
        """Main's path below one of its mounts."""


class PodFiles:
    """The paths of a pod that an Argo controller laid out."""

    def __init__(self, root: Path = Path("/")) -> None:
        """``root`` is where the pod's paths begin; tests move it."""
        self._root = root
        self.script = root / "argo/staging/script"
        self.manifest = root / "tmp/manifest.yaml"
        self.secrets = root / "argo/secret"

    def own(self, path: str) -> Path:
        """As it is."""
        return self._root / path.lstrip("/")

    def input_artifact(self, name: str) -> Path:
        """Below the ``input-artifacts`` volume."""
        return self._root / "argo/inputs/artifacts" / name

    def mirrored(self, path: str) -> Mirrored:
        """Below ``/mainctrfs``, resolved inside it: an absolute link of the user's leads where it leads in main."""
        return Mirrored(self._root / "mainctrfs", normal(path))


@dataclass(frozen=True, slots=True)
class HostMount:
    """A mount of main's, and the directory or file of this machine that is mounted there."""

    target: str
    source: Path


class LocalFiles:
    """The same, for a pod whose volumes are directories of a work dir; what is mounted where stands in a file there."""

    def __init__(self, pod_dir: Path, mounts: Iterable[HostMount] = (), secrets: Path | None = None) -> None:
        self.volumes = pod_dir / "volumes"
        self.mounts = tuple(mounts)
        self.script = self.volumes / STAGING / "script"
        self.manifest = pod_dir / "manifest.yaml"
        self.secrets = secrets or pod_dir / "secrets"

        self._list = pod_dir / "mounts.json"

    @classmethod
    def read(cls, pod_dir: Path, secrets: Path | None = None) -> LocalFiles:
        """Those that :meth:`write` left, for a process that joins the pod.

        Raises:
            InputError: the directory is not that of a local pod.
        """
        try:
            mounts = json.loads((pod_dir / "mounts.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"this is not the directory of a local pod: {error}", place=str(pod_dir)) from error
        return cls(pod_dir, (HostMount(target, Path(source)) for target, source in mounts.items()), secrets)

    def write(self) -> None:
        """Leave what is mounted where, for other processes."""
        self._list.write_text(json.dumps({mount.target: str(mount.source) for mount in self.mounts}))

    def own(self, path: str) -> Path:
        """Where the artifact was loaded to: no container has mounted it."""
        return self.mirrored(path).root / self.mirrored(path).path

    def input_artifact(self, name: str) -> Path:
        """Below the ``input-artifacts`` volume."""
        return self.volumes / INPUT_ARTIFACTS / name

    def mirrored(self, path: str) -> Mirrored:
        """Below the source of the deepest mount; a single mounted file is found in its parent directory.

        Of a volume of the work dir the root is all of it, also where a subPath is mounted: what an artifact has put
        in the place of that directory is then a link like any other. An absolute link of the user's, which in main
        leads to main's root, is resolved inside the volume here: never on this machine.
        """
        found = [mount for mount in self.mounts if lies_below(path, mount.target)]
        mount = max(found, key=lambda one: len(normal(one.target)))
        inside = normal(path)[len(normal(mount.target)) :].lstrip("/")
        if mount.source.is_relative_to(self.volumes) and mount.source != self.volumes:
            volume, *below = mount.source.relative_to(self.volumes).parts
            return Mirrored(self.volumes / volume, "/".join([*below, *([inside] if inside else [])]) or ".")
        if not inside and not mount.source.is_dir():
            return Mirrored(mount.source.parent, mount.source.name)
        return Mirrored(mount.source, inside or ".")
