"""Every command's table, with a pod in which everything is fake but the lifecycle: what the matrix is made over."""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lifecycle.clock import Cancel, terminated
from lifecycle.commands import in_pod
from lifecycle.context import Launch, Stop
from lifecycle.data import DATA
from lifecycle.engine import Engine
from lifecycle.errors import AlreadyExists, Terminated
from lifecycle.faults.injection import Faults
from lifecycle.faults.plan import ANY, Plan, parse
from lifecycle.pod import INIT_TABLE, POD, WAIT_TABLE
from lifecycle.ports import ContainerSpec
from lifecycle.resource import RESOURCE
from lifecycle.stopping import arm_deadline
from tests.fakes import FakeContainer, FakeObjects, FakeSandbox, FakeStore, Script, World

if TYPE_CHECKING:
    from lifecycle.faults.plan import Fault
    from lifecycle.location import Location
    from lifecycle.objects import Change
    from lifecycle.table import Table

CANARY = "c4n4ry-of-a-secret"
DEADLINE = 3600.0
"""Virtual seconds of the step: without it a runtime that never comes back is waited for without an end, by intent."""
STOPPED = 7200.0
"""When the pod is deleted, if nothing else has ended it: only what hangs is still there then."""
GRACE = 30.0
BUDGET = STOPPED + GRACE
"""No pod may take longer: at this moment the kubelet kills it."""

S3 = {"endpoint": "e", "bucket": "b"}
STEP: dict[str, Any] = {
    "name": "t",
    "inputs": {
        "artifacts": [
            {"name": "first", "path": "/in/first", "s3": S3 | {"key": "in/first"}},
            {"name": "tree", "path": "/vol/tree", "s3": S3 | {"key": "in/tree"}},
        ]
    },
    "script": {
        "image": "i",
        "command": ["sh"],
        "source": f"echo {CANARY}",
        "volumeMounts": [{"name": "vol", "mountPath": "/vol"}],
    },
    "sidecars": [{"name": "side", "image": "i"}],
    "outputs": {
        "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
        "artifacts": [
            {"name": "one", "path": "/tmp/one", "s3": S3 | {"key": "out/one.tgz"}},
            {"name": "two", "path": "/tmp/two", "archive": {"none": {}}, "s3": S3 | {"key": "out/two"}},
            {"name": "three", "path": "/vol/three", "s3": S3 | {"key": "out/three.tgz"}},
        ],
    },
    "archiveLocation": {"archiveLogs": True, "s3": S3 | {"key": "archive"}},
}
MANIFEST = f"apiVersion: batch/v1\nkind: Job\nmetadata: {{generateName: job-}}\nspec: {{password: {CANARY}}}\n"
OBJECT: dict[str, Any] = {
    "name": "t",
    "resource": {"action": "create", "manifest": MANIFEST, "successCondition": "status.n > 1"},
    "outputs": {"parameters": [{"name": "n", "valueFrom": {"jsonPath": "{.status.n}"}}]},
}
LISTING: dict[str, Any] = {
    "name": "t",
    "data": {
        "source": {"artifactPaths": {"name": "src", "s3": S3 | {"key": "in/tree"}}},
        "transformation": [{"expression": "len(data)"}],
    },
}


class Segment(NamedTuple):
    """A table, and a pod that takes it.

    Attributes:
        given: what goes wrong in it from the start: some calls are made only then.
        stopped: when it is told to stop, in virtual seconds.
        status: how it ends when nothing else goes wrong.
    """

    table: Table
    template: dict[str, Any]
    given: tuple[str, ...] = ()
    stopped: float | None = None
    status: int = 0


SEGMENTS: dict[str, Segment] = {
    "init": Segment(INIT_TABLE, STEP),
    "init, broken off": Segment(INIT_TABLE, STEP, given=("loading:driver.open(first):broken",)),
    "init, failing": Segment(INIT_TABLE, STEP, given=("loading:driver.open(first):forbidden×always",), status=1),
    "wait": Segment(WAIT_TABLE, STEP),
    "wait, stopped": Segment(WAIT_TABLE, STEP, stopped=2.0),
    "run": Segment(POD, STEP),
    "resource": Segment(RESOURCE, OBJECT),
    "data": Segment(DATA, LISTING),
}

OUTSIDE = {("control", "time_left")}
"""Calls that belong to no phase: this one is made when somebody wants an end, beside whatever phase that ends."""

Place = tuple[str, str, str]
"""Phase, port and call."""


class Cluster(FakeObjects):
    """A name is given once."""

    def perform(self, change: Change) -> dict[str, Any]:
        if change.action == "create" and any((one.action, one.name) == ("create", change.name) for one in self.asked):
            raise AlreadyExists(f"there is {change.name}")
        return super().perform(change)


class Sized(io.BytesIO):
    """A stream that tells how long it is, and of which version."""

    version = "1"

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.size = len(data)


