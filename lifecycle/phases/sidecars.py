"""killing sidecars, and releasing: TERM, grace, KILL (spec 1.10, 2.5). Already gone is success."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from lifecycle.clock import NEVER
from lifecycle.errors import Transient
from lifecycle.outcome import ItemState
from lifecycle.phases.waiting import AFTER_KILL
from lifecycle.stay import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.context import Pod
    from lifecycle.ports import Container
    from lifecycle.stay import Stay


def kill(pod: Pod, stay: Stay) -> None:
    """Kill every container but main, wait, and those the upload may need."""
    _kill_all(pod, stay, lambda name: name not in pod.settings.late_sidecars)


def release(pod: Pod, stay: Stay) -> None:
    """Kill the late ones: after the report nothing needs a proxy any more (upstream #1282)."""
    _kill_all(pod, stay, lambda _: True)


def _kill_all(pod: Pod, stay: Stay, chosen: Callable[[str], bool]) -> None:
    tasks = []
    running = stay.need("containers", pod.runtime.others)
    for container in running:
        if chosen(container.name):
            item = stay.item("container", container.name)
            tasks.append(Task(item, lambda one=container: _end(pod, one), ItemState.DONE))  # type: ignore[misc]
    stay.perform_all(tasks)


def _end(pod: Pod, container: Container) -> None:
    # A second wish to stop leaves no grace. The waits are bounded, so nothing needs to cancel them.
    grace = 0.0 if pod.stops > 1 else pod.settings.grace
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, AFTER_KILL)):
        pod.runtime.signal(container, number)
        if pod.runtime.wait(container, NEVER, seconds) is not None:
            return
    raise Transient(f"the container {container.name!r} still runs {AFTER_KILL:g} s after SIGKILL")
