"""A wall clock that somebody sets while a pod runs; the monotonic one goes on, as the kernel's does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from lifecycle.clock import Cancel, Clock, Inbox


class JumpingClock:
    """Another clock, whose wall time can be moved."""

    def __init__(self, inner: Clock) -> None:
        self._inner = inner
        self._by = timedelta()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back."""
        self._by += timedelta(seconds=seconds)

    def now(self) -> datetime:
        """Wall-clock time, UTC, and whatever it was moved by."""
        return self._inner.now() + self._by

    def monotonic(self) -> float:
        """The other clock's."""
        return self._inner.monotonic()

    def sleep(self, seconds: float, cancel: Cancel) -> None:
        """As the other clock: a wait does not go by wall time."""
        self._inner.sleep(seconds, cancel)

    def inbox(self) -> Inbox:
        """The other clock's."""
        return self._inner.inbox()

    def start(self, work: Callable[[], None], name: str) -> None:
        """A thread of the other clock."""
        self._inner.start(work, name)