class Store(FakeStore):
    """It can give the rest of an object."""

    def driver(self, location: Location) -> Store:
        return self

    def open(self, key: str) -> Sized:
        return Sized(super().open(key).read())

    def open_rest(self, key: str, offset: int, version: str) -> Sized:
        return Sized(super().open(key).read()[offset:])


@dataclass
class Case:
    """A pod, its plan, and what has come of it."""

    name: str
    root: Path
    plan: Plan
    segment: Segment = field(init=False)
    world: World = field(init=False)
    faults: Faults = field(init=False)
    status: int = field(init=False)
    took: float = field(init=False)
    last: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.segment = SEGMENTS[self.name]
        self.plan = Plan((*parse(self.segment.given).faults, *self.plan.faults))
        self.world = _world(self.segment, self.root)
        self.faults = self._faults()
        self.faults.inject(self.world.pod)

    def _faults(self) -> Faults:
        return Faults(self.plan, self.world.clock)

    def play(self) -> None:
        """Run the table to its end, and let every thread of it end."""
        table, world, pod = self.segment.table, self.world, self.world.pod
        arm_deadline(pod)
        over = Cancel()
        world.control.left = GRACE

        def delete() -> None:
            with suppress(Terminated):
                world.clock.sleep(STOPPED, over)
                world.stop()

        world.clock.start(delete, "kubelet")
        if self.segment.stopped is not None:
            world.at(self.segment.stopped, world.stop)
        self.status = in_pod.status(table, Engine(table, pod).run(), pod)
        self.took, self.last = world.clock.monotonic(), world.journal.lines[-1]
        over.set(terminated())
        self.faults.close()
        pod.inbox.put(Stop(terminated()))
        for token in (pod.cancel, pod.hurry, pod.abandon, pod.last):
            token.set(terminated())
        world.clock.sleep(2 * BUDGET, Cancel())


def _world(segment: Segment, root: Path) -> World:
    # One item at a time: threads that wait for a lock stop the virtual clock, and a case is the same each time.
    made = World(root, json.loads(json.dumps(segment.template)), parallelism=1)
    made.pod.deadline = made.clock.now() + timedelta(seconds=DEADLINE)
    made.store = Store()
    made.pod.drivers = made.store.driver
    made.store.objects = {"in/first": b"first", "in/tree/1": b"1", "in/tree/2": b"22"}
    made.runtime.files = {"/tmp/p": b"value\n", "/tmp/one": b"one", "/tmp/two": b"two two"}
    made.runtime.stdout = b"the result\n"
    if segment.template is STEP:
        volume = root / "mainctrfs/vol"
        volume.mkdir(parents=True)
        (volume / "three").write_bytes(b"three")
        os.utime(volume / "three", (0, 0))
    if segment.stopped is not None:
        # It ends when everybody has been told how much time is left: else two threads race within one moment.
        made.main.ignores = (signal.SIGTERM,)
    if segment.table is WAIT_TABLE:
        made.runtime.containers |= {name: FakeContainer(made.clock) for name in ("side", "istio-proxy")}
    if segment.table is POD:
        made.runtime.containers.clear()
        sandbox = FakeSandbox(made.runtime)
        made.pod.sandbox, made.pod._runtime = sandbox, sandbox.runtime
        made.pod.launch = Launch([_spec("setup")], _spec("main"), [_spec("side"), _spec("istio-proxy")])
    cluster = Cluster(made.clock, Script(), [{"status": {"n": 1}}, {"status": {"n": 2}}])
    made.pod.objects = lambda: cluster
    made.cluster = cluster  # type: ignore[attr-defined]
    return made


def _spec(name: str) -> ContainerSpec:
    return ContainerSpec(name, ("true",), {})


class _Seen(Faults):
    """Nothing but what is given, and it remembers every call."""

    def __init__(self, case: Case) -> None:
        super().__init__(case.plan, case.world.clock)
        self.places: dict[Place, None] = {}

    def meet(self, port: str, call: str, arguments: tuple[Any, ...], cancel: Any) -> list[Fault]:
        if self._phase:
            self.places[ANY if (port, call) in OUTSIDE else self._phase, port, call] = None
        return super().meet(port, call, arguments, cancel)


class _Clean(Case):
    def _faults(self) -> Faults:
        return _Seen(self)


@cache
def clean(segment: str) -> Case:
    """The run in which nothing goes wrong but what is given; what a faulty one is compared with."""
    root = Path(tempfile.mkdtemp(prefix="clean-", dir="/tmp"))
    atexit.register(shutil.rmtree, root)
    case = _Clean(segment, root, Plan())
    case.play()
    assert case.status == case.segment.status, case.world.journal.lines
    return case


def places(segment: str) -> tuple[Place, ...]:
    """Every call of every phase that was seen in it, in the order of the table."""
    seen = clean(segment).faults
    assert isinstance(seen, _Seen)
    order = [*(phase.state for phase in SEGMENTS[segment].table.phases), ANY]
    return tuple(sorted(seen.places, key=lambda place: (order.index(place[0]), place)))
