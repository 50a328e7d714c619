"""Looks for the first processes of containers, and takes hold of each one's root before it can end.

No event tells an unprivileged process that another one was born: the proc connector and fanotify need privileges of
the node, and /proc has no inotify. So /proc is looked at again and again, as cheaply as can be (ADR 26): one number,
the last process id that was given out in this namespace, says whether anything was born at all.
"""

from __future__ import annotations

import _thread
import os
import select
import time

from runtimes.processes import Processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from typing import Final

    from lifecycle.errors import LifecycleError
    from runtimes.inotify import Watch
    from runtimes.processes import Status

HOSTS: Final = "/etc/hosts"
"""One file in all containers of a pod; the kubelet writes it anew just before it makes each container."""

_TIGHT: Final = 2
"""Milliseconds between two looks when a container may be about to start: 1.5 % of a core."""
_SLOW: Final = 20
"""Milliseconds between two looks while main's image is being pulled: 0.4 % of a core."""
_URGENT: Final = 15.0
"""Seconds that looks stay tight after the beginning, and after the kubelet has begun to make a container."""
_FIRST: Final = 1.0
"""Seconds that everything else is put off for main: a kubelet starts it half a second after us (ADR 26)."""
_SETTLED: Final = 3
"""Looks by which a refusal stands: for a moment of execve(2) a process is nobody's yet."""


