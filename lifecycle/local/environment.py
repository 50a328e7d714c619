"""A container's environment, and ``$(VAR)`` as Kubernetes expands it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError, Unauthorized
from lifecycle.secret import SecretReader
from lifecycle.template import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lifecycle.view import ContainerView, EnvVar

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What images have unless they say otherwise."""

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_CLUSTER = {
    "configMapKeyRef": "a config map is in a cluster",
    "resourceFieldRef": "resources are a cluster's to give",
    "fileKeyRef": "files of other volumes are not read",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What environments may refer to.

    Attributes:
        fields: ``metadata.name`` and the like, for ``fieldRef``.
        labels, annotations: the pod's.
        secrets: the directory that ``--secrets`` names: ``<name>/<key>``.
    """

    fields: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    secrets: Path | None = None


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``$(VAR)`` → its value; one that is not set stays as it is, ``$$`` is a plain ``$``."""

    def one(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(one, text)


def declared(container: ContainerView, facts: Facts, given: Mapping[str, str], place: str) -> dict[str, str]:
    """The variables that a container declares, after those the executor gives; without the image's.

    Raises:
        InputError: a source that is not here, or a name that is none.
    """
    for index, source in enumerate(container.env_from):
        _check_env_from(source, f"{place}.envFrom[{index}]")
    variables = dict(given)
    for index, one in enumerate(container.env):
        where = f"{place}.env[{index}]"
        if not one.name or "=" in one.name or "\0" in one.name:
            raise InputError(f"{one.name!r} cannot name a variable", place=f"{where}.name")
        if one.value_from:
            value = _from(one, facts, f"{where}.valueFrom")
            if value is None:
                continue
        else:
            value = expand(text_of(one.value), variables)
        variables[one.name] = value
    return variables


def _from(one: EnvVar, facts: Facts, place: str) -> str | None:
    """A value from elsewhere; ``None`` when it is optional and not there."""
    source = one.value_from or {}
    kind = next(iter(source), "")
    selector = source.get(kind)
    if not isinstance(selector, dict):
        raise InputError("expected an object", place=f"{place}.{kind}")
    if kind == "fieldRef":
        return _field(text_of(selector.get("fieldPath")), facts, f"{place}.fieldRef.fieldPath")
    if kind == "secretKeyRef":
        return _secret(selector, facts, f"{place}.secretKeyRef")
    if selector.get("optional") is True:
        return None
    raise InputError(
        f"{_CLUSTER.get(kind, 'it is not known')}: the variable {one.name!r} has no value on this machine",
        place=f"{place}.{kind}",
        remedy="write it as `value`, or make the reference optional",
    )


def _field(path: str, facts: Facts, place: str) -> str:
    match = _SUBSCRIPT.fullmatch(path)
    if match:
        return (facts.labels if match[1] == "labels" else facts.annotations).get(match[2], "")
    if path in facts.fields:
        return facts.fields[path]
    raise InputError(f"the field {path!r} is not known", place=place, remedy=f"known: {', '.join(facts.fields)}")


def _secret(selector: Mapping[str, Any], facts: Facts, place: str) -> str | None:
    optional = selector.get("optional") is True
    if facts.secrets is None:
        if optional:
            return None
        raise InputError(
            f"the secret {text_of(selector.get('name'))!r} is needed",
            place=place,
            remedy="say --secrets DIR; the value is read from DIR/<name>/<key>",
        )
    try:
        secret = SecretReader(facts.secrets).read(selector)
    except Unauthorized as error:
        if optional:
            return None
        raise InputError(error.message, place=place, remedy=error.remedy) from error
    if secret is None:
        raise InputError("the selector needs a name", place=place)
    return secret.reveal()


def _check_env_from(source: Mapping[str, Any], place: str) -> None:
    for kind, selector in source.items():
        if isinstance(selector, dict) and selector.get("optional") is not True:
            raise InputError(
                f"{kind} {text_of(selector.get('name'))!r}: variables of a cluster's objects are not here",
                place=place,
                remedy="list the variables in env, or make the reference optional",
            )
