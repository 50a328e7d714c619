"""waiting: finds main, holds its root, and waits for its end, a deadline, or somebody who wants a stop (spec 1.9).

Nothing polls: the runtime follows main in a thread of its own, the control plane watches the execution control in
another, signals and deadlines come in from outside, and all of them leave an event in the pod's inbox.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.clock import Cancel, deadline_exceeded, terminated
from lifecycle.context import ControlChanged, Stop
from lifecycle.errors import Cancelled, LifecycleError, Terminated, Transient, classify
from lifecycle.outcome import Failure, ItemState

if TYPE_CHECKING:
    from lifecycle.context import Pod
    from lifecycle.ports import Container, ExitStatus
    from lifecycle.stay import Stay

AFTER_KILL = 10.0
"""Seconds that a container has to be gone after SIGKILL (spec 2.5)."""

TO_BE_FOUND = 2.0
"""Seconds that a stopped pod is still looked through for a main that has just started and must be stopped too."""


@dataclass(frozen=True, slots=True)
class _Started:
    main: Container


@dataclass(frozen=True, slots=True)
class _Ended:
    status: ExitStatus


@dataclass(frozen=True, slots=True)
class _Lost:
    error: LifecycleError


def wait(pod: Pod, stay: Stay) -> None:
    """Wait for main's end, however it comes about.

    Raises:
        Terminated, DeadlineExceeded: main was stopped by us; its end and exit code are known all the same.
        MainNotStarted: it never ran.
    """
    _Watch(pod, stay).run()


class _Watch:
    """One wait for main: what has happened so far, and when the next step is due."""

    def __init__(self, pod: Pod, stay: Stay) -> None:
        self._pod = pod
        self._stay = stay
        self._clock = pod.clock
        self._item = stay.item("container", "main")
        self._over = Cancel()
        self._done = False
        self._reason: Cancelled | None = None
        self._main: Container | None = None
        self._kill_at: float | None = None
        self._give_up_at: float | None = None

    def run(self) -> None:
        pod = self._pod
        self._reload()
        self._clock.start(self._follow, "main")
        self._clock.start(self._watch_control, "execution control")
        try:
            while not self._done:
                match pod.inbox.get(self._timeout()):
                    case None:
                        self._due()
                    case _Started(main):
                        self._started(main)
                    case _Ended(status):
                        self._ended(status)
                    case _Lost(error):
                        self._lost(error)
                    case ControlChanged():
                        self._reload()
                    case Stop(reason):
                        self._stop(reason)
        finally:
            self._over.set(terminated("the wait is over"))
        if self._reason is not None:
            raise self._reason

    # --- the two threads ------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Find main and wait for it; a broken connection is attached again under the phase's policy."""
        pod, stay = self._pod, self._stay
        try:
            main = stay.attempt(self._item, lambda: pod.runtime.find_main(self._over), cancel=self._over)
            pod.inbox.put(_Started(main))
            status = stay.attempt(self._item, lambda: self._attached(main), cancel=self._over)
            pod.inbox.put(_Ended(status))
        except Cancelled:
            return
        except Exception as error:  # noqa: BLE001 - a thread has no caller: it goes to the inbox
            pod.inbox.put(_Lost(classify(error)))

    def _attached(self, main: Container) -> ExitStatus:
        status = self._pod.runtime.wait(main, self._over)
        if status is None:
            raise Transient("the runtime stopped waiting before main had ended")
        return status

    def _watch_control(self) -> None:
        try:
            self._pod.control.watch_execution(lambda: self._pod.inbox.put(ControlChanged()), self._over)
        except Cancelled:
            return
        except Exception as error:  # noqa: BLE001 - without it SIGUSR2 and the deadline in hand still work
            self._stay.note(f"the execution control is not watched any more: {error}")

    # --- what happens ---------------------------------------------------------------------------------------------

    def _started(self, main: Container) -> None:
        self._main = self._pod.found.main = main
        self._stay.settle(self._item, ItemState.CAPTURED, "main runs, its root is held")
        if self._reason is not None:
            self._send(signal.SIGTERM)
            if self._pod.stops > 1:
                self._kill_at = self._clock.monotonic()

    def _ended(self, status: ExitStatus) -> None:
        self._pod.found.exit = status
        self._done = True
        how = f"exit code {status.code}" + (f" ({status.reason})" if status.reason else "")
        self._stay.settle(self._item, ItemState.REPORTED, how)

    def _lost(self, error: LifecycleError) -> None:
        self._done = True
        self._stay.settle(self._item, ItemState.FAILED, error.message)
        self._stay.fail(
            Failure.of(
                error,
                phase=self._stay.phase.state,
                item="main",
                attempt=max(1, self._item.attempts),
                attempts=self._stay.policy.attempts,
            )
        )

    def _reload(self) -> None:
        """Read the execution control again (spec 1.9); one that cannot be read leaves the last one in force."""
        pod = self._pod
        try:
            control = pod.control.execution()
        except Exception as error:  # noqa: BLE001 - main runs: nothing that is only about it may end the wait
            self._stay.note(f"the execution control cannot be read: {error}")
            return
        pod.execution = control
        if control.terminate:
            # The controller says it twice, by the annotation and by SIGUSR2; it means it once.
            if self._reason is None:
                self._stop(terminated())
        elif control.deadline is not None:
            pod.deadline = control.deadline

    def _stop(self, reason: Cancelled) -> None:
        if self._reason is None:
            self._reason = reason
            self._pod.record.cancelled = reason
            self._pod.journal.write("note", phase=self._stay.phase.state, text=f"stopping main: {reason}")
            if self._main is None:
                self._give_up_at = self._clock.monotonic() + TO_BE_FOUND
            self._send(signal.SIGTERM)
        elif isinstance(reason, Terminated) and self._pod.stops > 1 and self._kill_at is not None:
            self._kill_at = self._clock.monotonic()  # the second wish: no more grace

    def _due(self) -> None:
        now = self._clock.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._send(signal.SIGKILL)
        elif self._give_up_at is not None and now >= self._give_up_at:
            self._give_up()
        elif self._reason is None and (left := self._deadline_in()) is not None and left <= 0:
            self._stop(deadline_exceeded())

    def _give_up(self) -> None:
        if self._main is None:
            self._done = True
            self._stay.settle(self._item, ItemState.ABANDONED, "main never ran")
        else:
            self._lost(LifecycleError("main still runs after SIGKILL", remedy="look at the node: the process is stuck"))

    def _send(self, number: signal.Signals) -> None:
        if self._main is None:
            return
        try:
            self._pod.runtime.signal(self._main, number)
        except LifecycleError as error:
            self._stay.note(f"{number.name} could not be sent to main: {error}")
        now = self._clock.monotonic()
        if number is signal.SIGTERM:
            self._kill_at, self._give_up_at = now + self._pod.settings.grace, None
        else:
            self._kill_at, self._give_up_at = None, now + AFTER_KILL

    # --- when the next step is due --------------------------------------------------------------------------------

    def _deadline_in(self) -> float | None:
        deadline = self._pod.deadline
        return None if deadline is None else (deadline - self._clock.now()).total_seconds()

    def _timeout(self) -> float | None:
        """Seconds until the earliest of what is due; ``None`` when only an event can come."""
        now = self._clock.monotonic()
        if self._kill_at is not None:
            return self._kill_at - now
        if self._give_up_at is not None:
            return self._give_up_at - now
        return self._deadline_in() if self._reason is None else None
