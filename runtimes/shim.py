"""One process per container, between the sandbox and the container's first process (as containerd's shims
are).

Started by :mod:`runtimes.sandbox` as a clean interpreter, because nobody may fork from a process with
threads::

    sandbox ── shim ── init (PID 1 of its namespace) ── command (PID 2)
       │plan──▶│          │
       │◀─init's pid──────┤
       │◀──root, mounts───┤   descriptors, by SCM_RIGHTS
       │◀──started────────┤   or an error
       │       │◀──stdout, stderr, to their end──────── files
       │       │   status.json when init has ended
       │x─────▶│   the sandbox is gone: kill init, and with it everything

The command is not PID 1 because the kernel drops signals for PID 1 that it has no handler for: ``sleep``
would not end by TERM. This module is started in every container of a pod: it imports nothing that costs
(``json`` and ``socket`` are 10 ms each, ``typing`` and ``pathlib`` as well), which is why ``marshal`` carries
the plan between two processes of the same interpreter.
"""
# pathlib would be 8 ms of every container's start

from __future__ import annotations

import _socket  # what socket.py wraps; 11 ms less
import contextlib
import errno
import fcntl
import marshal
import os
import select
import signal
import sys
from array import array

from runtimes import kernel, namespaces
from runtimes.kernel import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from runtimes.namespaces import Plan

_PIPE = 1 << 20
# A read takes all that is there, stdout first: what is written to stdout and then to stderr keeps its order.
_CHUNK = _PIPE
_NOT_STARTED = 127  # a shell's word for it
# What Docker and Kubernetes leave to root in a container, but for MKNOD: no device cgroup guards the disks
# here.
_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31})


def main(control_fd: int) -> None:
    """Run the container whose plan is on stdin, and exit."""
    control = _socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    plan: Plan = marshal.load(sys.stdin.buffer)  # noqa: S302 - from our own parent
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.umask(0o022)
    out_read, out_write = _pipe()
    error_read, error_write = _pipe()
    # Whoever reads this end has gone when the shim has.
    alive_read, alive_write = os.pipe()
    try:
        user_namespace = namespaces.leave(plan)
    except Refusal as refusal:
        _tell(control, _as_error(refusal))
        os._exit(1)
    pid = os.fork()
    if pid == 0:
        for fd in (out_read, error_read, alive_read):
            os.close(fd)
        _init(plan, control, (out_write, error_write), alive_write, user_namespace=user_namespace)
    for fd in (out_write, error_write, alive_write):
        os.close(fd)
    _tell(control, {"init": pid, "start": _start_of(pid)})
    code, reason, failed = _Pump(plan["directory"], control_fd, pid).run(out_read, error_read)
    _record(plan["directory"], f'{{"code": {code}, "reason": "{reason}", "output_errno": {failed}}}\n')
    os._exit(0)


class _Pump:
    """Carries the output of the container until its end."""

    def __init__(self, directory: str, control_fd: int, pid: int) -> None:
        self._control = control_fd
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._combined: int | None = _create(directory + "/combined")
        self._stdout: int | None = _create(directory + "/stdout")
        self._echo: int | None = 1
        self._failed = 0
        self._reason = ""

    def run(self, out: int, error: int) -> tuple[int, str, int]:
        """Returns exit code, reason, and the errno of the first write that failed, or 0."""
        poller = select.poll()
        poller.register(self._control, 0)  # hang-up only: nobody sends
        poller.register(self._pidfd, select.POLLIN)
        poller.register(out, select.POLLIN)
        poller.register(error, select.POLLIN)
        ended = False
        while not ended:
            for fd, _ in poller.poll():
                if fd == self._control:
                    poller.unregister(fd)
                    self._reason = "closed"
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                elif fd == self._pidfd:
                    ended = True
                elif not self._carry(fd, is_stdout=fd == out):
                    poller.unregister(fd)
        # With init gone the kernel has killed all its namespace. A descriptor that was passed out of it,
        # through a socket of a volume, would keep the end of file from coming: what was written is in the
        # pipes already.
        for fd in (out, error):
            os.set_blocking(fd, False)
            while self._carry(fd, is_stdout=fd == out):
                pass
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return (code if code >= 0 else 128 - code), self._reason, self._failed

    def _carry(self, fd: int, *, is_stdout: bool) -> bool:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            return False
        if is_stdout:
            self._stdout = self._write(self._stdout, data)
        self._combined = self._write(self._combined, data)
        if self._echo is not None:
            try:
                _write_all(self._echo, data)
            except OSError:  # nobody listens any more
                self._echo = None
        return True

    def _write(self, fd: int | None, data: bytes) -> int | None:
        """A full disk must not stop the container: its output is read on and lost, and the status says so."""
        if fd is not None:
            try:
                _write_all(fd, data)
            except OSError as error:
                self._failed = self._failed or error.errno or errno.EIO
                return None
        return fd


