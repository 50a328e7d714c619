"""What a pod says when something fails, for every phase of every table and every class of error: exactly, as text.

The cases are generated: a new phase or class is in them by itself. When what is said is meant to be another,
``pytest tests/lifecycle/test_snapshots.py --update-snapshots`` writes the files anew; the change is then read in the
diff like any other text.
"""

from __future__ import annotations

import errno
import inspect
import random
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle import errors
from lifecycle.commands import in_pod
from lifecycle.context import Launch
from lifecycle.engine import Engine
from lifecycle.errors import Forbidden, InputError, LifecycleError, Throttled, Transient
from lifecycle.observing import observed
from lifecycle.outcome import MESSAGE_LIMIT
from lifecycle.ports import Container, ContainerSpec, ExitStatus
from lifecycle.tables import TABLES
from lifecycle.template import Template
from tests.fakes import FakeContainer, FakeControl, Script, World
from tests.lifecycle.test_resource import JOB, FakeObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.table import Table

SNAPSHOTS = Path(__file__).parent / "snapshots"
S3 = {"endpoint": "e", "bucket": "b"}
ARCHIVE = {"archiveLocation": {"s3": S3 | {"key": "wf/pod"}}}
POD_TEMPLATE = ARCHIVE | {
    "name": "t",
    "script": {"image": "i", "command": ["sh"], "source": "echo"},
    "inputs": {"artifacts": [{"name": "in", "path": "/in", "s3": S3 | {"key": "in"}, "archive": {"none": {}}}]},
    "outputs": {
        "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
        "artifacts": [{"name": "a", "path": "/tmp/a"}],
    },
}
TEMPLATES: dict[str, dict[str, Any]] = {
    "resource": {
        "name": "t",
        "resource": {"action": "create", "manifest": JOB, "successCondition": "status.n == 1"},
        "outputs": {"parameters": [{"name": "p", "valueFrom": {"jsonPath": "{.status.n}"}}]},
    },
    "data": {
        "name": "t",
        "data": {
            "source": {"artifactPaths": {"name": "src", "s3": S3 | {"key": "logs"}}},
            "transformation": [{"expression": "data"}],
        },
    },
}


def faults() -> dict[str, Callable[[], Exception]]:
    """Every class of the tree, each with a cause and a remedy, and what is not of the tree: a full disk, a defect."""
    found: dict[str, Callable[[], Exception]] = {}
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, LifecycleError):
            found[name] = lambda kind=kind: caused(kind)
    found["OSError"] = lambda: OSError(errno.ENOSPC, "No space left on device", "/tmp/x")
    found["ValueError"] = lambda: ValueError("a defect")
    return found


def caused(kind: type[LifecycleError]) -> LifecycleError:
    more: dict[str, Any] = {"retry_after": 9.0} if kind is Throttled else {}
    more |= {"place": "$.place"} if kind is InputError else {}
    error = kind("it was refused", remedy="ask whoever runs it", **more)
    error.__cause__ = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    return error


class Failing(Script):
    """Every port call fails while the engine is in one of these phases."""

    def __init__(self, **faults: Callable[[], Exception]) -> None:
        super().__init__()
        self.faults = faults
        self.engine: Engine

    def next(self, name: str) -> Any:
        if fault := self.faults.get(self.engine.state):
            raise fault()
        return super().next(name)


class Place(type(Path())):
    """A path that cannot be written to when the script says so."""

    script: Script

    @property
    def parent(self) -> Path:
        self.script.next("write")
        return Path(super().parent)


class Control(FakeControl):
    @property
    def room(self) -> int:
        self.script.next("room")
        return 10_000


class Sandbox:
    def __init__(self, script: Script) -> None:
        self.script = script

    def run_init(self, spec: ContainerSpec, cancel: Any) -> ExitStatus:
        self.script.next("run_init")
        return ExitStatus(0)

    def start(self, spec: ContainerSpec, cancel: Any) -> Container:
        self.script.next("start")
        return Container(spec.name)


