"""A pod whose containers share a process namespace: pause, wait (the agent) and what a test starts."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any, BinaryIO

from lifecycle.clock import Cancel
from lifecycle.ports import Container
from tests.runtimes.pns.podapi import PodApi
from tests.servers.dockerd import BUSYBOX, Dockerd

REPOSITORY = Path(__file__).parents[3]
_WAIT = 60.0


class Agent:
    """The runtime in the namespace, as if it were here."""

    def __init__(
        self, pause: int, origin: str, hosts: Path, *, privileges: str = "", user: int = 0, calm: bool = False,
        cgroup: bool = False,
    ) -> None:  # fmt: skip
        """Start it.

        Args:
            pause: the first process of the namespace, as this machine numbers it.
            origin: of the API server; ``-`` for none.
            hosts: is its /etc/hosts.
            privileges: options of setpriv.
            user: who it is, from its own first line on.
            calm: whether it looks for main seldom from the beginning.
            cgroup: whether it has a control-group namespace of its own: pause's.
        """
        setup = f"mount -t proc proc /proc && mount --bind {hosts} /etc/hosts && exec setpriv {privileges} $0 $@"
        argv = [
            "nsenter",
            "-t",
            str(pause),
            "-p",
            *(["-C"] if cgroup else []),
            "--",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ]
        argv += ["sh", "-c", setup, sys.executable, "-m", "tests.runtimes.pns.agent", origin, str(user)]
        self._process = subprocess.Popen(
            [*argv, "calm" if calm else "urgent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        self._calls = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[int, Any] = {}
        self._answered = threading.Condition()
        try:
            _, error = pickle.load(self._process.stdout)
        except EOFError as end:
            raise RuntimeError("the agent has ended") from end
        if error is not None:
            self.close()
            raise error
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                call, result = pickle.load(self._process.stdout)
            except (EOFError, ValueError, OSError):
                call, result = None, None
            with self._answered:
                if call is None:
                    self._process.poll()
                    self._answers = {None: RuntimeError("the agent has ended")}
                    self._answered.notify_all()
                    return
                self._answers[call] = result
                self._answered.notify_all()

    def call(self, method: str, *arguments: Any) -> Any:
        number = next(self._calls)
        tokens = [one for one in arguments if isinstance(one, Cancel)]
        self._send(number, method, tuple(Cancel if isinstance(one, Cancel) else one for one in arguments))
        for token in tokens:
            token.listen(lambda token=token: self._send(number, "cancel", (token.reason,)))
        with self._answered:
            done = self._answered.wait_for(lambda: number in self._answers or None in self._answers, _WAIT)
            assert done, f"{method} does not answer"
            result = self._answers.pop(number) if number in self._answers else self._answers[None]
        if isinstance(result, Exception):
            raise result
        return result

    def _send(self, *message: Any) -> None:
        with self._lock:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()

    def open_file(self, container: Container, path: str) -> BinaryIO:
        return io.BytesIO(self.call("read_file", container, path))

    def open_tar(self, container: Container, path: str) -> BinaryIO:
        return _Stream(self, self.call("open_tar", container, path))

    def open_output(self, container: Container, *, combined: bool) -> BinaryIO:
        return _Stream(self, self.call("open_output", container, combined))

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.call(name, *arguments)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(_WAIT)
        self._process.stdout.close()


class _Stream(io.RawIOBase):
    def __init__(self, agent: Agent, number: int) -> None:
        self._agent = agent
        self._number = number

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._agent.call("read", self._number, size)

    def close(self) -> None:
        if not self.closed:
            self._agent.call("close_stream", self._number)
        super().close()


class NamespacePod:
    """A pod on a real dockerd. The test is its kubelet: it writes /etc/hosts, and tells the API how containers are."""

    def __init__(self, dockerd: Dockerd, directory: Path, *, pause: tuple[str, ...] = ()) -> None:
        self._dockerd = dockerd
        self._id = uuid.uuid4().hex[:8]
        self.hosts = directory / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n")
        self.names: list[str] = []
        self.pause_id = dockerd.docker(
            "run", "-d", "--network", "none", *pause, "--name", f"{self._id}-pause", BUSYBOX, "sleep", "100000"
        ).decode().strip()  # fmt: skip
        self.pause = int(dockerd.docker("inspect", "-f", "{{.State.Pid}}", self.pause_id))
        self.api = PodApi(lambda name: ["docker", "-H", dockerd.url, "logs", "-f", f"{self._id}-{name}"])
        self._waits: list[tuple[subprocess.Popen[bytes], threading.Thread]] = []
        self.agents: list[Agent] = []

    def agent(self, origin: str = "", **how: Any) -> Agent:
        """The executor; the first one made is the pod's runtime."""
        self.agents.append(Agent(self.pause, origin or self.api.origin, self.hosts, **how))
        return self.agents[-1]

    @property
    def runtime(self) -> Agent:
        return self.agents[0] if self.agents else self.agent()

    def start_script(
        self, name: str, script: str, mounts: dict[str, Path] | None = None, *options: str, tell: bool = True
    ) -> Container:
        """Start a container; ``tell`` says whether the API shows it."""
        volumes = [word for target, source in (mounts or {}).items() for word in ("-v", f"{source}:{target}")]
        self.hosts.write_text("127.0.0.1 localhost\n")  # as the kubelet does before it makes a container
        self.names.append(f"{self._id}-{name}")
        made = self._dockerd.docker(
            "run", "-d", "--network", "none", "--pid", f"container:{self.pause_id}", "--name", f"{self._id}-{name}",
            "-v", f"{self.hosts}:/etc/hosts", *volumes, *options, BUSYBOX, "sh", "-c", script,
        ).decode().strip()  # fmt: skip
        if tell:
            self.tell(name, made)
        return Container(name, made)

    def tell(self, name: str, made: str) -> None:
        """Show in the API that it runs, and when it has ended how."""
        self.api.set(name, made, running={})
        waiting = subprocess.Popen(["docker", "-H", self._dockerd.url, "wait", made], stdout=subprocess.PIPE)

        def watch() -> None:
            if code := waiting.communicate()[0]:
                self.tell_end(name, made, int(code))

        thread = threading.Thread(target=watch)
        thread.start()
        self._waits.append((waiting, thread))

    def tell_end(self, name: str, made: str, code: int) -> None:
        killed = self.inspect(made, "{{.State.OOMKilled}}") == "true"
        reason = "OOMKilled" if killed else "Error" if code else "Completed"
        self.api.set(name, made, terminated={"exitCode": code, "reason": reason})

    def exec(self, name: str, script: str) -> None:
        """Run something beside a container's own process, until the container ends."""
        self._dockerd.docker("exec", "-d", f"{self._id}-{name}", "sh", "-c", script)

    def in_namespace(self, script: str) -> None:
        """Run something as the machine's root, in the process namespace of the pod."""
        argv = ["nsenter", "-t", str(self.pause), "-p", "--", "unshare", "--mount", "--mount-proc", "sh", "-c", script]
        subprocess.run(argv, check=True)

    def number(self, container: Container) -> int:
        """What the namespace calls the first process of a container."""
        outside = self.inspect(container.id, "{{.State.Pid}}")
        text = Path(f"/proc/{outside}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("NSpid")).split()[-1])

    def id(self, name: str) -> str:
        """Of a container, also of one that could not be started."""
        return self.inspect(f"{self._id}-{name}", "{{.Id}}")

    def inspect(self, made: str, what: str) -> str:
        return self._dockerd.docker("inspect", "-f", what, made).decode().strip()

    def await_end(self, made: str) -> None:
        """By the container runtime, without the executor."""
        self._dockerd.docker("wait", made)

    def remove(self, name: str) -> None:
        self._dockerd.docker("rm", "-f", f"{self._id}-{name}")
        self.names.remove(f"{self._id}-{name}")

    def await_output(self, name: str, line: str) -> None:
        argv = ["docker", "-H", self._dockerd.url, "logs", "-f", f"{self._id}-{name}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert any(one.decode().rstrip("\n") == line for one in process.stdout), f"{name} has not written {line!r}"
            process.kill()

    def close(self) -> None:
        for agent in self.agents:
            agent.close()
        for waiting, thread in self._waits:
            waiting.kill()
            thread.join()
            waiting.stdout.close()
        self._dockerd.docker("rm", "-f", *self.names, self.pause_id)
        with self.api.changed:
            self.api.away = True
            self.api.changed.notify_all()
        self.api.__exit__()
