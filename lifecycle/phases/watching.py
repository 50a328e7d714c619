"""watching: follows an object until its conditions say that it has succeeded or failed (spec 4.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle import condition
from lifecycle.errors import NotFound, Permanent
from lifecycle.outcome import ItemState
from lifecycle.stay import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.context import Pod
    from lifecycle.stay import Stay


def watch(pod: Pod, stay: Stay) -> None:
    """Judge the object as it is and each change of it; without conditions nothing is waited for."""
    order = pod.found.order
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

    stay.perform(Task(item, work, ItemState.DONE))