def _init(
    plan: Plan, control: _socket.socket, outputs: tuple[int, int], alive: int, *, user_namespace: bool
) -> NoReturn:
    """PID 1: make the root, run the command, reap, forward signals, and end as the command does."""
    code = 1
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        watch = select.poll()
        watch.register(alive, 0)
        if not watch.poll(0):  # else the shim was gone before the line above
            os.close(alive)
            code = _run(plan, control, outputs, user_namespace=user_namespace)
    except Refusal as refusal:
        _tell(control, _as_error(refusal))
    except OSError as error:
        what = f"{error.filename or 'the container'}: {error.strerror}"
        _tell(control, _as_error(Refusal("Permanent", f"the container cannot be set up: {what}")))
    finally:
        # Also when something unforeseen is on its way up: this fork must never run on in the shim's code.
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def _run(plan: Plan, control: _socket.socket, outputs: tuple[int, int], *, user_namespace: bool) -> int:
    root, mounts = namespaces.build(plan, user_namespace=user_namespace)
    _tell(control, {"root": True}, (root, mounts))
    os.close(root)
    os.close(mounts)
    failure_read, failure_write = os.pipe()
    everything = signal.valid_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, everything)  # a blocked signal waits, even for PID 1
    command = os.fork()
    if command == 0:
        _exec(plan, outputs, failure_write, user_namespace=user_namespace)
    for fd in (*outputs, failure_write):
        os.close(fd)
    with open(failure_read, "rb") as file:
        failure = file.read()  # ends when exec has closed the other end
    if failure:
        _tell(control, marshal.loads(failure))  # noqa: S302 - from our own fork
        os.waitpid(command, 0)
        return _NOT_STARTED
    _tell(control, {"started": True})
    control.close()
    os.dup2(0, 1)  # the container may look at our descriptors: leave it only its own /dev/null
    os.dup2(0, 2)
    while True:
        number = signal.sigwait(everything)
        if number != signal.SIGCHLD:
            os.kill(command, number)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == command:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if pid == 0:
                break


def _exec(plan: Plan, outputs: tuple[int, int], failure: int, *, user_namespace: bool) -> NoReturn:
    """PID 2: become the command, or tell why not."""
    try:
        os.setsid()
        for target, fd in enumerate(outputs, 1):
            os.dup2(fd, target)
        kernel.limit_capabilities(_CAPABILITIES)
        os.chdir(plan["workdir"])
        if not user_namespace:
            for fd in (1, 2):
                os.fchown(fd, plan["user"], plan["group"])  # so that /dev/stdout can be opened
            os.setgroups([])
            os.setgid(plan["group"])
            os.setuid(plan["user"])
        for number in signal.valid_signals():  # what Python ignores, and what nohup made our parents ignore
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _search(plan["argv"], plan["env"])
    except Refusal as refusal:
        _report(failure, refusal)
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument or the environment
        what = f"{error.filename or 'it'}: {error.strerror}" if isinstance(error, OSError) else error
        _report(failure, Refusal("BadRequest", f"the command cannot be started: {what}"))
    finally:
        os._exit(_NOT_STARTED)


def _report(fd: int, refusal: Refusal) -> None:
    os.write(fd, marshal.dumps(_as_error(refusal)))


def _search(argv: list[str], env: dict[str, str]) -> NoReturn:
    """execvp, which tells what it found."""
    name, path = argv[0], env.get("PATH", os.defpath)
    candidates = [name] if "/" in name else [f"{directory or '.'}/{name}" for directory in path.split(":")]
    denied = ""
    for candidate in candidates:
        try:
            os.execve(candidate, argv, env)  # noqa: S606 - no shell is the point
        except OSError as error:
            if error.errno == errno.EACCES:
                denied = denied or candidate
            elif error.errno not in {errno.ENOENT, errno.ENOTDIR} or os.path.isfile(candidate):
                # A file that is there and is not found: the interpreter its first line names is meant.
                remedy = _EXEC_REMEDIES.get(error.errno or 0, "")
                raise Refusal("BadRequest", f"{candidate} cannot be executed: {error.strerror}", remedy) from error
    if denied:
        raise Refusal(
            "BadRequest",
            f"{denied} is not executable",
            "give it an execute bit, or name its interpreter before it",
        )
    where = "" if "/" in name else f" in PATH={path}"
    raise Refusal(
        "BadRequest",
        f"the command {name!r} is not there{where}",
        "the local runtime has the programs of this machine, not those of the image: use one that is "
        "installed here, install it, or run with --runtime docker",
    )


_EXEC_REMEDIES = {
    errno.ENOENT: "the interpreter that its first line names is not here",
    errno.ENOEXEC: "a script needs a first line such as #!/bin/sh",
    errno.E2BIG: "pass large values as files, not as arguments or environment",
}


def _tell(control: _socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", fds))] if fds else []
    try:
        control.sendmsg([marshal.dumps(message)], rights)
    except OSError as error:  # the sandbox has gone; the shim sees that too, and ends all this
        sys.stderr.write(f"the sandbox does not listen: {error}\n")


def _as_error(refusal: Refusal) -> dict[str, Any]:
    return {"error": refusal.kind, "message": refusal.message, "remedy": refusal.remedy}


def _start_of(pid: int) -> int:
    """When a process began, in clock ticks since boot: tells it from a later one with the same number."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    with contextlib.suppress(OSError):  # the user's pipes may have used their allowance: more switches, then
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE)
    return read, write


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _record(directory: str, text: str) -> None:
    fd = _create(directory + "/status.json.tmp")
    _write_all(fd, text.encode())
    os.fsync(fd)
    os.close(fd)
    os.rename(directory + "/status.json.tmp", directory + "/status.json")
