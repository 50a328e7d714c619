"""The cluster that pods are tested in does what a cluster does, and is gone afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.servers.apiserver import container
from tests.servers.dockerd import BUSYBOX

if TYPE_CHECKING:
    from tests.servers.kubernetes import Cluster


def _pod(name: str, **containers: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 2,
            "containers": [
                {"name": one, "image": BUSYBOX, "command": ["sh", "-c", script]} for one, script in containers.items()
            ],
        },
    }


def test_a_pod_of_two_containers_runs_to_its_end(kubernetes_docker: Cluster) -> None:
    here = kubernetes_docker.namespace()
    here.apply(_pod("two", main="echo out; exit 3", wait="printf 'no newline'"))
    pod = here.wait_ended("two")
    assert container(pod, "main")["state"]["terminated"]["exitCode"] == 3
    assert container(pod, "wait")["state"]["terminated"]["exitCode"] == 0
    assert here.logs("two", "main") == b"out\n"
    assert here.logs("two", "wait") == b"no newline"
