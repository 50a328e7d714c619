"""A container's namespaces, made by the processes that will live in them.

Called by :mod:`runtimes.shim` only: :func:`leave` in the shim, :func:`build` in the container's first
process. The network stays the machine's: the containers of a pod find each other on localhost.
"""
# pathlib would be 8 ms of every container's start

from __future__ import annotations

import os

from runtimes import kernel
from runtimes.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    class Plan(TypedDict):
        """What the sandbox asks of a shim; plain values only, because they travel by ``marshal``."""

        directory: str
        hostname: str
        argv: list[str]
        env: dict[str, str]
        workdir: str
        user: int
        group: int
        mounts: list[tuple[str, str, bool]]
        directories: list[str]


def leave(plan: Plan) -> bool:
    """Enter the user namespace, where one is needed, and make the next child the first process of a pid
    namespace.

    Returns:
        whether a user namespace was needed.
    """
    admin = kernel.is_admin()
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.unshare((0 if admin else kernel.CLONE_NEWUSER) | kernel.CLONE_NEWPID)
    except OSError as error:
        raise kernel.unsupported(error, "new namespaces") from error
    if not admin:
        # One id can be mapped without privilege. It becomes the one the container wants, so any user can be
        # had.
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{plan['user']} {uid} 1")
        _write("/proc/self/gid_map", f"{plan['group']} {gid} 1")
    return not admin


def build(plan: Plan, *, user_namespace: bool) -> tuple[int, int]:
    """Make the other namespaces and the root, and enter it.

    Returns:
        descriptors of the root and of the mount namespace. The second keeps the mounts below the first
        attached after the container has ended.
    """
    try:
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC)
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    except OSError as error:
        # An AppArmor restriction lets the user namespace be made, and refuses here.
        raise kernel.unsupported(error, "mounts of its own") from error
    # sethostname(2) needs what unshare has just given
    name = os.fsencode(plan["hostname"])[:64]
    kernel.call("sethostname", name, len(name))
    os.chdir(plan["directory"])
    root = Root(user_namespace=user_namespace)
    root.make_skeleton()
    root.show_host(plan)
    root.make_kernel_mounts()
    for source, target, read_only in plan["mounts"]:
        root.bind(source, target, read_only=read_only)
    for directory in plan["directories"]:
        root.make_directory(directory, mode=0o777)
    root.make_directory(plan["workdir"], mode=0o755)
    return root.enter()


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise kernel.unsupported(error, "a user namespace") from error
