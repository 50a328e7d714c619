"""Where a scene is played: one item of one phase, with the real driver, its waits on a virtual clock."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lifecycle.context import Pod
from lifecycle.engine import Engine
from lifecycle.journal import MemoryJournal
from lifecycle.location import Location
from lifecycle.pod import INIT_TABLE, WAIT_TABLE
from lifecycle.ports import Driver
from lifecycle.registry import resolve
from lifecycle.template import Template
from tests.fakes import FakeContainer, FakeControl, FakeRuntime
from tests.servers.fixtures import Secrets

SCENES: dict[tuple[str, str, str], Callable[..., Any]] = {}
"""By store, fault and verb."""


def fault(name: str, *verbs: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a scene of the store that its module is named for, for ``load``, ``save`` or both."""

    def register(scene: Callable[..., Any]) -> Callable[..., Any]:
        store = scene.__module__.rpartition(".")[2]
        for verb in verbs:
            SCENES[store, name, verb] = contextlib.contextmanager(scene)
        return scene

    return register


@dataclass
class Scene:
    """What is transferred, and what goes wrong.

    Attributes:
        location: of the artifact, such as ``{"s3": {…}}``.
        content: of an input, what must be at its path when it succeeds: bytes of a file, or names and bytes of a
            directory; of an output, what main left.
        archive: as the template declares it; none unless it says otherwise.
        on_attempt: called with the number of each failed attempt, before the wait: a server may come back.
        options: for the driver's constructor, such as a short ``read_timeout``.
        left: called in the end; what the store has that it must not have when it failed, such as an object half
            written or an upload that was not ended.
        stored: called in the end of a ``save`` that succeeded: what the store has under the key.
        room: a directory to play in, such as a small file system; the test's own unless given.
        temporary: for temporary files; the test's own unless given.
        optional: of the artifact.
    """

    location: dict[str, Any]
    content: bytes | dict[str, bytes] = b""
    archive: dict[str, Any] | None = field(default_factory=lambda: {"none": {}})
    on_attempt: Callable[[int], None] = lambda _: None
    options: dict[str, Any] = field(default_factory=dict)
    left: Callable[[], Any] = lambda: None
    stored: Callable[[], Any] | None = None
    room: Path | None = None
    temporary: Path | None = None
    optional: bool = False


@dataclass
class Stage:
    """What a scene is given: its verb, a directory, secrets to write, and the fixtures of the servers."""

    verb: str
    tmp_path: Path
    secrets: Secrets
    request: pytest.FixtureRequest

    def fixture(self, name: str) -> Any:
        """A server, started when the first scene asks for it."""
        return self.request.getfixturevalue(name)

    @contextlib.contextmanager
    def small_disk(self, size: int) -> Iterator[Path]:
        """A file system of so many bytes. Needs root."""
        import os
        import subprocess

        if os.geteuid() != 0:
            pytest.skip("needs root: a small file system is mounted")
        room = self.tmp_path / "small"
        room.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", room], check=True)
        try:
            yield room
        finally:
            # Workers of a server that has just been killed may not have let go of it yet.
            subprocess.run(["umount", "--lazy", room], check=True)


@dataclass
class Outcome:
    """What came of it."""

    attempts: int
    state: str
    error: str
    message: str
    remedy: str
    waits: list[float]
    text: str
    path: Path
    litter: list[Path]


class _Journal(MemoryJournal):
    def __init__(self, clock: Any, on_attempt: Callable[[int], None]) -> None:
        super().__init__(clock)
        self._on_attempt = on_attempt

    def write(self, kind: str, **fields: Any) -> None:
        super().write(kind, **fields)
        if kind == "attempt":
            self._on_attempt(fields["attempt"])


def play(scene: Scene, stage: Stage, caplog: pytest.LogCaptureFixture) -> Outcome:
    """Perform it, and gather every text that a person could come to see."""
    from lifecycle.clock import VirtualClock
    from lifecycle.files import PodFiles

    room = scene.room or stage.tmp_path / "room"
    root = room / "root"
    root.mkdir(parents=True, exist_ok=True)
    clock = VirtualClock()
    journal = _Journal(clock, scene.on_attempt)
    template = _template(scene, stage.verb)
    control = FakeControl(clock, template)
    runtime = FakeRuntime(clock, {"main": FakeContainer(clock, runs=1.0)})

    def driver(location: Location) -> Driver:
        return resolve("driver", location.type)(location.config, stage.secrets, **scene.options)  # type: ignore[no-any-return]

    pod = Pod(
        name="pod-1",
        template=Template(template),
        files=PodFiles(root),
        control=control,
        drivers=driver,
        clock=clock,
        journal=journal,
        runtime=lambda: runtime,
    )
    if stage.verb == "save":
        _write(root / "mainctrfs/vol/out", scene.content)
    temporary = scene.temporary or stage.tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("DEBUG"):
        patch.setattr("tempfile.tempdir", str(temporary))
        patch.setenv("TMPDIR", str(temporary))
        Engine(INIT_TABLE if stage.verb == "load" else WAIT_TABLE, pod).run()
    item = next(one["item"] for one in journal.lines if one["kind"] == "item" and one["item"]["name"] == "it")
    failed = [one for one in journal.lines if one["kind"] == "attempt"]
    failure = pod.record.first
    told = failure.record() if failure else {"error": "", "message": item.get("note", ""), "remedy": ""}
    return Outcome(
        attempts=item["attempts"],
        state=item["state"],
        error=told["error"],
        message=told["message"] or " | ".join(one["message"] for one in failed),
        remedy=told["remedy"],
        waits=[one["wait"] for one in failed if one["wait"] is not None],
        text="\n".join([json.dumps(journal.lines, default=str), str(control.reports), caplog.text, str(failure)]),
        path=root / "argo/inputs/artifacts/it",
        litter=[*(root / "argo/inputs/artifacts").glob(".*"), *temporary.iterdir()],
    )


def content(path: Path) -> bytes | dict[str, bytes] | None:
    """What is at a path: bytes of a file, names and bytes of a directory, ``None``."""
    if path.is_dir():
        return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}
    return path.read_bytes() if path.exists() else None


def _template(scene: Scene, verb: str) -> dict[str, Any]:
    artifact = {"name": "it", "optional": scene.optional} | scene.location
    if scene.archive is not None:
        artifact["archive"] = scene.archive
    mounts = [{"name": "vol", "mountPath": "/vol"}]
    raw: dict[str, Any] = {"name": "t", "container": {"image": "i", "volumeMounts": mounts}}
    if verb == "load":
        return raw | {"inputs": {"artifacts": [artifact | {"path": "/in"}]}}
    return raw | {"outputs": {"artifacts": [artifact | {"path": "/vol/out"}]}}


def _write(path: Path, what: bytes | dict[str, bytes]) -> None:
    if isinstance(what, bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(what)
        return
    path.mkdir(parents=True)
    for name, data in what.items():
        _write(path / name, data)
