"""One pod that is killed as by `kill -9` while it writes its journal, and restarted from what is left of it."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lifecycle import resume
from lifecycle.clock import VirtualClock, terminated
from lifecycle.commands import in_pod
from lifecycle.context import Launch, Pod, Settings, Stop
from lifecycle.data import DATA
from lifecycle.engine import Engine
from lifecycle.errors import AlreadyExists
from lifecycle.journal import FileJournal, write_all
from lifecycle.outcome import LOST
from lifecycle.pod import INIT_TABLE, POD, WAIT_TABLE
from lifecycle.ports import Container, ContainerSpec, ExitStatus
from lifecycle.resource import RESOURCE
from lifecycle.resume import Whose
from lifecycle.table import Table
from lifecycle.template import Template
from tests.fakes import FakeContainer, World

MOMENTS = ("before", "torn", "after")
"""Where in the writing of a line: nothing of it is on the disk, a half, all."""


class Killed(SystemExit):
    """Stands for SIGKILL: nothing handles it, and a thread ends of it without a word."""


class MortalJournal(FileJournal):
    """Kills its process at one line; the process then writes nothing any more."""

    at: int | None = None
    moment = "after"
    dead = False
    count = 0
    die: Any = None

    def _append(self, fd: int, data: bytes) -> None:
        if self.dead:
            raise Killed
        self.count += 1
        if self.count != self.at:
            super()._append(fd, data)
            return
        if self.moment != "before":
            write_all(fd, data[: len(data) // 2] if self.moment == "torn" else data)
        self.dead = True
        self.die()
        raise Killed


class Cluster:
    """Objects by name, and how often each was asked for."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.there: dict[str, dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()

    def perform(self, change: Any) -> dict[str, Any]:
        self.asked[f"{change.action} {change.kind}"] += 1
        found = {"apiVersion": change.api_version, "kind": change.kind, "metadata": {"name": change.name, "uid": "1"}}
        if change.action == "create" and change.name in self.there:
            raise AlreadyExists(f"{change.name} is there")
        return self.there.setdefault(change.name, found)

    def get(self, found: Any) -> dict[str, Any]:
        self.asked["read"] += 1
        return dict(self.there[found["metadata"]["name"]]) | {"status": {"n": 7}}

    def follow(self, found: Any, settled: Any, cancel: Any) -> None:
        self.clock.sleep(10.0, cancel)
        assert settled(dict(self.there[found["metadata"]["name"]]) | {"status": {"succeeded": 1}})


class Sandbox:
    """Starts containers in the world's runtime; what it has started dies with it."""

    def __init__(self, lives: Lives) -> None:
        self.lives = lives
        self.clock = lives.world.clock

    def run_init(self, spec: ContainerSpec, cancel: Any) -> ExitStatus:
        self.lives.started[spec.name] += 1
        return ExitStatus(0)

    def start(self, spec: ContainerSpec, cancel: Any) -> Container:
        self.lives.started[spec.name] += 1
        made = FakeContainer(self.clock, runs=5.0 if spec.name == "main" else None)
        self.lives.world.runtime.containers[spec.name] = made
        return Container(spec.name, spec.name)

    def close(self) -> None:
        for one in self.lives.world.runtime.containers.values():
            if one.status is None:
                one.reason = LOST
                one.end(137)


