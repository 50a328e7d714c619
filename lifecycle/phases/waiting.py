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
from lifecycle.errors import Cancelled, LifecycleError, Permanent, Transient, Unavailable, classify
from lifecycle.grace import GraceKnown
from lifecycle.outcome import LOST, LOST_WHY, NOT_BEGUN, OOM_KILLED, RUN_AGAIN, Failure, ItemState
from lifecycle.unreachable import refuse

if TYPE_CHECKING:
    from lifecycle.context import Pod
    from lifecycle.ports import Container, ExecutionControl, ExitStatus
    from lifecycle.stay import Stay

AFTER_KILL = 10.0
"""Seconds that a container has to be gone after SIGKILL (spec 2.5)."""

TO_BE_FOUND = 2.0
"""Seconds that a pod which is being deleted is still looked through for a main that has just started."""

TO_START = 60.0
"""The same for a pod that its deadline or its controller stops: nobody else would kill a main that starts now."""

TO_KILL = 600.0
"""Seconds that SIGKILL is tried while the runtime is away: as long as a report is."""


@dataclass(frozen=True, slots=True)
class _Started:
    main: Container


@dataclass(frozen=True, slots=True)
class _Ended:
    status: ExitStatus


@dataclass(frozen=True, slots=True)
class _Lost:
    error: LifecycleError


@dataclass(frozen=True, slots=True)
class _Read:
    control: ExecutionControl | None


@dataclass(frozen=True, slots=True)
class _Sent:
    number: signal.Signals
    error: LifecycleError | None = None


