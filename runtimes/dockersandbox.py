"""Plays the kubelet for one pod with a docker daemon: each container is a real one, of its image.

They are labelled as the kubelet labels a pod's, so that :mod:`runtimes.docker` finds them, and are removed at the end
(ADR 23). They outlive a run that is killed: who resumes it takes them over as they are.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lifecycle.clock import NEVER
from lifecycle.errors import BadRequest, Cancelled, InputError, LifecycleError, NotFound, Unavailable, Unsupported
from lifecycle.outcome import LOST
from lifecycle.ports import MAIN, Container, ExitStatus
from runtimes.docker import NAME, NAMESPACE, POD, UID, DockerRuntime
from runtimes.dockerapi import Daemon
from runtimes.dockerimages import fetch
from runtimes.dockerlogs import STDERR, STDOUT, payloads
from runtimes.dockerstream import Follower
from runtimes.records import write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lifecycle.clock import Cancel
    from lifecycle.ports import ContainerSpec
    from runtimes.dockerstream import Body

    Echo = Callable[[str, bytes], None]

log = logging.getLogger("argoexec")

RUN: Final = "argoexec.run"
"""The label by which a person finds what a killed run has left; its value is the pod's directory."""
_MARK: Final = "docker.json"
"""A file of the pod's directory, while there may be containers of it: whose they are, and their label."""
NETWORK: Final = "ARGOEXEC_DOCKER_NETWORK"
GRACE: Final = 2.0
"""Seconds an init container has between TERM and KILL when the run is cancelled."""
_STUCK: Final = 10.0
"""Seconds it has to be gone after KILL; `close` removes it by force."""
_REMEDY: Final = (
    "start docker on this machine and run as somebody who may use its socket, or name the socket of another daemon: "
    "DOCKER_HOST=unix:///PATH; without --runtime docker none is needed"
)
_LAST_LINES: Final = 5.0
"""Seconds for the last lines of a container that has ended."""
_LINE: Final = 64 << 10
_KEPT: Final = {"Type": "local", "Config": {"max-size": "1000g", "max-file": "2", "compress": "false"}}
"""The driver ``local`` keeps bytes as they are; json-file makes U+FFFD of what is no UTF-8. Nothing is rotated away."""


class _LocalRuntime(DockerRuntime):
    """Of a run whose containers are started before anybody asks for main."""

    def __init__(
        self, daemon: Daemon, labels: Mapping[str, str], nobody: str, found: Callable[[Container], None]
    ) -> None:
        """``nobody`` is a name that no container has; ``found`` is told of main."""
        super().__init__(daemon, labels)
        self._nobody = nobody
        self._found = found

    def find_main(self, cancel: Cancel) -> Container:
        """Main, as the sandbox has started it; one that is not there, or was only made, is lost, and never started.

        Raises:
            Cancelled: the token was set.
            LifecycleError: as :meth:`Daemon.call`.
        """
        cancel.check()
        main, made = self._main()
        if main is None:
            why = "it was being started when the executor was killed" if made else "its container is not there"
            self._ended[self._nobody] = ExitStatus(137, LOST, f"main was lost: {why}")
            return Container(MAIN, self._nobody)
        self._found(main)
        return main


