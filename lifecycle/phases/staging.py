"""staging: the script or the manifest to its file (spec 1.8)."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from lifecycle.outcome import ItemState
from lifecycle.stay import Task
from lifecycle.unreachable import refuse

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.context import Pod
    from lifecycle.manifest import Order
    from lifecycle.stay import Stay


def stage(pod: Pod, stay: Stay) -> None:
    """Write what the template carries inline. Other templates have nothing to stage.

    First of all: an output that can never be read is known now, before anything is loaded (ADR 0030).
    """
    if refuse(pod, stay):
        return
    view = pod.template.view
    if view.container is not None:
        return
    if view.script is not None:
        # 0755 as from v3.5.11: a source with a shebang may be executed; earlier releases wrote 0644.
        _write(stay, "script", pod.files.script, view.script.source, 0o755)
    elif view.resource is not None:
        _write(stay, "manifest", pod.files.manifest, view.resource.manifest, 0o644)


def stage_manifest(pod: Pod, stay: Stay) -> None:
    """Read what a `resource` template asks for, and judge all of it before anything is created; write the manifest."""
    text, order = read_order(pod)
    for note in order.notes:
        stay.note(note)
    if text:
        _write(stay, "manifest", pod.files.manifest, text.decode(errors="replace"), 0o600)  # it may be a Secret


def read_order(pod: Pod) -> tuple[bytes, Order]:
    """The manifest and what it asks for. A restart reads it again: nothing of it is kept.

    Raises:
        InputError, LifecycleError: something in it cannot be, or it is not there.
    """
    from lifecycle import manifest  # noqa: PLC0415 - only `resource` templates pay for it

    action = (pod.template.raw.get("resource") or {}).get("action") or ""
    text = manifest.text_of(pod.template, pod.files)
    pod.found.order = order = manifest.read(pod.template, action, text)
    return text, order


def order_of(pod: Pod) -> Order | None:
    """What was read in this phase, maybe by an earlier process.

    Raises:
        InputError, LifecycleError: as ``read_order``, after a restart.
    """
    if pod.found.order is None and pod.known.state:
        read_order(pod)
    return pod.found.order


def _write(stay: Stay, kind: str, path: Path, text: str, mode: int) -> None:
    item = stay.item(kind, "")

    def work() -> None:
        item.size = write_whole(path, text.encode(), mode)

    stay.perform(Task(item, work, ItemState.DONE))


def write_whole(path: Path, data: bytes, mode: int) -> int:
    """Write a file so that it is there as a whole or not at all, whatever the umask; its size in bytes.

    Raises:
        OSError: classified by the caller.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return len(data)
