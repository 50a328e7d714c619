"""A pod of real processes, and the rule by which its tests are skipped where the kernel refuses them."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

import pytest

from lifecycle.clock import NEVER
from lifecycle.ports import Container, ContainerSpec, ExitStatus, Mount
from runtimes.local import LocalRuntime
from runtimes.sandbox import LocalSandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.httpd import Httpd

HANGS = 60.0
"""Seconds after which a test that waits for output has failed; nothing takes a tenth of it."""


class LocalPod:
    """A sandbox, a runtime over it, and what its containers write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.written: dict[str, list[bytes]] = {}
        self._changed = threading.Condition()
        self.sandbox = LocalSandbox(directory, "pod-1", self._echo)
        self.runtime = LocalRuntime(directory)

    def _echo(self, name: str, line: bytes) -> None:
        with self._changed:
            self.written.setdefault(name, []).append(line)
            self._changed.notify_all()

    def await_output(self, name: str, line: str) -> None:
        """Block until the container has written this line."""
        with self._changed:
            seen = self._changed.wait_for(lambda: line.encode() in self.written.get(name, []), HANGS)
        assert seen, f"{name} has not written {line!r} but {self.written.get(name)}"

    def start(self, name: str, *argv: str, **spec) -> Container:
        return self.sandbox.start(ContainerSpec(name, argv, spec.pop("env", {}), **spec))

    def start_script(self, name: str, script: str, mounts: dict[str, Path] | None = None) -> Container:
        volumes = tuple(Mount(source, target) for target, source in (mounts or {}).items())
        return self.start(name, "sh", "-c", script, mounts=volumes)

    def run(self, script: str, **spec) -> ExitStatus:
        """Run main to its end."""
        return self.end(self.start("main", "sh", "-c", script, **spec))

    def end(self, container: Container) -> ExitStatus:
        status = self.runtime.wait(container, NEVER, HANGS)
        assert status is not None, f"{container.name} does not end"
        return status

    def output(self, name: str = "main", *, combined: bool = False) -> bytes:
        with self.runtime.open_output(Container(name), combined=combined) as stream:
            return stream.read()

    def file(self, path: str, name: str = "main") -> bytes:
        with self.runtime.open_file(Container(name), path) as stream:
            return stream.read()

    def close(self) -> None:
        self.runtime.close()
        self.sandbox.close()


@pytest.fixture
def api(certificate: tuple[Path, Path]):
    """A scripted API server."""
    from tests.servers.httpd import Httpd

    with Httpd(certificate) as server:
        yield server


@pytest.fixture
def controller(api: Httpd, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What lays out a pod whose service account is known to the scripted API server."""
    from runtimes import credentials
    from tests.runtimes.controller import Controller

    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("p0d")
    (account / "namespace").write_text("flows")
    (account / "ca.crt").write_bytes(certificate[0].read_bytes())
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", account)
    host, port = api.endpoint.split(":")
    return Controller(tmp_path, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})


@pytest.fixture
def pod(tmp_path: Path):
    pod = LocalPod(tmp_path / "pod")
    yield pod
    pod.close()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    directory = tmp_path / "volume"
    directory.mkdir()
    directory.chmod(0o777)
    return directory


HOLD = "exec 3>/v/held; echo held >&3"
"""What a script begins with to take part in ``held_open``, with the volume at /v."""


@pytest.fixture
def held_open(volume: Path):
    """A FIFO that containers hold open for writing: ``end()`` returns when none of them lives any more."""
    path = volume / "held"
    os.mkfifo(path)
    path.chmod(0o666)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    class HeldOpen:
        def begin(self, holders: int = 1) -> None:
            """Block until so many have it open."""
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            seen = b""
            while seen != b"held\n" * holders:
                assert poller.poll(HANGS * 1000), f"only {seen!r} hold it open"
                seen += os.read(fd, 4096)

        def end(self) -> None:
            """Block until nobody has."""
            os.set_blocking(fd, True)
            assert os.read(fd, 4096) == b""

    yield HeldOpen()
    os.close(fd)
