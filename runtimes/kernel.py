"""The system calls of the local sandbox that Python 3.11 has no names for, and what to say when they are
refused.

Called by :mod:`runtimes.namespaces` in the shim, where every import costs each container its milliseconds:
this module imports ``ctypes`` (5 ms) and nothing else that is not loaded anyway. Every function raises
:class:`OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
_MNT_DETACH = 2
# What statvfs calls the flags that a remount may not drop from a mount of another user namespace
# (mount_namespaces(7)).
_LOCKED = {os.ST_NOSUID: MS_NOSUID, os.ST_NODEV: MS_NODEV, os.ST_NOEXEC: MS_NOEXEC} if sys.platform == "linux" else {}

PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_CAP_SYS_ADMIN = 21

# Since 5.1, numbers of new system calls are the same on every architecture that Linux distributions support.
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_RESOLVE_IN_ROOT = 0x10
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1

_libc = ctypes.CDLL(None, use_errno=True)


class Refusal(Exception):
    """Why the container cannot be; ``kind`` is the error of :mod:`lifecycle.errors` the sandbox makes of
    it.
    """

    def __init__(self, kind: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.remedy = remedy


def call(name: str, *args: Any, subject: str = "") -> int:
    """Call a function of the C library whose failure is -1 with ``errno``; ``subject`` is what the error is
    about.
    """
    result: int = getattr(_libc, name)(*args)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject or name)
    return result


def unshare(flags: int) -> None:
    """Leave some of the caller's namespaces for new ones."""
    call("unshare", flags)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, or change a mount; the error names the target."""
    call(
        "mount", os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags),
        os.fsencode(data) or None, subject=target,
    )  # fmt: skip


def pivot_root() -> None:
    """Make the working directory, a mount point, the root; the old one is let go of with all its mounts."""
    # Stacking the old root on the new one spares a directory for it inside (pivot_root(2), "pivot_root(.,
    # .)").
    call("pivot_root", b".", b".")
    call("umount2", b".", _MNT_DETACH)
    os.chdir("/")


def prctl(option: int, argument: int) -> None:
    """Change something about this process."""
    call("prctl", option, ctypes.c_ulong(argument), 0, 0, 0)


def limit_capabilities(keep: frozenset[int]) -> None:
    """Take all but ``keep`` from the bounding set, so that nothing executed from here on gets them, root or
    not.
    """
    for capability in range(64):
        if capability not in keep:
            try:
                prctl(_PR_CAPBSET_DROP, capability)
            except OSError as error:
                if error.errno == errno.EINVAL:  # past the last one this kernel knows
                    return
                raise


def open_in_root(root_fd: int, path: str, flags: int) -> int:
    """Open a path as a process with that root would: links and ``..`` do not lead out of it."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    return call(
        "syscall",
        _SYS_OPENAT2,
        root_fd,
        os.fsencode(path),
        ctypes.byref(how),
        ctypes.sizeof(how),
        subject=path,
    )


def make_read_only(fd: int) -> None:
    """Make the mount that ``fd`` is the root of read-only, and all mounts below it."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    try:
        call(
            "syscall", _SYS_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, ctypes.byref(attributes),
            ctypes.sizeof(attributes),
        )  # fmt: skip
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        # Before 5.12 there is no recursive way: the top mount only.
        held = os.fstatvfs(fd).f_flag
        flags = sum(flag for bit, flag in _LOCKED.items() if held & bit)
        mount("", f"/proc/self/fd/{fd}", flags=MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def is_admin() -> bool:
    """Whether this process may mount and unshare by itself: the machine's root, with CAP_SYS_ADMIN."""
    # Root of a rootless container has the capability, but neither all ids nor trusted extended attributes.
    if os.geteuid() != 0 or _read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]:
        return False
    return bool(int(_status("CapEff") or "0", 16) >> _CAP_SYS_ADMIN & 1)


def advice() -> str:
    """What a person can allow so that the sandbox works here, from what the kernel tells about itself."""
    hints = [text for path, value, text in _SWITCHES if _read(path) == value]
    if _status("Seccomp") == "2":
        hints.append(
            "a seccomp filter is active, as in a container: run that one with "
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined, or privileged"
        )
    if not hints:
        hints.append(
            "allow user namespaces (sysctls kernel.unprivileged_userns_clone=1, user.max_user_namespaces, "
            "kernel.apparmor_restrict_unprivileged_userns=0, the seccomp profile of a surrounding container)"
        )
    return "; ".join([*hints, "or run as root"]) + "; or use --runtime docker"


def unsupported(error: OSError, what: str) -> Refusal:
    return Refusal("Unsupported", f"the kernel refuses {what}: {error.filename}: {error.strerror}", advice())


def sandbox_refusal() -> str | None:
    """Why the local sandbox cannot work here and what to allow, or ``None`` when it can. Costs one
    interpreter start.
    """
    if sys.platform != "linux":
        return f"the local sandbox needs Linux, this is {sys.platform}: use --runtime docker"
    import subprocess  # noqa: PLC0415 - 15 ms the shim never needs
    from pathlib import Path  # noqa: PLC0415

    code = "import sys; sys.path.append(sys.argv[1]); from runtimes.kernel import probe; sys.exit(probe())"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(Path(__file__).parent.parent)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return None
    return f"the kernel refuses the local sandbox: {done.stderr.strip()}: {advice()}"


def probe() -> str | None:
    """Try, in a process of its own, what the sandbox begins with; the text of what failed, for
    ``sys.exit``.
    """
    try:
        unshare((0 if is_admin() else CLONE_NEWUSER) | CLONE_NEWPID)
        unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC)
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        mount("tmpfs", "/tmp", "tmpfs")  # noqa: S108 - in a mount namespace that ends with this process
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return None


_SWITCHES = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,` for "
        + sys.executable,
    ),
)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _status(field: str) -> str:
    for line in _read("/proc/self/status").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return ""
