"""Which of the processes that pns sees is main: by its name, by its container's ID, or as the only one there is."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

from lifecycle.clock import Cancel, terminated
from lifecycle.errors import BadRequest, Cancelled, LifecycleError, MainNotStarted, NotFound, classify
from lifecycle.ports import MAIN, Container
from runtimes.processes import NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtimes.pods import ContainerState, PodWatch
    from runtimes.scan import Found, Scan


_MADE: Final = 60.0
"""Seconds that a container may take from the kubelet's first step to its first process, on a node with much to do."""
_UNSEEN: Final = 600.0
"""Seconds that main may take where nobody may ask whether it still comes: those that a failing pull has elsewhere."""


class Search:
    """One search for main: /proc and the API server are asked at the same time, either may be faster."""

    def __init__(self, scan: Scan, watch: PodWatch | None, say: Callable[[str], None]) -> None:
        """Nothing is asked yet.

        Args:
            scan: of the processes; it looks already.
            watch: the pod; ``None`` where there is no API server to ask.
            say: tells what a person should know.
        """
        self._scan = scan
        self._watch = watch
        self._say = say
        self._names_all = NAME.rstrip(b"=") in os.environb
        """Whether the controller names its containers in their environment."""
        self._told: ContainerState | None = None
        self._error: LifecycleError | None = None
        self._asked = 0.0
        self._patience: float | None = None
        """Seconds until what is known is enough, although nothing happens."""

    def run(self, cancel: Cancel) -> tuple[Container, Found | None]:
        """Block until main is known; without a process where it had ended before it could be seen.

        Raises:
            MainNotStarted: it never will, as far as the API server tells; or nothing tells of it, for ten minutes.
            BadRequest: several processes may be main, and nothing tells which.
            Cancelled: the token was set.
            LifecycleError: the processes cannot be looked at.
        """
        over = Cancel()
        self._asked = time.monotonic()
        threading.Thread(target=self._ask, args=(over,), name="pns-main", daemon=True).start()
        try:
            with cancel.listening(self._wake), self._scan.changed:
                while True:
                    cancel.check()
                    found = self._recognised()
                    if found is not None:
                        return found
                    self._scan.changed.wait(self._patience)
        finally:
            over.set(terminated("the search for main is over"))

    def _recognised(self) -> tuple[Container, Found | None] | None:
        """Main, if what is known by now is enough to tell."""
        self._patience = None
        if isinstance(self._error, (MainNotStarted, NotFound)):
            raise self._error
        if self._scan.failure is not None:
            raise self._scan.failure
        running = self._scan.found()
        for one in running:
            if one.settled and one.name == MAIN:
                return _container(one), one
        if self._told is not None:
            container, process = _with_process(self._told, running)
            # What runs has been executed, and is seen so within a look or two.
            return (container, process) if process is None or process.settled else None
        return None if self._error is None else self._supposed(self._error, running)

    def _supposed(self, error: LifecycleError, running: list[Found]) -> tuple[Container, Found | None] | None:
        """What main must be, as nobody tells: the only container there is, or one that has ended already."""
        candidates = [one for one in running if not self._is_another(one)]
        if any(not one.settled for one in candidates):
            return None
        main = _only(candidates)
        if main is not None:
            self._say(f"main is taken for what it seems to be, because the pod cannot be watched: {with_remedy(error)}")
            return _container(main), main
        made = _since_made(self._scan)
        left = self._asked + _UNSEEN - time.monotonic() if made is None else _MADE - made
        if left > 0:
            self._patience = left
            return None
        if made is None:
            raise MainNotStarted(
                f"main was not seen within {_UNSEEN:.0f} s, and the pod cannot be watched: {error.message}",
                remedy=error.remedy,
            ) from error
        self._say(f"main has ended before it could be seen, it seems; the pod cannot be watched: {with_remedy(error)}")
        return Container(MAIN), None

    def _is_another(self, one: Found) -> bool:
        """Whether its environment says that it is not main; a proxy that somebody injected has no name."""
        return one.name is not None and (one.name != "" or self._names_all)

    def _ask(self, over: Cancel) -> None:
        """What the API server says of main, in a thread."""
        try:
            if self._watch is None:
                raise BadRequest("there is no API server to ask")
            self._told = self._watch.await_main(over)
        except Cancelled:
            return
        except Exception as error:  # noqa: BLE001 - a thread has no caller
            self._error = classify(error)
        self._wake()

    def _wake(self) -> None:
        with self._scan.changed:
            self._scan.changed.notify_all()


def with_remedy(error: LifecycleError) -> str:
    """An error and its remedy in one line."""
    return f"{error.message}; {error.remedy}" if error.remedy else error.message


def _container(process: Found) -> Container:
    return Container(MAIN, next(iter(process.ids), ""))


def _with_process(main: ContainerState, running: list[Found]) -> tuple[Container, Found | None]:
    """Main as the pod's status has it, and its process where there is one."""
    container = Container(MAIN, main.id)
    for one in running:
        if main.id and main.id in one.ids:
            return container, one
    # One whose control group tells an ID is another container, and so is one that outlives main.
    over = main.phase == "terminated"
    return container, _only([one for one in running if not one.ids and not one.name and (one.ended or not over)])


def _only(candidates: list[Found]) -> Found | None:
    """The one there is.

    Raises:
        BadRequest: there are several.
    """
    if len(candidates) > 1:
        pids = ", ".join(str(one.pid) for one in candidates)
        raise BadRequest(
            f"any of the processes {pids} may be main: neither their control groups nor an ARGO_CONTAINER_NAME tells",
            remedy="grant `watch` on `pods` to the pod's service account, and see that /proc/PID/cgroup shows "
            "container IDs; or use a controller from v3.0 on, which names its containers",
        )
    return candidates[0] if candidates else None


def _since_made(scan: Scan) -> float | None:
    """Seconds since the kubelet last began to make a container after our own; ``None`` where it has not.

    It begins by writing /etc/hosts, once the image is there.
    """
    start = scan.processes.start(scan.own)
    try:
        written = os.stat(scan.hosts).st_mtime
    except OSError:
        return None
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    if start is None or written <= booted + start / os.sysconf("SC_CLK_TCK"):
        return None
    return max(0.0, time.time() - written)
