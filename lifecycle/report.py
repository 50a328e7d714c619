"""The Outputs as the annotation carries them (spec 1.15): made from the raw template, so unknown fields survive.

Key order is that of the original's structs, so that two executors can be compared byte by byte.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from lifecycle.location import KEY_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.context import Findings
    from lifecycle.template import Template

_PARAMETER = ("name", "default", "value", "valueFrom", "globalName")
_ARTIFACT = (
    "name", "path", "mode", "from", "archiveLogs", "s3", "git", "http", "artifactory", "hdfs", "raw", "oss", "gcs",
    "azure", "plugin", "fsspec", "globalName", "archive", "optional",
)  # fmt: skip
_S3 = ("endpoint", "bucket", "region", "insecure", "accessKeySecret", "secretKeySecret")
_ALWAYS: dict[str, dict[str, Any]] = {
    # These keys are written even when they are not set; an unset selector is {"key": ""}.
    "s3": {"endpoint": "", "bucket": "", "accessKeySecret": {"key": ""}, "secretKeySecret": {"key": ""}, "key": ""},
    "hdfs": {"addresses": [], "path": ""},
    "git": {"repo": ""},
    "artifactory": {"url": ""},
    "raw": {"data": ""},
    "http": {"url": ""},
}

_AS_GO = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
_SHORT = {r"\b": r"\u0008", r"\f": r"\u000c"}
"""What Go escapes and Python does not, and what Python has shorter escapes for."""


def encoded(value: Any) -> str:
    """The JSON as the original's encoder writes it, byte by byte; also as a custom resource lies in etcd.

    ``<``, ``>`` and ``&`` take six bytes there: what is counted is what counts (ADR 29).
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_AS_GO)
    return re.sub(r"\\[\\bf]", lambda escape: _SHORT.get(escape[0], escape[0]), text)


def size(value: Any) -> int:
    """Bytes of that JSON."""
    return len(encoded(value).encode(errors="replace"))


def outputs(template: Template, found: Findings) -> dict[str, Any]:
    """The Outputs object; empty when there is nothing to report.

    Parameters without a value stay in it as the template has them; of the artifacts only those that were really saved
    are reported (the later releases' behaviour, spec 5.18).
    """
    shown: dict[str, Any] = {}
    raw = template.raw.get("outputs") or {}
    parameters = [_parameter(one, found.parameters) for one in raw.get("parameters") or []]
    order = [one.get("name") for one in raw.get("artifacts") or []]
    # Artifacts are saved in parallel and reported in the template's order; the logs come last.
    saved = sorted(found.artifacts, key=lambda name: order.index(name) if name in order else len(order))
    artifacts = [_artifact(found.artifacts[name]) for name in saved]
    if parameters:
        shown["parameters"] = parameters
    if artifacts:
        shown["artifacts"] = artifacts
    if found.result is not None:
        shown["result"] = found.result
    known = {"parameters", "artifacts", "result"}
    return shown | {key: value for key, value in raw.items() if key not in known}


def _parameter(raw: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    merged = dict(raw)
    if raw["name"] in values:
        merged["value"] = values[raw["name"]]
    return _ordered(merged, _PARAMETER)


def _artifact(raw: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(raw)
    for kind, always in _ALWAYS.items():
        config = merged.get(kind)
        # A key-only artifact is reported as it came: the store is the archive location's (spec 5.7).
        if isinstance(config, dict) and set(config) != {KEY_FIELDS[kind]}:
            merged[kind] = _ordered(always | config, _S3)
            if "key" in merged[kind]:
                merged[kind]["key"] = merged[kind].pop("key")
    return _ordered(merged, _ARTIFACT)


def _ordered(raw: Mapping[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    """The known keys in their order, then the others as they came."""
    return {key: raw[key] for key in order if key in raw} | {key: raw[key] for key in raw if key not in order}
