"""Ports that do what a script says, on a virtual clock: for faults and orders of events, not for behaviour."""

from __future__ import annotations

import io
import json
import signal
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lifecycle.clock import Cancel, Clock, VirtualClock, terminated
from lifecycle.commands import in_pod
from lifecycle.context import Pod, Settings
from lifecycle.engine import Engine
from lifecycle.errors import NotFound
from lifecycle.files import PodFiles
from lifecycle.journal import MemoryJournal
from lifecycle.location import Location
from lifecycle.objects import Change
from lifecycle.pod import INIT_TABLE, WAIT_TABLE
from lifecycle.ports import Container, ContainerSpec, ExecutionControl, ExitStatus, Report, StoredObject
from lifecycle.template import Template


class Script:
    """What each call does, by name: a list of outcomes used up one after another.

    An error is raised, a function is called, anything else is the value.
    """

    def __init__(self, **calls: list[Any]) -> None:
        self.calls = {name: list(outcomes) for name, outcomes in calls.items()}
        self.count: Counter[str] = Counter()

    def next(self, name: str) -> Any:
        self.count[name] += 1
        outcomes = self.calls.get(name)
        if not outcomes:
            return None
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome() if callable(outcome) else outcome


class FakeContainer:
    """Ends by itself after ``runs`` virtual seconds, or of a signal it does not ignore."""

    def __init__(
        self, clock: Clock, *, runs: float | None = None, code: int = 0, ignores: tuple[int, ...] = (), reason: str = ""
    ) -> None:
        self.clock = clock
        self.runs = runs
        self.code = code
        self.reason = reason
        self.ignores = ignores
        self.ended = Cancel()
        self.status: ExitStatus | None = None
        self.signals: list[int] = []
        self.began = clock.monotonic()

    def end(self, code: int) -> None:
        if self.status is None:
            self.status = ExitStatus(code, self.reason)
            self.ended.set(NotFound("ended"))  # any reason will do: it only wakes

    def signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL or number not in self.ignores:
            self.end(128 + number)


class FakeRuntime:
    """A pod of fake containers, one of which is ``main``."""

    reads_base_layer = True

    def __init__(self, clock: Clock, containers: dict[str, FakeContainer], script: Script | None = None) -> None:
        self.clock = clock
        self.containers = containers
        self.script = script or Script()
        self.files: dict[str, bytes] = {}
        self.stdout = b""

    def find_main(self, cancel: Cancel) -> Container:
        self.script.next("find_main")
        if "main" not in self.containers:
            self.clock.sleep(1e9, cancel)
        return Container("main", "id-main")

    def wait(self, container: Container, cancel: Cancel, timeout: float | None = None) -> ExitStatus | None:
        self.script.next("wait")
        fake = self.containers[container.name]
        until = self.clock.monotonic() + timeout if timeout is not None else None
        while fake.status is None:
            left = [] if fake.runs is None else [fake.began + fake.runs - self.clock.monotonic()]
            if left and left[0] <= 0:
                fake.end(fake.code)
                break
            if until is not None:
                if self.clock.monotonic() >= until:
                    return None
                left.append(until - self.clock.monotonic())
            both = Cancel()
            fake.ended.listen(lambda both=both: both.set(NotFound("ended")))
            cancel.listen(lambda both=both: both.set(cancel.reason))
            try:
                self.clock.sleep(min(left, default=1e9), both)
            except Exception:
                cancel.check()
        return fake.status

    def others(self) -> list[Container]:
        self.script.next("others")
        return [Container(name) for name, one in self.containers.items() if name != "main" and one.status is None]

    def signal(self, container: Container, number: int) -> None:
        self.script.next("signal")
        self.containers[container.name].signal(number)

    def open_file(self, container: Container, path: str) -> io.BytesIO:
        self.script.next("open_file")
        if path not in self.files:
            raise NotFound(f"{path} is not there")
        return io.BytesIO(self.files[path])

    def open_tar(self, container: Container, path: str) -> io.BytesIO:
        self.script.next("open_tar")
        if path not in self.files:
            raise NotFound(f"{path} is not there")
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            info = tarfile.TarInfo(path.rpartition("/")[2])
            info.size = len(self.files[path])
            archive.addfile(info, io.BytesIO(self.files[path]))
        raw.seek(0)
        return raw

    def open_output(self, container: Container, *, combined: bool) -> io.BytesIO:
        self.script.next("open_output")
        return io.BytesIO(self.stdout)


