"""The API server stopped for a minute, or killed and started again with the same etcd, under pods that need it.

Two have something to report, as annotations and as a task result, and one waits for main's end by a watch. While it is
away their mains end; once it is back every report is there, once.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from lifecycle.pod import ANNOTATING, KILLING_SIDECARS
from tests.pods.case import Case, Expected, Json, Scenario
from tests.pods.layout import PREFIX
from tests.pods.play import PATIENCE, Play
from tests.pods.room import READY, Room, entered, main_runs
from tests.servers.apiserver import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pods.fleet import Fleet
    from tests.pods.seen import Seen
    from tests.servers.kubernetes import Cluster

pytestmark = pytest.mark.slow

AWAY = 60.0
SOON = {"ARGOEXEC_RETRY_ANNOTATING_CAP": "5s", "ARGOEXEC_RETRY_WAITING_CAP": "5s"}
"""Not 30 s between two attempts: what is tested is that they are made, and a test should not wait for the last."""
PODS = {"annotations": ("docker", "v3.2"), "task-result": ("docker", "v3.3"), "watch": ("k8sapi", "v3.2")}
OUTPUTS = {"parameters": [{"name": "p", "value": "x", "valueFrom": {"path": "/work/p"}}]}


@dataclass
class Outage:
    """When it begins and ends, for the pods and for who makes it.

    Attributes:
        at_work: every pod's main and `wait` run.
        begun: there is no API server any more.
        back: there is one again.
    """

    at_work: threading.Barrier = field(default_factory=lambda: threading.Barrier(len(PODS) + 1, timeout=PATIENCE))
    begun: threading.Event = field(default_factory=threading.Event)
    back: threading.Event = field(default_factory=threading.Event)


class Followed(threading.Thread):
    """What a pod's annotation has been, one value after another, as its watch tells: across the outage."""

    def __init__(self, play: Play, outage: Outage) -> None:
        super().__init__(daemon=True)
        self.values: list[str | None] = []
        self.told = threading.Event()
        """There is a value."""
        self._play = play
        self._outage = outage
        self.start()

    def run(self) -> None:
        version: dict[str, str] = {}
        space, one = self._play.namespace, f"metadata.name={self._play.case.pod}"
        while True:
            try:
                for event in space.api.watch(space.pods, 4 * PATIENCE, fieldSelector=one, **version):
                    if event["type"] == "ERROR":  # what was between is told as the present
                        version = {}
                        break
                    metadata = event["object"]["metadata"]
                    version = {"resourceVersion": metadata["resourceVersion"]}
                    value = metadata["annotations"].get(f"{PREFIX}/outputs")
                    if self.values[-1:] != [value]:
                        self.values.append(value)
                        if value is not None:
                            self.told.set()
                    if event["type"] == "DELETED":
                        return
            except (urllib3.exceptions.HTTPError, Refused):
                if not self._outage.back.wait(4 * PATIENCE):
                    return


@dataclass
class Pod:
    """One that lives through the outage."""

    name: str
    fault: str
    room: Room
    outage: Outage
    followed: Followed | None = None

    @property
    def scenario(self) -> Scenario:
        return Scenario(
            f"away-{self.name}-{self.fault}",  # of the pod before it a watch may still have something to tell
            self._template,
            lambda _: Expected(outputs=OUTPUTS),
            self._during,
            options=lambda _: {"executor_env": self.room.environment | SOON},
        )

    def _template(self, case: Case) -> Json:
        parameters = [{"name": "p", "valueFrom": {"path": "/work/p"}}]
        return self.room.template(case, "echo x > /work/p", outputs={"parameters": parameters})

    def _during(self, play: Play) -> None:
        play.await_line(READY)
        self.room.await_line(main_runs)
        self.followed = Followed(play, self.outage)
        self.outage.at_work.wait()
        assert self.outage.begun.wait(PATIENCE)
        self.room.let_go()
        if self.name != "watch":
            self.room.await_line(entered(ANNOTATING))
        assert self.outage.back.wait(PATIENCE)
        if self.name == "watch":
            self.room.await_line(entered(KILLING_SIDECARS))
        if self.name != "task-result":  # before the fleet deletes the pod
            assert self.followed.told.wait(PATIENCE)


def stopped(cluster: Cluster) -> contextlib.AbstractContextManager[None]:
    return cluster.members["apiserver"].frozen()


def killed(cluster: Cluster) -> contextlib.AbstractContextManager[None]:
    return cluster.api_down()


@pytest.fixture(scope="module", params=[stopped, killed], ids=["stopped", "killed"])
def outage(
    request: pytest.FixtureRequest, fleet_of: Callable[[str], Fleet], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Pod, Seen]]:
    """One of a minute, and what became of the pods."""
    faulthandler.cancel_dump_traceback_later()  # the first test pays for all of them
    fleet = fleet_of("docker")
    root: Path = tmp_path_factory.mktemp("away")
    outage = Outage()
    pods = {name: Pod(name, request.param.__name__, Room.made(root / name), outage) for name in PODS}
    cases = {name: Case(pod.scenario, *PODS[name], fleet.stage) for name, pod in pods.items()}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fleet.run, cases.values())
        try:
            outage.at_work.wait()
            with request.param(fleet.cluster):
                outage.begun.set()
                threading.Event().wait(AWAY)
        finally:
            outage.back.set()
        seen = running.result()
    for pod in pods.values():
        if pod.followed:
            pod.followed.join(PATIENCE)
    return {name: (pod, seen[cases[name].pod]) for name, pod in pods.items()}


def _failed_attempts(pod: Pod, phase: str) -> list[dict[str, Any]]:
    return [line for line in pod.room.journal if line["kind"] == "attempt" and line["phase"] == phase]


@pytest.mark.parametrize("name", ["annotations", "task-result"])
def test_what_could_not_be_reported_is_reported_once_it_is_back(outage, name):
    pod, seen = outage[name]
    seen.check(pod.scenario.expected(seen.case))

    assert seen.pod["status"]["phase"] == "Succeeded"
    assert _failed_attempts(pod, ANNOTATING)
    [life] = pod.room.lives
    assert [line["item"]["state"] for line in life if line["kind"] == "item" and line["item"]["kind"] == "report"] == [
        "done"
    ]
    if name == "annotations":
        [nothing, value] = pod.followed.values
        assert nothing is None
        assert json.loads(value) == OUTPUTS
    else:
        assert seen.task_result["metadata"]["generation"] == 1  # made once, and never changed


def test_the_end_of_main_is_seen_by_who_waits_for_it_by_a_watch(outage):
    pod, seen = outage["watch"]
    seen.check(pod.scenario.expected(seen.case))

    assert seen.pod["status"]["phase"] == "Succeeded"
    [nothing, value] = pod.followed.values
    assert nothing is None
    assert json.loads(value) == OUTPUTS
    way = [(line["phase"], line["event"]) for line in pod.room.journal if line["kind"] == "leave"]
    assert dict(way)["waiting"] == "done"
