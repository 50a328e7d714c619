"""Resource templates against a real API server: the whole table, with the real client."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle import registry
from lifecycle.clock import SystemClock, terminated
from lifecycle.context import ControlChanged, Pod
from lifecycle.engine import Engine
from lifecycle.files import PodFiles
from lifecycle.journal import MemoryJournal
from lifecycle.ports import ExecutionControl, Surroundings
from lifecycle.resource import RESOURCE
from lifecycle.table import Verdict
from lifecycle.template import Template
from runtimes.objectwatch import ObjectWatch
from tests.fakes import FakeControl
from tests.servers.dockerd import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.apiserver import Namespace
    from tests.servers.kubernetes import Cluster

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {x: y}\n"
JOB = f"""
apiVersion: batch/v1
kind: Job
metadata: {{generateName: job-}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      nodeName: 127.0.0.1
      hostNetwork: true
      containers: [{{name: c, image: "{BUSYBOX}", imagePullPolicy: Never, command: [sh, -c, "exit CODE"]}}]
"""
UNTIL_DONE = {"successCondition": "status.succeeded > 0", "failureCondition": "status.failed > 0"}
EVERYTHING = {"apiGroups": ["", "batch", "example.com"], "resources": ["*"], "verbs": ["*"]}


class Step:
    """One resource template in one namespace."""

    def __init__(self, cluster: Cluster, namespace: Namespace, directory: Path) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self._files = PodFiles(directory)
        kube = {
            "server": cluster.api.url,
            "certificate-authority": str(cluster.api.ca),
            "token": namespace.token,
            "namespace": namespace.name,
        }
        self._here = Surroundings("pod", {}, directory / "annotations", kube)

    def pod(self, resource: dict[str, Any], **outputs: dict[str, Any]) -> Pod:
        parameters = [{"name": name, "valueFrom": source} for name, source in outputs.items()]
        template = Template({"name": "t", "resource": resource, "outputs": {"parameters": parameters}})
        clock = SystemClock()
        return Pod(
            name="pod",
            template=template,
            files=self._files,
            control=FakeControl(clock, template.raw),
            drivers=lambda location: pytest.fail(f"a driver of {location} was made"),
            clock=clock,
            journal=MemoryJournal(clock),
            objects=lambda: registry.resolve("objects", "kubernetes").from_pod(self._here),
        )

    def run(self, resource: dict[str, Any], **outputs: dict[str, Any]) -> Pod:
        """It must succeed."""
        pod = self.pod(resource, **outputs)
        assert Engine(RESOURCE, pod).run() is Verdict.SUCCEEDED, pod.record.message()
        return pod

    def fail(self, resource: dict[str, Any], **outputs: dict[str, Any]) -> str:
        """It must fail; its message."""
        pod = self.pod(resource, **outputs)
        assert Engine(RESOURCE, pod).run() is Verdict.FAILED
        [report] = pod.control.reports  # type: ignore[attr-defined]
        assert report.message == pod.record.message()
        return report.message

    def stored(self, kind: str, name: str) -> Any:
        return self.cluster.api.get(f"/api/v1/namespaces/{self.namespace.name}/{kind}/{name}")


@pytest.fixture(scope="module")
def namespace(kubernetes_docker: Cluster) -> Namespace:
    return kubernetes_docker.namespace(EVERYTHING)


@pytest.fixture
def step(kubernetes_docker: Cluster, namespace: Namespace, tmp_path: Path) -> Step:
    return Step(kubernetes_docker, namespace, tmp_path)


def manifest(name: str, data: str = "x: y") -> str:
    return CONFIG_MAP.replace("NAME", name).replace("x: y", data)


def test_a_job_is_created_and_waited_for_by_its_conditions(step: Step):
    pod = step.run(
        {"action": "create", "manifest": JOB.replace("CODE", "0")} | UNTIL_DONE,
        name={"jsonPath": "{.metadata.name}"},
        succeeded={"jqFilter": ".status.succeeded"},
    )

    assert pod.found.parameters["name"].startswith("job-")
    assert pod.found.parameters["succeeded"] == "1"
    [report] = pod.control.reports  # type: ignore[attr-defined]
    assert report.outputs["parameters"][0]["value"] == pod.found.parameters["name"]


def test_a_failure_condition_fails_the_step_in_the_original_s_words(step: Step):
    message = step.fail({"action": "create", "manifest": JOB.replace("CODE", "1")} | UNTIL_DONE)

    assert "failure condition 'status.failed > 0' evaluated true" in message


def test_a_config_map_is_created_patched_three_ways_read_and_deleted(step: Step):
    data = {"data": {"jqFilter": ".data"}}
    step.run({"action": "create", "manifest": manifest("three")})
    merged = step.run({"action": "patch", "mergeStrategy": "merge", "manifest": manifest("three", "k: v")}, **data)
    strategic = step.run({"action": "patch", "manifest": manifest("three", "x: z")}, **data)
    operations = "- {op: add, path: /data/new, value: 'n'}\n"
    patched = step.run(
        {"action": "patch", "mergeStrategy": "json", "flags": ["configmap", "three"], "manifest": operations}, **data
    )
    got = step.run({"action": "get", "manifest": manifest("three")}, x={"jsonPath": "{.data.x}"}, **data)
    step.run({"action": "delete", "manifest": manifest("three")})

    values = [json.loads(pod.found.parameters["data"]) for pod in (merged, strategic, patched)]
    assert values == [{"x": "y", "k": "v"}, {"x": "z", "k": "v"}, {"x": "z", "k": "v", "new": "n"}]
    assert got.found.parameters["x"] == "z"
    assert "404" in step.fail({"action": "get", "flags": ["cm/three"]})


def test_apply_is_the_server_s_with_a_field_manager_of_its_own(step: Step):
    step.run({"action": "apply", "manifest": manifest("applied")})
    step.run({"action": "apply", "manifest": manifest("applied", "x: two")})
    stored = step.stored("configmaps", "applied")

    assert stored["data"] == {"x": "two"}
    assert [(one["manager"], one["operation"]) for one in stored["metadata"]["managedFields"]] == [
        ("argoexec", "Apply")
    ]


def test_fields_of_another_manager_are_a_conflict_unless_they_are_taken_over(step: Step):
    step.run({"action": "apply", "manifest": manifest("contested"), "flags": ["--field-manager=other"]})
    asked = {"action": "apply", "manifest": manifest("contested", "x: mine")}

    message = step.fail(asked)
    assert "409" in message
    assert "--force-conflicts takes them over" in message
    step.run(asked | {"flags": ["--force-conflicts"]})
    assert step.stored("configmaps", "contested")["data"] == {"x": "mine"}


def test_replace_leaves_nothing_of_what_was_there(step: Step):
    step.run({"action": "create", "manifest": manifest("replaced")})
    step.run({"action": "replace", "manifest": manifest("replaced", "only: this")})

    assert step.stored("configmaps", "replaced")["data"] == {"only": "this"}


def test_several_documents_are_done_in_order_and_the_first_that_fails_ends_it(step: Step):
    both = step.run(
        {"action": "create", "manifest": f"{manifest('one')}---\n{manifest('two')}"},
        names={"jsonPath": "{.items[*].metadata.name}"},
    )
    assert both.found.parameters["names"] == "one two"

    message = step.fail(
        {"action": "create", "manifest": f"{manifest('three-a')}---\n{manifest('two')}---\n{manifest('three-c')}"}
    )
    assert "ConfigMap/two" in message
    assert "409" in message
    assert step.stored("configmaps", "three-a")
    assert "404" in step.fail({"action": "get", "flags": ["cm/three-c"]})


def test_what_is_not_there_is_deleted_with_success_and_read_with_the_default(step: Step):
    step.run({"action": "delete", "manifest": manifest("never")})
    pod = step.run(
        {"action": "get", "flags": ["cm", "never", "--ignore-not-found"]},
        defaulted={"jsonPath": "{.x}", "default": "d"},
        empty={"jqFilter": ".x"},
    )

    assert pod.found.parameters == {"defaulted": "d", "empty": ""}


def test_a_default_stands_in_for_an_output_that_does_not_fit(step: Step):
    step.run({"action": "create", "manifest": manifest("odd")})
    outputs = {"bad": {"jqFilter": ".data | keys[0] | tonumber"}}

    assert "jq: " in step.fail({"action": "get", "flags": ["cm/odd"]}, **outputs)
    outputs["bad"]["default"] = "7"
    assert step.run({"action": "get", "flags": ["cm/odd"]}, **outputs).found.parameters == {"bad": "7"}


def test_a_kind_with_an_irregular_plural_is_found_by_discovery(step: Step):
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "oxen.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "oxen", "singular": "ox", "kind": "Ox", "shortNames": ["bo"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    api = step.cluster.api
    api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    api.wait(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "oxen.example.com",
        lambda one: (
            one and any(c["type"] == "Established" and c["status"] == "True" for c in one["status"]["conditions"] or ())
        ),
    )
    ox = "apiVersion: example.com/v1\nkind: Ox\nmetadata: {name: babe}\nspec: {colour: blue}\n"
    step.run({"action": "create", "manifest": ox, "successCondition": "spec.colour=blue"})

    assert step.run({"action": "get", "flags": ["bo/babe"]}, c={"jsonPath": "{.spec.colour}"}).found.parameters == {
        "c": "blue"
    }
    step.run({"action": "delete", "flags": ["oxen.example.com", "babe"]})


def _conditions(found: Any) -> dict[str, str]:
    return {one["type"]: one["status"] for one in found.get("status", {}).get("conditions", [])}


def test_a_kind_that_the_server_does_not_have_is_named(step: Step):
    message = step.fail({"action": "create", "manifest": "apiVersion: v1\nkind: Unicorn\nmetadata: {name: u}\n"})

    assert "the server has no kind 'Unicorn' in v1" in message


def test_without_permission_the_message_names_the_verb(kubernetes_docker: Cluster, tmp_path: Path):
    poor = Step(kubernetes_docker, kubernetes_docker.namespace(), tmp_path)

    message = poor.fail({"action": "create", "manifest": manifest("forbidden")})
    assert "grant `create` on `configmaps`" in message


@pytest.fixture
def waiting(
    step: Step, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Pod, threading.Thread, list[Verdict]]]:
    """A step that waits for a config map to say so; its watch is open."""
    name = request.node.name.replace("_", "-")
    pod = step.pod({"action": "create", "manifest": manifest(name), "successCondition": "data.done=yes"})
    verdicts: list[Verdict] = []
    opened, take = threading.Event(), ObjectWatch._take

    def taken(self: ObjectWatch[Any], event: Any) -> None:
        take(self, event)
        if self.name == name:  # the first event: the server watches
            opened.set()

    monkeypatch.setattr(ObjectWatch, "_take", taken)
    thread = threading.Thread(target=lambda: verdicts.append(Engine(RESOURCE, pod).run()))
    thread.start()
    assert opened.wait(60)
    yield pod, thread, verdicts
    thread.join(60)
    assert not thread.is_alive()


def _path(step: Step, pod: Pod) -> str:
    return f"/api/v1/namespaces/{step.namespace.name}/configmaps/{pod.found.objects[0]['metadata']['name']}"


def test_a_change_that_meets_the_condition_ends_the_wait(step: Step, waiting):
    pod, thread, verdicts = waiting
    step.cluster.api.patch(_path(step, pod), {"data": {"done": "no"}})
    step.cluster.api.patch(_path(step, pod), {"data": {"done": "yes"}})
    thread.join(60)

    assert verdicts == [Verdict.SUCCEEDED]


def test_an_object_that_is_deleted_while_it_is_waited_for_is_a_failure(step: Step, waiting):
    pod, thread, verdicts = waiting
    step.cluster.api.delete(_path(step, pod))
    thread.join(60)

    assert verdicts == [Verdict.FAILED]
    assert "deleted while it was waited for" in pod.record.message()


def test_a_watch_goes_on_when_the_api_server_is_back(step: Step, waiting):
    pod, thread, verdicts = waiting
    with step.cluster.api_down():
        pass
    step.cluster.api.patch(_path(step, pod), {"data": {"done": "yes"}})
    thread.join(60)

    assert verdicts == [Verdict.SUCCEEDED]


def test_a_wish_to_stop_ends_the_wait(waiting):
    pod, thread, verdicts = waiting
    pod.stop(terminated())
    thread.join(60)

    assert verdicts == [Verdict.TERMINATED]


def test_the_zero_deadline_and_its_signal_end_the_wait(waiting):
    pod, thread, verdicts = waiting
    pod.control.control = ExecutionControl(terminate=True)
    pod.inbox.put(ControlChanged())
    thread.join(60)

    assert verdicts == [Verdict.TERMINATED]


def test_nothing_is_created_when_something_of_the_order_is_wrong(step: Step):
    asked = {"action": "create", "manifest": manifest("judged")}
    for wrong in ({"successCondition": "a = b = c"}, {"flags": ["--what"]}):
        assert "$.resource." in step.fail(asked | wrong)
    assert "jsonPath" in step.fail(asked, p={"jsonPath": "{.a"})
    assert "jqFilter" in step.fail(asked, p={"jqFilter": ".["})

    assert "404" in step.fail({"action": "get", "flags": ["cm/judged"]})
