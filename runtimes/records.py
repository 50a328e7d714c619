"""What the sandbox leaves on disk and the runtime reads, maybe in another process: the layout of a pod
directory.

::

    sandbox.json             the process that plays the kubelet
    closed                   it has let go of everything; nothing will start any more
    containers/NAME/
        spec.json            what was asked for; of the environment only the names, because values may be
        secrets state.json           it has started: its processes, and where its root is held failed.json
        it never will status.json          it has ended (written by its shim) stdout, combined     what it
        wrote root/, upper/        what is in its file system: plain files shim.log             what the shim
        has to complain about

Every record appears whole or not at all, by rename.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.errors import CorruptData, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Self


CLOSED = "closed"
"""The reason of a container that its shim has killed because the sandbox let go of it, or was gone."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of the same number by when it began (clock ticks since boot)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this number now, even if it has ended and nobody has asked how."""
        fields = _stat(pid)
        return None if fields is None else cls(pid, int(fields[19]))

    def open(self) -> int | None:
        """A pidfd, or ``None`` when the process has ended; the caller closes it."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        fields = _stat(self.pid)  # now that the number is held, it cannot change under us
        if fields is None or int(fields[19]) != self.start or fields[0] in {b"Z", b"X"}:
            os.close(fd)
            return None
        return fd


@dataclass(frozen=True, slots=True)
class Held:
    """A descriptor of the sandbox's process, and the file it must still be."""

    number: int
    device: int
    inode: int

    @classmethod
    def of(cls, fd: int) -> Self:
        """What ``fd`` is in this process."""
        found = os.fstat(fd)
        return cls(fd, found.st_dev, found.st_ino)

    def open(self, pid: int, flags: int) -> int | None:
        """The same file in this process; ``None`` when the other has closed it or is gone."""
        try:
            fd = os.open(f"/proc/{pid}/fd/{self.number}", flags | os.O_CLOEXEC)
        except OSError:  # gone, or the number now is a file of another kind
            return None
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != (self.device, self.inode):
            os.close(fd)
            return None
        return fd


@dataclass(frozen=True, slots=True)
class Started:
    """A container that runs or has run."""

    shim: Process
    init: Process
    sandbox: Process
    root: Held
    mounts: Held


class ContainerDirectory:
    """One container's part of the pod directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The container's name."""
        return self.path.name

    def started(self) -> Started | None:
        """How it was started, once it has been."""
        record = read(self.path / "state.json")
        if record is None:
            return None
        return Started(
            Process(**record["shim"]), Process(**record["init"]), Process(**record["sandbox"]),
            Held(**record["root"]), Held(**record["mounts"]),
        )  # fmt: skip

    def start(self, state: Started) -> None:
        """Tell everybody that it runs."""
        write(self.path / "state.json", asdict(state))

    def status(self) -> dict[str, Any] | None:
        """How it ended, once it has: ``code``, ``reason``, ``output_errno``."""
        return read(self.path / "status.json")

    def failure(self) -> str | None:
        """Why it never will start."""
        record = read(self.path / "failed.json")
        return None if record is None else record["message"]

    def fail(self, message: str) -> None:
        """Tell everybody that it never will start."""
        write(self.path / "failed.json", {"message": message})


class PodDirectory:
    """The directory of one pod."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.containers = path / "containers"

    def container(self, name: str) -> ContainerDirectory:
        """The container's part, there or not."""
        return ContainerDirectory(self.containers / name)

    def all(self) -> Iterator[ContainerDirectory]:
        """Every container there has been, in the order of their names."""
        try:
            yield from (ContainerDirectory(path) for path in sorted(self.containers.iterdir()))
        except FileNotFoundError:
            return

    def open(self) -> None:
        """Make it, for the sandbox that this process is."""
        self.containers.mkdir(mode=0o755, parents=True, exist_ok=True)
        me = Process.of(os.getpid())
        if me is not None:
            write(self.path / "sandbox.json", asdict(me))

    def sandbox(self) -> Process | None:
        """The process that made it, there or not any more; ``None`` before it has."""
        record = read(self.path / "sandbox.json")
        return None if record is None else Process(**record)

    @property
    def closed(self) -> bool:
        """Whether the sandbox has let go of everything."""
        return (self.path / "closed").exists()

    def close(self) -> None:
        """Nothing will start here any more."""
        write_bytes(self.path / "closed", b"")


def _stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def read(path: Path) -> dict[str, Any] | None:
    """A record, or ``None`` when it is not there."""
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptData(f"{path} is not what the sandbox writes: {error}") from error
    if not isinstance(record, dict):
        raise CorruptData(f"{path} is not what the sandbox writes")
    return record


def write(path: Path, record: Mapping[str, Any], *, durable: bool = False) -> None:
    """A record, whole or not at all."""
    write_bytes(path, json.dumps(record).encode() + b"\n", durable=durable)


def write_bytes(path: Path, data: bytes, *, durable: bool = False) -> None:
    """A file, whole or not at all.

    ``durable`` is on the disk when this returns: not worth its 5 ms for what is about processes, which a power cut
    ends as well.

    Raises:
        NotFound: its directory is not there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except FileNotFoundError as error:
        raise NotFound(f"the directory of {path} is not there") from error
