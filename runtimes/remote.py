"""What the two runtimes that see a pod only through an API have in common.

Logs, signals by exec, and what they cannot do by nature.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final, NoReturn

from lifecycle.archive.stream import ChunkReader
from lifecycle.clock import NEVER
from lifecycle.errors import BadRequest, NotFound, TimedOut, Unavailable, Unsupported
from lifecycle.outcome import NOT_BEGUN
from lifecycle.ports import OURS, Container
from runtimes import exec as commands
from runtimes import firstprocess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lifecycle.clock import Cancel
    from lifecycle.ports import ExitStatus
    from runtimes.api import ApiServer
    from runtimes.pods import ContainerState, PodState

log = logging.getLogger("argoexec")

_EXEC: Final = 15.0
"""Seconds for one command; on a busy node an exec takes seconds to begin."""
_NEWS: Final = 5.0
"""Seconds until the end of a container is known everywhere: the runtime is asked each second, then the API told."""
_ROUNDS: Final = (0.4, 0.4, 0.4, 0.4, 2.0)
"""Seconds that a container has to end, each time its children were killed (ADR 24); an end is told 1 or 2 s late."""
_NOT_STARTED: Final = frozenset({None, 126, 127})
"""What a command's code is when its program is not in the image: of containerd, docker, a shell."""


class RemoteRuntime(ABC):
    """Containers that are known by their names, through an API.

    Attributes:
        reads_base_layer: no API gives a container's files.
    """

    reads_base_layer: ClassVar[bool] = False
    resource_exec: ClassVar[str]
    resource_log: ClassVar[str]

    def __init__(self) -> None:
        """Nothing is asked yet."""
        self._told = threading.Event()

    # --- where they differ ----------------------------------------------------------------------------------------

    @abstractmethod
    def wait(self, container: Container, cancel: Cancel, timeout: float | None = None) -> ExitStatus | None:
        """As :meth:`lifecycle.ports.Runtime.wait`."""

    @abstractmethod
    def _pod(self) -> PodState:
        """The pod as it is now."""

    @abstractmethod
    def _server(self) -> ApiServer:
        """Who gives logs, and runs commands."""

    @abstractmethod
    def _log(self, container: Container) -> tuple[str, list[tuple[str, str]]]:
        """The path and query of its output."""

    @abstractmethod
    def _exec(self, container: Container) -> tuple[str, list[tuple[str, str]]]:
        """The path and query to run a command in it."""

    # --- what they share ------------------------------------------------------------------------------------------

    def others(self) -> Sequence[Container]:
        """Every container that runs but main and wait, injected ones included.

        Raises:
            LifecycleError: the pod cannot be read.
        """
        return [Container(one.name, one.id) for one in self._pod().containers() if _is_other(one)]

    def open_output(self, container: Container, *, combined: bool) -> BinaryIO:
        """The container's log as it is kept on the node, byte by byte; stderr is in it, whatever is asked for.

        It is no more than the node keeps of it: containerd's is rotated at 10 MiB (the kubelet's containerLogMaxSize),
        and 1.6 loses what is written in the moment of the end (up to 100 of 589 KiB were seen to be missing); docker
        has replaced bytes that are no UTF-8.

        Raises:
            NotFound: there is no such container, or it has not started.
            Forbidden, Unauthorized, Transient: it cannot be read.
        """
        if not combined and not self._told.is_set():
            self._told.set()
            log.warning("stdout and stderr of %s cannot be told apart by this runtime: both are taken", container.name)
        state = self._pod().container(container.name)
        if state is None or state.phase == "waiting":
            raise NotFound(f"the container {container.name!r} has not started: there is no output")
        if state.reason in NOT_BEGUN:  # some nodes have no log of it, and say so by a 500
            return BytesIO()
        path, query = self._log(container)
        if state.phase == "terminated":
            # It ends with the last byte, even where the node still writes it; else what is there now is all.
            query = [*query, ("follow", "true")]
        # No limit to the silence: a node that is gone is found by the keepalive of the connection.
        answer = self._server().open("get", path, self.resource_log, query=query, silence=None)
        return ChunkReader(iter(answer.read1, b""), answer.close)

    def signal(self, container: Container, number: int) -> None:
        """Send a signal to the container's first process, by a shell or a ``kill`` in its image.

        One that has ended, or whose pod is gone, needs none.

        SIGKILL cannot reach it where it is PID 1: there all other processes of the container are killed (ADR 24).

        Raises:
            Unsupported: there is neither, the pod shares the node's processes, or the container survives SIGKILL.
            Forbidden: exec is not allowed.
            Transient: it is not known whether it was sent.
        """
        pod = self._running(container)
        if pod is None:
            return
        firstprocess.check(pod.spec)
        if number != firstprocess.KILL:
            self._send(container, number, pod)
            return
        for seconds in _ROUNDS:
            if not self._send(container, number, pod) or self._has_ended(container, seconds):
                return
        raise firstprocess.survived(container.name)

    def _running(self, container: Container) -> PodState | None:
        """The pod as it is now, if the container runs in it."""
        try:
            pod = self._pod()
        except NotFound:  # the pod's object is gone
            return None
        state = pod.container(container.name)
        return pod if state is not None and state.phase == "running" else None

    def _has_ended(self, container: Container, within: float) -> bool:
        """Whether it ends in so many seconds, or its pod is gone."""
        try:
            return self.wait(container, NEVER, within) is not None
        except NotFound:
            return True

    def _is_over(self, container: Container) -> bool:
        """Whether a command was refused because there is nothing to run it in any more.

        The kubelet answers 500 for that as for much else: the pod's state tells, a little later. It is asked for at
        last, because a watch that broke may be in its back-off.
        """
        return self._has_ended(container, _NEWS) or self._running(container) is None

    def _send(self, container: Container, number: int, pod: PodState) -> bool:
        """Whether the first process may have survived, being PID 1."""
        shared = firstprocess.is_shared(pod.spec)
        for argv in firstprocess.commands(number, shared=shared):
            try:
                done = self._run(container, argv)
            except (NotFound, BadRequest, Unavailable, TimedOut):
                if not self._is_over(container):
                    raise
                return False
            if done.code == 0:
                return not shared and (argv[0] == firstprocess.PROGRAM or firstprocess.OWN in done.said.split())
            if done.code not in _NOT_STARTED:
                if self._is_over(container):
                    return False
                raise BadRequest(
                    f"signal {number} could not be sent to {container.name}: {done.said or f'exit code {done.code}'}"
                )
        if self._is_over(container):
            return False
        raise firstprocess.no_program(container.name, number, shared=shared)

    def _run(self, container: Container, argv: Sequence[str]) -> commands.Finished:
        path, query = self._exec(container)
        return commands.run(self._server(), path, self.resource_exec, query, argv, _EXEC)

    def open_file(self, container: Container, path: str) -> NoReturn:
        """Not possible.

        Raises:
            Unsupported: always.
        """
        raise _unreadable(container, path)

    def open_tar(self, container: Container, path: str) -> NoReturn:
        """Not possible.

        Raises:
            Unsupported: always.
        """
        raise _unreadable(container, path)


def _is_other(one: ContainerState) -> bool:
    return one.phase == "running" and one.name not in OURS


def _unreadable(container: Container, path: str) -> Unsupported:
    return Unsupported(
        f"{path} is in the base layer of {container.name}, which this runtime cannot read",
        remedy="mount an emptyDir there, or choose the docker or pns runtime",
    )