class FakeStore:
    """Objects in memory, shared by the drivers that :meth:`driver` makes."""

    def __init__(self, script: Script | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.saved: Counter[str] = Counter()
        self.unfinished: Counter[str] = Counter()
        self.script = script or Script()

    def driver(self, location: Location) -> FakeStore:
        self.script.next("driver")
        return self

    def open(self, key: str) -> io.BytesIO:
        self.script.next("open")
        if key not in self.objects:
            raise NotFound(f"there is no {key}")
        return io.BytesIO(self.objects[key])

    def save(self, key: str, stream: Any, size_hint: int | None) -> None:
        self.script.next(f"save {key}")
        self.script.next("save")
        data = b""
        self.unfinished[key] += 1
        try:
            while chunk := stream.read(65536):
                data += chunk
        finally:
            self.unfinished[key] -= 1
        self.objects[key] = data
        self.saved[key] += 1

    def list(self, key: str) -> Iterator[StoredObject]:
        self.script.next("list")
        prefix = key.rstrip("/") + "/"
        return iter([StoredObject(k[len(prefix) :], len(v)) for k, v in self.objects.items() if k.startswith(prefix)])

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


class FakeObjects:
    """A cluster that does what a script says, and keeps what it was asked; an object is in one state after another."""

    def __init__(self, clock: Clock, script: Script, states: list[dict[str, Any]]) -> None:
        self.clock = clock
        self.script = script
        self.states = states
        self.asked: list[Change] = []

    def perform(self, change: Change) -> dict[str, Any]:
        self.asked.append(change)
        self.script.next(change.action)
        return {"apiVersion": change.api_version, "kind": change.kind, "metadata": {"name": change.name, "uid": "1"}}

    def get(self, found: Mapping[str, Any]) -> dict[str, Any]:
        self.script.next("get")
        return dict(found) | {"status": {"n": 7}}

    def follow(self, found: Mapping[str, Any], settled: Callable[[Mapping[str, Any]], bool], cancel: Cancel) -> None:
        self.script.next("follow")
        for state in self.states:
            self.clock.sleep(10.0, cancel)
            if settled(dict(found) | state):
                return
        self.clock.sleep(1e9, cancel)


class FakeSandbox:
    """Starts fake containers in a runtime: main runs for 5 s, a sidecar until it is told to end."""

    def __init__(self, runtime: FakeRuntime) -> None:
        self.fake = runtime
        self.ran: list[str] = []

    def run_init(self, spec: ContainerSpec, cancel: Cancel) -> ExitStatus:
        cancel.check()
        self.ran.append(spec.name)
        return ExitStatus(0)

    def start(self, spec: ContainerSpec, cancel: Cancel) -> Container:
        cancel.check()
        self.ran.append(spec.name)
        self.fake.containers[spec.name] = FakeContainer(self.fake.clock, runs=5.0 if spec.name == "main" else None)
        return Container(spec.name)

    def runtime(self) -> FakeRuntime:
        return self.fake

    def close(self) -> None:
        for container in self.fake.containers.values():
            container.end(137)


class FakeControl:
    """A control plane in memory; ``change`` is what SIGUSR2 or the file's watcher would tell of."""

    def __init__(self, clock: Clock, template: dict[str, Any], script: Script | None = None) -> None:
        self.clock = clock
        self.raw = template
        self.script = script or Script()
        self.control = ExecutionControl()
        self.reports: list[Report] = []
        self.key_only = False
        self.left: float | None = None

    def template(self) -> dict[str, Any]:
        return self.raw

    def execution(self) -> ExecutionControl:
        self.script.next("execution")
        return self.control

    def watch_execution(self, changed: Callable[[], None], cancel: Cancel) -> None:
        self.clock.sleep(1e9, cancel)

    @property
    def room(self) -> int:
        return 256 * 1024 - len(json.dumps(self.raw)) - 4096

    def time_left(self) -> float | None:
        left: float | None = self.script.next("time_left")
        return self.left if left is None else left

    def report(self, report: Report) -> None:
        self.script.next("report")
        self.reports.append(report)


class World:
    """A pod with everything fake but the lifecycle."""

    def __init__(self, root: Path, template: dict[str, Any], **settings: Any) -> None:
        self.clock = VirtualClock()
        self.main = FakeContainer(self.clock, runs=5.0)
        self.runtime = FakeRuntime(self.clock, {"main": self.main})
        self.store = FakeStore()
        self.control = FakeControl(self.clock, template)
        self.journal = MemoryJournal(self.clock)
        self.files = PodFiles(root)
        self.messages: list[str] = []
        self.pod = Pod(
            name="pod-1",
            template=Template(template),
            files=self.files,
            control=self.control,
            drivers=self.store.driver,
            clock=self.clock,
            journal=self.journal,
            runtime=lambda: self.runtime,
            settings=Settings(**settings),
            tell=self.messages.append,
        )

    def wait(self) -> int:
        """Run `wait`; its exit status."""
        return in_pod.status(WAIT_TABLE, Engine(WAIT_TABLE, self.pod).run(), self.pod)

    def init(self) -> int:
        """Run `init`; its exit status."""
        return in_pod.status(INIT_TABLE, Engine(INIT_TABLE, self.pod).run(), self.pod)

    def stop(self, text: str = "terminated by SIGTERM") -> None:
        """As a SIGTERM does."""
        self.pod.stop(terminated(text))

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something at a virtual moment."""

        def body() -> None:
            self.clock.sleep(seconds - self.clock.monotonic(), Cancel())
            act()

        self.clock.start(body, "script")

    def after(self, seconds: float, value: Any = None) -> Callable[[], Any]:
        """An outcome for a script that takes its time, whoever wants it to end."""

        def outcome() -> Any:
            self.clock.sleep(seconds, Cancel())
            if isinstance(value, Exception):
                raise value
            return value

        return outcome

    @property
    def message(self) -> str:
        """Of the one report there is."""
        [report] = self.control.reports
        return report.message

    @property
    def states(self) -> dict[str, str]:
        """The last state of every item."""
        lines = [line["item"] for line in self.journal.lines if line["kind"] == "item"]
        return {f"{one['kind']} {one['name']}".strip(): one["state"] for one in lines}

    @property
    def notes(self) -> list[str]:
        return [line["text"] for line in self.journal.lines if line["kind"] == "note"]

    def moment(self, kind: str, **fields: Any) -> float:
        """When the journal was told of it, in virtual seconds."""
        return next(line["s"] for line in self.journal.lines if line["kind"] == kind and fields.items() <= line.items())

    @property
    def way(self) -> list[str]:
        return [line["phase"] for line in self.journal.lines if line["kind"] == "enter"]
