"""Waiting for one of several descriptors: a pidfd, a cancel token, a watch."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST: Final = 2.0**31 / 1000 - 1
"""Seconds that poll(2) can wait: 24 days. A grace may be longer."""


def readable(fds: Iterable[int | None], timeout: float | None) -> set[int]:
    """Those that are readable, or have ended; none after ``timeout`` seconds, or 24 days. ``None`` is left out."""
    poller = select.poll()
    for fd in fds:
        if fd is not None:
            poller.register(fd, select.POLLIN)
    return {fd for fd, _ in poller.poll(None if timeout is None else min(max(0.0, timeout), _LONGEST) * 1000)}
