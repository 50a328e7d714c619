"""Fields that change what a pod does in a cluster and do nothing here: said in a note, never passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONTAINER = (
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "stdin",
    "tty",
    "volumeDevices",
)
_SECURITY = (
    "privileged", "capabilities", "readOnlyRootFilesystem", "runAsNonRoot", "allowPrivilegeEscalation",
    "seccompProfile", "seLinuxOptions", "fsGroup", "supplementalGroups", "sysctls",
)  # fmt: skip
_TEMPLATE = (
    "daemon", "retryStrategy", "memoize", "synchronization", "podSpecPatch", "hostAliases", "hooks",
    "automountServiceAccountToken",
)  # fmt: skip
_SPEC = ("podSpecPatch", "hostNetwork", "dnsConfig", "onExit", "hooks", "synchronization", "retryStrategy")
_WITH_A_CONTAINER = ("container", "script", "initContainers", "sidecars")


def ignored(template: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """One note that lists them, or none."""
    found = dict.fromkeys([*_of_template(template), *(f"spec.{key}" for key in _SPEC if spec.get(key))])
    if not found:
        return []
    return [f"without effect here: {', '.join(found)}"]


def _of_template(template: Mapping[str, Any]) -> Iterator[str]:
    yield from (key for key in _TEMPLATE if template.get(key))
    yield from _of_security(template, "")
    for field in _WITH_A_CONTAINER:
        value = template.get(field)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from (f"{field}.{key}" for key in _CONTAINER if one.get(key))
                yield from _of_security(one, f"{field}.")


def _of_security(holder: Mapping[str, Any], prefix: str) -> Iterator[str]:
    context = holder.get("securityContext")
    if isinstance(context, dict):
        yield from (f"{prefix}securityContext.{key}" for key in _SECURITY if context.get(key))
