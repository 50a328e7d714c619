"""What a signal by exec does where a container's first process is PID 1 of its own namespace (ADR 24)."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from lifecycle.clock import NEVER
from lifecycle.errors import Forbidden, Unsupported
from lifecycle.ports import Container
from runtimes.k8sapi import KubernetesRuntime
from tests.runtimes.pod_in_cluster import API_RULES, POD_RULES, running
from tests.servers.kubernetes import PAUSE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.runtimes.pod_in_cluster import ClusterPod
    from tests.servers.kubernetes import Cluster


@pytest.fixture
def pod(kubernetes_docker: Cluster, tmp_path: Path) -> Iterator[ClusterPod]:
    here = kubernetes_docker.namespace(*API_RULES)
    with running(kubernetes_docker, here, tmp_path, KubernetesRuntime, {}) as pod:
        yield pod


def start(pod: ClusterPod, script: str) -> Container:
    pod.start_script("main", f"echo ready; {script}")
    pod.await_output("main", "ready")
    return pod.runtime.find_main(NEVER)


def test_a_command_that_handles_term_is_ended_by_it(pod: ClusterPod):
    main = start(pod, "trap 'exit 7' TERM; echo set; while :; do sleep 0.01; done")
    pod.await_output("main", "set")
    pod.runtime.signal(main, signal.SIGTERM)

    assert pod.runtime.wait(main, NEVER).code == 7


def test_a_shell_that_waits_for_its_last_command_is_ended_by_kill(pod: ClusterPod):
    main = start(pod, "sleep 100000; exit $?")
    pod.runtime.signal(main, signal.SIGTERM)
    pod.runtime.signal(main, signal.SIGKILL)

    assert pod.runtime.wait(main, NEVER).code == 137


def test_a_command_without_children_survives_kill_and_that_is_said(pod: ClusterPod):
    main = start(pod, "exec sleep 100000")

    with pytest.raises(Unsupported, match="main still runs: its first process is PID 1") as caught:
        pod.runtime.signal(main, signal.SIGKILL)
    assert "shareProcessNamespace" in caught.value.remedy
    assert pod.runtime.wait(main, NEVER, 0) is None


@pytest.mark.parametrize("shared", [True, False])
def test_without_a_shell_and_a_kill_there_is_no_signal(kubernetes_docker: Cluster, tmp_path: Path, shared: bool):
    here = kubernetes_docker.namespace(*API_RULES)
    with running(
        kubernetes_docker, here, tmp_path, KubernetesRuntime, {}, shareProcessNamespace=shared, initContainers=[],
        containers=[{"name": "main", "image": PAUSE}],
    ) as pod:  # fmt: skip
        main = pod.runtime.find_main(NEVER)

        with pytest.raises(Unsupported, match="/bin/sh") as caught:
            pod.runtime.signal(main, signal.SIGTERM)
    assert "add a shell" in caught.value.remedy


def test_a_pod_that_sees_the_node_s_processes_is_left_alone(kubernetes_docker: Cluster, tmp_path: Path):
    here = kubernetes_docker.namespace(*API_RULES)
    with running(kubernetes_docker, here, tmp_path, KubernetesRuntime, {}, hostPID=True) as pod:
        main = start(pod, "exec sleep 100000")

        with pytest.raises(Unsupported, match="processes of its node"):
            pod.runtime.signal(main, signal.SIGKILL)


def test_a_missing_permission_to_exec_is_named(kubernetes_docker: Cluster, tmp_path: Path):
    here = kubernetes_docker.namespace(POD_RULES)
    with running(kubernetes_docker, here, tmp_path, KubernetesRuntime, {}) as pod:
        main = start(pod, "exec sleep 100000")

        with pytest.raises(Forbidden) as caught:
            pod.runtime.signal(main, signal.SIGTERM)
        assert "grant `get` on `pods/exec`" in caught.value.remedy
        with pytest.raises(Forbidden) as caught:
            pod.runtime.open_output(main, combined=True)
        assert "grant `get` on `pods/log`" in caught.value.remedy