class Found:
    """The first process of a container, and what is held of it.

    Attributes:
        start: when it began, in clock ticks since boot: with its number, which process it is.
        pidfd: readable when it has ended.
        ids: of its container, where control groups tell.
        name: of its container; empty where its environment has none, ``None`` where that is not known.
        status: as it was last seen.
        root: an O_PATH descriptor of its root directory; ``None`` before it is held, or after it was let go of.
        mounts: its mount namespace: as long as it is held, what is mounted below the root stays there.
        settled: the container's own program runs in it: the root is the container's, for good.
        refused: looks that the kernel did not allow.
    """

    def __init__(self, pid: int, start: int, pidfd: int, ids: tuple[str, ...], status: Status) -> None:
        self.pid = pid
        self.start = start
        self.pidfd = pidfd
        self.ids = ids
        self.status = status
        self.name: str | None = None
        self.root: int | None = None
        self.mounts: int | None = None
        self.settled = False
        self.refused = self._nameless = 0
        # The root has become another one: it was the node's, and is the container's now.
        self._moved = False

    @property
    def ended(self) -> bool:
        """Whether the process is over, asked for or not."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(0))

    @property
    def held(self) -> bool:
        """Whether its root is held, and is the container's own and not yet, or still, the node's."""
        return self.root is not None and (self.settled or self._moved)

    def look(self, processes: Processes) -> bool:
        """Take its root as it is now.

        Returns:
            whether anything is known now that was not before.
        """
        status = processes.status(self.pid)
        if status is None or self.ended:
            return self._settle()
        self.status = status
        try:
            changed = self._take(processes)
            self.refused = 0
        except PermissionError:
            changed = False
            self.refused += not status.sets_up
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            return self._settle()
        if status.sets_up or 0 < self.refused < _SETTLED:
            return changed
        # The program runs: the root that was open before this look may still be the one of its maker.
        self.name = processes.container_name(self.pid)
        if self.name is None and not self.refused and self._nameless < _SETTLED:
            self._nameless += 1  # in the middle of execve(2) it has no environment yet
            return changed
        self.ids = processes.container_ids(self.pid) or self.ids
        self.settled = True
        return True

    def _take(self, processes: Processes) -> bool:
        root = os.open(f"{processes.proc}/{self.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            mounts = os.open(f"{processes.proc}/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(root)
            raise
        if self.root is not None and self.mounts is not None:
            same = os.path.sameopenfile(root, self.root)
            if same and os.path.sameopenfile(mounts, self.mounts):
                os.close(root)
                os.close(mounts)
                return False
            self._moved |= not same
        # Only a process that is still there was the one that was opened: its number cannot have been given to another.
        if self.ended and processes.start(self.pid) not in {None, self.start}:
            os.close(root)
            os.close(mounts)
            return False
        self.let_go()
        self.root, self.mounts = root, mounts
        return True

    def _settle(self) -> bool:
        """It is over before its program was seen: what is held is all there will be."""
        changed, self.settled = not self.settled, True
        if self.root is not None and not self._moved and self.status.sets_up:
            from runtimes.held import is_same  # noqa: PLC0415 - after the first look

            if not is_same(self.root, HOSTS):  # all roots of a pod have one, by the kubelet's mount
                self.let_go()  # it may be the node's: nothing of that is ever read
        return changed

    def let_go(self) -> None:
        """Close the root; the process can still be waited for and signalled."""
        for fd in (self.root, self.mounts):
            if fd is not None:
                os.close(fd)
        self.root = self.mounts = None

    def close(self) -> None:
        """Close everything."""
        self.let_go()
        os.close(self.pidfd)


class Scan:
    """Looks until it is told to end; whoever waits on ``changed`` is woken when something was found.

    Attributes:
        changed: from the beginning on.
        own: the first process of our own container.
        hosts: the file that the kubelet writes.
        failure: why it does not look any more.
    """

    changed: threading.Condition

    def __init__(self, processes: Processes | None = None, hosts: str = HOSTS) -> None:
        """Nothing is looked at yet.

        Raises:
            BadRequest: the containers of the pod cannot be seen from here.
        """
        self._lock = _thread.RLock()
        self.processes = processes = processes or Processes()
        self.own = processes.own_container()
        self._own_ids = processes.container_ids(self.own)
        self.failure: LifecycleError | None = None
        self.hosts = hosts
        self._found: list[Found] = []
        self._known: set[int] = set()
        self._last = b""
        self._again = 0
        self._urgent_until = 0.0
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._over = False
        self._keep: Found | None = None
        self._thread: threading.Thread | None = None
        self._born = _open_last_pid(processes)

    def begin(self) -> None:
        """Look at once, and from now on in a thread; once."""
        if self._thread is not None:
            return
        self.look()
        import threading  # noqa: PLC0415 - 3 ms: a third of the way from the interpreter's first statement to here

        self.changed = threading.Condition(self._lock)
        self._urgent_until = time.monotonic() + _URGENT
        self._thread = threading.Thread(target=self._run, name="pns-scan", daemon=True)
        self._thread.start()

    def await_first(self, timeout: float) -> bool:
        """Block until a container's program has been seen, at most ``timeout`` seconds; whether it has or cannot be."""
        with self.changed:
            return self.changed.wait_for(
                lambda: self.failure is not None or any(one.settled for one in self._found), timeout
            )

    def found(self) -> list[Found]:
        """What there is now, one for each container but our own, in the order they began."""
        with self.changed:
            self.look()
            return sorted(self._found, key=lambda one: (one.start, one.pid))

    def look(self) -> bool:
        """Look once.

        Returns:
            whether anything is new.
        """
        with self._lock:
            new = self._look_for_born()
            for one in self._found:
                if not one.settled:
                    new |= one.look(self.processes)
                    if self._over and one is not self._keep:
                        one.let_go()
            if new and self._thread is not None:
                self.changed.notify_all()
            return new

    def end(self, keep: Found | None) -> None:
        """Look no more, and let go of every root but one; the processes stay known."""
        with self.changed:
            self._over, self._keep = True, keep
            os.eventfd_write(self._wake, 1)
            for one in self._found:
                if one is not keep:
                    one.let_go()

    def close(self) -> None:
        """End, and let go of everything."""
        self.end(None)
        if self._thread is not None:
            self._thread.join()
        with self.changed:
            while self._found:
                self._found.pop().close()
            for fd in (self._wake, self._born):
                if fd is not None:
                    os.close(fd)

    def _look_for_born(self) -> bool:
        """Add the first processes of containers that were not there at the last look."""
        if self._born is not None and not self._over:
            last = os.pread(self._born, 32, 0)
            # A process has its number before it can be seen, so one that is new is looked for twice.
            self._again = 2 if last != self._last else self._again - 1
            self._last = last
            if self._again <= 0:
                return False
        pids = set(self.processes.pids())
        new = False
        for pid in sorted(pids - self._known):
            new |= self._add(pid)
        # Once looks are rare, a number may have been given to another process since the last one.
        self._known = set() if self._over else pids
        return new

    def _add(self, pid: int) -> bool:
        start = self.processes.start(pid)
        if start is None or pid in {1, self.own} or any((one.pid, one.start) == (pid, start) for one in self._found):
            return False
        status = self.processes.status(pid)
        if status is None or status.parent != 0:
            return False
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        if self.processes.start(pid) != start:  # now that the number is held, it cannot change under us
            os.close(pidfd)
            return False
        ids = self.processes.container_ids(pid)
        one = Found(pid, start, pidfd, ids, status)
        if self._is_joined(one):
            os.close(pidfd)
            return False
        self._found.append(one)
        return True

    def _is_joined(self, one: Found) -> bool:
        """Whether it has been sent into a container that was there before, as `kubectl exec` does."""
        if one.ids:
            return one.ids == self._own_ids or any(one.ids == other.ids for other in self._found)
        space = self.processes.mount_namespace(one.pid)
        if space is None:
            return False
        running = [other.pid for other in self._found if not other.ended]
        return space in {self.processes.mount_namespace(pid) for pid in (self.own, *running)}

    @property
    def urgent(self) -> bool:
        """Whether a container may be about to start."""
        return time.monotonic() < self._urgent_until

    def _run(self) -> None:
        try:
            self._look_on()
        except Exception as error:  # noqa: BLE001 - whoever waits is told: no descriptor is left, /proc hides processes
            from lifecycle.errors import classify  # noqa: PLC0415

            self.failure = classify(error)
            self._tell()

    def _look_on(self) -> None:
        hosts: Watch | None = None
        is_calm = False
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        try:
            while not self._over:
                self.look()
                if not is_calm and not self.urgent:
                    is_calm = True
                    hosts = _watch(self.hosts)  # only now: it imports for 30 ms, in which nobody looks
                    if hosts is not None:
                        poller.register(hosts, select.POLLIN)
                    self._tell()  # what was written before has been no event
                tight = self.urgent or any(not one.settled for one in self._found)
                for fd, _ in poller.poll(_TIGHT if tight else _SLOW):
                    if hosts is not None and fd == hosts.fileno():
                        hosts.names()
                        self._urgent_until = time.monotonic() + _URGENT
                        self._tell()
        finally:
            if hosts is not None:
                hosts.close()

    def _tell(self) -> None:
        with self.changed:
            self.changed.notify_all()


