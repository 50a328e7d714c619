"""A pod's volumes as directories of the work dir, and what is mounted from them where.

Nothing is made here: everything is judged first, and :meth:`Volumes.make` makes it when the run begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - dataclasses look at their annotations
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError
from lifecycle.files import INPUT_ARTIFACTS, STAGING
from lifecycle.local.paths import is_directory, is_file, mode_of
from lifecycle.local.workflow import suggestion
from lifecycle.ports import Mount
from lifecycle.template import check_path, normal, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lifecycle.view import VolumeMount

Substitute = Callable[[Any, str], Any]
"""Resolves ``{{…}}`` in a volume of the workflow's, whose place is the second argument."""

_CLAIMS = ("persistentVolumeClaim", "ephemeral")
_REMEDY = {
    "hostPath": "nothing of this machine is written: use an emptyDir, or give the data as an input artifact",
    "configMap": "a config map is in a cluster: give the files as an input artifact",
    "projected": "give the files as input artifacts, a secret as a volume of its own with --secrets DIR",
    "downwardAPI": "use env with fieldRef",
}


@dataclass(frozen=True, slots=True)
class _Source:
    """What stands behind a volume.

    Attributes:
        path: the directory.
        files: for a secret with ``items``, what is shown where in it; ``None`` for all that is there.
        read_only: a secret is never written.
    """

    path: Path
    files: Mapping[str, Path] | None = None
    read_only: bool = False


