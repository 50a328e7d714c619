"""The runtime of pods whose containers share one process namespace (``shareProcessNamespace: true``, spec 2.6).

It sees the other containers' processes: it waits and signals by pidfd, and reads main's files below its root, which
it holds from before main's program runs until after its end. What /proc does not tell comes from the API server.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final

from lifecycle.clock import NEVER, Cancel
from lifecycle.errors import (
    BadRequest,
    Cancelled,
    Forbidden,
    LifecycleError,
    Unsupported,
)
from lifecycle.ports import MAIN, OURS, Container, ExitStatus
from runtimes.exits import exit_code
from runtimes.held import open_regular, open_tree
from runtimes.podlog import PodLog
from runtimes.processes import refusal
from runtimes.readable import readable
from runtimes.scan import Scan, begun
from runtimes.search import Search, with_remedy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from lifecycle.ports import Surroundings
    from runtimes.pods import PodState, PodWatch
    from runtimes.scan import Found

log = logging.getLogger("argoexec")


_LATE: Final = 30.0
"""Seconds after a process's end within which the kubelet tells how it ended: it looks once a second."""
_REASON: Final = 5.0
"""Seconds that the word for an end by SIGKILL is worth: it may be OOMKilled."""
_NAMED: Final = 5.0
"""Seconds that the kubelet may take to tell the name of a container that runs already."""
_UNKNOWN: Final = "exit code unknown"


