"""Plays the kubelet for one pod: starts its containers as processes in namespaces, and holds what they leave.

Used by the local runner. Each container is a shim's (:mod:`runtimes.shim`), a process of its own that dies
when this one does, whatever kills it. What happened is on disk (:mod:`runtimes.records`), where
:mod:`runtimes.local` finds it.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import errors
from lifecycle.clock import NEVER
from lifecycle.errors import BadRequest, Cancelled, InputError, LifecycleError, Permanent, Unsupported, classify
from lifecycle.ports import MAIN, Container
from runtimes import records
from runtimes.local import LocalRuntime
from runtimes.records import Held, PodDirectory, Process, Started
from runtimes.root import VISIBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lifecycle.clock import Cancel
    from lifecycle.ports import ContainerSpec, ExitStatus
    from runtimes.namespaces import Plan
    from runtimes.records import ContainerDirectory

    Echo = Callable[[str, bytes], None]

GRACE = 2.0
"""Seconds an init container has between TERM and KILL when the run is cancelled."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = "/run/argoexec/python"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?\Z")
_CODE = "import sys; sys.path.append(sys.argv[1]); from runtimes.shim import main; main(int(sys.argv[2]))"
_PACKAGES = Path(__file__).parent.parent
_REAP = 10.0
_LINE = 64 << 10


@dataclass(slots=True)
class _Running:
    shim: subprocess.Popen[bytes]
    control: socket.socket
    echo: threading.Thread | None
    fds: tuple[int, ...] = ()


