"""``argoexec`` as real processes: alone, as `init` and `wait` of a pod that the test lays out, and under signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.files import HostMount, LocalFiles
from lifecycle.ports import Container, Mount
from runtimes.downward import EXECUTION, NODE_MESSAGE, OUTPUTS, TEMPLATE, write_annotations
from tests.runtimes.conftest import HANGS, LocalPod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


ROOT = Path(__file__).parents[2]
AT_ONCE = 10.0
"""Seconds for what must not wait for a grace of 30 s or a read's time-out of 60 s, on a machine that is busy."""
QUICK_RETRIES = {"EXECUTOR_RETRY_BACKOFF_STEPS": "2", "EXECUTOR_RETRY_BACKOFF_DURATION": "10ms"}


# --- processes --------------------------------------------------------------------------------------------------------


class Program:
    """One ``argoexec`` as a process, in a session of its own. Its lines can be awaited."""

    module = "lifecycle.cli"

    def __init__(self, directory: Path, argv: tuple[object, ...], environ: dict[str, str], program: str = "") -> None:
        """``program`` is Python to run instead of the command line's own module."""
        how = ["-c", program] if program else ["-m", self.module]
        self.argv = [sys.executable, *how, *map(str, argv)]
        self.process = subprocess.Popen(
            self.argv, cwd=directory, env=_clean_environment() | environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self._written: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._open = 2
        self._changed = threading.Condition()
        streams = {"stdout": self.process.stdout, "stderr": self.process.stderr}
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in streams.items()]
        for reader in self._readers:
            reader.start()

    @property
    def stdout(self) -> str:
        """What it has written so far; all of it after ``end``."""
        return "".join(self._written["stdout"])

    @property
    def stderr(self) -> str:
        return "".join(self._written["stderr"])

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def await_line(self, text: str, times: int = 1) -> None:
        """Block until so many lines with this text have been written to stdout and stderr."""

        def seen() -> bool:
            return sum(text in line for lines in self._written.values() for line in lines) >= times

        with self._changed:
            assert self._changed.wait_for(lambda: seen() or not self._open, HANGS), self._tell(f"no line with {text!r}")
            assert seen(), self._tell(f"ended without a line with {text!r}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def signal_group(self, number: int) -> None:
        """As a terminal's Ctrl-C does."""
        os.killpg(self.process.pid, number)

    def end(self, status: int | None = None, within: float = HANGS) -> Program:
        """Block until it has ended and all it wrote has been read."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(self._tell(f"still runs after {within:g} s"))
        for reader in self._readers:
            reader.join(HANGS)
            assert not reader.is_alive(), self._tell("somebody else holds its output open")
        assert "Traceback" not in self.stderr, self.stderr
        if status is not None:
            assert self.process.returncode == status, self._tell(f"exit status {self.process.returncode}")
        return self

    def result(self) -> dict[str, Any]:
        """The one JSON object that is all of stdout."""
        found = json.loads(self.stdout)
        assert self.stdout == json.dumps(found) + "\n"
        return found

    def close(self) -> None:
        if self.runs:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(HANGS)

    def _read(self, name: str, stream: Any) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._written[name].append(line)
                    self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def _tell(self, what: str) -> str:
        return f"{self.argv[3:]}: {what}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def _clean_environment() -> dict[str, str]:
    """Without proxies, profiles and credentials of this machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("AWS_", "ARGO", "EXECUTOR_"))
    }
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {"PYTHONPATH": path, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
                   "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "TERM": "dumb"}  # fmt: skip


@pytest.fixture
def program_type() -> type[Program]:
    """What :func:`start` starts."""
    return Program


@pytest.fixture
def start(program_type: type[Program]) -> Iterator[Callable[..., Program]]:
    """Start ``argoexec`` with arguments; what still runs at the end of the test is killed."""
    started: list[Program] = []

    def begin(directory: Path, *argv: object, program: str = "", **environ: str) -> Program:
        started.append(program_type(directory, argv, environ, program))
        return started[-1]

    yield begin
    for one in started:
        one.close()


class Runner:
    """``argoexec run`` in a directory."""

    def __init__(self, directory: Path, start: Callable[..., Program]) -> None:
        self.directory = directory
        self._start = start

    def start(self, template: dict[str, Any], *argv: object, name: str = "wf", **environ: str) -> Program:
        """Begin to run a Workflow of one template, without waiting for it. Results come as JSON."""
        spec: dict[str, Any] = {"entrypoint": "t", "templates": [{"name": "t", **template}]}
        if "volumes" in template:
            spec["volumes"] = spec["templates"][0].pop("volumes")
        workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}
        path = self.directory / f"{name}.yaml"
        path.write_text(json.dumps(workflow))
        return self._start(self.directory, "run", path, "-o", "json", *argv, **environ)

    def run(self, template: dict[str, Any], *argv: object, status: int = 0, **more: str) -> dict[str, Any]:
        return self.start(template, *argv, **more).end(status).result()


