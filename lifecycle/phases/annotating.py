"""annotating: the outputs and the failures to the controller (spec 1.15, 1.16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle import report
from lifecycle.errors import BadRequest
from lifecycle.outcome import Failure, ItemState
from lifecycle.ports import Report
from lifecycle.stay import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.context import Pod
    from lifecycle.stay import Stay


def annotate(pod: Pod, stay: Stay) -> None:
    """Report; what does not fit is found before the API refuses it, the largest first, and the rest is reported."""
    # Without main there are no outputs; a controller that reads them once must not find empty ones.
    whole = report.outputs(pod.template, pod.found) if pod.found.main is not None or pod.found.ran else {}
    item = stay.item("report", "")
    told: set[str] = set()

    def work() -> None:
        # At each attempt: where a report goes instead when it was refused, there may be less room.
        outputs = pod.found.outputs = _fitted(whole, pod.control.room, stay, told)
        message = pod.record.message()
        pod.tell(message)  # now: the report may be the last thing this process does
        pod.control.report(Report(outputs=outputs, message=message))
        item.size = report.size(outputs)

    stay.perform(Task(item, work, ItemState.DONE))
    if item.state is ItemState.DONE:
        for saved in pod.found.items:
            stay.settle(saved, ItemState.REPORTED)


def _fitted(whole: Mapping[str, Any], budget: int, stay: Stay, told: set[str]) -> dict[str, Any]:
    """What of the outputs fits; what does not is a failure, each once."""
    outputs = dict(whole)
    if "parameters" in outputs:
        outputs["parameters"] = [dict(one) for one in outputs["parameters"]]
    for note in _cut_result(outputs, budget):
        if note not in told:
            told.add(note)
            stay.note(note)
    for name, size in _drop_largest(outputs, budget):
        if name in told:
            continue
        told.add(name)
        stay.fail(
            Failure.of(
                BadRequest(
                    f"its {size} bytes do not fit into the {budget} that the outputs of this pod have together",
                    remedy="save it as an artifact",
                ),
                phase=stay.phase.state,
                item=name,
            )
        )
    return outputs


def _cut_result(outputs: dict[str, Any], budget: int) -> list[str]:
    """Keep of the result what the other outputs leave room for, its end: it is a tail already (spec 5.4)."""
    result = outputs.get("result")
    over = report.size(outputs) - budget
    if not result or over <= 0:
        return []
    raw = result.encode()
    # A character may take six bytes in JSON: cut by what is sent, and look again.
    while raw and (over := report.size(outputs) - budget) > 0:
        raw = raw[max(over // 6, 1024) :]
        outputs["result"] = raw.decode(errors="ignore")
    return [f"only the last {len(raw)} bytes of the result fit into the {budget} that all outputs have"]


def _drop_largest(outputs: dict[str, Any], budget: int) -> list[tuple[str, int]]:
    """Take parameters out of the outputs until they fit; what was taken, and its bytes."""
    dropped: list[tuple[str, int]] = []
    while report.size(outputs) > budget:
        values = [(report.size(one.get("value", "")) - 2, one) for one in outputs.get("parameters", [])]
        size, largest = max(values, key=lambda pair: pair[0], default=(0, None))
        if largest is None or size <= 0:
            break
        del largest["value"]
        dropped.append((f"parameter {largest['name']}", size))
    return dropped