@dataclass
class Volumes:
    """The volumes that containers of this pod mount; one that nobody mounts is not looked at.

    Attributes:
        root: the directory of those that are made.
        secrets: what ``--secrets`` names.
        notes: what a person should know of those that were used.
    """

    root: Path
    secrets: Path | None
    notes: list[str] = field(default_factory=list)
    _declared: dict[str, tuple[dict[str, Any], str, Substitute]] = field(default_factory=dict)
    _sources: dict[str, _Source] = field(default_factory=dict)
    _directories: list[Path] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)

    def declare(
        self, raws: Any, place: str, *, claims: bool = False, substitute: Substitute = lambda raw, _: raw
    ) -> None:
        """Take a list of ``volumes``, or of ``volumeClaimTemplates``; one that is used is substituted then.

        Raises:
            InputError: it is no list of volumes, or a name stands twice.
        """
        if raws is None:
            return
        if not isinstance(raws, list):
            raise InputError("expected a list", place=place)
        for index, raw in enumerate(raws):
            where = f"{place}[{index}]"
            if not isinstance(raw, dict):
                raise InputError("expected an object", place=where)
            named = raw.get("metadata") if claims else raw
            name = text_of(named.get("name")) if isinstance(named, dict) else ""
            if not name or "/" in name or name.startswith("."):
                raise InputError(f"{name!r} cannot name a volume", place=where)
            if name in self._declared or name in (INPUT_ARTIFACTS, STAGING):
                raise InputError(f"the volume {name!r} is there already", place=where)
            self._declared[name] = ({"persistentVolumeClaim": {}} if claims else raw, where, substitute)

    def mounts(self, wanted: Iterable[VolumeMount], raws: Any, place: str) -> list[Mount]:
        """What a container mounts, parents before what lies in them.

        Raises:
            InputError: a volume that is not declared or cannot be here, a bad path, or two mounts at one.
        """
        result: list[Mount] = []
        targets: set[str] = set()
        for index, one in enumerate(wanted):
            where = f"{place}[{index}]"
            target = check_path(one.mount_path, place=f"{where}.mountPath")
            if target == "/":
                raise InputError("nothing can be mounted over the root", place=f"{where}.mountPath")
            if target in targets:
                raise InputError(f"two mounts at {target}", place=f"{where}.mountPath")
            targets.add(target)
            if raws[index].get("subPathExpr"):
                raise InputError("use subPath", place=f"{where}.subPathExpr")
            result += self._mount(one, target, where)
        return in_order(result)

    def make(self) -> None:
        """Make the directories; everybody in the pod may write to them, as to an emptyDir."""
        for ours in (INPUT_ARTIFACTS, STAGING):
            (self.root / ours).mkdir(parents=True, exist_ok=True)
        for directory in self._directories:
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o777)
        for file in self._files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    def _mount(self, one: VolumeMount, target: str, place: str) -> list[Mount]:
        if one.name not in self._declared:
            names = ", ".join(self._declared) or "none"
            raise InputError(
                f"there is no volume {one.name!r}{suggestion(one.name, self._declared)}",
                place=f"{place}.name",
                remedy=f"declared are: {names}",
            )
        source = self._sources.get(one.name)
        if source is None:
            raw, declared_at, substitute = self._declared[one.name]
            source = self._source(one.name, substitute(raw, declared_at), declared_at)
            self._sources[one.name] = source
        read_only = source.read_only or one.read_only
        if one.sub_path:
            return [Mount(self._below(source, one.sub_path, f"{place}.subPath"), target, read_only)]
        mounts = [Mount(source.path, target, read_only)]
        for path, file in (source.files or {}).items():
            mounts.append(Mount(file, f"{target}/{path}", read_only=True))
        return mounts

    def _below(self, source: _Source, sub_path: str, place: str) -> Path:
        if sub_path.startswith("/") or ".." in sub_path.split("/"):
            raise InputError(f"{sub_path!r} is not a relative path without '..'", place=place)
        path = normal(sub_path)
        if source.files is not None:
            if path not in source.files:
                raise InputError(f"the volume has no {path!r}", place=place)
            return source.files[path]
        found = source.path / path
        if source.read_only:
            if mode_of(found, place) is None:
                raise InputError(f"the secret has no {path!r}", place=place, remedy=f"create {found}")
        elif found not in self._directories:
            self._directories.append(found)
        return found

    def _source(self, name: str, raw: Mapping[str, Any], place: str) -> _Source:
        kind = next((key for key in raw if key != "name"), "emptyDir")  # Kubernetes' default too
        if kind == "secret":
            return self._secret(name, raw["secret"] or {}, place)
        if kind in _CLAIMS:
            self.notes.append(f"the volume {name!r} is a claim in a cluster: here it is an empty directory")
        elif kind != "emptyDir":
            raise InputError(
                f"the volume {name!r} is a {kind}, which a local run does not have",
                place=f"{place}.{kind}",
                remedy=_REMEDY.get(kind, "use an emptyDir, or give the data as an input artifact"),
            )
        return self._empty(name)

    def _empty(self, name: str, files: Mapping[str, Path] | None = None) -> _Source:
        path = self.root / name
        self._directories.append(path)
        # A file is mounted over a file: its place is made with the volume, as a secret is read-only later.
        self._files += [path / inside for inside in files or {}]
        return _Source(path, files, read_only=files is not None)

    def _secret(self, name: str, raw: Any, place: str) -> _Source:
        place = f"{place}.secret"
        if not isinstance(raw, dict):
            raise InputError("expected an object", place=place)
        secret = text_of(raw.get("secretName"))
        if not secret or "/" in secret or secret.startswith("."):
            raise InputError(f"{secret!r} cannot name a secret", place=f"{place}.secretName")
        optional = raw.get("optional") is True
        directory = (self.secrets / secret).absolute() if self.secrets else None
        if directory is None or not is_directory(directory, place):
            if optional:
                return self._empty(name, {})
            where = f"create the directory {directory}" if directory else "say --secrets DIR"
            raise InputError(
                f"the secret {secret!r} of the volume {name!r} is not here",
                place=place,
                remedy=f"{where}, with one file for each key",
            )
        if not raw.get("items"):
            return _Source(directory, read_only=True)
        return self._empty(name, _items(directory, raw["items"], f"{place}.items", optional=optional))


def in_order(mounts: Iterable[Mount]) -> list[Mount]:
    """Parents before what lies in them, else as they came."""
    return sorted(mounts, key=lambda mount: 0 if mount.target == "/" else mount.target.count("/"))


def _items(directory: Path, items: Any, place: str, *, optional: bool) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if not isinstance(items, list):
        raise InputError("expected a list", place=place)
    for index, item in enumerate(items):
        where = f"{place}[{index}]"
        key, path = (text_of(item.get(name)) if isinstance(item, dict) else "" for name in ("key", "path"))
        if not key or "/" in key or key.startswith(".."):
            raise InputError(f"{key!r} cannot name a key", place=f"{where}.key")
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise InputError(f"{path!r} is not a relative path without '..'", place=f"{where}.path")
        file = directory / key
        if is_file(file, where):
            found[normal(path)] = file
        elif not optional:
            raise InputError(f"the secret has no key {key!r}", place=where, remedy=f"create {file}")
    return found
