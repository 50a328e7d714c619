"""The control plane on a real API server: what it takes, how much of it, and from whom."""

from __future__ import annotations

import json
import logging

import pytest

from lifecycle.errors import BadRequest, Forbidden
from lifecycle.ports import Report, Surroundings
from lifecycle.report import size
from runtimes.controlplane import PodControlPlane
from runtimes.downward import NODE_MESSAGE, OUTPUTS, TEMPLATE, write_annotations
from runtimes.sinks import RESULT_ROOM
from tests.runtimes.controller import BY_FILE, CONTRACTS
from tests.servers import taskresults

PATCH_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "patch"]}
OUTPUT = {"parameters": [{"name": "p", "value": "é<&>\n"}], "result": "1"}


@pytest.fixture
def cluster(kubernetes_docker):
    return kubernetes_docker


@pytest.fixture(scope="module")
def cluster_of_v3_3(kubernetes_docker):
    """One whose controller has task results; pods of other tests may have had it before."""
    taskresults.install(kubernetes_docker.api)
    return kubernetes_docker


@pytest.fixture
def cluster_of_v3_2(kubernetes_docker):
    """One whose controller is older than that, from now on: what is made anew at once is not served for a while."""
    taskresults.remove(kubernetes_docker.api)
    return kubernetes_docker


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)  # a test of the command line ends it
    return caplog


class InCluster:
    """A pod that never runs, in a namespace whose service account may do what the rules say."""

    def __init__(self, cluster, directory, *rules):
        self.namespace = cluster.namespace(*rules)
        self.directory = directory
        template = json.dumps({"name": "t"})
        self.annotations = {TEMPLATE: template, "k": "é=" * 100}
        meta = {"name": "wf-1", "annotations": self.annotations}
        # Of a node that does not exist: nobody starts it, and nobody says that it has ended.
        spec = {"containers": [{"name": "main", "image": "busybox"}], "nodeName": "nowhere"}
        self.uid = self.namespace.api.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}, self.namespace.name
        )["metadata"]["uid"]

    def plane(self, contract):
        # A task result of a workflow that is not there is the garbage collector's, once other tests have made the kind
        # known: these belong to their pod.
        env = CONTRACTS[contract] | {"ARGO_WORKFLOW_UID": "", "ARGO_POD_UID": self.uid}
        file = self.directory / "annotations"
        if contract in BY_FILE:
            write_annotations(file, self.annotations)
        else:
            env["ARGO_TEMPLATE"] = self.annotations[TEMPLATE]
        account = self.namespace.account()
        kube = {
            "server": account.url,
            "token": account.token,
            "certificate-authority": str(account.ca),
            "namespace": self.namespace.name,
        }
        return PodControlPlane.from_pod(Surroundings("wf-1", env, file, kube))

    @property
    def seen(self):
        return self.namespace.pod("wf-1")["metadata"]["annotations"]

    @property
    def result(self):
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace.name}/workflowtaskresults/node-1"
        return self.namespace.api.get(path)


@pytest.mark.parametrize("contract", ["v2.3", "v3.0", "v3.2"])
def test_a_report_is_among_the_annotations_of_the_pod(cluster, tmp_path, contract):
    pod = InCluster(cluster, tmp_path, PATCH_PODS)
    plane = pod.plane(contract)
    for _ in range(2):
        plane.report(Report(OUTPUT, "it failed"))

    assert json.loads(pod.seen[OUTPUTS]) == OUTPUT
    assert pod.seen.get(NODE_MESSAGE) == ("it failed" if contract == "v2.3" else None)
    assert pod.seen.items() >= pod.annotations.items()


def test_the_annotations_take_the_room_to_the_byte_and_no_byte_more(cluster, tmp_path):
    pod = InCluster(cluster, tmp_path, PATCH_PODS)
    plane = pod.plane("v3.0")
    fits = {"result": "r" * (plane.room - size({"result": ""}))}
    plane.report(Report(fits))
    assert json.loads(pod.seen[OUTPUTS]) == fits

    with pytest.raises(BadRequest, match="the pod's annotations leave") as caught:
        plane.report(Report({"result": fits["result"] + "r"}))
    assert "422" in str(caught.value.__cause__)


def test_who_may_not_patch_is_told_what_to_grant(cluster, tmp_path):
    pod = InCluster(cluster, tmp_path)
    with pytest.raises(Forbidden) as caught:
        pod.plane("v3.0").report(Report(OUTPUT))
    assert "grant `patch` on `pods` to " in caught.value.remedy


def test_without_the_mount_the_template_is_the_pods(cluster, tmp_path):
    pod = InCluster(cluster, tmp_path, PATCH_PODS)
    plane = pod.plane("v2.3")
    (tmp_path / "annotations").unlink()

    assert plane.template() == {"name": "t"}
    assert plane.time_left() is None


def test_a_deleted_pod_has_the_grace_of_its_deletion(cluster, tmp_path):
    pod = InCluster(cluster, tmp_path, PATCH_PODS)
    pod.namespace.delete_pod("wf-1", grace=9)

    assert 7 < pod.plane("v3.2").time_left() <= 9


# --- with task results; last, because a resource is removed slowly ---------------------------------------------------


def test_a_task_result_is_made_and_made_again(cluster_of_v3_3, tmp_path):
    pod = InCluster(cluster_of_v3_3, tmp_path, taskresults.RULE)
    for _ in range(2):
        pod.plane("v3.3").report(Report(OUTPUT))
    found = pod.result

    assert found["outputs"] == OUTPUT
    assert found["metadata"]["labels"] == {
        "workflows.argoproj.io/workflow": "wf",
        "workflows.argoproj.io/report-outputs-completed": "true",
        "workflows.argoproj.io/controller-instanceid": "blue",
    }
    assert [one["uid"] for one in found["metadata"]["ownerReferences"]] == [pod.uid]


@pytest.mark.parametrize("character", ["r", "<", "\b", "é", '"'])
def test_a_task_result_takes_its_room_whatever_is_in_it(cluster_of_v3_3, tmp_path, character):
    pod = InCluster(cluster_of_v3_3, tmp_path, taskresults.RULE)
    plane = pod.plane("v3.3")
    many = (plane.room - size({"result": ""})) // (size(character) - 2)
    outputs = {"result": character * many}
    assert RESULT_ROOM - 6 < size(outputs) <= RESULT_ROOM
    for _ in range(2):
        plane.report(Report(outputs))

    assert pod.result["outputs"] == outputs


def test_who_may_make_no_task_result_annotates(cluster_of_v3_3, tmp_path, warnings):
    pod = InCluster(cluster_of_v3_3, tmp_path, PATCH_PODS)
    pod.plane("v3.3").report(Report(OUTPUT))

    assert json.loads(pod.seen[OUTPUTS]) == OUTPUT
    assert "grant `create` on `workflowtaskresults` of the API group 'argoproj.io'" in warnings.text


def test_a_cluster_without_task_results_gets_annotations(cluster_of_v3_2, tmp_path, warnings):
    pod = InCluster(cluster_of_v3_2, tmp_path, PATCH_PODS, taskresults.RULE)
    pod.plane("v3.3").report(Report(OUTPUT))

    assert json.loads(pod.seen[OUTPUTS]) == OUTPUT
    assert "404" in warnings.text
