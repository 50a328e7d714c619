"""How a process ended that is not our child: the kernel tells whoever holds its pidfd, from Linux 6.15 on."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
from typing import Final

_GET_INFO: Final = 0xC040FF0B
"""PIDFD_GET_INFO, with a structure of 64 bytes: its first version."""
_EXIT: Final = 1 << 3
"""PIDFD_INFO_EXIT: asked for, and in the answer when the exit is recorded."""
_LENGTH: Final = 64
_REAPED: Final = 1.0
"""Seconds that a container's shim may take to ask how it ended, which is when the kernel records it."""


def exit_code(pidfd: int) -> int | None:
    """The code as a shell says it: 128 + n after signal n; ``None`` where the kernel does not tell.

    The process must have ended; the first call may have to wait until its parent has been told.
    """
    status = _recorded(pidfd)
    if status is None and _is_known():
        poller = select.poll()
        poller.register(pidfd, 0)  # POLLHUP alone: it has been reaped
        poller.poll(_REAPED * 1000)
        status = _recorded(pidfd)
    if status is None:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _recorded(pidfd: int) -> int | None:
    wanted = bytearray(_LENGTH)
    struct.pack_into("Q", wanted, 0, _EXIT)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, wanted)
    except OSError:  # an older kernel
        return None
    told, status = struct.unpack_from("Q", wanted)[0], struct.unpack_from("i", wanted, _LENGTH - 4)[0]
    return status if told & _EXIT else None


def _is_known() -> bool:
    """Whether this kernel records exits: one before 6.15 knows the call, but not this part of it."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return release is not None and (int(release[1]), int(release[2])) >= (6, 15)
