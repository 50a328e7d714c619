"""saving: parameters, logs and artifacts, each an item of its own (spec 1.11 to 1.13). None stops another."""

from __future__ import annotations

import posixpath
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from lifecycle import location as locations
from lifecycle import transfer
from lifecycle.errors import BadRequest, LifecycleError, NotFound, Unsupported
from lifecycle.grace import MEASURED
from lifecycle.location import Location
from lifecycle.outcome import ItemState
from lifecycle.phases.capturing import result
from lifecycle.phases.loading import moving
from lifecycle.ports import RootHolder
from lifecycle.source import HeldSource, MirrorSource, RuntimeSource
from lifecycle.stay import Task
from lifecycle.template import check_path, text_of
from lifecycle.unreachable import unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.context import Pod
    from lifecycle.ports import Container
    from lifecycle.stay import Stay
    from lifecycle.view import Artifact, Parameter

KILLED = "killed before everything was saved: raise terminationGracePeriodSeconds"
"""What the kubelet has to tell if it comes to that."""

LOG_ARTIFACT, LOG_FILE = "main-logs", "main.log"


def save(pod: Pod, stay: Stay) -> None:
    """Save everything the template's outputs name, and the logs when they are to be kept.

    The order is that of a short grace: parameters, result, logs, artifacts, small ones first (ADR 0031). When main
    never ran there is nothing to save, and when it failed or was stopped an output that is not there is no failure of
    its own.
    """
    tasks = [_parameter(pod, stay, one, n) for n, one in enumerate(pod.template.view.outputs.parameters)]
    tasks += [result(pod, stay)] if pod.result_wanted and not pod.found.had_turn else []
    tasks += [_log(pod, stay)] if pod.template.archive_location.get("archiveLogs") else []
    view, raw = pod.template.view.outputs.artifacts, pod.template.raw_artifacts("outputs")
    artifacts = [_artifact(pod, stay, n, *pair) for n, pair in enumerate(zip(view, raw, strict=True))]
    if pod.stops and pod.found.main is not None:
        pod.tell("; ".join(filter(None, (pod.record.message(), KILLED))))
        artifacts = _small_ones_first(pod, artifacts, [one.path for one in view])
    tasks += artifacts
    _settle_unreachable(pod, stay, tasks)
    tasks = [task for task in tasks if task.item.state is ItemState.PENDING]
    if pod.found.main is None:
        for task in tasks:
            stay.settle(task.item, ItemState.ABANDONED, "main never ran")
        return
    stay.perform_all(tasks)
    pod.found.items += [item for item in stay.items if item.state in (ItemState.SAVED, ItemState.CAPTURED)]


def _settle_unreachable(pod: Pod, stay: Stay, tasks: list[Task]) -> None:
    """Artifacts that this runtime can never read, and parameters without a default: the record has them already."""
    lost = {(one.kind, one.name): one for one in unreachable(pod)}
    for task in tasks:
        one = lost.get((task.item.kind, task.item.name))
        if one is None or (one.kind == "parameter" and one.forgiven):
            continue
        note = f"{one.path} is on no volume, which is all that the runtime {pod.runtime_name!r} reads"
        stay.settle(task.item, ItemState.SKIPPED if one.forgiven else ItemState.FAILED, note)


def _small_ones_first(pod: Pod, artifacts: list[Task], paths: list[str]) -> list[Task]:
    """In the order of their bytes, those of unknown size last. Looking takes a share of the grace at most."""
    sizes: dict[int, int] = {}
    news = pod.clock.inbox()

    def look() -> None:
        for number, path in enumerate(paths):
            with suppress(Exception), source_of(pod, path) as source:  # what is wrong with it is found when it is saved
                if (found := source.measure()) is not None:
                    sizes[number] = found.bytes
        news.put("done")

    began = pod.clock.monotonic()
    pod.hurry.listen(lambda: news.put("hurry"))
    pod.clock.start(look, "sizes")
    share = pod.settings.grace * MEASURED
    while news.get(began + share - pod.clock.monotonic()) == "hurry":
        # Main may have ended of SIGTERM before anybody has said how much time is left.
        share = share if pod.grace is None else pod.grace.seconds * MEASURED
    known = sizes.copy()
    return [task for _, task in sorted(enumerate(artifacts), key=lambda pair: known.get(pair[0], sys.maxsize))]


def source_of(pod: Pod, path: str) -> MirrorSource | RuntimeSource:
    """Where an output is read: through the mirror below a mount, else through the runtime."""
    main = pod.found.main
    if main is None:
        raise NotFound("main never ran")
    if pod.template.is_mirrored(path):
        # An absolute link in a volume leads where it leads in main: the mirror of a pod has all mounts, and so has a
        # held root; a directory of this machine has not.
        if isinstance(pod.runtime, RootHolder) and _holds(pod.runtime, main):
            return HeldSource(pod.runtime, main, path)
        return MirrorSource(pod.files.mirrored(path), path)
    return RuntimeSource(pod.runtime, main, path)


def _holds(runtime: RootHolder, main: Container) -> bool:
    """Not any more after a restart, when main had ended before."""
    try:
        runtime.held_root(main)
    except (NotFound, Unsupported):
        return False
    return True


# --- parameters -----------------------------------------------------------------------------------------------------


