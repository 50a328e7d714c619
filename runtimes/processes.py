"""Processes as /proc shows them: which container one belongs to, whose it is, and what may be done with it.

Only reading and parsing: what is held of a process is :mod:`runtimes.scan`'s. Main may end while this is imported, so
it imports next to nothing: ``re``, ``typing`` and ``dataclasses`` are 20 ms.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

NAME: Final = b"ARGO_CONTAINER_NAME="
"""What controllers from v3.0 on put into every container (spec 2.7)."""

_SYS_PTRACE: Final = 19
_LENGTH: Final = 64
_DIGITS: Final = "0123456789abcdef"
_STAGES: Final = ("runc:[", "youki:[")
_MAKERS: Final = frozenset({"crun", "exe"})
"""Names of a process in which a container is still being made: stages of runc and youki; crun, and runc before 1.0."""


class Status:
    """What /proc/PID/status says.

    Attributes:
        name: of the program, at most 15 characters.
        parent: 0 for the first process of a container that has joined this namespace.
        uid: the effective user.
        permitted, effective: capabilities, as bits.
    """

    def __init__(self, name: str, parent: int, uid: int, permitted: int, effective: int) -> None:
        self.name = name
        self.parent = parent
        self.uid = uid
        self.permitted = permitted
        self.effective = effective

    @property
    def sets_up(self) -> bool:
        """Whether the runtime still makes the container: what runs in it has not been executed yet."""
        return self.name.startswith(_STAGES) or self.name in _MAKERS

    @property
    def may_trace(self) -> bool:
        """Whether it may look into every other process of the namespace."""
        return bool(self.effective >> _SYS_PTRACE & 1)


class Processes:
    """The processes of the namespace that a /proc belongs to."""

    def __init__(self, proc: str = "/proc") -> None:
        """``proc`` is where it is mounted."""
        self.proc = proc

    def pids(self) -> Iterator[int]:
        """Numbers of all that there are now."""
        return (int(name) for name in os.listdir(self.proc) if name.isdigit())

    def status(self, pid: int) -> Status | None:
        """Of one; ``None`` when it is gone."""
        text = self._read(pid, "status")
        return None if text is None else status_of(text.decode(errors="replace"))

    def start(self, pid: int) -> int | None:
        """When one that runs began, in clock ticks since boot: with its number, which process it is."""
        fields = (self._read(pid, "stat") or b"").rpartition(b")")[2].split()
        return None if not fields or fields[0] in {b"Z", b"X"} else int(fields[19])

    def container_ids(self, pid: int) -> tuple[str, ...]:
        """Of the container it is in, and of those that one is in; none where control groups do not tell."""
        text = self._read(pid, "cgroup")
        return () if text is None else container_ids_of(text.decode(errors="replace"))

    def container_name(self, pid: int) -> str | None:
        """The name that a controller of v3.0 or later gave it; empty where there is none, ``None`` if it is not known:
        the environment may not be read, or went with the process.
        """
        try:
            text = self._read(pid, "environ")
        except PermissionError:
            return None
        if not text:
            return None
        return next(
            (one.removeprefix(NAME).decode(errors="replace") for one in text.split(b"\0") if one.startswith(NAME)), ""
        )

    def mount_namespace(self, pid: int) -> tuple[int, int] | None:
        """Which one it has; ``None`` when it is gone, or may not be looked into."""
        try:
            found = os.stat(f"{self.proc}/{pid}/ns/mnt")
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def first(self, pid: int) -> int:
        """The first process of the container that ``pid`` is in: the oldest of its ancestors in this namespace."""
        while (status := self.status(pid)) is not None and status.parent > 0:
            pid = status.parent
        return pid

    def own_container(self) -> int:
        """The first process of the container that this process is in.

        Raises:
            BadRequest: the containers of this pod do not share a namespace, or share it with the whole machine.
        """
        first = self.first(os.getpid())
        if first == 1:
            from lifecycle.errors import BadRequest  # noqa: PLC0415

            # Not the pause process, so: our own container is alone in its namespace, or it is the node's (hostPID).
            raise BadRequest(
                "pns cannot see the other containers: they have process namespaces of their own",
                remedy="set shareProcessNamespace: true (and not hostPID) in the pod, or choose another "
                "ARGO_CONTAINER_RUNTIME_EXECUTOR",
            )
        return first

    def _read(self, pid: int, name: str) -> bytes | None:
        try:
            with open(f"{self.proc}/{pid}/{name}", "rb") as file:
                return file.read()
        except (FileNotFoundError, ProcessLookupError):
            return None


def status_of(text: str) -> Status:
    """Parse /proc/PID/status; a field that is not there is 0."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Status(
        name=fields.get("Name", "").strip(),
        parent=int(fields.get("PPid", 0)),
        uid=int(fields.get("Uid", "0 0").split()[1]),
        permitted=int(fields.get("CapPrm", "0"), 16),
        effective=int(fields.get("CapEff", "0"), 16),
    )


def container_ids_of(text: str) -> tuple[str, ...]:
    """IDs in /proc/PID/cgroup, the innermost container's first, each once.

    Docker, containerd and CRI-O, control groups v1 and v2, by cgroupfs or systemd; seen from a control-group namespace
    of our own, another container's path begins with ``/..`` and still ends with its ID. ``crio-conmon-ID.scope`` is
    CRI-O's monitor of a container, not the container.
    """
    found: dict[str, None] = {}
    for line in text.splitlines():
        for segment in reversed(line.split(":", 2)[-1].split("/")):
            name = segment.removesuffix(".scope")
            before, last = name[:-_LENGTH], name[-_LENGTH:]
            # ID, docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, SLICE:cri-containerd:ID
            is_id = len(last) == _LENGTH and not last.strip(_DIGITS) and before[-1:] in {"", "-", ":"}
            if is_id and not before.endswith("conmon-"):
                found[last] = None
    return tuple(found)


def refusal(ours: Status, theirs: Status) -> tuple[str, str]:
    """Why the kernel does not show one process's root to another, and what to do about it (ptrace(2), access checks).

    Returns:
        the cause and the remedy.
    """
    if ours.may_trace:
        return (
            "although wait has SYS_PTRACE",
            "see whether an AppArmor or SELinux profile, or a user namespace, keeps the containers of the pod apart",
        )
    if ours.uid != 0:
        # A capability that is added is no effective one of a user other than root: execve(2) takes it away.
        cause = f"wait runs as user {ours.uid}, to whom added capabilities are no use, and main as user {theirs.uid}"
        remedy = "run both as the same user (runAsUser), or wait as root with the capability SYS_PTRACE"
        return cause, remedy
    other = f"main runs as user {theirs.uid}"
    if theirs.uid == 0:
        other = f"main has capabilities that wait has not ({theirs.permitted & ~ours.effective:#x})"
    return (
        f"wait runs as root without SYS_PTRACE, and {other}",
        "add SYS_PTRACE to the securityContext.capabilities of wait, as controllers do for pns",
    )
