"""The runtimes that see a pod through an API pass the public suite, on pods of a real cluster.

The pods share their processes: else the first process of a container is one that no SIGKILL reaches (ADR 24).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runtimes.k8sapi import KubernetesRuntime
from runtimes.kubelet import KubeletRuntime
from tests.conformance.runtime import RuntimeConformance
from tests.runtimes.pod_in_cluster import API_RULES, NODE_RULES, POD_RULES, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.runtimes.pod_in_cluster import ClusterPod
    from tests.servers.apiserver import Namespace
    from tests.servers.kubernetes import Cluster


def _names(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The containers of a test's pod: those which no test but one has are not worth their start."""
    return ("main", "side", "istio-proxy", "done") if "others" in request.node.name else ("main",)


class TestKubernetesRuntime(RuntimeConformance):
    base_layer = separates_stderr = False

    @pytest.fixture(scope="class")
    @classmethod
    def here(cls, kubernetes_docker: Cluster) -> Namespace:
        return kubernetes_docker.namespace(*API_RULES)

    @pytest.fixture
    def pod(self, kubernetes_docker: Cluster, here: Namespace, tmp_path: Path, request) -> Iterator[ClusterPod]:
        with running(
            kubernetes_docker, here, tmp_path, KubernetesRuntime, {}, _names(request), shareProcessNamespace=True
        ) as pod:
            yield pod


class _Kubelet(RuntimeConformance):
    base_layer = separates_stderr = False

    @pytest.fixture
    def pod(self, cluster: Cluster, here: Namespace, tmp_path: Path, request) -> Iterator[ClusterPod]:
        environ = {"ARGO_KUBELET_HOST": "127.0.0.1", "ARGO_KUBELET_PORT": str(cluster.kubelet_port)}
        with running(
            cluster, here, tmp_path, KubeletRuntime, environ, _names(request), shareProcessNamespace=True
        ) as pod:
            yield pod


class TestKubeletRuntime(_Kubelet):
    """Over containerd, whose 1.6 loses up to 100 KiB of what a container writes in the moment of its end."""

    last_words = False

    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls, kubernetes_containerd: Cluster) -> Cluster:
        return kubernetes_containerd

    @pytest.fixture(scope="class")
    @classmethod
    def here(cls, cluster: Cluster) -> Namespace:
        here = cluster.namespace(POD_RULES)
        here.grant(NODE_RULES, nodes=True)
        return here


class TestKubeletRuntimeThatMayNotWatch(_Kubelet):
    """Over docker."""

    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls, kubernetes_docker: Cluster) -> Cluster:
        return kubernetes_docker

    @pytest.fixture(scope="class")
    @classmethod
    def here(cls, cluster: Cluster) -> Namespace:
        here = cluster.namespace()
        here.grant(NODE_RULES, nodes=True)
        return here