class NoJitter(random.Random):
    def random(self) -> float:
        return 0.0


def world(root: Path, table: Table, script: Failing) -> World:
    """A pod for this table in which everything works but what the script says."""
    template = TEMPLATES.get(table.name, POD_TEMPLATE)
    made = World(root, template, parallelism=1, heartbeat=0.0)
    pod = made.pod
    made.control = pod.control = Control(made.clock, template, script)
    made.runtime.script = made.store.script = script
    made.runtime.files = {"/tmp/p": b"value\n", "/tmp/a": b"A" * 2000}
    made.runtime.containers |= {"side": FakeContainer(made.clock), "istio-proxy": FakeContainer(made.clock)}
    made.store.objects = {"in": b"x" * 3000, "logs/a": b"x", "logs/b": b"x"}
    for name in ("script", "manifest"):
        place = Place(getattr(made.files, name))
        place.script = script
        setattr(made.files, name, place)
    specs = [ContainerSpec(name, ("true",), {}) for name in ("prepare", "main", "side")]
    pod.launch = Launch((specs[0],), specs[1], (specs[2],))
    pod.sandbox = Sandbox(script)
    objects = FakeObjects(made.clock, script, [{"status": {"n": 1}}])
    pod.objects = lambda: objects
    pod.rng = NoJitter()
    pod.deadline = made.clock.now() + timedelta(minutes=10)
    pod.template = Template(template)
    return made


def case(root: Path, table: Table, **faults: Callable[[], Exception]) -> tuple[World, list[str]]:
    """How one pod ended, what the controller is told, and the summary."""
    script = Failing(**faults)
    made = world(root, table, script)
    with observed(made.pod, {}) as seen:
        script.engine = Engine(table, made.pod, observer=seen)
        verdict = script.engine.run()
    message = made.pod.record.message()
    assert len(message.encode()) <= MESSAGE_LIMIT
    [end] = [line for line in made.journal.lines if line["kind"] == "end"]
    assert end["message"] == message
    assert end.get("record", {}) == made.pod.record.record()
    status = in_pod.status(table, verdict, made.pod)
    return made, [f"{verdict}, exit status {status}", f"message: {message}", seen.account.summary()]


def text(root: Path, table: Table) -> Iterator[str]:
    yield f"# {table.about}: what is said when every port call fails in one phase, by the class of the error."
    yield "# Written by: pytest tests/lifecycle/test_snapshots.py --update-snapshots"
    for phase in table.phases:
        for name, fault in faults().items():
            yield ""
            yield f"== {phase.state} × {name}"
            made, said = case(root / f"{phase.state}-{name}", table, **{phase.state: fault})
            if phase.state not in made.way:  # no way leads there but a failure's: `init` reports nothing else
                before = {table.initial: lambda: Forbidden("it may not be written")}
                made, said = case(root / f"again-{phase.state}-{name}", table, **before, **{phase.state: fault})
            assert phase.state in made.way
            yield from said


@pytest.mark.parametrize("name", TABLES)
def test_what_is_said_of_every_error_in_every_phase(name: str, tmp_path: Path, request: pytest.FixtureRequest):
    path = SNAPSHOTS / f"{name}.txt"
    said = "\n".join(text(tmp_path, TABLES[name])) + "\n"
    if request.config.getoption("--update-snapshots"):
        path.write_text(said)

    assert said.splitlines() == path.read_text().splitlines()


def test_every_class_is_met_that_asks_for_another_attempt():
    """What the cases are made of: were the tree empty, nothing would be compared."""
    assert {"Unavailable", "Throttled", "TimedOut"} <= {kind.__name__ for kind in Transient.__subclasses__()}
    assert {"NotFound", "Terminated", "DeadlineExceeded", "StorageFull"} < faults().keys()
