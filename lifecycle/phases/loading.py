"""loading: every input artifact to its place, several at a time (spec 1.8)."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lifecycle import location as locations
from lifecycle.archive.extract import Limits
from lifecycle.beneath import open_beneath, open_plain
from lifecycle.errors import NotFound
from lifecycle.moved import Moved
from lifecycle.outcome import ItemState
from lifecycle.progress import Progress
from lifecycle.stay import Task
from lifecycle.template import check_path
from lifecycle.transfer import load as transfer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lifecycle.context import Pod
    from lifecycle.outcome import Item
    from lifecycle.stay import Stay
    from lifecycle.view import Artifact


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
        moved = moving(pod, stay, item)
        with destination(pod, artifact, place) as dest:
            transfer(
                stay.driver(found, item),
                found,
                dest,
                artifact.declared_archive,
                limits=limits,
                width=pod.settings.parallelism,
                moved=moved,
            )
            set_mode(dest, artifact.mode, recurse=artifact.recurse_mode)
        item.size, item.note = moved.size, moved.note

    return Task(
        item,
        work,
        ItemState.LOADED,
        forgiven="optional" if artifact.optional else "",
        there=lambda: _is_there(pod, artifact),
    )


def _is_there(pod: Pod, artifact: Artifact) -> bool:
    """Whether there is anything at the place of an artifact: it comes there as a whole or not at all."""
    if pod.template.overlapping_mount(artifact.path) is None:
        return os.path.lexists(pod.files.input_artifact(artifact.name))
    mirrored = pod.files.mirrored(artifact.path)
    try:
        root = os.open(mirrored.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(open_beneath(root, mirrored.path, os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


def moving(pod: Pod, stay: Stay, item: Item) -> Moved:
    """The account of an item's transfer: told to whoever watches, ended by a wish to stop."""
    return Moved(
        tell=Progress(pod, item),
        cancel=stay.cancel,
        resume=lambda broken, work: stay.resume(item, broken, work),
    )


@contextmanager
def destination(pod: Pod, artifact: Artifact, place: str) -> Iterator[Path]:
    """Into the user's volume when the path lies below one of main's mounts, else into ``input-artifacts`` (spec 1.8).

    Raises:
        InputError: the path is not absolute, or has ``..``.
        BadRequest: it has a parent in the volume that cannot be one.
    """
    path = check_path(artifact.path, place=f"{place}.path")
    if pod.template.overlapping_mount(path) is None:
        yield pod.files.input_artifact(artifact.name)
        return
    with pod.files.mirrored(path).opened(path) as dest:
        yield dest


def set_mode(path: Path, mode: int | None, *, recurse: bool) -> None:
    """The artifact's ``mode``; with ``recurseMode`` of everything below it too. Links are never followed.

    A directory gets it after what is in it, which the mode might shut us out of. What is in it may be changing: another
    artifact is loaded into it.

    Raises:
        OSError: with ``filename`` set.
    """
    if mode is None:
        return
    try:
        top = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        if recurse and stat.S_ISDIR(os.fstat(top).st_mode):
            _chmod_below(top, path, mode)
        else:
            _chmod(top, mode, path)
    finally:
        os.close(top)


def _chmod_below(top: int, path: Path, mode: int) -> None:
    directories = ["."]
    for directory in directories:  # grows
        with _entered(top, directory, path) as one:
            if one is None:
                continue
            _chmod(one, mode | 0o700, path / directory)
            with _entered(one, ".", path / directory, os.O_RDONLY) as readable:
                if readable is None:
                    continue
                with os.scandir(readable) as entries:
                    found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for name, below in found:
                if below:
                    directories.append(f"{directory}/{name}")
                    continue
                with _entered(one, name, path / directory, os.O_PATH) as file:
                    if file is not None:
                        _chmod(file, mode, path / directory / name)
    for directory in reversed(directories):
        with _entered(top, directory, path) as one:
            if one is not None:
                _chmod(one, mode, path / directory)


@contextmanager
def _entered(fd: int, below: str, path: Path, how: int = os.O_PATH | os.O_DIRECTORY) -> Iterator[int | None]:
    """Something below a descriptor; nothing when it has gone, or is a link now."""
    try:
        found = open_plain(fd, below, how)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise OSError(error.errno, error.strerror, str(path / below)) from error
        yield None
        return
    try:
        yield found
    finally:
        os.close(found)


def _chmod(fd: int, mode: int, path: Path) -> None:
    """Of what an O_PATH descriptor stands for: a name could be given to something else before it is used again."""
    if stat.S_ISLNK(os.fstat(fd).st_mode):
        return
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