_begun: list[Scan] = []


def begin() -> None:
    """Look for main from now on, before anything else is imported or asked: it may live for 5 ms.

    Returns when it has been seen, or a second later: 200 ms of imports are all that a tenth of a processor gives in two
    seconds, and nobody looks while they go on. What keeps it from being seen is told by whoever asks :func:`begun`.
    """
    try:
        scan = Scan()
        scan.begin()
    except Exception:  # noqa: BLE001 - nothing of the lifecycle is imported yet: see begun()
        return
    _begun.append(scan)
    scan.await_first(_FIRST)


def begun() -> Scan:
    """The scan that looks since :func:`begin`, or from now on.

    Raises:
        BadRequest: the containers of the pod cannot be seen from here.
    """
    scan = _begun.pop() if _begun else Scan()
    scan.begin()
    return scan


def _open_last_pid(processes: Processes) -> int | None:
    """Where the kernel tells the last process id that was given out in this namespace; ``None`` where it does not."""
    try:
        return os.open(f"{processes.proc}/sys/kernel/ns_last_pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # a kernel without CONFIG_CHECKPOINT_RESTORE: /proc is listed at every look
        return None


def _watch(path: str) -> Watch | None:
    """Changes of a file, where it can be watched."""
    from pathlib import Path  # noqa: PLC0415 - after the first look

    from lifecycle.errors import LifecycleError  # noqa: PLC0415
    from runtimes.inotify import Watch  # noqa: PLC0415

    try:
        watch = Watch()
    except LifecycleError:
        return None
    try:
        watch.add_file(Path(path))
    except LifecycleError:
        watch.close()
        return None
    return watch
