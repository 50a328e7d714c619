"""Every fault at every place. Which places there are is seen in a run without faults: a new phase or call is covered.

Expectations are not written by hand: they are what must hold whatever goes wrong.
"""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.commands import in_pod
from lifecycle.data import DATA
from lifecycle.engine import Engine
from lifecycle.faults.injection import Faults
from lifecycle.faults.plan import ALWAYS, ERRORS, Fault, Plan
from lifecycle.pod import INIT_TABLE, WAIT_TABLE
from tests.fakes import FakeContainer, World

if TYPE_CHECKING:
    from pathlib import Path

    from lifecycle.table import Table

CANARY = "c4n4ry-of-a-secret"
S3 = {"endpoint": "e", "bucket": "b"}
POD = {
    "name": "t",
    "inputs": {
        "artifacts": [
            {"name": "first", "path": "/in/first", "s3": S3 | {"key": "in/first"}},
            {"name": "second", "path": "/in/second", "s3": S3 | {"key": "in/second"}},
        ]
    },
    "script": {"image": "i", "command": ["sh"], "source": f"echo {CANARY}"},
    "sidecars": [{"name": "side", "image": "i"}],
    "outputs": {
        "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
        "artifacts": [
            {"name": "one", "path": "/tmp/one", "s3": S3 | {"key": "out/one.tgz"}},
            {"name": "two", "path": "/tmp/two", "archive": {"none": {}}, "s3": S3 | {"key": "out/two"}},
        ],
    },
    "archiveLocation": {"archiveLogs": True, "s3": S3 | {"key": "archive"}},
}
LISTING = {
    "name": "t",
    "data": {
        "source": {"artifactPaths": {"name": "src", "s3": S3 | {"key": "in"}}},
        "transformation": [{"expression": "len(data)"}],
    },
}
TABLES = {"init": (INIT_TABLE, POD), "wait": (WAIT_TABLE, POD), "data": (DATA, LISTING)}

KILLING = {("runtime", "others"), ("runtime", "signal"), ("runtime", "wait")}
"""Calls without which no sidecar can be killed."""

Place = tuple[str, str, str]


def world(root: Path, name: str) -> World:
    made = World(root, json.loads(json.dumps(TABLES[name][1])))
    made.store.objects = {"in/first": b"1", "in/second": b"2"}
    made.runtime.files = {"/tmp/p": b"value\n", "/tmp/one": b"1", "/tmp/two": b"22"}
    made.runtime.stdout = b"the result\n"
    for sidecar in ("side", "istio-proxy"):
        made.runtime.containers[sidecar] = FakeContainer(made.clock)
    return made


def run(made: World, table: Table) -> int:
    return in_pod.status(table, Engine(table, made.pod).run(), made.pod)


class _Seen(Faults):
    """A plan of nothing, which remembers every call."""

    def __init__(self, made: World) -> None:
        super().__init__(Plan(), made.clock)
        self.places: dict[Place, None] = {}

    def meet(self, port: str, call: str, arguments: tuple[Any, ...], cancel: Any) -> list[Fault]:
        self.places[self._phase, port, call] = None
        return []


@cache
def places(name: str, root: Path) -> tuple[Place, ...]:
    made = world(root, name)
    seen = _Seen(made)
    seen.inject(made.pod)
    assert run(made, TABLES[name][0]) == 0
    return tuple(place for place in seen.places if place[0])


@pytest.mark.parametrize("times", [1, 2, ALWAYS], ids=["once", "twice", "always"])
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("name", TABLES)
def test_whatever_goes_wrong_a_command_ends_well_or_says_why(
    name: str, kind: str, times: int, tmp_path: Path, tmp_path_factory
):
    table, _ = TABLES[name]
    found = places(name, tmp_path_factory.mktemp("clean"))
    assert found
    for number, (phase, port, call) in enumerate(found):
        fault = Fault(phase, port, call, kind, times=times)
        made = world(tmp_path / str(number), name)
        faults = Faults(Plan((fault,)), made.clock)
        faults.inject(made.pod)
        status = run(made, table)

        assert faults.happened[fault], fault
        check(made, name, fault, status)


def check(made: World, name: str, fault: Fault, status: int) -> None:
    """What must hold, whatever went wrong."""
    lines = json.dumps(made.journal.lines, ensure_ascii=False, default=str)
    assert made.journal.lines[-1]["kind"] == "end", fault
    assert "injected" in lines, f"nobody was told of {fault}"
    assert CANARY not in lines, fault
    reports = made.control.reports
    if fault.call != "report" and (name != "init" or status):
        assert len(reports) == 1, fault
        assert (status == 0) == (not made.pod.record.failures), fault
    for report in reports:
        assert CANARY not in json.dumps(dict(report.outputs)) + report.message, fault
        for artifact in report.outputs.get("artifacts", []):
            assert artifact["s3"]["key"] in made.store.objects, fault
    if status:
        assert "injected" in made.pod.record.message(), fault
    if name == "wait" and (fault.port, fault.call) not in {
        ("runtime", "others"),
        ("runtime", "signal"),
        ("runtime", "wait"),
    }:
        alive = [
            one for one, container in made.runtime.containers.items() if container.status is None and one != "main"
        ]
        assert not alive, f"{fault} leaves {alive}"


def test_two_faults_at_once_end_well_or_are_said(tmp_path: Path, tmp_path_factory):
    found = places("wait", tmp_path_factory.mktemp("clean"))
    for number, (one, two) in enumerate(itertools.permutations(found, 2)):
        faults = tuple(Fault(*place, "unavailable", times=2) for place in (one, two))
        made = world(tmp_path / str(number), "wait")
        Faults(Plan(faults), made.clock).inject(made.pod)
        run(made, WAIT_TABLE)

        assert made.journal.lines[-1]["kind"] == "end", faults
        assert made.control.reports, faults
