"""The fleets as fixtures: the pods of one cluster and runtime run together, when the first of their tests asks."""

from __future__ import annotations

import faulthandler
from typing import TYPE_CHECKING

import pytest

from tests.pods.case import Case
from tests.pods.fleet import Fleet
from tests.servers.dockerd import DockerNode
from tests.servers.image import EXECUTOR, load_containerd, load_docker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pods.plan import Planned
    from tests.pods.seen import Seen
    from tests.servers.kubernetes import Cluster
    from tests.servers.nginx import Nginx
    from tests.servers.seaweedfs import SeaweedFS

CLUSTERS = {"docker": "kubernetes_docker", "containerd": "kubernetes_containerd"}


@pytest.fixture(scope="session")
def fleet_of(request: pytest.FixtureRequest) -> Callable[[str], Fleet]:
    """The fleet of a flavour, with a namespace of its own; the servers start when the first is asked for."""
    fleets: dict[str, Fleet] = {}

    def of(flavour: str) -> Fleet:
        if flavour not in fleets:
            cluster = request.getfixturevalue(CLUSTERS[flavour])
            store: SeaweedFS = request.getfixturevalue("weed")
            web: Nginx = request.getfixturevalue("nginx")
            _load(cluster, request.getfixturevalue("executor_archive"))
            fleets[flavour] = Fleet.of(cluster, flavour, EXECUTOR, store, web)
        return fleets[flavour]

    return of


def _load(cluster: Cluster, image: Path) -> None:
    if isinstance(cluster.node, DockerNode):
        load_docker(cluster.node.dockerd, image)
    else:
        load_containerd(cluster.node.socket, image)


@pytest.fixture(scope="session")
def seen(request: pytest.FixtureRequest, fleet_of: Callable[[str], Fleet]) -> Callable[..., Seen]:
    """What became of a pod; with the first of a flavour and runtime, all of theirs that are selected are run."""
    known: dict[tuple[str, str], dict[str, Seen]] = {}

    def of(flavour: str, runtime: str, name: str) -> Seen:
        if (flavour, runtime) not in known:
            faulthandler.cancel_dump_traceback_later()  # one test pays for all of them: minutes
            fleet = fleet_of(flavour)
            called = (getattr(item, "callspec", None) for item in request.session.items)
            wanted: list[Planned] = [spec.params["planned"] for spec in called if spec and "planned" in spec.params]
            cases = [
                Case(one.scenario, runtime, one.contract, fleet.stage)
                for one in wanted
                if (one.flavour, one.runtime) == (flavour, runtime)
            ]
            known[flavour, runtime] = fleet.run(cases)
        return known[flavour, runtime][name]

    return of