class Lives:
    """The world of one pod, which outlives its processes: store, cluster, containers, volumes, journal."""

    def __init__(self, root: Path, table: Table, template: dict[str, Any], **settings: Any) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.table = table
        self.template = template
        self.settings = settings
        self.world = World(root, template)
        self.world.store.save = self._saving(self.world.store.save)  # type: ignore[method-assign]
        self.world.store.open = self._opening(self.world.store.open)  # type: ignore[method-assign]
        self.journal = root / "journal.jsonl"
        self.saved: Counter[str] = Counter()
        self.loaded: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.cluster = Cluster(self.world.clock)
        self.pod: Pod | None = None
        self.launch: Launch | None = None

    def _saving(self, save: Any) -> Any:
        def counted(key: str, stream: Any, hint: int | None) -> None:
            save(key, stream, hint)
            self.saved[key] += 1

        return counted

    def _opening(self, opened: Any) -> Any:
        def counted(key: str) -> Any:
            found = opened(key)
            self.loaded[key] += 1
            return found

        return counted

    def live(self, at: int | None = None, moment: str = "after") -> int | None:
        """One process: its exit status, or ``None`` when it was killed at line ``at`` of those it writes."""
        world, before, raised = self.world, set(threading.enumerate()), []

        def ended(args: threading.ExceptHookArgs) -> None:
            # Of a thread that waits for a process that was killed nobody hears: the clock ends it.
            if args.exc_type is not Killed and "every thread waits" not in str(args.exc_value):
                raised.append(args.exc_value)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resume, "FileJournal", MortalJournal)
            patch.setattr(threading, "excepthook", ended)
            kept = resume.begin(self.journal, world.clock, self.table, self.whose)
            journal = kept.journal
            assert isinstance(journal, MortalJournal)
            journal.at, journal.moment, journal.die = at, moment, kept.findings.close if kept.findings else None
            sandbox = Sandbox(self)
            pod = self.pod = Pod(
                name="pod-1",
                template=Template(self.template),
                files=world.files,
                control=world.control,
                drivers=world.store.driver,
                clock=world.clock,
                journal=journal,
                runtime=lambda: world.runtime,
                objects=lambda: self.cluster,
                sandbox=sandbox if self.launch else None,
                launch=self.launch,
                settings=Settings(**self.settings),
                tell=world.messages.append,
                known=kept.known,
                findings_file=kept.findings,
            )
            try:
                verdict = Engine(self.table, pod).run()
                return in_pod.status(self.table, verdict, pod)
            except Killed:
                if self.launch:
                    sandbox.close()
                return None
            finally:
                journal.dead = True
                for token in (pod.cancel, pod.hurry, pod.abandon, pod.last):
                    token.set(terminated("the process is dead"))
                pod.inbox.put(Stop(terminated("the process is dead")))
                for thread in set(threading.enumerate()) - before:
                    thread.join(10.0)
                    assert not thread.is_alive(), f"{thread.name} outlives its process"
                kept.close()
                assert raised == []
                world.clock._stuck = False  # what nobody waited for in the dead process

    @property
    def whose(self) -> Whose:
        return Whose.of("pod-1", self.table, Template(self.template))

    @property
    def lines(self) -> list[dict[str, Any]]:
        from lifecycle.journal import read

        return read(self.journal)


V = [{"name": "v", "mountPath": "/v"}]
ARCHIVE = {"s3": {"endpoint": "e", "bucket": "b", "key": "wf/pod"}}
SCRIPT = {"image": "i", "command": ["sh"], "source": "echo hi\n", "volumeMounts": V}
INPUTS = {
    "artifacts": [
        {"name": "one", "path": "/in/one", "s3": {"key": "in/one"}, "archive": {"none": {}}},
        {"name": "two", "path": "/v/two", "s3": {"key": "in/two"}, "archive": {"none": {}}},
        {"name": "not", "path": "/in/not", "optional": True, "s3": {"key": "in/not"}},
    ]
}
OUTPUTS = {
    "parameters": [
        {"name": "p", "valueFrom": {"path": "/tmp/p"}},
        {"name": "d", "valueFrom": {"path": "/tmp/none", "default": "by default"}},
    ],
    "artifacts": [
        {"name": "a", "path": "/tmp/a.txt", "archive": {"none": {}}},
        {"name": "b", "path": "/tmp/b"},
        {"name": "c", "path": "/tmp/nowhere", "optional": True},
    ],
}
JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: job-}\nspec: {}\n"
NAMED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: named}\n"
SECRET_VALUE = "a value that nobody may read"


def init(root: Path, **more: Any) -> Lives:
    lives = Lives(
        root, INIT_TABLE, {"name": "t", "script": SCRIPT, "inputs": INPUTS, "archiveLocation": ARCHIVE}, **more
    )
    lives.world.store.objects = {"in/one": b"1", "in/two": b"2"}
    return lives


