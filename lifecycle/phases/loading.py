"""loading: every input artifact to its place, several at a time (spec 1.8)."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from lifecycle import location as locations
from lifecycle.archive.extract import Limits
from lifecycle.errors import NotFound
from lifecycle.outcome import ItemState
from lifecycle.stay import Task
from lifecycle.template import check_path
from lifecycle.transfer import Moved
from lifecycle.transfer import load as transfer

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.context import Pod
    from lifecycle.stay import Stay
    from lifecycle.template import Artifact


def load(pod: Pod, stay: Stay) -> None:
    """Load what the template's inputs name; one that fails stops no other."""
    view = pod.template.view.inputs.artifacts
    raw = pod.template.raw_artifacts("inputs")
    stay.perform_all([_task(pod, stay, number, *pair) for number, pair in enumerate(zip(view, raw, strict=True))])


def _task(pod: Pod, stay: Stay, number: int, artifact: Artifact, raw: dict[str, Any]) -> Task:
    item = stay.item("input", artifact.name)
    place = f"$.inputs.artifacts[{number}]"
    limits = pod.settings.limits or Limits()

    def work() -> None:
        found = locations.of_artifact(locations.relocated(raw, pod.template.archive_location), place=place)
        if found is None:
            raise NotFound(
                f"the required artifact {artifact.name!r} was not supplied",
                remedy="give it a location, pass it as an argument, or make it optional",
            )
        dest = destination(pod, artifact, place)
        moved = Moved(tell=lambda size: pod.settings.progress(str(item), size))
        transfer(
            pod.drivers(found),
            found,
            dest,
            artifact.declared_archive,
            limits=limits,
            width=pod.settings.parallelism,
            moved=moved,
        )
        set_mode(dest, artifact.mode, recurse=artifact.recurse_mode)
        item.size, item.note = moved.size, moved.note

    return Task(item, work, ItemState.LOADED, forgiven="optional" if artifact.optional else "")


def destination(pod: Pod, artifact: Artifact, place: str) -> Path:
    """Into the user's volume when the path lies below one of main's mounts, else into ``input-artifacts`` (spec 1.8).

    Raises:
        InputError: the path is not absolute, or has ``..``.
    """
    path = check_path(artifact.path, place=f"{place}.path")
    if pod.template.overlapping_mount(path) is not None:
        return pod.files.mirrored(path).here
    return pod.files.input_artifact(artifact.name)


def set_mode(path: Path, mode: int | None, *, recurse: bool) -> None:
    """The artifact's ``mode``; with ``recurseMode`` of everything below it too. Links are never followed."""
    if mode is None:
        return
    _chmod(path, mode)
    if recurse and path.is_dir() and not path.is_symlink():
        for directory, subdirectories, names in os.walk(path):
            for name in (*subdirectories, *names):
                _chmod(path.__class__(directory, name), mode)


def _chmod(path: Path, mode: int) -> None:
    if not stat.S_ISLNK(path.lstat().st_mode):
        path.chmod(mode)
