"""The files of `deploy/rbac/` on a real API server: it takes them, and they grant what they say."""

from __future__ import annotations

import json
import time

import pytest

from tests.pods import layout
from tests.pods.case import MOUNT, VOLUME
from tests.servers import rbac
from tests.servers.apiserver import container
from tests.servers.dockerd import BUSYBOX
from tests.servers.image import EXECUTOR, load_docker

MATRIX = {
    ("pods", ""): ("get", "list", "watch", "patch", "update", "delete", "create"),
    ("pods", "log"): ("get",),
    ("pods", "exec"): ("get", "create"),
    ("secrets", ""): ("get", "list"),
    ("configmaps", ""): ("get", "list"),
    ("nodes", "proxy"): ("get", "create"),
    ("workflowtaskresults", ""): ("get", "create", "patch"),
}

SIDECAR = "trap 'exit 0' TERM; touch /work/up; sleep 99999 & wait"
MAIN = "until [ -e /work/up ]; do usleep 20000; done; echo hello"
"""It waits for the sidecar: one that the kubelet begins after main's end is stopped by nobody."""
WATCHING = {"get pods", "watch pods", "patch pods"}


def allowed(cluster, namespace):
    """What the service account may do."""
    found = set()
    for (resource, below), verbs in MATRIX.items():
        for verb in verbs:
            asked = {"verb": verb, "resource": resource, "subresource": below}
            asked |= {} if resource == "nodes" else {"namespace": namespace}
            asked |= {"group": "argoproj.io"} if resource == "workflowtaskresults" else {}
            spec = {"user": f"system:serviceaccount:{namespace}:{rbac.ACCOUNT}", "resourceAttributes": asked}
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
            answer = cluster.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
            if answer["status"]["allowed"]:
                found.add(f"{verb} {resource}" + (f"/{below}" if below else ""))
    return found


@pytest.mark.parametrize(
    ("files", "granted"),
    [
        (["docker"], WATCHING),
        (["k8sapi"], {*WATCHING, "get pods/log", "get pods/exec", "create pods/exec"}),
        (["kubelet"], {*WATCHING, "get nodes/proxy"}),
        (["pns"], {*WATCHING, "get pods/log"}),
        (
            ["docker", "taskresults"],
            {*WATCHING, "create workflowtaskresults", "patch workflowtaskresults"},
        ),
    ],
    ids=lambda one: " and ".join(one) if isinstance(one, list) else "",
)
def test_the_account_may_do_this_and_nothing_else(kubernetes_docker, files, granted):
    namespace = kubernetes_docker.namespace().name
    for name in files:
        for document in rbac.documents(name, namespace):
            kubernetes_docker.apply(document)

    until = time.monotonic() + 30  # the authorizer hears of a new role by a watch of its own
    while not granted <= (found := allowed(kubernetes_docker, namespace)) and time.monotonic() < until:
        pass
    assert found == granted


@pytest.mark.parametrize("runtime", ["docker", "k8sapi", "kubelet", "pns"])
def test_they_are_enough_for_a_pod_with_a_result_and_a_sidecar(kubernetes_docker, executor_archive, runtime):
    cluster = kubernetes_docker
    load_docker(cluster.node.dockerd, executor_archive)
    namespace = cluster.namespace()
    for document in rbac.documents(runtime, namespace.name):
        cluster.apply(document)
    accounts = f"/api/v1/namespaces/{namespace.name}/serviceaccounts"
    cluster.api.wait(accounts, rbac.ACCOUNT, lambda one: one and one.get("secrets"))
    template = {
        "name": "t",
        "script": {"image": BUSYBOX, "command": ["sh"], "source": MAIN, "volumeMounts": [MOUNT]},
        "sidecars": [{"name": "other", "image": BUSYBOX, "command": ["sh", "-c", SIDECAR], "mirrorVolumeMounts": True}],
        "volumes": [VOLUME],
    }
    options = layout.Options(
        name="p", executor_image=EXECUTOR, wait=layout.Side("v2.3", runtime), namespace=namespace.name,
        service_account=rbac.ACCOUNT, docker_socket=str(cluster.node.dockerd.socket), kubelet_insecure=True,
        kubelet_port=cluster.kubelet_port,
    )  # fmt: skip
    namespace.apply(layout.pod(template, options))

    ended = namespace.wait_ended("p")

    said = namespace.logs("p", "wait").decode()
    assert json.loads(ended["metadata"]["annotations"]["workflows.argoproj.io/outputs"])["result"] == "hello", said
    assert container(ended, "wait")["state"]["terminated"]["exitCode"] == 0, said
    assert "grant" not in said
