"""Container runtimes as fixtures, one for the whole run."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers import containerd, kubernetes
from tests.servers import dockerd as servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.kubernetes import Cluster


@pytest.fixture(scope="session")
def dockerd() -> Iterator[servers.Dockerd]:
    """A dockerd with a busybox image; nothing in it survives the run."""
    with _directory("dockerd-") as directory, servers.started(directory) as one:
        yield one


@pytest.fixture(scope="session")
def kubernetes_docker() -> Iterator[Cluster]:
    """A Kubernetes of one node whose containers are docker's, as all were up to Kubernetes 1.23."""
    with _directory("kd-") as directory, kubernetes.started(directory / "k", servers.node) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kubernetes_containerd() -> Iterator[Cluster]:
    """The same with containerd, whose kubelet speaks CRI."""
    with _directory("kc-") as directory, kubernetes.started(directory / "k", containerd.node) as cluster:
        yield cluster


@pytest.fixture(scope="session", params=["docker", "containerd"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each of them in turn."""
    one: Cluster = request.getfixturevalue(f"kubernetes_{request.param}")
    return one


@contextlib.contextmanager
def _directory(prefix: str) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))  # pytest's are too long for a socket
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
