"""The template: the raw dict is the truth, a typed view is for reading (spec 1.6).

Nothing is ever encoded back from the view, so a field this executor does not know survives into the report. A wrong
type is found when the view is made, and named by its place: ``$.inputs.artifacts[3].s3.insecure``.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Any

import msgspec

from lifecycle.errors import InputError
from lifecycle.location import of_artifact, relocated
from lifecycle.view import TemplateView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.view import ContainerView, VolumeMount


class Template:
    """One template: ``raw`` is the truth, ``view`` is for reading."""

    def __init__(self, raw: Mapping[str, Any], *, place: str = "$") -> None:
        """Make the typed view.

        Raises:
            InputError: a field has the wrong type; the message names its place.
        """
        self.raw = dict(raw)
        self.view: TemplateView = convert(_without_nulls(self.raw), TemplateView, place=place)

    @classmethod
    def parse(cls, text: str | bytes, *, place: str = "template") -> Template:
        """Decode JSON.

        Raises:
            InputError: not JSON (line and column are named), or not an object.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise InputError(f"not JSON: {error}", place=place) from error
        if not isinstance(raw, dict):
            raise InputError(f"expected an object, got {type(raw).__name__}", place=place)
        return cls(raw)

    @property
    def name(self) -> str:
        """The template's name."""
        return self.view.name

    @property
    def main(self) -> ContainerView | None:
        """The container or the script's container (spec 1.6: container wins)."""
        return self.view.container or self.view.script

    def raw_artifacts(self, side: str) -> list[dict[str, Any]]:
        """The raw artifacts of ``inputs`` or ``outputs``, in template order."""
        return list((self.raw.get(side) or {}).get("artifacts") or [])

    @property
    def archive_location(self) -> dict[str, Any]:
        """The raw archive location, empty when there is none."""
        return dict(self.raw.get("archiveLocation") or {})

    def mounts(self) -> Iterator[VolumeMount]:
        """Main's own volume mounts, of a script too (spec 1.8, as from v2.4.0)."""
        if self.main is not None:
            yield from self.main.volume_mounts

    def overlapping_mount(self, path: str) -> VolumeMount | None:
        """The deepest of main's mounts that ``path`` equals or lies below, by whole path elements."""
        found = [mount for mount in self.mounts() if lies_below(path, mount.mount_path)]
        return max(found, key=lambda mount: len(normal(mount.mount_path)), default=None)

    def is_mirrored(self, path: str) -> bool:
        """Whether ``wait`` sees an output path through its mirror rather than main's base layer (spec 1.12, 5.1).

        True below a volume mount, and below an input artifact that was supplied: one that is optional and was not is
        not mounted either.
        """
        if self.overlapping_mount(path) is not None:
            return True
        supplied = (one for one in self.raw_artifacts("inputs") if of_artifact(relocated(one, self.archive_location)))
        return any(one.get("path") and lies_below(path, one["path"]) for one in supplied)


def convert(raw: Any, kind: type[Any], *, place: str = "$") -> Any:
    """A typed view of decoded JSON.

    Raises:
        InputError: naming the place by a JSON path that begins with ``place``.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        raise InputError(text, place=place + path.rstrip("`").removeprefix("$")) from error


def check_path(path: str, *, place: str) -> str:
    """An artifact's path: absolute and without ``..`` (spec 5.10, CleanPath).

    Raises:
        InputError: it is not.
    """
    if not path:
        raise InputError("a path is needed", place=place)
    if not path.startswith("/") or ".." in path.split("/"):
        raise InputError(f"{path!r} is not an absolute path without '..'", place=place)
    return normal(path)


def normal(path: str) -> str:
    """Without trailing and doubled slashes and ``.`` elements."""
    return re.sub(r"^/+", "/", posixpath.normpath(path))


def lies_below(path: str, root: str) -> bool:
    """Whether ``path`` is ``root`` or below it, compared by whole elements (``/foobar`` is not below ``/foo``)."""
    path, root = normal(path), normal(root)
    return path == root or path.startswith(root.rstrip("/") + "/")


def text_of(value: str | float | bool | None) -> str:
    """A parameter's value as a string, booleans and numbers as YAML and JSON write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _without_nulls(value: Any) -> Any:
    """Kubernetes treats a null field as an absent one, and so do people's files (``emptyDir:``)."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
