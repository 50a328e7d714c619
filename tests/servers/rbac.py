"""The permissions of `deploy/rbac/`, as a cluster administrator would apply them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).parents[2] / "deploy/rbac"
ACCOUNT = "argoexec"
"""The service account that every file of a runtime makes."""

PLACE = "NAMESPACE"


def documents(name: str, namespace: str) -> list[dict[str, Any]]:
    """The objects of a file, such as `pns` or `taskresults`, for a namespace.

    Those of the whole cluster get its name into their own, so that two namespaces can have them.
    """
    text = (DIRECTORY / f"{name}.yaml").read_text().replace(PLACE, namespace)
    found = [one for one in yaml.safe_load_all(text) if one]
    for one in found:
        if one["kind"].startswith("Cluster"):
            one["metadata"]["name"] += f"-{namespace}"
            if "roleRef" in one:
                one["roleRef"]["name"] += f"-{namespace}"
        else:
            one["metadata"]["namespace"] = namespace
    return found
