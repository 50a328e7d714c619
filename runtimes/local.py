"""The runtime port over a local sandbox's pod directory: ``argoexec run``, or a ``wait`` of its own beside
it.

It starts nothing: :mod:`runtimes.sandbox` does, maybe in another process, which must live as long as main's
root is to be read. Nothing polls: ends come by pidfd, records by inotify.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from lifecycle.errors import (
    Forbidden,
    InputError,
    MainNotStarted,
    NotFound,
    StorageFull,
    Unsupported,
)
from lifecycle.outcome import LOST
from lifecycle.ports import MAIN, OURS, Container, ExitStatus
from runtimes.held import open_regular, open_tree
from runtimes.inotify import Watch
from runtimes.readable import readable
from runtimes.records import CLOSED, PodDirectory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from lifecycle.clock import Cancel
    from lifecycle.ports import Surroundings
    from runtimes.records import ContainerDirectory, Started

POD = "ARGOEXEC_LOCAL_POD"
_LOST = ExitStatus(137, LOST)
"""Of a container whose shim was killed: it is dead too, and nobody knows how it would have ended."""


class LocalRuntime:
    """The containers of a pod on this machine."""

    reads_base_layer: ClassVar[bool] = True

    def __init__(self, pod_dir: Path, *, left: frozenset[str] = frozenset()) -> None:
        """The containers of a pod directory.

        Args:
            pod_dir: the sandbox's; it must exist.
            left: the containers that an earlier sandbox has left when it was killed.

        Raises:
            InputError: it does not.
        """
        if not pod_dir.is_dir():
            raise InputError(
                f"there is no pod directory {pod_dir}",
                remedy=f"{POD} names the pod directory below the work dir of a running `argoexec run`",
            )
        self._pod = PodDirectory(pod_dir)
        self._left = left
        self._roots: dict[str, tuple[int, int]] = {}
        self._on_disk: dict[str, int] = {}

    @classmethod
    def from_pod(cls, here: Surroundings) -> Self:
        """The runtime of ``ARGO_CONTAINER_RUNTIME_EXECUTOR=local``.

        Raises:
            InputError: the environment does not name the pod directory, or names none.
        """
        path = here.environ.get(POD)
        if not path:
            raise InputError(
                "the local runtime does not know its pod", place=POD,
                remedy=f"set {POD} to the pod directory below the work dir of a running `argoexec run`; "
                "in a cluster choose another ARGO_CONTAINER_RUNTIME_EXECUTOR",
            )  # fmt: skip
        return cls(Path(path))

    def find_main(self, cancel: Cancel) -> Container:
        """Block until main has started, and hold its root and mounts.

        Raises:
            MainNotStarted: the sandbox says so, is closed, or is gone.
            Cancelled: the token was set.
        """
        main = self._pod.container(MAIN)
        if MAIN in self._left and main.started() is None:
            raise MainNotStarted(main.failure() or "main was lost: it was being started when the executor was killed")
        with Watch() as watch:
            for path in (self._pod.path, self._pod.containers):
                path.mkdir(exist_ok=True)  # whoever comes first makes it
                watch.add(path)
            while not self._is_decided(main):
                if main.path.is_dir():
                    watch.add(main.path)
                    if self._is_decided(main):
                        break
                self._await_news(watch, cancel)
        started = main.started()
        if started is None:
            raise MainNotStarted(main.failure() or "the pod has ended before main was started")
        if MAIN not in self._left:
            self._hold(main, started)
        return Container(MAIN, MAIN)

    def _is_decided(self, main: ContainerDirectory) -> bool:
        """Whether main has been started, or never will be."""
        return self._pod.closed or main.started() is not None or main.failure() is not None

    def _await_news(self, watch: Watch, cancel: Cancel) -> None:
        """Block until something in the pod directory has changed.

        Raises:
            MainNotStarted: the sandbox is gone, and nothing will.
            Cancelled: the token was set.
        """
        sandbox = self._pod.sandbox()
        alive = None if sandbox is None else sandbox.open()
        if sandbox is not None and alive is None:
            raise MainNotStarted("the process that was to start main is gone", remedy="start the run again")
        try:
            woken = readable([watch.fileno(), cancel.fileno(), alive], None)
        finally:
            if alive is not None:
                os.close(alive)
        if watch.fileno() in woken:
            watch.names()
        elif cancel.fileno() in woken:
            cancel.check()

    def wait(self, container: Container, cancel: Cancel, timeout: float | None = None) -> ExitStatus | None:
        """Block until its shim has written all output and the status, and ended.

        Raises:
            NotFound: there is no such container.
            Cancelled: the token was set.
        """
        directory, started = self._started(container)
        shim = started.shim.open()
        if shim is not None:
            try:
                woken = readable([shim, cancel.fileno()], timeout)
            finally:
                os.close(shim)
            if shim not in woken:
                if cancel.fileno() in woken:
                    cancel.check()
                return None
        status = directory.status()
        if status is None or (container.name in self._left and status["reason"] == CLOSED):
            return _LOST
        return ExitStatus(status["code"], status["reason"])

    def others(self) -> Sequence[Container]:
        """Every container but main that has been started and has not ended."""
        running = []
        for directory in self._pod.all():
            started = directory.started()
            if directory.name in OURS or started is None or directory.status() is not None:
                continue
            if (shim := started.shim.open()) is not None:
                os.close(shim)
                running.append(Container(directory.name, directory.name))
        return running

    def signal(self, container: Container, number: int) -> None:
        """Send it to the container's init, which passes it on; KILL ends init, and with it the container.

        Raises:
            NotFound: there is no such container.
            Forbidden: it is another user's.
        """
        init = self._started(container)[1].init.open()
        if init is None:
            return
        try:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                signal.pidfd_send_signal(init, number)
        except PermissionError as error:
            raise Forbidden(
                f"{container.name} belongs to another user", remedy="signal it as the user who runs the pod"
            ) from error
        finally:
            os.close(init)

    def open_file(self, container: Container, path: str) -> BinaryIO:
        """A regular file below the container's root.

        Raises:
            NotFound: there is none.
            BadRequest: it is a directory, or a special file.
            Unsupported: the sandbox, which held the root, is gone.
        """
        return open_regular(self._root(container), path)

    def open_tar(self, container: Container, path: str) -> BinaryIO:
        """The path below the container's root as a tar stream.

        Raises:
            NotFound, Unsupported: as ``open_file``.
        """
        return open_tree(self._root(container), path)

    def open_output(self, container: Container, *, combined: bool) -> BinaryIO:
        """What it has written so far; all of it once ``wait`` has returned.

        Raises:
            NotFound: there is no such container.
            StorageFull: it was more than the disk could take.
        """
        directory = self._started(container)[0]
        status = directory.status()
        if status is not None and status["output_errno"]:
            raise StorageFull(
                f"the output of {container.name} could not be kept: {os.strerror(status['output_errno'])}",
                remedy="free space where the work dir is, or choose another one",
            )
        return (directory.path / ("combined" if combined else "stdout")).open("rb")

    def close(self) -> None:
        """Let go of the roots."""
        while self._roots:
            for fd in self._roots.popitem()[1]:
                os.close(fd)
        while self._on_disk:
            os.close(self._on_disk.popitem()[1])

    def _started(self, container: Container) -> tuple[ContainerDirectory, Started]:
        directory = self._pod.container(container.name)
        started = directory.started()
        if started is None:
            raise NotFound(f"there is no container {container.name!r} in the pod {self._pod.path}")
        return directory, started

    def held_root(self, container: Container) -> int:
        """Main's root with its mounts, as the sandbox holds it; the descriptor stays ours."""
        if container.name in self._left:
            raise NotFound(f"the root of {container.name} is not held: the process that held it was killed")
        return self._root(container)

    def _root(self, container: Container) -> int:
        if container.name in self._left:
            return self._root_on_disk(container)
        if container.name not in self._roots:
            self._hold(*self._started(container))
        if container.name not in self._roots:
            raise Unsupported(
                f"the files of {container.name} cannot be read: the sandbox that held its root is gone",
                remedy=f"what it wrote is in {self._pod.container(container.name).path / 'root'}",
            )
        return self._roots[container.name][0]

    def _root_on_disk(self, container: Container) -> int:
        """What a container has written outside of mounts, /usr, /etc and /opt is in plain directories."""
        path = self._pod.container(container.name).path / "root"
        if container.name not in self._on_disk:
            try:
                self._on_disk[container.name] = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise NotFound(f"{container.name} has left no files at {path}") from error
        return self._on_disk[container.name]

    def _hold(self, directory: ContainerDirectory, started: Started) -> None:
        """Take the root and the mounts over from the sandbox's process, if it still has them."""
        if directory.name in self._roots:
            return
        mounts = started.mounts.open(started.sandbox.pid, os.O_RDONLY)
        root = started.root.open(started.sandbox.pid, os.O_RDONLY | os.O_DIRECTORY)
        if root is not None and mounts is not None:
            self._roots[directory.name] = (root, mounts)
            return
        for fd in (root, mounts):
            if fd is not None:
                os.close(fd)
