"""The custom resource that controllers from v3.3 on take reports by, as their release installs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.servers.apiserver import Api

DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION: Final[dict[str, Any]] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "workflowtaskresults.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "names": {
            "kind": "WorkflowTaskResult",
            "listKind": "WorkflowTaskResultList",
            "plural": "workflowtaskresults",
            "singular": "workflowtaskresult",
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
RULE: Final = {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
"""What a Role has to allow for it."""


def install(api: Api) -> None:
    """Make it known, unless it is, and wait until it is served."""
    if not _is_known(api):
        api.apply(DEFINITION)
    api.wait(DEFINITIONS, DEFINITION["metadata"]["name"], _established)


def remove(api: Api) -> None:
    """As if the controller were older."""
    name = DEFINITION["metadata"]["name"]
    if _is_known(api):
        api.delete(f"{DEFINITIONS}/{name}")
    api.wait(DEFINITIONS, name, lambda one: one is None)


def _is_known(api: Api) -> bool:
    name = DEFINITION["metadata"]["name"]
    return any(one["metadata"]["name"] == name for one in api.get(DEFINITIONS)["items"])


def _established(one: Any) -> bool:
    conditions = (one or {}).get("status", {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
