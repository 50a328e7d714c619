"""Namespaces that a node's daemons live in: all of it ends with the test run, even when that is killed.

A kubelet, a dockerd and a containerd write to paths that no option moves (``/var/log/pods``, ``/run/dockershim.sock``,
``/run/containerd/s``), mount file systems, start processes that outlive them and set the machine's sysctls. So they get
a mount namespace, where these paths are ours, a PID namespace, whose end kills every container, and a cgroup, which
two nodes on one machine do not share. The network is the machine's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.process import await_ready, needs

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
"""What a kubelet would set for the whole machine; it finds them set, by files of ours."""

_PREFIX = "argoexec-"
"""Of a cgroup's name, before the process that has made it."""

_OPEN = """
set -e
mount -t tmpfs none /run
mount --bind "$1/var-log" /var/log
cd "$1/sysctls"
find . -type f | while read -r name; do mount --bind "$name" "/proc/sys/$name"; done
exec "$2"
"""


@dataclass(frozen=True)
class Enclosure:
    """Namespaces that are there; ``init`` is their first process, as the machine sees it."""

    init: int
    cgroup: str
    """Of each hierarchy, below which the node's cgroups are to be."""

    @property
    def enter(self) -> tuple[str, ...]:
        """What to put before a command for it to run inside; a signal to the process group reaches it."""
        return ("nsenter", f"--target={self.init}", "--mount", "--pid", "--")


@contextlib.contextmanager
def opened(directory: Path, pause: Path) -> Iterator[Enclosure]:
    """Make them, and end everything that runs inside.

    They end with the thread that calls, too: that is when the kernel sends what kills their first process.

    Args:
        directory: for what is written to ``/var/log``.
        pause: a program that waits and reaps, as the first of a PID namespace has to.

    Raises:
        RuntimeError: the kernel refuses.
        OSError: somebody is left in the cgroup.
    """
    setpriv = needs("namespaces", "setpriv", "unshare", "nsenter", "mount")
    (directory / "var-log").mkdir(parents=True)
    for name, value in _SYSCTLS.items():
        file = directory / "sysctls" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    argv = [
        # Killed with us: the kernel then kills whatever is inside, and the mounts go with the last of it.
        setpriv, "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL",
        "--propagation", "slave", "--mount-proc", "sh", "-c", _OPEN, "sh", directory, pause,
    ]  # fmt: skip
    log = directory / "enclosure.log"
    with cgroup() as own:
        with log.open("wb") as file:
            outer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        init = 0

        def ask() -> None:
            nonlocal init
            [init] = map(int, Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split())
            if os.readlink(f"/proc/{init}/exe") != os.path.realpath(pause):
                raise OSError("it still mounts")

        try:
            await_ready("the enclosure", [outer], [log], ask, (OSError, ValueError))
            yield Enclosure(init, own)
        finally:
            if init:  # its exit waits for that of everybody inside
                os.kill(init, signal.SIGKILL)
            else:
                outer.kill()
            outer.wait()


@contextlib.contextmanager
def cgroup() -> Iterator[str]:
    """A cgroup of our own in every hierarchy, by its path; nobody may be inside at the end."""
    for hierarchy in _hierarchies():
        _sweep(hierarchy)
    name = f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        for hierarchy in _hierarchies():
            (hierarchy / name).mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one of version 1: nothing could run in it
                if (hierarchy / file).exists() and not (hierarchy / name / file).read_text().strip():
                    (hierarchy / name / file).write_text((hierarchy / file).read_text())
        yield f"/{name}"
    finally:
        for hierarchy in _hierarchies():
            _remove(hierarchy / name)


def _hierarchies() -> list[Path]:
    """Where cgroups are mounted, of version 1 and 2."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(point) for _, point, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}]


def _sweep(hierarchy: Path) -> None:
    """Remove what a killed run has left: cgroups without a process, made by one that is no more."""
    for directory in hierarchy.glob(f"{_PREFIX}*-*"):
        maker = directory.name.removeprefix(_PREFIX).partition("-")[0]
        if maker.isdigit() and not Path("/proc", maker).exists():
            with contextlib.suppress(OSError):  # two runs sweep, or somebody is inside after all
                _remove(directory)


def _remove(top: Path) -> None:
    """Only directories can be removed, the innermost first."""
    for directory, _, _ in os.walk(top, topdown=False):
        os.rmdir(directory)
