"""annotating: the outputs and the failures to the controller (spec 1.15, 1.16)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lifecycle import report
from lifecycle.errors import BadRequest
from lifecycle.outcome import Failure, ItemState
from lifecycle.ports import Report
from lifecycle.stay import Task

if TYPE_CHECKING:
    from lifecycle.context import Pod
    from lifecycle.stay import Stay

ANNOTATION_LIMIT = 256 * 1024
"""Bytes of all annotations of a pod together (spec 1.15); the template takes its share."""


def annotate(pod: Pod, stay: Stay) -> None:
    """Report; what does not fit is found before the API refuses it, the largest first, and the rest is reported."""
    outputs = report.outputs(pod.template, pod.found)
    budget = ANNOTATION_LIMIT - len(json.dumps(pod.template.raw, separators=(",", ":")).encode()) - 4096
    for name, size in _drop_largest(outputs, max(budget, 16 * 1024)):
        stay.fail(
            Failure.of(
                BadRequest(
                    f"its {size} bytes do not fit into the pod's annotations",
                    remedy="save it as an artifact: parameters and results have 256 KiB together",
                ),
                phase=stay.phase.state,
                item=name,
            )
        )
    pod.found.outputs = outputs
    item = stay.item("report", "")

    def work() -> None:
        pod.control.report(Report(outputs=outputs, message=pod.record.message()))
        item.size = len(json.dumps(outputs, separators=(",", ":")).encode())

    stay.perform(Task(item, work, ItemState.DONE))
    if item.state is ItemState.DONE:
        for saved in pod.found.items:
            stay.settle(saved, ItemState.REPORTED)


def _drop_largest(outputs: dict[str, Any], budget: int) -> list[tuple[str, int]]:
    """Take values out of the outputs until they fit; what was taken, and its bytes."""
    dropped: list[tuple[str, int]] = []
    while len(json.dumps(outputs, separators=(",", ":")).encode()) > budget:
        values = [
            (len(p.get("value", "").encode()), f"parameter {p['name']}", p) for p in outputs.get("parameters", [])
        ]
        values.append((len(outputs.get("result", "").encode()), "result", outputs))
        size, name, holder = max(values, key=lambda one: one[0])
        if size == 0:
            break
        holder.pop("result" if holder is outputs else "value")
        dropped.append((name, size))
    return dropped
