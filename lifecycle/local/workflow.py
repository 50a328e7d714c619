"""A Workflow file → the one template of it that is run.

Called by the local runner before anything is made. It judges shapes only as far as it reads them; the
template itself is judged by :mod:`lifecycle.template`.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError
from lifecycle.local.yamlfile import read_documents, source_name
from lifecycle.template import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_SPEC_OF = {
    "Workflow": ("spec",),
    "WorkflowTemplate": ("spec",),
    "ClusterWorkflowTemplate": ("spec",),
    "CronWorkflow": ("spec", "workflowSpec"),
}
_API = re.compile(r"^argoproj\.io/")
_ORCHESTRATING = ("steps", "dag", "suspend")
_RUNNABLE = ("container", "script", "resource", "data")
_LATER = ("containerSet", "http", "plugin")
_TYPES = (
    "container",
    "steps",
    "dag",
    "script",
    "resource",
    "suspend",
    "data",
    "containerSet",
    "http",
    "plugin",
)
"""In the order in which one wins when several are set (spec 1.6)."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """One manifest of a file.

    Attributes:
        source: what messages call the file.
        kind: ``Workflow`` and its like.
        metadata: raw.
        spec: the workflow's own, wherever its kind keeps it.
        place: where that is: ``FILE: $.spec``.
    """

    source: str
    kind: str
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    place: str

    @property
    def templates(self) -> Sequence[dict[str, Any]]:
        """The raw templates."""
        return self.spec.get("templates") or ()

    @property
    def names(self) -> list[str]:
        """The names of the templates."""
        return [text_of(raw.get("name")) for raw in self.templates]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The template that is run.

    Attributes:
        raw: with the workflow's defaults, not yet substituted.
        place: where it stands: ``FILE: $.spec.templates[2]``.
        is_entrypoint: its pod then has the workflow's name.
        notes: what a person should know.
    """

    workflow: Workflow
    raw: dict[str, Any]
    place: str
    is_entrypoint: bool
    notes: tuple[str, ...]


def load(path: str) -> list[Workflow]:
    """The Argo manifests of a file.

    Raises:
        InputError: it cannot be read, is not YAML, is empty, or holds no Argo manifest.
    """
    documents = read_documents(path)
    source = source_name(path)
    if not documents:
        raise InputError("the file is empty", place=source, remedy="give a file with a Workflow")
    several = len(documents) > 1
    found = [
        workflow
        for number, document in enumerate(documents, start=1)
        if (workflow := _workflow(document, source, f"document {number}: " if several else "")) is not None
    ]
    if not found:
        raise InputError(
            f"this is not an Argo manifest: {'; '.join(_kind(document) for document in documents[:5])}",
            place=source,
            remedy=f"give one with apiVersion argoproj.io/v1alpha1 and a kind of {', '.join(_SPEC_OF)}",
        )
    return found


def choose(workflows: Sequence[Workflow], name: str | None = None) -> Chosen:
    """The template named ``name``, else the entrypoint of the first manifest with templates.

    Raises:
        InputError: there is none, or it is of a type that does not run here.
    """
    candidates = [workflow for workflow in workflows if workflow.templates]
    if not candidates:
        raise _no_templates(workflows)
    if name is None:
        workflow, name, explicit = candidates[0], _entrypoint(candidates[0]), False
    else:
        workflow, explicit = next((one for one in candidates if name in one.names), candidates[0]), True
    if name not in workflow.names:
        raise _unknown(workflow, name, [other for one in candidates for other in one.names], explicit=explicit)
    index = workflow.names.index(name)
    place = f"{workflow.place}.templates[{index}]"
    if workflow.names.count(name) > 1:
        raise InputError(f"two templates are named {name!r}", place=place)
    raw, notes = _with_defaults(workflow, workflow.templates[index])
    _check_type(workflow, raw, place, name)
    raw, loose = _strings(raw)
    notes += [f"{where} is written as a number or boolean: a cluster refuses that, quote it" for where in loose]
    if len(candidates) > 1 and not explicit:
        notes.append(f"the file has {len(candidates)} manifests with templates: the first, a {workflow.kind}, is taken")
    entry = text_of(workflow.spec.get("entrypoint"))
    return Chosen(workflow, raw, place, is_entrypoint=name == entry or not explicit, notes=tuple(notes))


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where one is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _kind(document: Any) -> str:
    if not isinstance(document, dict):
        return f"it is a {'list' if isinstance(document, list) else type(document).__name__}, not an object"
    kind, api = document.get("kind"), document.get("apiVersion")
    if kind is None and api is None:
        return "it has neither apiVersion nor kind"
    return f"it is a {kind} of {api}"


def _workflow(document: Any, source: str, which: str) -> Workflow | None:
    """The manifest, or ``None`` for a document of another kind, such as a Secret beside it."""
    if not isinstance(document, dict) or document.get("kind") not in _SPEC_OF:
        return None
    if not _API.match(text_of(document.get("apiVersion"))):
        return None
    place = f"{source}: {which}$"
    metadata = _object(document, "metadata", place)
    spec: dict[str, Any] = document
    for step in _SPEC_OF[document["kind"]]:
        if spec.get(step) is None:
            raise InputError("it is missing", place=f"{place}.{step}")
        spec, place = _object(spec, step, place), f"{place}.{step}"
    templates = spec.get("templates")
    if templates is not None and not isinstance(templates, list):
        raise InputError(f"expected a list, got {_type(templates)}", place=f"{place}.templates")
    for index, template in enumerate(templates or ()):
        where = f"{place}.templates[{index}]"
        if not isinstance(template, dict):
            raise InputError(f"expected an object, got {_type(template)}", place=where)
        if not isinstance(template.get("name"), str) or not template["name"]:
            raise InputError("every template needs a name", place=f"{where}.name")
    return Workflow(source, document["kind"], metadata, spec, place)


