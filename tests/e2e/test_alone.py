"""Pods without a main of the user's: the executor does `resource` and `data` templates by itself, in a real cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.image import EXECUTOR, load_docker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Runner
    from tests.servers.apiserver import Namespace
    from tests.servers.kubernetes import Cluster

OUTPUTS = "workflows.argoproj.io/outputs"
RULES = (
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "delete", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "patch"]},
)
CREATE = {
    "name": "t",
    "inputs": {},
    "outputs": {
        "parameters": [
            {"name": "made", "valueFrom": {"jsonPath": "{.metadata.name}"}},
            {"name": "data", "valueFrom": {"jqFilter": ".data"}},
        ]
    },
    "resource": {
        "action": "create",
        "successCondition": "data.ready=yes",
        "manifest": "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: made-}\ndata: {ready: 'yes'}\n",
    },
}


@pytest.fixture(scope="module")
def namespace(kubernetes_docker: Cluster, executor_archive: Path) -> Namespace:
    load_docker(kubernetes_docker.node.dockerd, executor_archive)  # type: ignore[attr-defined]
    return kubernetes_docker.namespace(*RULES)


class Alone:
    """One pod whose main is the executor, as a controller of v3.2 lays it out."""

    def __init__(self, namespace: Namespace, name: str, template: dict[str, Any], *argv: str) -> None:
        self._namespace = namespace
        self._name = name
        name_from = {"fieldRef": {"fieldPath": "metadata.name"}}
        container = {
            "name": "main",
            "image": EXECUTOR,
            "command": ["argoexec", *argv],
            "env": [
                {"name": "ARGO_POD_NAME", "valueFrom": name_from},
                {"name": "ARGO_CONTAINER_NAME", "value": "main"},
                {"name": "ARGO_TEMPLATE", "value": json.dumps(template)},
                {"name": "ARGO_DEADLINE", "value": "0001-01-01T00:00:00Z"},
            ],
        }
        spec = {"restartPolicy": "Never", "containers": [container]}
        namespace.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def end(self) -> tuple[int, dict[str, Any], str]:
        """Exit code, outputs and termination message."""
        pod = self._namespace.wait_ended(self._name, 120)
        [status] = pod["status"]["containerStatuses"]
        ended = status["state"]["terminated"]
        outputs = json.loads((pod["metadata"].get("annotations") or {}).get(OUTPUTS, "{}"))
        return ended["exitCode"], outputs, ended.get("message", "")


def test_a_resource_template_s_pod_creates_waits_and_reports(namespace: Namespace):
    code, outputs, message = Alone(namespace, "creates", CREATE, "resource", "create").end()

    assert (code, message) == (0, "")
    made, data = (parameter["value"] for parameter in outputs["parameters"])
    assert json.loads(data) == {"ready": "yes"}
    found = namespace.api.get(f"/api/v1/namespaces/{namespace.name}/configmaps/{made}")
    assert found["data"] == {"ready": "yes"}
    assert found["metadata"]["generateName"] == "made-"


def test_a_failure_is_the_pod_s_message_and_its_exit_status(namespace: Namespace):
    resource = CREATE["resource"] | {"failureCondition": "data.ready=yes"}
    code, outputs, message = Alone(namespace, "fails", CREATE | {"resource": resource}, "resource", "create").end()

    assert code == 1
    assert "failure condition 'data.ready=yes' evaluated true" in message
    assert "value" not in outputs.get("parameters", [{}])[0]


def test_a_data_template_s_pod_reports_its_result_or_exits_64(namespace: Namespace):
    source = {"artifactPaths": {"name": "src", "fsspec": {"url": "file:///etc/ssl"}}}
    template = {"name": "t", "data": {"source": source, "transformation": [{"expression": "len(data) > 0"}]}}
    assert Alone(namespace, "lists", template, "data", "{}").end() == (0, {"result": "true"}, "")

    template["data"]["transformation"] = [{"expression": "1 +"}]
    code, _, message = Alone(namespace, "lists-not", template, "data").end()
    assert code == 64
    assert "$.data.transformation[0].expression: column 4" in message


@pytest.fixture
def kubeconfig(kubernetes_docker: Cluster, namespace: Namespace, tmp_path: Path) -> Path:
    """A person's, whose context is the namespace."""
    cluster = {"server": kubernetes_docker.api.url, "certificate-authority": str(kubernetes_docker.api.ca)}
    context = {"cluster": "c", "user": "u", "namespace": namespace.name}
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": namespace.token}}],
                "contexts": [{"name": "x", "context": context}],
                "current-context": "x",
            }
        )
    )
    return path


def test_a_resource_template_runs_here_against_the_current_kubeconfig(
    namespace: Namespace, kubeconfig: Path, runner: Runner
):
    template = {key: value for key, value in CREATE.items() if key != "name"}
    result = runner.run(template, KUBECONFIG=str(kubeconfig))

    name = result["outputs"]["parameters"][0]["value"]
    assert namespace.api.get(f"/api/v1/namespaces/{namespace.name}/configmaps/{name}")
    assert [one["phase"] for one in result["lifecycle"]] == [
        "staging", "applying", "watching", "extracting", "annotating",
    ]  # fmt: skip
