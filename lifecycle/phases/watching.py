"""watching: follows an object until its conditions say that it has succeeded or failed (spec 4.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle import condition
from lifecycle.clock import terminated
from lifecycle.context import ControlChanged, Stop
from lifecycle.errors import NotFound, Permanent
from lifecycle.outcome import ItemState
from lifecycle.phases.staging import order_of
from lifecycle.stay import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.context import Pod
    from lifecycle.stay import Stay


def watch(pod: Pod, stay: Stay) -> None:
    """Judge the object as it is and each change of it; without conditions nothing is waited for."""
    order = order_of(pod)
    if order is None or not order.watched or not pod.found.objects:
        return
    [found] = pod.found.objects
    item = stay.item("object", f"{found['kind']}/{found['metadata']['name']}")

    def settled(state: Mapping[str, Any]) -> bool:
        failed = condition.failure(order.failure, state)
        if failed is not None:
            raise Permanent(
                f"failure condition '{failed.text}' evaluated true",
                remedy=f"see what became of it: kubectl describe {found['kind']}/{found['metadata']['name']}",
            )
        return condition.success(order.success, state)

    def work() -> None:
        try:
            pod.cluster.follow(found, settled, stay.cancel)
        except NotFound as error:
            raise NotFound(
                "it has been deleted while it was waited for", remedy="see who deletes it, such as a ttl or an owner"
            ) from error

    pod.clock.start(lambda: _heed(pod), "execution control")
    stay.perform(Task(item, work, ItemState.DONE))


def _heed(pod: Pod) -> None:
    """SIGUSR2: the controller has changed the execution control, and may want an end (v2.10 to v3.0)."""
    while True:
        event = pod.inbox.get(None)
        if isinstance(event, Stop):
            return
        if isinstance(event, ControlChanged):
            try:
                control = pod.control.execution()
            except Exception as error:  # noqa: BLE001 - a thread has no caller, and the object is waited for all the same
                pod.journal.write("note", phase="watching", text=f"the execution control cannot be read: {error}")
                continue
            if control.terminate:
                pod.stop(terminated())
