"""Where the executor finds its files: fixed paths in a pod (spec 1.5.2), directories of the work dir locally.

The two differ in nothing else, so the phases know only this port.
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lifecycle.beneath import Made, make_beneath
from lifecycle.errors import BadRequest, InputError, LifecycleError
from lifecycle.template import lies_below, normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STAGED_SCRIPT = "/argo/staging/script"
INPUT_ARTIFACTS = "input-artifacts"
STAGING = "argo-staging"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A path of main's, seen from the executor: ``root`` is a directory of ours, ``path`` is resolved inside it."""

    root: Path
    path: str

    @contextmanager
    def opened(self, shown: str) -> Iterator[Path]:
        """The place to write to, in the block only; its parents are made, and go again when the block fails.

        The parents are found inside ``root``, as main finds them: a link of the user's does not lead out of it,
        whoever may be making one meanwhile. The last name is not looked up: a link there is the caller's to replace.
        Errors tell the path ``shown``, as main knows it.

        Raises:
            BadRequest: a parent is no directory, or a link that leads nowhere in here.
            LifecycleError, OSError: whatever the block raises, its paths put in terms of main's.
        """
        names = [name for name in self.path.split("/") if name not in ("", ".")]
        if not names:
            yield self.root
            return
        parents = "/".join(shown.rstrip("/").split("/")[:-1]) or "/"
        made: list[Made] = []
        _leftovers.enter()
        whole = False
        try:
            parent = self._open_parent(names[:-1], parents, made)
            # Not /proc/self: a program that a driver runs may be told the path.
            here = f"/proc/{os.readlink('/proc/self')}/fd/{parent}"
            try:
                yield Path(here, names[-1])
            except Exception as error:
                _put(error, here, parents)
                raise
            finally:
                os.close(parent)
            whole = True
        finally:
            _leftovers.leave(made, failed=not whole)

    def _open_parent(self, names: list[str], shown: str, made: list[Made]) -> int:
        self.root.mkdir(parents=True, exist_ok=True)
        root = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return make_beneath(root, names, made)
        except OSError as error:
            above = shown.rstrip("/").split("/")
            depth = len(above) - len(names) + len(str(error.filename).split("/"))
            where = "/".join(above[: max(1, depth)]) or "/"
            why = _NO_PARENT.get(error.errno or 0)
            if why is None:
                raise OSError(error.errno, error.strerror, where) from error
            # Never NotFound: `optional` would forgive it.
            raise BadRequest(
                f"nothing can be loaded into {shown}: {where} {why}",
                remedy="correct the artifact's path, or what an earlier artifact or the volume has there",
            ) from error
        finally:
            os.close(root)


_NO_PARENT = {
    errno.ENOTDIR: "is not a directory",
    errno.ENOENT: "is a link that leads nowhere in main's volumes",
    errno.ELOOP: "is a link in a circle",
}


class _Leftovers:
    """Directories that were made for artifacts which then failed.

    Another artifact may be about to be put into one: they go when no place is open any more, if they are empty.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._found: list[Made] = []

    def enter(self) -> None:
        with self._lock:
            self._open += 1

    def leave(self, made: list[Made], *, failed: bool) -> None:
        with self._lock:
            self._open -= 1
            if failed:
                self._found += made
            else:
                for one in made:
                    os.close(one.parent)
            if self._open:
                return
            for one in sorted(self._found, key=lambda one: -one.depth):
                with suppress(OSError):
                    os.rmdir(one.name, dir_fd=one.parent)
                os.close(one.parent)
            self._found.clear()


_leftovers = _Leftovers()


def _put(error: BaseException | None, here: str, shown: str) -> None:
    """Name main's path in an error and in those that led to it, where our own stands."""
    pattern = re.compile(re.escape(here) + r"(?!\d)/?")
    said = shown.rstrip("/") + "/"
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(pattern.sub(lambda _: said, one) if isinstance(one, str) else one for one in error.args)
        names = ("filename", "filename2") if isinstance(error, OSError) else ()
        names = ("message", "remedy") if isinstance(error, LifecycleError) else names
        for name in names:
            text = getattr(error, name)
            if isinstance(text, (str, os.PathLike)):
                setattr(error, name, pattern.sub(lambda _: said, os.fspath(text)))
        error = error.__cause__ or error.__context__


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
