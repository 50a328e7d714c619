"""Who the pod is: the names that the API server and the controller would have given."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError
from lifecycle.template import text_of

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from datetime import datetime

    from lifecycle.local.workflow import Chosen

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' for generated names: no vowels, so no words; no digits that look like letters."""

_LIMIT = 63
_SUFFIX = 5
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Identity:
    """The names of one run.

    Attributes:
        workflow: the workflow's name.
        pod: the pod's; the workflow's own for an entrypoint (spec 1.7).
        node: the human name of the node.
        namespace, uid, service_account: the workflow's.
        created: when it came to be.
        metadata: the workflow's, raw, for its labels and annotations.
    """

    workflow: str
    pod: str
    node: str
    namespace: str
    uid: str
    service_account: str
    created: datetime
    metadata: Mapping[str, Any]


def identify(chosen: Chosen, created: datetime, rng: random.Random) -> Identity:
    """Name a run of the chosen template.

    Raises:
        InputError: the workflow has a name that Kubernetes would refuse.
    """
    workflow = chosen.workflow
    name = _workflow_name(chosen, rng)
    template = text_of(chosen.raw.get("name"))
    node = name if chosen.is_entrypoint else f"{name}.{template}"
    return Identity(
        workflow=name,
        pod=name if chosen.is_entrypoint else pod_name(name, template, node),
        node=node,
        namespace=text_of(workflow.metadata.get("namespace")) or "default",
        uid=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        service_account=text_of(workflow.spec.get("serviceAccountName")) or "default",
        created=created,
        metadata=workflow.metadata,
    )


def generate(prefix: str, rng: random.Random) -> str:
    """What the API server makes of a ``generateName``."""
    return prefix[: _LIMIT - _SUFFIX] + "".join(rng.choice(_ALPHABET) for _ in range(_SUFFIX))


def pod_name(workflow: str, template: str, node: str) -> str:
    """The later releases' name of a pod: ``<workflow>-<template>-<hash of the node's name>``."""
    hashed = str(fnv32a(node))
    prefix = re.sub(r"[^-a-z0-9.]", "-", f"{workflow}-{template}".lower())
    return f"{prefix[: _LIMIT - 1 - len(hashed)].rstrip('-.')}-{hashed}"


def fnv32a(text: str) -> int:
    """The 32-bit FNV-1a hash, which Argo names pods by."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def _workflow_name(chosen: Chosen, rng: random.Random) -> str:
    workflow = chosen.workflow
    place = f"{workflow.source}: $.metadata"
    for field in ("name", "generateName"):
        value = workflow.metadata.get(field)
        if not value:
            continue
        if not isinstance(value, str):
            raise InputError(f"expected text, got {value!r}", place=f"{place}.{field}")
        if field == "generateName":
            value = generate(value, rng)
        elif workflow.kind != "Workflow":
            value = generate(f"{value}-", rng)  # what submitting it makes
        if not _NAME.fullmatch(value) or len(value) > _LIMIT:
            raise InputError(
                f"{value!r} is no name for a workflow",
                place=f"{place}.{field}",
                remedy=f"lower-case letters, digits, '-' and '.', at most {_LIMIT} characters",
            )
        return value
    raise InputError("a workflow needs a name", place=f"{place}.name", remedy="give it a name or a generateName")