@pytest.fixture
def runner(tmp_path: Path, start: Callable[..., Program]) -> Runner:
    return Runner(tmp_path, start)


# --- a pod of a controller --------------------------------------------------------------------------------------------


class ControlledPod:
    """A pod as a v2.3 controller lays it out, with `init` and `wait` as processes. The test is its kubelet."""

    def __init__(self, directory: Path, start: Callable[..., Program]) -> None:
        self.base = directory
        self.directory = directory / "pod"
        self.annotations = directory / "podmetadata/annotations"
        self.store = directory / "store"
        self.secrets = directory / "secrets"
        self.termination_log = directory / "termination-log"
        self.environ = {
            "ARGO_POD_NAME": "wf-1",
            "ARGO_CONTAINER_RUNTIME_EXECUTOR": "local",
            "ARGO_TERMINATION_GRACE_PERIOD_SECONDS": "1",
            "ARGOEXEC_LOCAL_POD": str(self.directory),
            "ARGOEXEC_SECRETS": str(self.secrets),
            "ARGOEXEC_TERMINATION_LOG": str(self.termination_log),
        }
        self.template: dict[str, Any] = {}
        self._start = start
        self._kubelet: LocalPod | None = None
        self.secrets.mkdir(exist_ok=True)
        self.annotations.parent.mkdir()

    @property
    def kubelet(self) -> LocalPod:
        if self._kubelet is None:
            self._kubelet = LocalPod(self.directory)
        return self._kubelet

    def lay_out(self, execution: dict[str, Any] | None = None, /, **template: Any) -> None:
        """The annotations, the volumes, and what is mounted where (spec 1.7)."""
        self.template = {"name": "t", "inputs": {}, "outputs": {}, "metadata": {}} | template
        self.annotate(execution)
        self.directory.mkdir()
        for mount in self.mounts():
            inputs = mount.source.parent.name == "input-artifacts"
            directory = mount.source.parent if inputs else mount.source
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o777)
        LocalFiles(self.directory, (HostMount(one.target, one.source) for one in self.mounts())).write()
        self.termination_log.touch()

    def annotate(self, execution: Any = None) -> None:
        """Write the downward API's file, as a whole."""
        self.annotate_with(self.annotations, execution)

    def annotate_with(self, path: Path, execution: Any) -> None:
        found = {"workflows.argoproj.io/node-name": "wf", TEMPLATE: json.dumps(self.template, separators=(",", ":"))}
        if execution is not None:
            found[EXECUTION] = json.dumps(execution)
        write_annotations(path, found)

    def volume(self, name: str) -> Path:
        return self.directory / "volumes" / name

    def archive_location(self, *, logs: bool = False) -> dict[str, Any]:
        """A store that is a directory."""
        return ({"archiveLogs": True} if logs else {}) | {"fsspec": {"url": f"file://{self.store}/wf/wf-1"}}

    def mounts(self) -> list[Mount]:
        """Main's: the user's volumes, each input artifact that lies in none of them, the script (1.7.3, 1.7.4)."""
        main = self.template.get("container") or self.template["script"]
        own = [Mount(self.volume(one["name"]) / one.get("subPath", ""), one["mountPath"])
               for one in main.get("volumeMounts", [])]  # fmt: skip
        inputs = [
            Mount(self.volume("input-artifacts") / one["name"], one["path"])
            for one in self.template["inputs"].get("artifacts", [])
            if not any(f"{one['path']}/".startswith(f"{mount.target.rstrip('/')}/") for mount in own)
        ]
        staging = [Mount(self.volume("argo-staging"), "/argo/staging")] if "script" in self.template else []
        return [*own, *inputs, *staging]

    # --- its containers -------------------------------------------------------------------------------------------

    def start_init(self, *argv: object, **environ: str) -> Program:
        return self._program("init", *argv, **environ)

    def init(self, *argv: object, status: int = 0, **environ: str) -> Program:
        return self.start_init(*argv, **environ).end(status)

    def start_wait(self, *argv: object, **environ: str) -> Program:
        """Begin `wait`, and block until it handles signals and waits for main."""
        program = self._program("wait", "--loglevel", "debug", *argv, **environ)
        program.await_line("entering waiting")
        return program

    def wait(self, *argv: object, status: int = 0, **environ: str) -> Program:
        return self._program("wait", *argv, **environ).end(status)

    def start_main(self, line: str = "") -> Container:
        """Start main; block until it has written a line."""
        main = self.template.get("container") or self.template["script"]
        argv = [
            *main["command"],
            *main.get("args", []),
            *(["/argo/staging/script"] if "script" in self.template else []),
        ]
        for mount in self.mounts():
            mount.source.mkdir(
                exist_ok=True
            ) if not mount.source.exists() else None  # what a kubelet does for a subPath
        container = self.kubelet.start("main", *argv, mounts=tuple(self.mounts()))
        if line:
            self.kubelet.await_output("main", line)
        return container

    def start_sidecar(self, name: str, script: str, line: str = "up") -> Container:
        """Start a sidecar that sees main's volumes; block until it has written a line."""
        container = self.kubelet.start(name, "sh", "-c", script, mounts=tuple(self.mounts()))
        self.kubelet.await_output(name, line)
        return container

    def run(self, *, status: int = 0, **environ: str) -> Program:
        """All of it: `init` where it has work, main, `wait`."""
        if self.template["inputs"].get("artifacts") or "script" in self.template:
            self.init()
        self.start_main()
        return self.wait(status=status, **environ)

    # --- what is left ---------------------------------------------------------------------------------------------

    def reported(self, key: str) -> str | None:
        """An annotation, as text."""
        patch = json.loads((self.directory / "reported.json").read_text())
        assert list(patch) == ["metadata"]
        assert list(patch["metadata"]) == ["annotations"]
        assert set(patch["metadata"]["annotations"]) <= {OUTPUTS, NODE_MESSAGE}
        return patch["metadata"]["annotations"].get(key)

    @property
    def outputs(self) -> str | None:
        return self.reported(OUTPUTS)

    @property
    def message(self) -> str | None:
        return self.reported(NODE_MESSAGE)

    def journal(self, command: str = "wait") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.base / f"{command}.jsonl").read_text().splitlines()]

    def way(self, command: str = "wait") -> list[tuple[str, str]]:
        """The phases of a journal and the events that ended them."""
        lines = self.journal(command)
        assert [line["kind"] for line in lines].count("pod") == 1
        assert lines[0]["kind"] == "pod"
        assert lines[-1]["kind"] == "end"
        return [(line["phase"], line["event"]) for line in lines if line["kind"] == "leave"]

    def states(self, command: str = "wait") -> dict[str, str]:
        """The last state of every item of a journal."""
        items = [line["item"] for line in self.journal(command) if line["kind"] == "item"]
        return {f"{item['kind']} {item['name']}".strip(): item["state"] for item in items}

    def saved(self, name: str) -> Path:
        return self.store / "wf/wf-1" / name

    def close(self) -> None:
        if self._kubelet is not None:
            self._kubelet.close()

    def _program(self, command: str, *argv: object, **environ: str) -> Program:
        known = self.environ | {"ARGOEXEC_JOURNAL": str(self.base / f"{command}.jsonl")}
        return self._start(self.base, command, "--pod-annotations", self.annotations, *argv, **known | environ)


@pytest.fixture
def controlled(tmp_path: Path, start: Callable[..., Program]) -> Iterator[ControlledPod]:
    pod = ControlledPod(tmp_path, start)
    yield pod
    pod.close()


def entries(archive: Path) -> list[tuple[str, str, int, bytes | str]]:
    """Name, kind, permissions, and content or link of every entry, in the order of the archive."""
    with tarfile.open(archive, "r:gz") as tar:
        return [
            (
                member.name,
                "file" if member.isfile() else "directory" if member.isdir() else "link" if member.issym() else "other",
                member.mode,
                tar.extractfile(member).read() if member.isfile() else member.linkname,
            )
            for member in tar
        ]
