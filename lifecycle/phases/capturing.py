"""capturing: main's stdout as the result (spec 1.14). Its exit code came with its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.context import RESULT_LIMIT
from lifecycle.errors import NotFound
from lifecycle.outcome import ItemState
from lifecycle.stay import Task

if TYPE_CHECKING:
    from typing import BinaryIO

    from lifecycle.context import Pod
    from lifecycle.stay import Stay


def capture(pod: Pod, stay: Stay) -> None:
    """Keep the end of stdout, when the template or the controller wants it.

    Of a pod that was told to stop, its turn is after the parameters, while saving (ADR 0031).
    """
    if pod.stops or not pod.result_wanted:
        return
    pod.found.had_turn = True
    task = result(pod, stay)
    if pod.found.main is None:
        stay.settle(task.item, ItemState.ABANDONED, "main never ran")
        return
    stay.perform_all([task])
    if task.item.state is ItemState.CAPTURED:
        pod.found.items.append(task.item)


def result(pod: Pod, stay: Stay) -> Task:
    """What keeps the end of stdout."""
    item = stay.item("result", "")

    def work() -> None:
        main = pod.found.main
        if main is None:
            raise NotFound("main never ran")
        with pod.runtime.open_output(main, combined=False) as stream:
            kept, total = tail(stream, RESULT_LIMIT)
        if total > RESULT_LIMIT:
            item.note = f"only the last {RESULT_LIMIT // 1024} KiB of {total} bytes are kept"
        # The annotation is JSON, so it is text: bytes that are none become U+FFFD.
        pod.found.result = kept.decode(errors="replace").removesuffix("\n")
        item.size = total

    return Task(item, work, ItemState.CAPTURED)


def tail(stream: BinaryIO, limit: int) -> tuple[bytes, int]:
    """The last ``limit`` bytes of a stream, and how many it had; memory is bounded by twice the limit."""
    kept, total = b"", 0
    while chunk := stream.read(64 * 1024):
        total += len(chunk)
        kept += chunk
        if len(kept) > 2 * limit:
            kept = kept[-limit:]
    return kept[-limit:], total
