"""The custom resource that controllers from v3.3 on take reports by, as their release installs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.servers.apiserver import Api

_KIND: Final = "WorkflowTaskResult"
DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RULE: Final = {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
"""What a Role has to allow for it."""


def install(api: Api, kind: str = _KIND) -> None:
    """Make it known, or another kind of Argo's, unless it is; and wait until it is served."""
    if not _is_known(api, kind):
        api.apply(_definition(kind))
    api.wait(DEFINITIONS, _name(kind), _established)


def remove(api: Api) -> None:
    """As if the controller were older."""
    if _is_known(api, _KIND):
        api.delete(f"{DEFINITIONS}/{_name(_KIND)}")
    api.wait(DEFINITIONS, _name(_KIND), lambda one: one is None)


def _name(kind: str) -> str:
    return f"{kind.lower()}s.argoproj.io"


def _definition(kind: str) -> dict[str, Any]:
    """As far as executors see it."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": f"{kind.lower()}s", "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": _name(kind)},
        "spec": {"group": "argoproj.io", "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _is_known(api: Api, kind: str) -> bool:
    return any(one["metadata"]["name"] == _name(kind) for one in api.get(DEFINITIONS)["items"])


def _established(one: Any) -> bool:
    conditions = (one or {}).get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
