"""Signals and deadlines → wishes of the pod to stop.

A handler runs between two instructions of the main thread, which may hold any lock; so it only leaves a note in a
queue whose ``put`` is reentrant, and a thread acts on it.
"""

from __future__ import annotations

import queue
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lifecycle.clock import NEVER, deadline_exceeded, terminated
from lifecycle.context import ControlChanged
from lifecycle.early import release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lifecycle.context import Pod

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Keep SIGTERM, SIGUSR1 and SIGUSR2 for later, until what it gives is called: there is no pod yet to be told.

    They would kill this process, where it is not the first of its namespace; the kernel remembers each of them, once.
    The image's launcher has begun with that for the first two.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
    try:
        yield release
    finally:
        release()


@contextmanager
def handle_signals(pod: Pod, ask: Callable[[], None] = lambda: None) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP stop the pod, SIGUSR2 reloads the execution control (spec 1.9); until it ends.

    SIGUSR1 calls ``ask``, which says where the pod is.
    """
    notes: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def act() -> None:
        while (number := notes.get()) is not None:
            if number == signal.SIGUSR2:
                pod.inbox.put(ControlChanged())
            elif number == signal.SIGUSR1:
                ask()
            else:
                pod.stop(terminated(f"terminated by {signal.Signals(number).name}"))

    pod.clock.start(act, "signals")
    # nohup means it: a signal that is ignored stays so.
    handled = [
        one for one in (*_STOPPING, signal.SIGUSR1, signal.SIGUSR2) if signal.getsignal(one) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, lambda number, _: notes.put(number)) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        notes.put(None)


def arm_deadline(pod: Pod) -> None:
    """End the phases before main's end when the pod's deadline passes; :mod:`~lifecycle.phases.waiting` has its own."""
    if pod.deadline is None:
        return
    seconds = (pod.deadline - pod.clock.now()).total_seconds()

    def expire() -> None:
        pod.clock.sleep(seconds, NEVER)
        # The execution control may have moved it meanwhile.
        if pod.found.exit is None and pod.deadline is not None and pod.deadline <= pod.clock.now():
            pod.stop(deadline_exceeded())

    pod.clock.start(expire, "deadline")