def _object(holder: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    value = holder.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"expected an object, got {_type(value)}", place=f"{place}.{key}")
    return value


def _type(value: Any) -> str:
    names = {
        list: "a list",
        dict: "an object",
        str: "text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)


def _entrypoint(workflow: Workflow) -> str:
    entrypoint = workflow.spec.get("entrypoint")
    if isinstance(entrypoint, str) and entrypoint:
        return entrypoint
    if entrypoint:
        raise InputError(f"expected text, got {_type(entrypoint)}", place=f"{workflow.place}.entrypoint")
    if len(workflow.templates) == 1:
        return workflow.names[0]
    raise InputError(
        "there is no entrypoint",
        place=f"{workflow.place}.entrypoint",
        remedy=_runnable_remedy(workflow),
    )


def _no_templates(workflows: Sequence[Workflow]) -> InputError:
    workflow = workflows[0]
    referred = workflow.spec.get("workflowTemplateRef")
    if isinstance(referred, dict):
        return InputError(
            f"it has no templates, but those of the WorkflowTemplate {text_of(referred.get('name'))!r}",
            place=f"{workflow.place}.workflowTemplateRef",
            remedy="give the file of that WorkflowTemplate",
        )
    return InputError("there are no templates", place=f"{workflow.place}.templates")


def _unknown(workflow: Workflow, name: str, known: Sequence[str], *, explicit: bool) -> InputError:
    place = f"{workflow.source}: --template" if explicit else f"{workflow.place}.entrypoint"
    names = ", ".join(known)
    return InputError(
        f"there is no template {name!r}{suggestion(name, known)}", place=place, remedy=f"there are: {names}"
    )


def _type_of(raw: Mapping[str, Any]) -> str | None:
    return next((kind for kind in _TYPES if raw.get(kind) is not None), None)


def _check_type(workflow: Workflow, raw: Mapping[str, Any], place: str, name: str) -> None:
    kind = _type_of(raw)
    if kind in _RUNNABLE:
        if not isinstance(raw[kind], dict):
            raise InputError(f"expected an object, got {_type(raw[kind])}", place=f"{place}.{kind}")
        return
    if kind in _LATER:
        raise InputError(
            f"the template {name!r} is of the type {kind}: running those locally comes with a later release",
            place=place,
            remedy=_runnable_remedy(workflow),
        )
    if kind in _ORCHESTRATING:
        raise InputError(
            f"the template {name!r} is of the type {kind}, which has no pod of its own: one pod runs here",
            place=place,
            remedy=_runnable_remedy(workflow),
        )
    if raw.get("templateRef") or raw.get("template"):
        raise InputError(
            f"the template {name!r} only refers to another one",
            place=place,
            remedy="give the file of the WorkflowTemplate it refers to, and --template NAME",
        )
    raise InputError(f"the template {name!r} is of no known type", place=place, remedy=f"known are {', '.join(_TYPES)}")


def _runnable_remedy(workflow: Workflow) -> str:
    names = [text_of(raw["name"]) for raw in workflow.templates if _type_of(raw) in _RUNNABLE]
    if not names:
        return f"no template of this file is one of {', '.join(_RUNNABLE)}"
    return f"say --template NAME; those that run here: {', '.join(names)}"


def _with_defaults(workflow: Workflow, raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    defaults = workflow.spec.get("templateDefaults")
    if defaults is None:
        return dict(raw), []
    if not isinstance(defaults, dict):
        raise InputError(f"expected an object, got {_type(defaults)}", place=f"{workflow.place}.templateDefaults")
    own = _type_of(raw)
    # A default container says nothing to a script template: the controller merges what the template is.
    fitting = {key: value for key, value in defaults.items() if key not in _TYPES or key == own}
    note = "spec.templateDefaults is merged into the template; lists are the template's own, not merged"
    return _merged(fitting, raw), [note]


def _merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(defaults)
    for key, value in own.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _strings(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """``args: [3]`` as text, and where it was not; the only looseness beside Argo's own of parameters."""
    loose: list[str] = []

    def text(value: Any, where: str) -> Any:
        if isinstance(value, (bool, int, float)):
            loose.append(where)
            return text_of(value)
        return value

    def container(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            return value
        result = dict(value)
        for field in ("command", "args"):
            if isinstance(result.get(field), list):
                result[field] = [text(one, f"{where}.{field}[{n}]") for n, one in enumerate(result[field])]
        if isinstance(result.get("env"), list):
            result["env"] = [
                one | {"value": text(one["value"], f"{where}.env[{n}].value")}
                if isinstance(one, dict) and "value" in one
                else one
                for n, one in enumerate(result["env"])
            ]
        return result

    result = dict(raw)
    for field, where, value in _containers(raw):
        if isinstance(result[field], list):
            result[field] = [container(one, f"{where}[{n}]") for n, one in enumerate(value)]
        else:
            result[field] = container(value, where)
    return result, loose


def _containers(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for field in ("container", "script", "initContainers", "sidecars"):
        if isinstance(raw.get(field), (dict, list)):
            yield field, f"$.{field}", raw[field]
