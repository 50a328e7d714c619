"""What a `resource` template asks of a cluster: action, manifest, flags, conditions, outputs (spec 4).

Everything that can be judged before anything is created is judged here, and its place is named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from lifecycle import condition
from lifecycle.errors import InputError
from lifecycle.flags import read as read_flags
from lifecycle.objects import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lifecycle.condition import Requirement
    from lifecycle.files import Files
    from lifecycle.template import Template

ACTIONS: Final = ("get", "create", "apply", "replace", "patch", "delete")
STRATEGIES: Final = ("strategic", "merge", "json")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done, in order, and what is waited for.

    Attributes:
        changes: one for each document.
        success, failure: the requirements of the two conditions.
        waits: whether a deletion is waited for, as kubectl does.
        forgives: whether an object that is not there is none of the order's failures.
        notes: what a person should know.
    """

    changes: tuple[Change, ...]
    success: tuple[Requirement, ...] = ()
    failure: tuple[Requirement, ...] = ()
    waits: bool = True
    forgives: bool = False
    notes: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        """The same for all documents."""
        return self.changes[0].action

    @property
    def watched(self) -> bool:
        """Whether there is a condition to wait for; without one nothing is waited for."""
        return bool(self.success or self.failure)


def read(template: Template, action: str, manifest: bytes) -> Order:
    """The order of a template.

    Args:
        template: whose ``resource`` it is.
        action: the one on the command line, which the controller takes from the template.
        manifest: its text; empty where flags name an object.

    Raises:
        InputError: something in it cannot be; the place is named.
    """
    resource: Mapping[str, Any] = template.raw.get("resource") or {}
    if action not in ACTIONS:
        raise InputError(
            f"there is no action {action!r}", place="$.resource.action", remedy=f"one of {_listed(ACTIONS)}"
        )
    flags = read_flags(resource.get("flags") or [], action)
    strategy = flags.strategy or resource.get("mergeStrategy") or "strategic"
    if strategy not in STRATEGIES:
        raise InputError(
            f"there is no merge strategy {strategy!r}", place="$.resource.mergeStrategy",
            remedy=f"one of {_listed(STRATEGIES)}",
        )  # fmt: skip
    bare = flags.change(Change(action, strategy=strategy))
    documents = _documents(manifest)
    if not documents and not bare.kind:
        raise InputError("a manifest is needed, or flags that name an object", place="$.resource.manifest")
    changes = tuple(_change(bare, document, number) for number, document in enumerate(documents)) or (bare,)
    order = Order(
        changes,
        condition.parse(resource.get("successCondition") or "", place="$.resource.successCondition"),
        condition.parse(resource.get("failureCondition") or "", place="$.resource.failureCondition"),
        waits=flags.waits,
        forgives=flags.forgives or action == "delete",
        notes=flags.notes,
    )
    _judge(order, template)
    return order


def _documents(manifest: bytes) -> list[Any]:
    if not manifest.strip():
        return []
    from lifecycle.local.yamlfile import parse_documents  # noqa: PLC0415 - PyYAML: only `resource` templates pay for it

    return list(_flattened(parse_documents(manifest, "manifest")))


def _flattened(documents: list[Any]) -> Iterator[Any]:
    """A `List` is its items, as kubectl takes it."""
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
            yield from document["items"]
        else:
            yield document


def _change(bare: Change, document: Any, number: int) -> Change:
    """What is asked for one document: about the object it names, or the one that flags name."""
    place = f"manifest, document {number + 1}"
    if bare.kind and not (isinstance(document, dict) and document.get("kind")):
        if bare.action != "patch":
            raise InputError(f"{bare.action} takes a manifest or a name, not both", place="$.resource.flags")
        return replace(bare, body=document)
    if not isinstance(document, dict):
        wanted = "flags that name an object, such as [pod, NAME]" if bare.strategy == "json" else "an object"
        raise InputError(f"{wanted} is needed, not {type(document).__name__}", place=place)
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise InputError("an object is needed", place=f"{place}: $.metadata")
    for key, of in (("apiVersion", document), ("kind", document)):
        if not isinstance(of.get(key), str) or not of[key]:
            raise InputError(f"{key} is needed", place=f"{place}: $.{key}")
    name = metadata.get("name") or ""
    if not isinstance(name, str) or (not name and not (bare.action == "create" and metadata.get("generateName"))):
        also = " or a generateName" if bare.action == "create" else ""
        raise InputError(f"a name{also} is needed", place=f"{place}: $.metadata.name")
    return replace(
        bare,
        body=document,
        api_version=document["apiVersion"],
        kind=document["kind"],
        name=name,
        namespace=_namespace(bare, metadata, place),
    )


def _namespace(bare: Change, metadata: Mapping[str, Any], place: str) -> str:
    own = metadata.get("namespace") or ""
    if not isinstance(own, str):
        raise InputError("a text is needed", place=f"{place}: $.metadata.namespace")
    if own and bare.namespace and own != bare.namespace:
        raise InputError(
            f"the manifest says {own!r}, the flags say {bare.namespace!r}", place=f"{place}: $.metadata.namespace"
        )
    return own or bare.namespace


def _judge(order: Order, template: Template) -> None:
    outputs = (template.raw.get("outputs") or {}).get("parameters") or []
    if order.action == "delete" and (order.watched or outputs):
        raise InputError(
            "what is deleted has no conditions and no outputs", place="$.resource",
            remedy="leave successCondition, failureCondition and output parameters out",
        )  # fmt: skip
    if order.watched and len(order.changes) > 1:
        raise InputError(
            f"conditions are for one object, and the manifest has {len(order.changes)}", place="$.resource.manifest",
            remedy="make one template for each object that is waited for",
        )  # fmt: skip
    if order.action == "patch" and any(change.body is None for change in order.changes):
        raise InputError("a patch needs a manifest", place="$.resource.manifest")
    _judge_outputs(outputs)


def _judge_outputs(outputs: list[Any]) -> None:
    from lifecycle import jqfilter, jsonpath  # noqa: PLC0415 - lark: only those with outputs pay for it

    for number, parameter in enumerate(outputs):
        source = (parameter.get("valueFrom") or {}) if isinstance(parameter, dict) else {}
        place = f"$.outputs.parameters[{number}].valueFrom"
        if path := source.get("jsonPath"):
            jsonpath.check(path, place=f"{place}.jsonPath")
        elif program := source.get("jqFilter"):
            jqfilter.check(program, place=f"{place}.jqFilter")


def text_of(template: Template, files: Files) -> bytes:
    """The manifest's text: the template's own, or that of an input artifact (spec 4.2, v3.4).

    Raises:
        InputError: the artifact is not there.
    """
    resource: Mapping[str, Any] = template.raw.get("resource") or {}
    source = resource.get("manifestFrom")
    if not source:
        return str(resource.get("manifest") or "").encode()
    name = ((source.get("artifact") if isinstance(source, dict) else None) or {}).get("name")
    found = next((one for one in template.raw_artifacts("inputs") if one.get("name") == name), None)
    if found is None or not found.get("path"):
        raise InputError(f"there is no input artifact {name!r}", place="$.resource.manifestFrom.artifact.name")
    path: Path = files.own(found["path"])
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"it cannot be read: {error.strerror}: {found['path']}", place="$.resource.manifestFrom"
        ) from error


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words)
