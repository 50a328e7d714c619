"""A dockerd of our own: its socket, data and containers below one directory, no bridge, no rules in the firewall."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers import enclosure
from tests.servers.process import Daemon, needs, started_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.servers.enclosure import Enclosure

BUSYBOX = "busybox:test"
"""The image of a pod's main: a static busybox, and nothing else."""

NOTICES_MEMORY = 10
"""Containers of which it notices that the kernel has killed one for its memory. It hears of that and of the exit by two
events, and forgets the former if the latter comes first."""

_USUAL = "/run/docker.sock"

RUNC = Path(__file__).parent / "runc-clamp.sh"


@dataclass(frozen=True)
class Dockerd:
    """One that runs."""

    socket: Path

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def docker(self, *argv: str, stdin: bytes | None = None) -> bytes:
        """What the command line prints; for what a test sets up, never for what it tests."""
        done = subprocess.run(["docker", "-H", self.url, *argv], input=stdin, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(argv)}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def load(self, name: str, rootfs: bytes, *changes: str) -> None:
        """Make an image of a tar."""
        arguments = [word for change in changes for word in ("--change", change)]
        self.docker("import", *arguments, "-", name, stdin=rootfs)


@contextlib.contextmanager
def started(directory: Path) -> Iterator[Dockerd]:
    """Start one with the image :data:`BUSYBOX`; it ends with all its containers.

    A Unix socket's path has 107 characters at most: keep the directory short.
    """
    one = Dockerd(directory / "s")
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    with enclosure.cgroup() as own:
        argv = command(one, directory, f"--cgroup-parent={own}/docker")
        try:
            with started_process(argv, directory / "log", environment, path=one.socket):
                one.load(BUSYBOX, busybox(), "ENV PATH=/bin")
                try:
                    yield one
                finally:
                    running = one.docker("ps", "-aq").decode().split()
                    if running:
                        one.docker("rm", "-f", *running)
        finally:
            _unmount(directory)


def command(one: Dockerd, directory: Path, *options: str) -> Sequence[str | Path]:
    """How to start one; the directory is made."""
    dockerd = needs("docker", "dockerd", "containerd", "runc", "docker", "busybox")
    directory.mkdir(parents=True, exist_ok=True)
    return [
        dockerd, "--iptables=false", "--bridge=none", "--data-root", directory / "data", "--exec-root",
        directory / "exec", "--pidfile", directory / "pid", "-H", one.url, "--add-runtime", f"clamp={RUNC}",
        "--default-runtime", "clamp", "--default-ulimit", "nofile=4096:4096", *options,
    ]  # fmt: skip


@dataclass(frozen=True)
class DockerNode:
    """One as the container runtime of a cluster."""

    dockerd: Dockerd
    directory: Path
    name = "docker"

    @property
    def socket(self) -> Path:
        """As the machine sees it; inside of the node it is at ``/var/run/docker.sock``, too."""
        return self.dockerd.socket

    @property
    def kubelet(self) -> Sequence[str]:
        """Options of a kubelet that still has dockershim."""
        return (
            "--container-runtime=docker",
            f"--docker-endpoint={self.dockerd.url}",
            f"--experimental-dockershim-root-directory={self.directory}/dockershim",
            "--network-plugin=",
            f"--containerd={self.directory}/exec/containerd/containerd.sock",
        )

    def load(self, name: str, rootfs: Path | bytes, env: Mapping[str, str], entrypoint: Sequence[str]) -> None:
        """Make an image of a tar."""
        changes = [f"ENV {key}={json.dumps(value)}" for key, value in env.items()]
        if entrypoint:
            changes.append(f"ENTRYPOINT {json.dumps(list(entrypoint))}")
        arguments = [word for change in changes for word in ("--change", change)]
        if isinstance(rootfs, bytes):
            self.dockerd.docker("import", *arguments, "-", name, stdin=rootfs)
        else:
            self.dockerd.docker("import", *arguments, str(rootfs), name)


def node(directory: Path, inside: Enclosure) -> tuple[DockerNode, Daemon]:
    """One for a cluster, to be started; containers survive when it is killed, until the enclosure ends."""
    one = Dockerd(directory / "s")
    argv = command(
        one,
        directory,
        f"--host=unix://{_USUAL}",  # as well: the path that a pod mounts of any node
        "--live-restore",
        f"--cgroup-parent={inside.cgroup}/docker",
    )
    # Killed it leaves its PID file, and does not start again while that number is somebody's.
    unlocked = ("sh", "-c", 'rm -f "$0"; exec "$@"', directory / "pid")
    return DockerNode(one, directory), Daemon(
        [*inside.enter, *unlocked, *argv], directory / "dockerd.log", path=one.socket
    )


def busybox() -> bytes:
    """A root file system: busybox, its commands as links, and the directories that programs expect."""
    program = shutil.which("busybox")
    if program is None:
        raise RuntimeError("busybox is not installed")
    commands = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("proc", 0o555)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        archive.add(program, "bin/busybox")
        for command in commands:
            if command != "busybox":  # it is in the list: a link of that name would replace the program by itself
                link = tarfile.TarInfo(f"bin/{command}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        users = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size, entry.mode = len(users), 0o644
        archive.addfile(entry, io.BytesIO(users))
    return raw.getvalue()


def _unmount(directory: Path) -> None:
    """What a killed dockerd leaves mounted below its directory, the innermost first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in sorted((one for one in points if one.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)