def init_that_fails(root: Path, **more: Any) -> Lives:
    lives = init(root, **more)
    del lives.world.store.objects["in/one"]
    return lives


def wait(root: Path, **more: Any) -> Lives:
    template = {"name": "t", "script": SCRIPT, "outputs": OUTPUTS, "archiveLocation": ARCHIVE | {"archiveLogs": True}}
    lives = Lives(root, WAIT_TABLE, template, **more)
    runtime = lives.world.runtime
    runtime.files = {"/tmp/p": SECRET_VALUE.encode(), "/tmp/a.txt": b"A", "/tmp/b": b"B"}
    runtime.stdout = f"the result is {SECRET_VALUE}\n".encode()
    for name in ("side", "istio-proxy"):
        runtime.containers[name] = FakeContainer(lives.world.clock)
    return lives


def wait_that_fails(root: Path, **more: Any) -> Lives:
    lives = wait(root, **more)
    del lives.world.runtime.files["/tmp/b"]
    return lives


def wait_for_a_main_that_fails(root: Path, **more: Any) -> Lives:
    lives = wait_that_fails(root, **more)
    lives.world.main.code = 3
    return lives


def wait_that_is_terminated(root: Path, **more: Any) -> Lives:
    from lifecycle.ports import ExecutionControl

    lives = wait(root, **more)
    lives.world.main.runs = None
    lives.world.control.control = ExecutionControl(terminate=True)
    return lives


def resource(root: Path, **more: Any) -> Lives:
    ask = {"action": "create", "manifest": f"{JOB}---\n{NAMED}"}
    template = {
        "name": "t",
        "resource": ask,
        "outputs": {"parameters": [{"name": "n", "valueFrom": {"jsonPath": "{.items[0].status.n}"}}]},
    }
    return Lives(root, RESOURCE, template, **more)


def watched_resource(root: Path, **more: Any) -> Lives:
    ask = {"action": "create", "manifest": JOB, "successCondition": "status.succeeded == 1"}
    template = {"name": "t", "resource": ask,
                "outputs": {"parameters": [{"name": "n", "valueFrom": {"jsonPath": "{.status.n}"}}]}}  # fmt: skip
    return Lives(root, RESOURCE, template, **more)


def data(root: Path, **more: Any) -> Lives:
    source = {"artifactPaths": {"name": "src", "s3": {"endpoint": "e", "bucket": "b", "key": "logs"}}}
    steps = [{"expression": 'filter(data, {# endsWith "1"})'}, {"expression": "map(data, {# + '!'})"}]
    lives = Lives(root, DATA, {"name": "t", "data": {"source": source, "transformation": steps}}, **more)
    lives.world.store.objects = {f"logs/{n}": b"x" for n in range(20)}
    return lives


def run(root: Path, **more: Any) -> Lives:
    template = {"name": "t", "script": SCRIPT, "inputs": INPUTS, "outputs": OUTPUTS, "archiveLocation": ARCHIVE}
    lives = Lives(root, POD, template, **more)
    lives.world.store.objects = {"in/one": b"1", "in/two": b"2"}
    lives.world.runtime.files = {"/tmp/p": SECRET_VALUE.encode(), "/tmp/a.txt": b"A", "/tmp/b": b"B"}
    lives.world.runtime.stdout = b"the result\n"
    del lives.world.runtime.containers["main"]
    spec = {name: ContainerSpec(name, ("true",), {}) for name in ("before", "main", "side")}
    lives.launch = Launch([spec["before"]], spec["main"], [spec["side"]])
    return lives


SCENARIOS = {
    one.__name__: one
    for one in (
        init, init_that_fails, wait, wait_that_fails, wait_for_a_main_that_fails, wait_that_is_terminated, resource,
        watched_resource, data, run,
    )
}  # fmt: skip


__all__ = ["MOMENTS", "SCENARIOS", "SECRET_VALUE", "Killed", "Lives"]
