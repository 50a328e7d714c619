"""transforming: each expression of a `data` template makes the next value of ``data`` (spec 5.21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.errors import BadRequest, InputError
from lifecycle.outcome import ItemState
from lifecycle.phases.listing import expressions, place_of
from lifecycle.stay import Task

if TYPE_CHECKING:
    from lifecycle.context import Pod
    from lifecycle.stay import Stay


def transform(pod: Pod, stay: Stay) -> None:
    """Evaluate one after another; the last value as JSON is the result."""
    for number, expression in enumerate(expressions(pod.template)):
        item = stay.item("expression", str(number))
        stay.perform(Task(item, lambda n=number, e=expression: _evaluate(pod, stay, n, e), ItemState.DONE))  # type: ignore[misc]
        if item.state is not ItemState.DONE:
            return
    item = stay.item("result", "")

    def work() -> None:
        from lifecycle.expression.errors import Refused  # noqa: PLC0415 - as below
        from lifecycle.expression.values import to_json  # noqa: PLC0415

        try:
            text = to_json(pod.found.data)
        except Refused as error:
            raise BadRequest(f"the result cannot be written: {error}") from error
        item.size = len(text.encode(errors="replace"))
        if item.size > pod.control.room:
            raise BadRequest(
                f"its {item.size} bytes do not fit into the {pod.control.room} that the outputs of this pod have",
                remedy="filter more, or split the work by keys",
            )
        pod.found.result = text

    stay.perform(Task(item, work, ItemState.CAPTURED))
    if item.state is ItemState.CAPTURED:
        pod.found.items.append(item)


def _evaluate(pod: Pod, stay: Stay, number: int, expression: str) -> None:
    from lifecycle.expression import evaluate  # noqa: PLC0415 - lark: only `data` templates pay for it

    try:
        pod.found.data = evaluate(expression, {"data": pod.found.data}, look_up=stay.cancel.check)
    except InputError as error:
        raise InputError(error.message, place=place_of(number), remedy=error.remedy) from error