class LocalSandbox:
    """The containers of one pod on this machine. Safe to use from several threads."""

    def __init__(self, pod_dir: Path, pod_name: str, echo: Echo | None = None) -> None:
        """Make ``pod_dir``, or take over an empty one, or that of a run that was killed.

        Args:
            pod_dir: where everything of the pod is, an own directory below the run's work dir.
            pod_name: the host name its containers see.
            echo: called with the container's name and each line it writes, without the line's end, from a
            thread per
                container. A container waits for a slow one.
        """
        self._pod = PodDirectory(pod_dir.absolute())
        self._pod_name = pod_name
        self._echo = echo
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        # What a killed run has left here: dead, or about to be, because a shim does not outlive its sandbox.
        self._left = frozenset(directory.name for directory in self._pod.all())
        self._pod.open()
        self._runtime = LocalRuntime(self._pod.path, left=self._left)

    @staticmethod
    def check(environ: Mapping[str, str], pod_dir: Path | None = None) -> None:  # noqa: ARG004 - nothing is chosen
        """Whether there can be one on this machine, as far as is known without trying.

        Raises:
            Unsupported: there cannot.
        """
        if sys.platform != "linux":
            raise Unsupported(f"the local runtime needs Linux, this is {sys.platform}", remedy="use --runtime docker")

    def runtime(self) -> LocalRuntime:
        """One over the pod directory."""
        return LocalRuntime(self._pod.path, left=self._left)

    def run_init(self, spec: ContainerSpec, cancel: Cancel) -> ExitStatus:
        """Run an init container to its end.

        Raises:
            Cancelled: the token was set; the container has been stopped, by force after ``GRACE`` seconds.
            BadRequest: as ``start``.
            Unsupported: as ``start``.
        """
        cancel.check()
        container = self.start(spec)
        try:
            status = self._runtime.wait(container, cancel)
        except Cancelled:
            self._runtime.signal(container, signal.SIGTERM)
            if self._runtime.wait(container, NEVER, GRACE) is None:
                self._runtime.signal(container, signal.SIGKILL)
                self._runtime.wait(container, NEVER)
            raise
        if status is None:
            raise AssertionError("a wait without a time-out has timed out")
        return status

    def start(self, spec: ContainerSpec, cancel: Cancel = NEVER) -> Container:
        """Start main or a sidecar; returns when its command has been executed.

        Main is never started twice: one that a killed run has left is returned as it is.

        Raises:
            InputError: its name cannot be one.
            Cancelled: the token was set.
            BadRequest: the command is not there or cannot be executed, or a mount point cannot be made.
            NotFound: what is to be mounted is not there.
            Unsupported: the kernel refuses; the remedy says what to allow.
        """
        if not _NAME.match(spec.name):
            raise InputError(f"a container cannot have the name {spec.name!r}", place="name")
        cancel.check()
        directory = self._pod.container(spec.name)
        if spec.name in self._left:
            if spec.name == MAIN:
                return Container(MAIN, MAIN)
            self._move_away(directory)
        try:
            directory.path.mkdir(mode=0o755)
        except FileExistsError as error:
            raise BadRequest(f"there is already a container {spec.name!r} in this pod") from error
        try:
            records.write(directory.path / "spec.json", _public(spec))
            directory.start(self._launch(spec, directory))
        except (LifecycleError, OSError) as error:
            failure = classify(error)
            directory.fail(f"{failure.message}; {failure.remedy}" if failure.remedy else failure.message)
            if failure is error:
                raise
            raise failure from error
        return Container(spec.name, spec.name)

    def _move_away(self, directory: ContainerDirectory) -> None:
        """An init container or a sidecar is started again; what the first one wrote is kept."""
        if directory.started() is not None and self._runtime.wait(Container(directory.name), NEVER, _REAP) is None:
            raise BadRequest(f"the container {directory.name!r} of the killed run still runs")
        earlier = self._pod.path / "earlier"
        earlier.mkdir(exist_ok=True)
        number = sum(path.name.rpartition("-")[0] == directory.name for path in earlier.iterdir()) + 1
        directory.path.rename(earlier / f"{directory.name}-{number}")
        self._left -= {directory.name}
        self._runtime = LocalRuntime(self._pod.path, left=self._left)

    def close(self) -> None:
        """Kill what still runs, and let go of everything; the files stay."""
        if not self._pod.closed:
            self._pod.close()
        while True:
            with self._lock:
                if not self._running:
                    break
                _, one = self._running.popitem()
            self._release(one)
        self._runtime.close()
        for directory in self._pod.all():
            _remove_work(directory.path / "work")

    def _launch(self, spec: ContainerSpec, directory: ContainerDirectory) -> Started:
        plan = self._plan(spec, directory)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-I", "-S", "-c", _CODE, str(_PACKAGES), str(theirs.fileno())]
        try:
            with theirs, (directory.path / "shim.log").open("wb") as log:
                shim = subprocess.Popen(
                    [*command, f"{self._pod_name}/{spec.name}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL if self._echo is None else subprocess.PIPE,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    # The container's root may read /proc/1/environ, which is the shim's: not the runner's, then.
                    env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                    cwd="/",
                    start_new_session=True,  # Ctrl-C at a terminal is the runner's to deal with
                )
        except OSError:
            ours.close()
            raise
        echo = self._start_echo(spec.name, shim)
        one = _Running(shim, ours, echo)
        with self._lock:
            self._running[spec.name] = one
        try:
            return self._await(one, plan, directory)
        except BaseException:
            with self._lock:
                self._running.pop(spec.name, None)
            self._release(one)
            raise

    def _await(self, one: _Running, plan: Plan, directory: ContainerDirectory) -> Started:
        """Hand over the plan and follow the conversation drawn in :mod:`runtimes.shim`."""
        shim, me = Process.of(one.shim.pid), Process.of(os.getpid())
        stdin = one.shim.stdin
        if shim is None or me is None or stdin is None:
            raise AssertionError("a child that is not reaped has vanished")
        values: Any = plan
        with contextlib.suppress(BrokenPipeError), stdin:  # it has died; its log says why
            marshal.dump(values, stdin)
        init = None
        started = False
        while True:
            data, fds, _, _ = socket.recv_fds(one.control, 1 << 17, 2, socket.MSG_CMSG_CLOEXEC)
            if not data:
                log = (directory.path / "shim.log").read_text(errors="replace").strip()
                raise Permanent(
                    f"the container's shim has died: {log or 'killed'}",
                    remedy="this is a defect of argoexec: report it",
                )
            message: dict[str, Any] = marshal.loads(data)  # noqa: S302 - our own child, before it execs
            one.fds += tuple(fds)
            if "error" in message:
                raise _error(message)
            if "init" in message:
                init = Process(message["init"], message["start"])
            started = started or "started" in message
            # The shim tells init's number and its child that the command runs: either may come first.
            if started and init is not None:
                break
        root, mounts = one.fds
        return Started(shim, init, me, Held.of(root), Held.of(mounts))

    def _plan(self, spec: ContainerSpec, directory: ContainerDirectory) -> Plan:
        mounts = [(prefix, prefix, True) for prefix in _interpreter_directories()]
        mounts.append((str(self._python_commands()), _PYTHON, True))
        mounts += [(str(one.source.absolute()), one.target, one.read_only) for one in spec.mounts]
        for path in (spec.workdir, *spec.directories, *(one.target for one in spec.mounts)):
            if not path.startswith("/"):
                raise BadRequest(f"{path!r} is not an absolute path", remedy="paths in a container begin with /")
        user = spec.user or 0
        env = {"HOME": "/" if user else "/root", "HOSTNAME": self._pod_name, **spec.env}
        env["PATH"] = f"{env.get('PATH', _PATH)}:{_PYTHON}"
        return {
            "directory": str(directory.path),
            "hostname": self._pod_name,
            "argv": list(spec.argv),
            "env": env,
            "workdir": spec.workdir,
            "user": user,
            "group": spec.group or 0,
            "mounts": mounts,
            "directories": list(spec.directories),
        }

    def _python_commands(self) -> Path:
        """A directory with ``python`` and ``python3``: last in PATH, for machines without."""
        directory = self._pod.path / "python"
        with self._lock:
            if not directory.is_dir():
                directory.mkdir()
                for name in ("python", "python3"):
                    (directory / name).symlink_to(_interpreter())
        return directory

    def _start_echo(self, name: str, shim: subprocess.Popen[bytes]) -> threading.Thread | None:
        echo, stream = self._echo, shim.stdout
        if echo is None or stream is None:
            return None

        def body() -> None:
            with stream:  # also if echo raises: the shim then goes on without it
                while line := stream.readline(_LINE):
                    echo(name, line.rstrip(b"\r\n"))

        thread = threading.Thread(target=body, name=f"echo-{name}", daemon=True)
        thread.start()
        return thread

    def _release(self, one: _Running) -> None:
        if one.shim.stdin is not None:
            one.shim.stdin.close()
        one.control.close()  # which makes the shim kill the container
        try:
            one.shim.wait(_REAP)
        except subprocess.TimeoutExpired:
            one.shim.kill()  # init dies with it
            one.shim.wait()
        if one.echo is not None:
            one.echo.join()
        for fd in one.fds:
            os.close(fd)
        one.fds = ()


def _public(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "image": spec.image,
        "argv": list(spec.argv),
        "env": sorted(spec.env),
        "workdir": spec.workdir,
        "mounts": [{"source": str(one.source), "target": one.target, "readOnly": one.read_only} for one in spec.mounts],
        "directories": list(spec.directories),
        "user": spec.user,
        "group": spec.group,
    }


def _error(message: dict[str, Any]) -> LifecycleError:
    kind: type[LifecycleError] = getattr(errors, message["error"])
    return kind(message["message"], remedy=message["remedy"])


def _interpreter() -> str:
    # In a virtual environment the command is a link, or a copy whose library is elsewhere.
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _interpreter_directories() -> list[str]:
    """Where this interpreter is, unless a container sees it anyway."""
    wanted = dict.fromkeys([os.path.realpath(prefix) for prefix in (sys.base_prefix, sys.base_exec_prefix)])
    return [
        prefix
        for prefix in wanted
        if prefix != "/" and not any(prefix == top or prefix.startswith(top + "/") for top in VISIBLE)
    ]


def _remove_work(path: Path) -> None:
    """The overlays' own directories, which have no permissions: their owner could not delete the run directory."""
    if path.is_dir():
        for directory, names, _ in os.walk(path):
            for name in names:
                (Path(directory) / name).chmod(0o700)
        shutil.rmtree(path)