class DockerSandbox:
    """The containers of one pod in the docker daemon of this machine. Safe to use from several threads."""

    def __init__(
        self, pod_dir: Path, pod_name: str, echo: Echo | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        """Nothing is asked of the daemon yet.

        Args:
            pod_dir: where the pod's volumes are; that of a run that was killed is taken over.
            pod_name: the host name its containers see, where they have a network of their own.
            echo: called with the container's name and each line it writes, without the line's end, from a thread per
                container.
            environ: has ``DOCKER_HOST`` and the like; this process's unless given.
        """
        self._environ = os.environ if environ is None else environ
        self._daemon = Daemon(self._environ, _REMEDY)
        self._pod_name = pod_name
        self._echo = echo
        self._directory = pod_dir.absolute()
        left = _mark(self._directory)
        self._begun = self._taken_over = left is not None
        uid = str(left["uid"]) if left else str(uuid.uuid4())
        self._labels = {POD: pod_name, NAMESPACE: "argoexec", UID: uid}
        self._own = {RUN: str(self._directory)}
        self._names = f"argoexec-{pod_name}-{uid[:8]}"
        self._runtime = _LocalRuntime(self._daemon, self._labels, f"{self._names}-nobody", self._show)
        self._about: dict[str, Any] = {}
        self._made: dict[str, str] = {}
        self._echoes: dict[str, Follower] = {}

    @staticmethod
    def check(environ: Mapping[str, str], pod_dir: Path | None = None) -> None:
        """Whether there is a daemon, and on this machine; for a run that is resumed, whether it is the same.

        Raises:
            InputError: it is another than the one that the containers in ``pod_dir`` were begun with.
            Unsupported: it is elsewhere, where it sees no directory of this machine.
            LifecycleError: as :meth:`Daemon.call`.
        """
        daemon = Daemon(environ, _REMEDY)
        if daemon.socket is None:
            raise Unsupported(
                f"DOCKER_HOST={daemon.place} is another machine's daemon: it cannot mount the directories of this one",
                remedy="name a daemon of this machine, DOCKER_HOST=unix:///PATH, or run argoexec where that one is",
            )
        daemon.call("GET", "/version")
        left = _mark(pod_dir) if pod_dir is not None else None
        if left and left["daemon"] != _identity(daemon.call("GET", "/info")):
            raise InputError(
                f"the docker daemon at {daemon.place} is not the one that runs its containers", place="DOCKER_HOST",
                remedy="name the daemon that the run was begun with",
            )  # fmt: skip

    def runtime(self) -> DockerRuntime:
        """The runtime of its containers."""
        return self._runtime

    def run_init(self, spec: ContainerSpec, cancel: Cancel) -> ExitStatus:
        """Run an init container to its end.

        Raises:
            Cancelled: the token was set; the container has been stopped, by force after ``GRACE`` seconds.
            LifecycleError: as ``start``.
        """
        container = self.start(spec, cancel)
        try:
            status = self._runtime.wait(container, cancel)
        except Cancelled:
            self._runtime.signal(container, signal.SIGTERM)
            if self._runtime.wait(container, NEVER, GRACE) is None:
                self._runtime.signal(container, signal.SIGKILL)
                self._runtime.wait(container, NEVER, _STUCK)
            raise
        if status is None:
            raise AssertionError("a wait without a time-out has timed out")
        if echo := self._echoes.get(spec.name):
            echo.join(_LAST_LINES)  # before the next one begins to write
        return status

    def start(self, spec: ContainerSpec, cancel: Cancel = NEVER) -> Container:
        """Start main or a sidecar; its image is pulled if it has to be. What a killed run has started is not again.

        Raises:
            Cancelled: the token was set before it was started.
            BadRequest: there is no such image, or its command is not there or cannot be executed.
            Unavailable: the daemon is away, or a registry for it.
        """
        cancel.check()
        made = self._left(spec.name) if self._taken_over else None
        if made is None:
            fetch(self._daemon, spec, cancel, partial(self._say, spec))
            self._note()
        while made is None:
            made = self._try(spec)
        self._made[spec.name] = made
        container = Container(spec.name, made)
        self._show(container)
        return container

    def _note(self) -> None:
        """Leave on disk, before there is a container, how they are found: a person may resume the run."""
        if not self._begun:
            mark = {"uid": self._labels[UID], "daemon": _identity(self._info())}
            write(self._directory / _MARK, mark, durable=True)
            self._begun = True

    def _left(self, name: str) -> str | None:
        """The container of that name that a killed run has started; one that it has only made is removed."""
        place = f"/containers/{self._names}-{name}"
        try:
            found = self._daemon.call("GET", f"{place}/json")
            if found["State"]["Status"] != "created":
                return str(found["Id"])
            self._daemon.call("DELETE", place, {"force": 1, "v": 1})
        except NotFound:
            pass
        return None

    def close(self) -> None:
        """Kill what still runs, and remove everything.

        Raises:
            Unavailable: something may be left, which the message names; so is the mark, for a resumed run to try again.
        """
        if not self._begun:
            return
        found, problems = self._made, []
        try:
            # Also those whose making was never answered, and those of a run that was killed.
            found |= {one["Labels"][NAME]: one["Id"] for one in reversed(self._daemon.containers(self._labels))}
        except LifecycleError as error:
            problems.append(error.message)
        for name, made in reversed(found.items()):
            try:
                self._daemon.kill(made, signal.SIGKILL)
                if echo := self._echoes.get(name):
                    echo.join(_LAST_LINES)
                with contextlib.suppress(NotFound):
                    self._daemon.call("DELETE", f"/containers/{made}", {"force": 1, "v": 1})
            except LifecycleError as error:
                problems.append(f"{name} ({made[:12]}): {error.message}")
            if echo := self._echoes.pop(name, None):
                echo.stop()
        found.clear()
        if problems:
            raise Unavailable(
                f"containers of this run may be left: {'; '.join(dict.fromkeys(problems))}",
                remedy=f"docker rm -f $(docker ps -aq --filter label={UID}={self._labels[UID]}), when it answers again",
            )
        with contextlib.suppress(OSError):
            (self._directory / _MARK).unlink()
        self._begun = False

    def _try(self, spec: ContainerSpec) -> str | None:
        """Make and start it; ``None`` when the one whose network it was to join has ended meanwhile."""
        network = self._network()
        query = {"name": f"{self._names}-{spec.name}"}
        made: str = self._daemon.call("POST", "/containers/create", query, body=self._config(spec, network))["Id"]
        self._made[spec.name] = made
        try:
            self._daemon.call("POST", f"/containers/{made}/start")
        except LifecycleError as error:
            if not self._has_ended(network):
                raise self._not_started(spec, made, error) from error
            self._daemon.call("DELETE", f"/containers/{made}", {"force": 1, "v": 1})
            return None
        return made

    def _has_ended(self, network: str) -> bool:
        """Whether it is that of a container that does not run any more."""
        kind, _, holder = network.partition(":")
        if kind != "container":
            return False
        try:
            return not self._daemon.inspect(holder)["State"]["Running"]
        except NotFound:
            return True

    # --- a container ----------------------------------------------------------------------------------------------

    def _config(self, spec: ContainerSpec, network: str) -> dict[str, Any]:
        mounts = [
            {"Type": "bind", "Source": str(one.source.absolute()), "Target": one.target, "ReadOnly": one.read_only}
            for one in spec.mounts
        ]
        config: dict[str, Any] = {
            "Image": spec.image,
            "Env": [f"{name}={value}" for name, value in spec.env.items()],
            "Labels": self._labels | self._own | {NAME: spec.name},
            "HostConfig": {"NetworkMode": network, "Mounts": mounts},
        }
        if _KEPT["Type"] in ((self._info().get("Plugins") or {}).get("Log") or ()):  # podman's API has another set
            config["HostConfig"]["LogConfig"] = _KEPT
        if spec.entrypoint:
            if spec.argv:
                config["Cmd"] = list(spec.argv)
        else:
            config |= {"Entrypoint": list(spec.argv), "Cmd": []}
        if spec.workdir:
            config["WorkingDir"] = spec.workdir
        if user := self._user(spec):
            config["User"] = user
        if network != "host" and not network.startswith("container:"):
            config["Hostname"] = self._pod_name[:63].rstrip("-.")
        return config

    def _info(self) -> dict[str, Any]:
        if not self._about:
            self._about = self._daemon.call("GET", "/info")
        return self._about

    def _user(self, spec: ContainerSpec) -> str:
        if spec.group is None:
            return "" if spec.user is None else str(spec.user)
        user: Any = spec.user
        if user is None:  # a group alone goes with the image's user
            image = self._daemon.call("GET", f"/images/{spec.image}/json")
            user = (image["Config"].get("User") or "0").partition(":")[0]
        return f"{user}:{spec.group}"

    def _network(self) -> str:
        """That of the pod's first container that runs; the first one's is the daemon's own, else the machine's."""
        running = self._daemon.containers(self._labels, ended=False)
        if running:
            return f"container:{running[-1]['Id']}"
        if chosen := self._environ.get(NETWORK):
            return chosen
        try:
            self._daemon.call("GET", "/networks/bridge")
        except NotFound:
            return "host"
        return "bridge"

    def _not_started(self, spec: ContainerSpec, made: str, error: LifecycleError) -> LifecycleError:
        """What the daemon has noted about a start that failed, whatever it answered."""
        try:
            said = self._daemon.inspect(made)["State"].get("Error", "")
        except LifecycleError:
            return error
        if not said and not isinstance(error, (NotFound, BadRequest)):
            return error
        return BadRequest(
            f"the container {spec.name!r} cannot be started: {said or error.message}",
            remedy=f"see whether the image {spec.image} has the command, and what is mounted over it",
        )

    def _show(self, container: Container) -> None:
        """Echo what it has written and writes; of one that a killed run has started all of it again."""
        name, echo = container.name, self._echo
        if echo is None or name in self._echoes:
            return

        def read(body: Body) -> None:
            for line in _lines(payloads(iter(body.read1, b""), wanted=frozenset({STDOUT, STDERR}))):
                echo(name, line)

        def failed(error: Exception) -> None:
            log.debug("the output of %s is not shown any more: %s", name, error)

        path, query = f"/containers/{container.id}/logs", {"stdout": 1, "stderr": 1, "follow": 1}
        begin = partial(self._daemon.stream, "GET", path, query, silence=None)
        self._echoes[name] = Follower("docker-echo", begin, read, failed)

    def _say(self, spec: ContainerSpec, text: str) -> None:
        log.info("%s: %s", spec.name, text)
        if self._echo is not None:
            self._echo(spec.name, f"[{text}]".encode())


def _mark(directory: Path) -> dict[str, str] | None:
    """What a run that was killed has left.

    Raises:
        InputError: it is not what one leaves.
    """
    path = directory / _MARK
    try:
        found = json.loads(path.read_bytes())
        return {"uid": str(found["uid"]), "daemon": str(found["daemon"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"it is not what a run leaves: {type(error).__name__}", place=str(path)) from error


def _identity(info: Mapping[str, Any]) -> str:
    """Of a daemon, from start to start: podman has another ``ID`` at every question."""
    return f"{info.get('Name')}:{info.get('DockerRootDir')}"


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Without their ends; a long one in parts."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r")
        while len(rest) > _LINE:
            yield rest[:_LINE]
            rest = rest[_LINE:]
    if rest:
        yield rest
