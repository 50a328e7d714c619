"""extracting: output parameters out of the object, by JSONPath or jq (spec 4.1.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle.errors import BadRequest, LifecycleError
from lifecycle.outcome import ItemState
from lifecycle.phases.staging import order_of
from lifecycle.stay import Task
from lifecycle.template import text_of

if TYPE_CHECKING:
    from lifecycle.context import Pod
    from lifecycle.stay import Stay
    from lifecycle.view import Parameter


def extract(pod: Pod, stay: Stay) -> None:
    """Read the object once more, and what the template names out of it; one that fails stops no other."""
    wanted = [
        (number, one)
        for number, one in enumerate(pod.template.view.outputs.parameters)
        if one.value_from and (one.value_from.json_path or one.value_from.jq_filter)
    ]
    order = order_of(pod)
    if not wanted or order is None or (not pod.found.objects and not order.forgives):
        return
    latest: list[dict[str, Any]] = []

    def read() -> None:
        latest[:] = [pod.cluster.get(one) for one in pod.found.objects]

    seen = stay.item("object", "")
    stay.perform(Task(seen, read, ItemState.DONE, there=lambda: bool(latest)))
    if seen.state is not ItemState.DONE:
        return
    stay.perform_all([_parameter(pod, stay, one, number, latest) for number, one in wanted])
    pod.found.items += [item for item in stay.items if item.state is ItemState.SAVED]


def _parameter(pod: Pod, stay: Stay, parameter: Parameter, number: int, latest: list[dict[str, Any]]) -> Task:
    item = stay.item("parameter", parameter.name)
    source = parameter.value_from
    default = source.default if source else None

    def work() -> None:
        try:
            # What is written at the end of a template's line is nobody's value: trimmed, as from v3.4.7.
            value = _value(parameter, number, latest).strip()
        except LifecycleError as error:
            if default is None:
                raise
            item.note = f"the default is used: {error}"
            value = text_of(default)
        if len(value.encode(errors="replace")) > pod.control.room:
            raise BadRequest(
                f"its {len(value)} characters do not fit into the {pod.control.room} bytes that the outputs have",
                remedy="choose less of the object",
            )
        pod.found.parameters[parameter.name] = value

    return Task(item, work, ItemState.SAVED)


def _value(parameter: Parameter, number: int, latest: list[dict[str, Any]]) -> str:
    from lifecycle import jqfilter, jsonpath  # noqa: PLC0415 - only `resource` templates pay for it

    place = f"$.outputs.parameters[{number}].valueFrom"
    source = parameter.value_from
    if source is None or not latest:
        if source is not None and source.default is not None:
            return text_of(source.default)
        return ""  # a `get` that found nothing, as from v2.9
    found = latest[0] if len(latest) == 1 else {"apiVersion": "v1", "kind": "List", "items": latest}
    if source.json_path:
        return jsonpath.render(source.json_path, found, place=f"{place}.jsonPath")
    return jqfilter.run(source.jq_filter, found, place=f"{place}.jqFilter")
