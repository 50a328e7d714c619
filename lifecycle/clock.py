"""Time as something injected: clocks, inboxes, and the token that cancels a wait.

Every wait of the program goes through a clock, so that nothing sleeps in a test: :class:`VirtualClock` jumps to the
next moment anybody waits for as soon as everybody waits.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from lifecycle.errors import Cancelled, DeadlineExceeded, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Inbox(Protocol):
    """Where events of several sources meet. ``put`` may be called from any thread and from a signal handler."""

    def put(self, event: Any) -> None:
        """Leave an event; never blocks."""

    def get(self, timeout: float | None) -> Any:
        """The next event; ``None`` when ``timeout`` seconds have passed without one."""


class Clock(Protocol):
    """Wall time, monotonic time, and the only ways to wait."""

    def now(self) -> datetime:
        """Wall-clock time, UTC."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    def sleep(self, seconds: float, cancel: Cancel) -> None:
        """Wait, at most until ``cancel`` is set; then raises its reason.

        Raises:
            Cancelled: at once, also when it was set before.
        """

    def inbox(self) -> Inbox:
        """A new inbox whose waits go by this clock."""

    def start(self, work: Callable[[], None], name: str) -> None:
        """Run ``work`` in a thread of its own that knows this clock. ``work`` must not raise."""


class Cancel:
    """A wish to stop, told once, with a reason. Can be waited for as a file descriptor.

    The first reason stays. Phases that tidy up do not look at it; waits of the others end by it.
    """

    def __init__(self) -> None:
        self._reason: Cancelled | None = None
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._fd: int | None = None

    @property
    def reason(self) -> Cancelled | None:
        """Why, once it is set."""
        return self._reason

    def set(self, reason: Cancelled) -> None:
        """Tell everybody who waits. Later calls change nothing."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            self._event.set()
            if self._fd is not None:
                os.eventfd_write(self._fd, 1)
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def check(self) -> None:
        """Raise the reason if there is one."""
        if self._reason is not None:
            raise self._reason

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when it is set; at once when it is set already."""
        with self._lock:
            if self._reason is None:
                self._listeners.append(listener)
                return
        listener()

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """As :meth:`listen`, for as long as the block lasts: what waits often leaves nothing behind."""
        self.listen(listener)
        try:
            yield
        finally:
            with self._lock, suppress(ValueError):
                self._listeners.remove(listener)

    def wait(self, seconds: float | None) -> bool:
        """Block until it is set (true) or the time has passed (false), by the system's clock."""
        return self._event.wait(seconds)

    def fileno(self) -> int:
        """A descriptor that becomes readable when it is set, for poll(2) beside a pidfd or a socket."""
        with self._lock:
            if self._fd is None:
                self._fd = os.eventfd(1 if self._reason is not None else 0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._fd

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


NEVER = Cancel()
"""The token of work that nothing cancels."""


class _SystemInbox:
    def __init__(self) -> None:
        # SimpleQueue.put is documented as reentrant: a signal handler may call it while the same thread is in get.
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, event: Any) -> None:
        self._queue.put(event)

    def get(self, timeout: float | None) -> Any:
        try:
            return self._queue.get(timeout=None if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))
        except queue.Empty:
            return None


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        return datetime.fromtimestamp(time.time(), UTC)

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def sleep(self, seconds: float, cancel: Cancel) -> None:
        """Wait for the time or the token, whichever is first."""
        if cancel.wait(min(seconds, threading.TIMEOUT_MAX)):
            cancel.check()

    def inbox(self) -> Inbox:
        """An inbox on the system's queue."""
        return _SystemInbox()

    def start(self, work: Callable[[], None], name: str) -> None:
        """A daemon thread: a hung client library must not keep a finished pod from ending."""
        threading.Thread(target=work, name=name, daemon=True).start()


class VirtualClock:
    """A clock for tests, fault plans and documentation: time passes only when every thread of it waits.

    The thread that makes the clock and those begun by :meth:`start` take part; when all of them wait, time jumps to
    the earliest moment any of them waits for. If nobody waits for a moment, nothing could ever happen again: the
    waiting calls raise ``RuntimeError``, so that a hang is a failure with a place instead of a time-out of the run.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._epoch = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._time = 0.0
        self._cond = threading.Condition(threading.RLock())
        self._running = 1
        self._waiting: dict[object, tuple[Callable[[], bool], float | None]] = {}
        self._stuck = False

    def now(self) -> datetime:
        """The start plus the virtual seconds that have passed."""
        return datetime.fromtimestamp(self._epoch.timestamp() + self._time, UTC)

    def monotonic(self) -> float:
        """Virtual seconds since the clock was made."""
        return self._time

    def sleep(self, seconds: float, cancel: Cancel) -> None:
        """Wait virtually."""
        with cancel.listening(self._wake), self._cond:
            self._block(lambda: cancel.reason is not None, self._time + max(0.0, seconds))
        cancel.check()

    def inbox(self) -> Inbox:
        """An inbox whose waits are virtual."""
        return _VirtualInbox(self)

    def start(self, work: Callable[[], None], name: str) -> None:
        """A thread that takes part: time stands still while it runs."""
        with self._cond:
            self._running += 1

        def body() -> None:
            try:
                work()
            finally:
                with self._cond:
                    self._running -= 1
                    self._advance()

        threading.Thread(target=body, name=name, daemon=True).start()

    def _wake(self) -> None:
        with self._cond:
            self._cond.notify_all()

    def _block(self, ready: Callable[[], bool], until: float | None) -> None:
        me = object()
        while not ready() and (until is None or self._time < until):
            self._waiting[me] = (ready, until)
            self._running -= 1
            try:
                self._advance()
                if not ready() and (until is None or self._time < until):
                    if self._stuck:
                        raise RuntimeError("every thread waits and none for a moment: this would hang for ever")
                    self._cond.wait()
            finally:
                self._running += 1
                del self._waiting[me]

    def _advance(self) -> None:
        """With nobody running, jump; called with the lock held by whoever just stopped running."""
        if self._running > 0 or not self._waiting:
            return
        moments = [moment for _, moment in self._waiting.values() if moment is not None]
        if any(ready() for ready, _ in self._waiting.values()):
            pass  # somebody has been called and has not taken the lock yet: no time passes before it has run
        elif moments:
            self._time = max(self._time, min(moments))
        else:
            self._stuck = True
        self._cond.notify_all()


class _VirtualInbox:
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._events: deque[Any] = deque()

    def put(self, event: Any) -> None:
        self._events.append(event)
        self._clock._wake()  # noqa: SLF001 - the two classes are one mechanism

    def get(self, timeout: float | None) -> Any:
        clock = self._clock
        with clock._cond:  # noqa: SLF001
            until = None if timeout is None else clock.monotonic() + max(0.0, timeout)
            clock._block(lambda: bool(self._events), until)  # noqa: SLF001
            return self._events.popleft() if self._events else None


def terminated(text: str = "terminated") -> Terminated:
    """The reason of a SIGTERM, a Ctrl-C or the controller's zero deadline."""
    return Terminated(text)


def deadline_exceeded(text: str = "Step exceeded its deadline") -> DeadlineExceeded:
    """The reason of a deadline that has passed; the text is the later releases' (spec 5.18)."""
    return DeadlineExceeded(text)