def _parameter(pod: Pod, stay: Stay, parameter: Parameter, number: int) -> Task:
    item = stay.item("parameter", parameter.name)
    value_from = parameter.value_from
    default = value_from.default if value_from else None

    def work() -> None:
        if value_from is None or not value_from.path:
            if parameter.value is None and default is not None:
                pod.found.parameters[parameter.name] = text_of(default).removesuffix("\n")
            item.note = "no path: left as it is"
            return
        path = check_path(value_from.path, place=f"$.outputs.parameters[{number}].valueFrom.path")
        try:
            with (
                _written("let main write it, or give it a `valueFrom.default`"),
                source_of(pod, path) as source,
                source.open_file() as file,
            ):
                data = _read_whole(file, path, pod.control.room)
        except (LifecycleError, OSError) as error:
            if default is None:
                raise
            item.note = f"the default is used: {error}"
            pod.found.parameters[parameter.name] = text_of(default).removesuffix("\n")
            return
        item.size = len(data)
        # One newline, exactly: what `echo` adds (spec 1.12).
        pod.found.parameters[parameter.name] = data.decode(errors="replace").removesuffix("\n")

    return Task(item, work, ItemState.SAVED, forgiven=_forgiven(pod))


@contextmanager
def _written(remedy: str) -> Iterator[None]:
    """Say what to do about an output that is not there, the most frequent failure. A store's NotFound is none here."""
    try:
        yield
    except NotFound as error:
        raise NotFound(error.message, remedy=remedy) from error.__cause__


def _read_whole(file: BinaryIO, path: str, room: int) -> bytes:
    data = bytearray()
    while chunk := file.read(64 * 1024):
        data += chunk
        if len(data) > room:
            raise BadRequest(
                f"{path} is larger than the {room // 1024} KiB that all outputs of this pod may have",
                remedy="make it an artifact",
            )
    return bytes(data)


# --- logs -----------------------------------------------------------------------------------------------------------


def _log(pod: Pod, stay: Stay) -> Task:
    item = stay.item("log", LOG_ARTIFACT)

    def work() -> None:
        archive = _archive_location(pod)
        target = archive.join(LOG_FILE)
        moved = moving(pod, stay, item)
        main = pod.found.main
        if main is None:
            raise NotFound("main never ran")
        with pod.runtime.open_output(main, combined=True) as stream:
            transfer.save_stream(stay.driver(target, item), target, stream, moved)
        item.size = moved.size
        # A copy of the archive location, archiveLogs and all (spec 1.11).
        pod.found.artifacts[LOG_ARTIFACT] = {"name": LOG_ARTIFACT, "archiveLogs": True} | _reported(pod, {}, target)

    return Task(item, work, ItemState.SAVED)


# --- artifacts ------------------------------------------------------------------------------------------------------


def _artifact(pod: Pod, stay: Stay, number: int, artifact: Artifact, raw: dict[str, Any]) -> Task:
    item = stay.item("artifact", artifact.name)
    place = f"$.outputs.artifacts[{number}]"

    def work() -> None:
        path = check_path(artifact.path, place=f"{place}.path")
        target, reported = destination(pod, artifact, raw, place)
        moved = moving(pod, stay, item)
        driver = stay.driver(target, item)
        with _written("let main write it, or mark it `optional: true`"), source_of(pod, path) as source:
            match artifact.archive_kind:
                case "tar":
                    transfer.save_archive(driver, target, source, artifact.compression_level, moved)
                case "none":
                    transfer.save_files(driver, target, source, width=pod.settings.parallelism, moved=moved)
                case _:
                    transfer.save_zip(driver, target, source, moved)
        item.size, item.note = moved.size, moved.note
        pod.found.artifacts[artifact.name] = reported

    return Task(item, work, ItemState.SAVED, forgiven="optional" if artifact.optional else _forgiven(pod))


def destination(pod: Pod, artifact: Artifact, raw: dict[str, Any], place: str) -> tuple[Location, dict[str, Any]]:
    """Where it goes, and how it is reported (spec 1.13).

    A key of its own is used verbatim. Without one it goes below the archive location by its file name.

    Raises:
        BadRequest: it has none, and there is no archive location.
    """
    own = locations.of_artifact(locations.relocated(raw, pod.template.archive_location), place=place)
    if own is not None and own.key:
        return own, raw
    suffix = {"tar": ".tgz", "zip": ".zip"}.get(artifact.archive_kind)
    name = f"{artifact.name}{suffix}" if suffix else posixpath.basename(artifact.path.rstrip("/"))
    archive = locations.of_artifact(pod.template.archive_location, place="$.archiveLocation")
    if own is not None and (archive is None or archive.type != own.type):
        target = own.join(name)
    else:
        below = _archive_location(pod)
        target = Location(below.type, own.config if own else below.config, below.key).join(name)
    return target, raw | _reported(pod, raw, target)


def _reported(pod: Pod, raw: dict[str, Any], target: Location) -> dict[str, Any]:
    """Where it went, for a reader that knows the archive location or for one that does not."""
    return target.key_only(raw) if pod.control.key_only else target.raw()


def _archive_location(pod: Pod) -> Location:
    found = locations.of_artifact(pod.template.archive_location, place="$.archiveLocation")
    if found is None or found.type not in locations.ARCHIVE_TYPES:
        raise BadRequest(
            "there is no archive location to save to",
            remedy="configure an artifact repository, or give the artifact a location of its own",
        )
    return found


def _forgiven(pod: Pod) -> str:
    """When main failed or was stopped, the step is not to become an Error about what main did not get to (ADR 0008)."""
    return "main did not end well" if pod.main_failed else ""
