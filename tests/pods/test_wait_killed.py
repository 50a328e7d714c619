"""`wait` killed by SIGKILL in a real pod, while it waits for main and while it saves to a store that says nothing.

Under Argo's ``restartPolicy: Never`` that is the end of the pod, and what the kubelet tells is all there is. Where the
kubelet starts `wait` again, as it does with a native sidecar, the new one goes on from the journal on a volume.
"""

from __future__ import annotations

import contextlib
import faulthandler
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.pod import SAVING, WAITING
from tests.pods.case import Case, Expected, Json, Scenario
from tests.pods.plan import FLAVOURS
from tests.pods.play import PATIENCE, Play
from tests.pods.room import READY, Room, entered, main_runs
from tests.servers.apiserver import container
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.pods.fleet import Fleet
    from tests.pods.seen import Seen

pytestmark = pytest.mark.slow

RUNTIMES = {"docker": "docker", "containerd": "pns"}
MAKES = "echo x > /work/p; echo first > /work/first; echo second > /work/second"
PLACES = [f"{phase}-{policy}" for phase in (WAITING, SAVING) for policy in ("Never", "OnFailure")]


class SilentStore:
    """Takes a connection and says nothing; from ``answer`` on it is the real one."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._held = contextlib.ExitStack()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.address = self._listener.getsockname()
        self.endpoint = f"127.0.0.1:{self.address[1]}"

    def await_client(self) -> None:
        self._held.enter_context(self._listener.accept()[0])

    def answer(self) -> None:
        self.close()
        self._held.enter_context(Proxy(self._target, self.address))

    def close(self) -> None:
        self._listener.close()
        self._held.close()


@dataclass
class Death:
    """One pod whose `wait` is killed: in a phase, under a restart policy."""

    phase: str
    policy: str
    room: Room
    store: SilentStore

    @property
    def scenario(self) -> Scenario:
        return Scenario(
            f"killed-{self.phase}-{self.policy.lower()}",
            self._template,
            lambda _: Expected(wait=0 if self.restarts else 137, outputs=..., objects={}, message=None),
            self._during,
            options=lambda _: {"executor_env": self.room.environment, "extra": {"restartPolicy": self.policy}},
        )

    @property
    def restarts(self) -> bool:
        return self.policy != "Never"

    def _template(self, case: Case) -> Json:
        second = case.home | {"endpoint": self.store.endpoint, "key": case.key("second")}
        artifacts = [
            {"name": "first", "path": "/work/first", "archive": {"none": {}}},
            {"name": "second", "path": "/work/second", "archive": {"none": {}}, "s3": second},
        ]
        parameters = [{"name": "p", "valueFrom": {"path": "/work/p"}}]
        return self.room.template(case, MAKES, outputs={"parameters": parameters, "artifacts": artifacts})

    def _during(self, play: Play) -> None:
        play.await_line(READY)
        self.room.await_line(main_runs)
        if self.phase == WAITING:
            self.store.answer()
            play.kill("wait")
            self.room.let_go()
            return
        self.room.let_go()
        self.store.await_client()
        self.room.await_line(lambda line: line["kind"] == "item" and line["item"]["name"] == "first")
        play.kill("wait")
        self.store.answer()


@pytest.fixture(scope="module", params=FLAVOURS)
def deaths(
    request: pytest.FixtureRequest, fleet_of: Callable[[str], Fleet], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Death, Seen]]]:
    """All of them on one cluster, at once."""
    faulthandler.cancel_dump_traceback_later()  # the first test pays for all of them
    fleet = fleet_of(request.param)
    root: Path = tmp_path_factory.mktemp("killed")
    made = {}
    for place in PLACES:
        phase, policy = place.split("-")
        made[place] = Death(phase, policy, Room.made(root / place), SilentStore(fleet.store.endpoint))
    cases = {place: Case(death.scenario, RUNTIMES[request.param], "v3.3", fleet.stage) for place, death in made.items()}
    seen = fleet.run(cases.values())
    yield {place: (death, seen[cases[place].pod]) for place, death in made.items()}
    for death in made.values():
        death.store.close()


def _parts(deaths: dict[str, tuple[Death, Seen]], place: str) -> tuple[Death, Seen]:
    death, seen = deaths[place]
    assert not seen.error, seen.tell()
    return death, seen


@pytest.mark.parametrize("phase", [WAITING, SAVING])
def test_without_a_restart_the_pod_has_failed_and_nothing_is_reported(deaths, phase):
    _, seen = _parts(deaths, f"{phase}-Never")

    assert seen.pod["status"]["phase"] == "Failed", seen.tell()
    assert (seen.code("wait"), seen.code("main")) == (137, 0), seen.tell()
    assert seen.ended("wait")["reason"] == "Error"
    assert container(seen.pod, "wait")["restartCount"] == 0
    assert seen.outputs is None
    assert "second" not in seen.objects


@pytest.mark.parametrize("phase", [WAITING, SAVING])
def test_a_restarted_wait_reports_everything(deaths, phase):
    _, seen = _parts(deaths, f"{phase}-OnFailure")

    assert seen.pod["status"]["phase"] == "Succeeded", seen.tell()
    status: Any = container(seen.pod, "wait")
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 137), seen.tell()
    assert (seen.code("wait"), seen.code("main")) == (0, 0), seen.tell()
    assert container(seen.pod, "main")["restartCount"] == 0
    assert seen.outputs["parameters"][0]["value"] == "x", seen.tell()
    assert [one["name"] for one in seen.outputs["artifacts"]] == ["first", "second"], seen.tell()
    assert (seen.objects["first"], seen.objects["second"]) == (b"first\n", b"second\n")
    assert seen.task_result["metadata"]["generation"] == 1  # made once, and never changed


@pytest.mark.parametrize("phase", [WAITING, SAVING])
def test_a_restarted_wait_goes_on_from_its_journal(deaths, phase):
    death, seen = _parts(deaths, f"{phase}-OnFailure")

    _, second = death.room.lives
    assert next(line["phase"] for line in second if line["kind"] == "enter") == phase, seen.tell()
    saved = [line["item"] for line in death.room.journal if line["kind"] == "item" and line["item"]["state"] == "saved"]
    names = [item["name"] for item in saved]
    assert sorted(names) == ["first", "p", "second"], names  # each once, over both lives
    assert [line["kind"] for line in death.room.journal].count("end") == 1
    assert sum(bool(entered(phase)(line)) for line in death.room.journal) == 2