class NamespaceRuntime:
    """The containers of this pod, as processes."""

    reads_base_layer: ClassVar[bool] = True

    def __init__(self, watch: PodWatch | None, output: PodLog | None, scan: Scan | None = None) -> None:
        """Look for main from now on.

        Args:
            watch: the pod; ``None`` where there is no API server to ask.
            output: of its containers.
            scan: has begun to look already.

        Raises:
            BadRequest: the namespace is not shared.
        """
        self._scan = scan or Scan()
        self._scan.begin()
        self._processes = self._scan.processes
        self._watch = watch
        self._log = output
        self._main: Found | None = None
        self._others: dict[Container, Found] = {}
        self._said: set[str] = set()

    @classmethod
    def from_pod(cls, here: Surroundings) -> Self:
        """The runtime of ``ARGO_CONTAINER_RUNTIME_EXECUTOR=pns``; it looks for main from now on, if not yet.

        Raises:
            BadRequest: the containers of the pod do not share a process namespace.
        """
        scan = begun()
        from runtimes.api import ApiServer  # noqa: PLC0415 - 60 ms, in which main may have ended
        from runtimes.pods import PodWatch  # noqa: PLC0415

        try:
            watch = PodWatch.of(here)
            return cls(watch, PodLog(ApiServer.of(here), watch), scan)
        except LifecycleError as error:
            log.warning("pns has no API server to ask: %s", error)
            return cls(None, None, scan)

    # --- main -----------------------------------------------------------------------------------------------------

    def find_main(self, cancel: Cancel) -> Container:
        """Block until main has started, and hold its root.

        A main that has ended before it could be seen is found as well, without its files. Its exit code is known where
        the pod can be watched; where it cannot, main counts as ended when the kubelet has begun to make it a minute ago
        and there is no process.

        Raises:
            MainNotStarted: it never will, as far as the API server tells; or nothing tells of it, for ten minutes.
            BadRequest: several processes may be main, and nothing tells which.
            Cancelled: the token was set.
        """
        container, process = Search(self._scan, self._watch, self._say).run(cancel)
        self._main = process
        self._scan.end(process)
        self._tell_what_is_missing()
        return container

    def _tell_what_is_missing(self) -> None:
        """Say now, while main runs, that outputs of its base layer will not be readable."""
        try:
            self._root(Container(MAIN))
        except LifecycleError as error:
            self._say(f"outputs can be saved from volumes only: {with_remedy(error)}")

    # --- waiting and signals --------------------------------------------------------------------------------------

    def wait(self, container: Container, cancel: Cancel, timeout: float | None = None) -> ExitStatus | None:
        """Block until its first process has ended; the kernel or the kubelet tells how.

        What it wrote is complete when ``open_output`` says so: that follows to the end.

        Raises:
            Cancelled: the token was set.
            Forbidden, NotFound: only the API server could tell, and does not.
        """
        process = self._process(container)
        if process is None:
            if self._watch is None:
                return ExitStatus(0, _UNKNOWN)
            return self._watch.wait_for(lambda pod: _ended(pod, container), cancel, timeout)
        woken = readable([process.pidfd, cancel.fileno()], timeout)
        if process.pidfd not in woken:
            cancel.check()
            return None
        return self._status(container, process, cancel)

    def _status(self, container: Container, process: Found, cancel: Cancel) -> ExitStatus:
        """How a process that has ended did so."""
        code = exit_code(process.pidfd)
        # One that was last seen while its container was made may have been its maker to the end: no such command.
        is_certain = code is not None and not process.status.sets_up
        if code is not None and (container.name != MAIN or (is_certain and code != 128 + signal.SIGKILL)):
            return ExitStatus(code)
        told = None
        try:
            if self._watch is not None:
                patience = _REASON if is_certain else _LATE
                told = self._watch.wait_for(lambda pod: _ended(pod, container), cancel, patience)
        except Cancelled:
            raise
        except LifecycleError as error:
            self._say(f"the pod cannot be asked how {container.name} ended: {with_remedy(error)}")
        if told is not None:
            return told
        # 0, so that what is missing is missed: another code would forgive it as the fault of a main that failed.
        return ExitStatus(0, _UNKNOWN) if code is None else ExitStatus(code)

    def others(self) -> Sequence[Container]:
        """Every container but main and this one whose first process runs; unnamed ones are called by their ID."""
        running = [one for one in self._scan.found() if one is not self._main and not one.ended]
        names = self._names({one.ids[0] for one in running if one.ids and not one.name})
        there = []
        for one in running:
            known = one.name or next((names[each] for each in one.ids if each in names), "")
            name = known or (one.ids[0][:12] if one.ids else f"process-{one.pid}")
            if name not in OURS:
                there.append(Container(name, one.ids[0] if one.ids else ""))
                self._others[there[-1]] = one
        return there

    def _names(self, wanted: set[str]) -> dict[str, str]:
        """Names by ID, as the pod's status has them: it may be a moment behind."""
        if self._watch is None or not wanted:
            return {}
        try:
            self._watch.wait_for(lambda pod: True if wanted <= _ids(pod) else None, NEVER, _NAMED)
        except LifecycleError as error:
            self._say(f"containers are called by their ID, because the pod cannot be watched: {with_remedy(error)}")
        seen = self._watch.seen
        return {} if seen is None else {one.id: one.name for one in seen.containers() if one.id}

    def signal(self, container: Container, number: int) -> None:
        """Send it to the container's first process, which is no init of the namespace: KILL and TERM reach it.

        Raises:
            Forbidden: it is another user's.
        """
        process = self._process(container)
        if process is None:
            return
        try:
            signal.pidfd_send_signal(process.pidfd, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise Forbidden(
                f"{container.name} runs as user {process.status.uid}, wait as user {os.geteuid()}: it may not be "
                f"sent {signal.Signals(number).name}",
                remedy="run both as the same user (runAsUser), or wait as root with the capability KILL",
            ) from error

    def _process(self, container: Container) -> Found | None:
        """Its first process, there or not any more; ``None`` when it was never seen."""
        if container.name == MAIN:
            return self._main
        if container not in self._others:
            self.others()
        return next((one for other, one in self._others.items() if other.name == container.name), None)

    # --- files and output -----------------------------------------------------------------------------------------

    def open_file(self, container: Container, path: str) -> BinaryIO:
        """A regular file below main's root, links followed inside it.

        Raises:
            NotFound: there is none.
            BadRequest: it is a directory, or a special file.
            Forbidden, Unsupported: main's root is not held; the message says why.
        """
        return open_regular(self._root(container), path)

    def open_tar(self, container: Container, path: str) -> BinaryIO:
        """The path below main's root as a tar stream.

        Raises:
            NotFound, Forbidden, Unsupported: as ``open_file``.
        """
        return open_tree(self._root(container), path)

    def _root(self, container: Container) -> int:
        main, ours = self._main, self._processes.status(os.getpid())
        if container.name == MAIN and main is not None:
            if main.root is not None and main.held:
                return main.root
            if main.refused and ours is not None:
                cause, remedy = refusal(ours, main.status)
                raise Forbidden(f"main's files may not be read: {cause}", remedy=remedy)
        remedy = "save them from a volume, let main run for a moment longer, or choose the executor docker"
        if ours is not None and not ours.may_trace:
            remedy += "; with the capability SYS_PTRACE, wait holds it before main's command runs"
        why = "it had ended when it was looked for" if main is None else "it ended before its root was its own"
        raise Unsupported(f"the files of {container.name} cannot be read: {why}", remedy=remedy)

    def open_output(self, container: Container, *, combined: bool) -> BinaryIO:
        """What the container wrote, to its end, in the order it came: the pod's log does not tell stderr apart.

        Raises:
            NotFound, Forbidden, Unavailable: as the API server says.
            BadRequest: there is no API server.
        """
        if not combined:
            self._say("stdout is not told apart from stderr: the log of a pod has both")
        if self._log is None:
            raise BadRequest("the output of a container is in the pod's log, and there is no API server to ask for it")
        return self._log.open(container)

    def close(self) -> None:
        """Let go of everything."""
        self._scan.close()

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("pns: %s", text)


def _ids(pod: PodState) -> frozenset[str]:
    return frozenset(one.id for one in pod.containers() if one.id)


def _ended(pod: PodState, container: Container) -> ExitStatus | None:
    state = pod.container(container.name)
    return state.exit_status() if state is not None and state.phase == "terminated" else None