def wait(pod: Pod, stay: Stay) -> None:
    """Wait for main's end, however it comes about.

    Raises:
        Terminated, DeadlineExceeded: main was stopped by us; its end and exit code are known all the same.
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
        self._sending = Cancel()
        self._attaching = Cancel()
        self._detached: Transient | None = None
        self._done = False
        self._reason: Cancelled | None = None
        self._unwanted = self._by_signal = False
        self._reading = self._read_again = False
        self._main: Container | None = None
        self._killed = False
        self._trouble: Exception | None = None
        self._refused: LifecycleError | None = None
        self._kill_at: float | None = None
        self._give_up_at: float | None = None

    def run(self) -> None:
        pod = self._pod
        if (told := pod.record.cancelled) is not None:  # by an earlier process, which may not have seen main's end
            pod.inbox.put(Stop(told))
        if self._stay.recall(self._item, ItemState.REPORTED):
            self._done, self._reason = True, told
        else:
            self._unwanted = refuse(pod, self._stay)
            self._obey(self._read())
            self._clock.start(self._follow, "main")
            self._clock.start(self._watch_control, "execution control")
        try:
            while not self._done:
                self._meet(pod.inbox.get(self._timeout()))
        finally:
            self._over.set(terminated("the wait is over"))
            self._sending.set(terminated("the wait is over"))
            self._attaching.set(terminated("the wait is over"))
        if self._reason is not None:
            raise self._reason

    def _meet(self, event: object) -> None:
        match event:
            case None:
                self._due()
            case _Started(main):
                self._started(main)
            case _Ended(status):
                self._ended(status)
            case _Lost(error):
                self._lost(error)
            case _Sent(number, error):
                self._sent(number, error)
            case ControlChanged():
                self._reload()
            case _Read(control):
                self._was_read(control)
            case Stop(reason):
                self._stop(reason)
            case GraceKnown():
                self._heed_grace()

    # --- the threads ----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Find main and wait for it; a broken connection is attached again under the phase's policy."""
        pod, stay = self._pod, self._stay
        try:
            main = stay.attempt(self._item, self._found, cancel=self._over)
            pod.inbox.put(_Started(main))
        except Exception as error:  # noqa: BLE001 - a thread has no caller: it goes to the inbox
            self._ended_by(error, self._over)
        else:
            self._attend(main, self._attaching)

    def _attend(self, main: Container, cancel: Cancel) -> None:
        """Wait for main's end."""
        pod, stay = self._pod, self._stay
        try:
            status = stay.attempt(self._item, lambda: self._attached(main, cancel), cancel=cancel)
            pod.inbox.put(_Ended(status))
        except Exception as error:  # noqa: BLE001 - a thread has no caller: it goes to the inbox
            self._ended_by(error, cancel)

    def _ended_by(self, error: Exception, cancel: Cancel) -> None:
        """Tell of it, unless it is the stop that we asked for; one that nobody asked for would be waited for."""
        if not isinstance(error, Cancelled) or cancel.reason is None:
            self._pod.inbox.put(_Lost(classify(error)))

    def _found(self) -> Container:
        try:
            main = self._pod.runtime.find_main(self._over)
        except Exception as error:
            self._trouble = error
            raise
        self._trouble = None
        return main

    def _attached(self, main: Container, cancel: Cancel) -> ExitStatus:
        self._detached = None
        try:
            status = self._pod.runtime.wait(main, cancel)
        except Transient as error:
            self._detached = error
            raise
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

    def _deliver(self, main: Container, number: signal.Signals, cancel: Cancel) -> None:
        """Send a signal, again while the runtime is away: nobody else may stop main."""
        inbox = self._pod.inbox

        def work() -> None:
            try:
                self._pod.runtime.signal(main, number)
            except Exception as error:
                self._trouble = error
                raise

        try:
            self._stay.attempt(number.name, work, cancel=cancel)
        except Cancelled:
            return
        except Exception as error:  # noqa: BLE001 - a thread has no caller: it goes to the inbox
            inbox.put(_Sent(number, classify(error)))
        else:
            inbox.put(_Sent(number))

    # --- what happens ---------------------------------------------------------------------------------------------

    def _started(self, main: Container) -> None:
        self._main = self._pod.found.main = main
        self._give_up_at = None
        self._stay.settle(self._item, ItemState.CAPTURED, "main runs, its root is held")
        if self._reason is not None or self._unwanted:
            self._send(signal.SIGTERM)
            if self._pod.stops > 1:
                self._kill_at = self._clock.monotonic()

    def _ended(self, status: ExitStatus) -> None:
        self._pod.found.exit = status
        self._done = True
        code = f"exit code {status.code}"
        how = code + (f" ({status.reason})" if status.reason else "")
        if status.reason == OOM_KILLED:
            self._pod.record.ended = (
                f"main was killed by the kernel: it used more memory than its limit ({status.reason}, {code}) — "
                "raise resources.limits.memory"
            )
        elif status.reason == LOST:
            error = Permanent(status.message or LOST_WHY, remedy=RUN_AGAIN)
            self._stay.fail(Failure.of(error, phase=self._stay.phase.state, item="main"))
        elif status.reason in NOT_BEGUN and status.message:
            self._pod.record.ended = f"main could not be started: {status.message} ({status.reason}, {code})"
        elif status.reason:
            self._pod.record.ended = f"main ended with {how}"
        self._stay.settle(self._item, ItemState.REPORTED, how)

    def _lost(self, error: LifecycleError) -> None:
        self._done = True
        self._stay.settle(self._item, ItemState.FAILED, error.message)
        phase, made, most = self._stay.phase.state, max(1, self._item.attempts), self._stay.policy.attempts
        self._stay.fail(Failure.of(error, phase=phase, item="main", attempt=made, attempts=most))

    def _reload(self) -> None:
        """Read the execution control again (spec 1.9), in a thread: a silent API server must not hide a SIGTERM."""
        self._read_again = self._reading
        if not self._reading:
            self._reading = True
            self._clock.start(lambda: self._pod.inbox.put(_Read(self._read())), "execution control")

    def _was_read(self, control: ExecutionControl | None) -> None:
        self._reading = False
        self._obey(control)
        if self._read_again:
            self._reload()

    def _read(self) -> ExecutionControl | None:
        """The execution control; one that cannot be read leaves the last one in force."""
        try:
            return self._pod.control.execution()
        except Exception as error:  # noqa: BLE001 - main runs: nothing that is only about it may end the wait
            self._stay.note(f"the execution control cannot be read: {error}")
            return None

    def _obey(self, control: ExecutionControl | None) -> None:
        pod = self._pod
        if control is None:
            return
        pod.execution = control
        if control.terminate:
            # The controller says it twice, by the annotation and by SIGUSR2; it means it once.
            if self._reason is None:
                self._stop(terminated())
        elif control.deadline is not None:
            pod.deadline = control.deadline

    def _stop(self, reason: Cancelled) -> None:
        now = self._clock.monotonic()
        if self._main is None:
            self._give_up_by(now + (TO_BE_FOUND if self._pod.stops else TO_START))
        if self._reason is None:
            self._reason = reason
            self._by_signal = self._pod.stops > 0 and not self._unwanted
            self._pod.record.cancelled = reason
            self._pod.keep_item(self._item)  # main is told once; a restart must know why
            self._pod.journal.write("note", phase=self._stay.phase.state, text=f"stopping main: {reason}")
            if not self._unwanted:
                self._send(signal.SIGTERM)
        if self._pod.stops > 1:  # the second wish: no more grace
            if self._kill_at is not None:
                self._kill_at = now
            elif self._main is not None:
                self._give_up_by(now + AFTER_KILL)

    def _heed_grace(self) -> None:
        """The kubelet kills the pod at a known moment: main's end must leave time to save (ADR 0031)."""
        grace = self._pod.grace
        if grace is None:
            return
        if self._kill_at is not None and self._pod.stops < 2:
            # Main's grace has begun already if something else came before the signal.
            self._kill_at = grace.main_until if self._by_signal else min(self._kill_at, grace.main_until)
        if self._give_up_at is not None:
            self._give_up_by(grace.main_until if self._main is None else grace.gone_until)

    def _due(self) -> None:
        now = self._clock.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._send(signal.SIGKILL)
        elif self._give_up_at is not None and now >= self._give_up_at:
            self._give_up()
        elif self._reason is None and (left := self._deadline_in()) is not None and left <= 0:
            self._stop(deadline_exceeded())

    def _give_up(self) -> None:
        trouble = self._refused if self._trouble is None else classify(self._trouble)
        why, remedy = (f": {trouble}", trouble.remedy) if trouble else ("", "")
        if self._main is None and trouble is None:
            self._done = True
            self._stay.settle(self._item, ItemState.ABANDONED, "main never ran")
        elif self._main is None:
            self._lost(Unavailable(f"main was not found{why}", remedy=remedy))
        elif self._pod.grace is not None:
            # Some kubelets tell of no container's end before all of a deleted pod have ended, `wait` among them, and
            # they kill main without us.
            self._done = True
            self._stay.settle(
                self._item, ItemState.REPORTED, "its end was not seen in its share of the time that is left"
            )
        elif self._killed and self._detached is not None:
            away = self._detached
            self._lost(Unavailable(f"main's end was not seen after SIGKILL: {away}", remedy=away.remedy))
        elif self._killed:
            stuck = "look at the node: the process is stuck"
            self._lost(LifecycleError(f"main still runs after SIGKILL{why}", remedy=remedy or stuck))
        else:
            self._lost(Unavailable(f"SIGKILL could not be sent to main{why}", remedy=remedy))

    # --- signals to main ------------------------------------------------------------------------------------------

    def _send(self, number: signal.Signals) -> None:
        """Begin to send it; one that could not be sent yet is not needed any more."""
        if self._main is None:
            return
        main = self._main
        self._sending.set(terminated("another signal is sent"))
        self._sending = cancel = Cancel()
        self._trouble = None
        self._clock.start(lambda: self._deliver(main, number, cancel), number.name)
        now = self._clock.monotonic()
        if number is signal.SIGTERM:
            self._kill_at, self._give_up_at = now + self._pod.settings.grace, None
        else:
            self._kill_at, self._give_up_at = None, now + TO_KILL
        self._heed_grace()

    def _sent(self, number: signal.Signals, error: LifecycleError | None) -> None:
        if error is not None and number is signal.SIGKILL:
            self._lost(error)
        elif error is not None:
            self._refused = error
            self._stay.note(f"{number.name} could not be sent to main: {error}")
        else:
            self._was_sent(number)

    def _was_sent(self, number: signal.Signals) -> None:
        if self._detached and self._main is not None:
            # The runtime is back: main's end must not be noticed only when a back-off of 30 s is over.
            main = self._main
            self._attaching.set(terminated("attached again"))
            self._attaching = cancel = Cancel()
            self._clock.start(lambda: self._attend(main, cancel), "main")
        if number is signal.SIGKILL:
            self._killed = True
            self._give_up_by(self._clock.monotonic() + AFTER_KILL)

    # --- when the next step is due --------------------------------------------------------------------------------

    def _give_up_by(self, moment: float) -> None:
        self._give_up_at = moment if self._give_up_at is None else min(self._give_up_at, moment)

    def _deadline_in(self) -> float | None:
        deadline = self._pod.deadline
        return None if deadline is None else (deadline - self._clock.now()).total_seconds()

    def _timeout(self) -> float | None:
        """Seconds until the earliest of what is due; ``None`` when only an event can come."""
        now = self._clock.monotonic()
        moments = [moment - now for moment in (self._kill_at, self._give_up_at) if moment is not None]
        if self._reason is None and (left := self._deadline_in()) is not None:
            moments.append(left)
        return min(moments, default=None)
