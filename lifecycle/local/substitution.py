"""``{{…}}`` of Argo's simple templates, in every string of a template.

One pass: a value that holds ``{{…}}`` itself is not expanded again: nobody's data becomes a variable. Tags
that do not begin as Argo's do (``{{ .Values.x }}``, an awk program) are left as they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError
from lifecycle.local.workflow import suggestion
from lifecycle.template import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from lifecycle.local.identity import Identity

_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_ARGO = re.compile(r"(inputs|outputs|workflow|pod|node|steps|tasks|retries|lastRetry|item)(\.|\[|$)")
_STRFTIME = "aAbBcdDFHIjmMpSTUuwWxXyYzZ"

_WHY = {
    "steps": "one template runs alone here: make the value an input parameter and give it with -p",
    "tasks": "one template runs alone here: make the value an input parameter and give it with -p",
    "item": "one template runs alone here, outside any loop: make the value an input parameter",
    "lastRetry": "a single attempt runs here: there is no last one",
    "inputs": "declare it in the template's inputs",
    "outputs": "declare it in the template's outputs; only .path is known before main runs",
    "workflow": "see the variables of the Argo documentation; workflow.parameters are given with -p",
}


@dataclass(frozen=True, slots=True)
class _Unresolved:
    tag: str
    path: str


def substitute(value: Any, variables: Mapping[str, str], *, place: str) -> Any:
    """A copy of ``value`` in which every tag of every string has its variable's value; keys stay.

    Raises:
        InputError: tags of Argo's that nothing resolves, each with its path; or an expression ``{{=…}}``.
    """
    unresolved: list[_Unresolved] = []

    def replace(text: str, path: str) -> str:
        def one(match: re.Match[str]) -> str:
            tag = match[1].strip()
            if tag.startswith("="):
                raise InputError(
                    f"the expression {{{{{_shorten(tag)}}}}} needs a later release: there are none here yet",
                    place=f"{place}{path}",
                    remedy="use plain {{…}} variables, or give the result as a parameter",
                )
            if tag in variables:
                return variables[tag]
            if _ARGO.match(tag):
                unresolved.append(_Unresolved(tag, path))
            return match[0]

        return _TAG.sub(one, text)

    result = _walk(value, "", replace)
    if unresolved:
        raise _error(unresolved, variables, place)
    return result


def workflow_variables(identity: Identity, spec: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, str]:
    """``workflow.*``, ``pod.name``, ``node.name`` and ``retries``."""
    labels, annotations = (_texts(identity.metadata.get(field)) for field in ("labels", "annotations"))
    variables = {
        "workflow.name": identity.workflow,
        "workflow.namespace": identity.namespace,
        "workflow.uid": identity.uid,
        "workflow.serviceAccountName": identity.service_account,
        "workflow.mainEntrypoint": text_of(spec.get("entrypoint")),
        "workflow.priority": text_of(spec.get("priority")) or "0",
        "workflow.duration": "0",
        "pod.name": identity.pod,
        "node.name": identity.node,
        "retries": "0",
    }
    variables |= _times(identity.created)
    listed = _compact([{"name": name, "value": value} for name, value in parameters.items()])
    for suffix in ("", ".json"):
        variables[f"workflow.parameters{suffix}"] = listed
        variables[f"workflow.labels{suffix}"] = _compact(labels)
        variables[f"workflow.annotations{suffix}"] = _compact(annotations)
    variables |= {f"workflow.parameters.{name}": value for name, value in parameters.items()}
    variables |= {f"workflow.labels.{name}": value for name, value in labels.items()}
    variables |= {f"workflow.annotations.{name}": value for name, value in annotations.items()}
    return variables


def template_variables(raw: Mapping[str, Any], base: Mapping[str, str]) -> dict[str, str]:
    """``base``, and ``inputs.*`` and ``outputs.*`` of a template whose parameters have their values.

    Shapes that are wrong are passed over: the typed view names them.
    """
    variables = dict(base)
    parameters = [one for one in _entries(raw, "inputs", "parameters") if one.get("value") is not None]
    for one in parameters:
        variables[f"inputs.parameters.{one['name']}"] = text_of(one["value"])
    variables["inputs.parameters"] = _compact(
        [{"name": one["name"], "value": text_of(one["value"])} for one in parameters]
    )
    known = dict(variables)  # a path may name a parameter

    def resolved(path: str) -> str:
        return _TAG.sub(lambda match: known.get(match[1].strip(), match[0]), path)

    for side in ("inputs", "outputs"):
        for one in _entries(raw, side, "artifacts"):
            if isinstance(one.get("path"), str):
                variables[f"{side}.artifacts.{one['name']}.path"] = resolved(one["path"])
    for one in _entries(raw, "outputs", "parameters"):
        source = one.get("valueFrom")
        if isinstance(source, dict) and isinstance(source.get("path"), str):
            variables[f"outputs.parameters.{one['name']}.path"] = resolved(source["path"])
    return variables


def _walk(value: Any, path: str, replace: Callable[[str, str], str]) -> Any:
    if isinstance(value, str):
        return replace(value, path) if "{{" in value else value
    if isinstance(value, dict):
        return {key: _walk(inner, f"{path}.{key}", replace) for key, inner in value.items()}
    if isinstance(value, list):
        return [_walk(inner, f"{path}[{index}]", replace) for index, inner in enumerate(value)]
    return value


def _error(unresolved: list[_Unresolved], variables: Mapping[str, str], place: str) -> InputError:
    lines = [f"{{{{{one.tag}}}}} at {place}{one.path}{suggestion(one.tag, variables)}" for one in unresolved]
    reasons = dict.fromkeys(_WHY[root] for one in unresolved if (root := re.split(r"[.\[]", one.tag)[0]) in _WHY)
    what = "this variable is" if len(lines) == 1 else f"{len(lines)} variables are"
    return InputError(f"{what} not known here: " + "; ".join(lines), remedy="; ".join(reasons))


def _times(created: datetime) -> dict[str, str]:
    name = "workflow.creationTimestamp"
    rfc = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    formats = {f"{name}.{letter}": created.strftime(f"%{letter}") for letter in _STRFTIME}
    return formats | {name: rfc, f"{name}.RFC3339": rfc, f"{name}.s": str(int(created.timestamp()))}


def _texts(value: Any) -> dict[str, str]:
    return {key: text_of(one) for key, one in value.items()} if isinstance(value, dict) else {}


def _entries(raw: Mapping[str, Any], side: str, kind: str) -> list[dict[str, Any]]:
    holder = raw.get(side)
    entries = holder.get(kind) if isinstance(holder, dict) else None
    if not isinstance(entries, list):
        return []
    return [one for one in entries if isinstance(one, dict) and isinstance(one.get("name"), str)]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _shorten(tag: str) -> str:
    return tag if len(tag) <= 60 else f"{tag[:57]}…"
