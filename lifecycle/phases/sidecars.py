"""killing sidecars, and releasing: TERM, grace, KILL (spec 1.10, 2.5). Already gone is success."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from lifecycle.clock import NEVER
from lifecycle.errors import Cancelled, NotFound, Transient
from lifecycle.outcome import ItemState
from lifecycle.phases.waiting import AFTER_KILL
from lifecycle.stay import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.clock import Cancel
    from lifecycle.context import Pod
    from lifecycle.outcome import Item
    from lifecycle.ports import Container
    from lifecycle.stay import Stay

LEFT = "the pod is being deleted: the kubelet has told every container to stop, and kills what is left"


def kill(pod: Pod, stay: Stay) -> None:
    """Kill every container but main, wait, and those the upload may need.

    Not in a pod that is being deleted: that is the kubelet's work, and the time is for saving (ADR 0031).
    """
    _kill_all(pod, stay, lambda name: name not in pod.settings.late_sidecars)


def release(pod: Pod, stay: Stay) -> None:
    """Kill the late ones: after the report nothing needs a proxy any more (upstream #1282)."""
    _kill_all(pod, stay, lambda _: True)


def _kill_all(pod: Pod, stay: Stay, chosen: Callable[[str], bool]) -> None:
    if pod.grace is not None:
        stay.note(LEFT)
        return
    if pod.unmade is not None:
        stay.note("the containers are left alone: there is no runtime to end them with")  # why is in the record
        return
    tasks = []
    running = stay.need("containers", pod.runtime.others)
    for container in running:
        if chosen(container.name):
            item = stay.item("container", container.name)
            tasks.append(Task(item, _Ending(pod, container, item), ItemState.DONE))
    stay.perform_all(tasks)


class _Ending:
    """The end of one container, in as many attempts as it takes; the grace is given once."""

    def __init__(self, pod: Pod, container: Container, item: Item) -> None:
        self._pod = pod
        self._container = container
        self._item = item
        self._until: float | None = None

    def __call__(self) -> None:
        pod, container = self._pod, self._container
        if self._until is None:
            pod.runtime.signal(container, signal.SIGTERM)
            self._until = pod.clock.monotonic() + pod.settings.grace
        try:
            if _is_gone(pod, container, pod.hurry, max(0.0, self._until - pod.clock.monotonic())):
                return
        except Cancelled:  # a second wish to stop leaves no grace
            if pod.grace is not None:
                self._item.note = LEFT
                return
        pod.runtime.signal(container, signal.SIGKILL)
        # It is bounded, so nothing needs to cancel it.
        if not _is_gone(pod, container, NEVER, AFTER_KILL):
            raise Transient(f"the container {container.name!r} still runs {AFTER_KILL:g} s after SIGKILL")


def _is_gone(pod: Pod, container: Container, cancel: Cancel, timeout: float) -> bool:
    """Whether it ends in so many seconds; one that is removed meanwhile has ended, however it did."""
    try:
        return pod.runtime.wait(container, cancel, timeout) is not None
    except NotFound:
        return True
