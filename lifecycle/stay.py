"""One stay in one phase: its items, their attempts, and the bounded pool they run in."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from lifecycle.errors import Cancelled, LifecycleError, NotFound
from lifecycle.known import fill
from lifecycle.outcome import Failure, Item, ItemState
from lifecycle.policy import Attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lifecycle.clock import Cancel, Inbox
    from lifecycle.context import Pod
    from lifecycle.errors import Transient
    from lifecycle.location import Location
    from lifecycle.policy import RetryPolicy
    from lifecycle.ports import Driver
    from lifecycle.table import Phase

T = TypeVar("T")

log = logging.getLogger("argoexec")

TO_NOTICE = 2.0
"""Seconds that tasks have to notice a wish to stop; a chunk that moves is enough. Then they are left behind."""


class Recorded(Exception):
    """A phase ends here, and why is in the record already."""


@dataclass(frozen=True, slots=True)
class Task:
    """One item and what is done about it.

    Attributes:
        item: whose state it moves.
        work: one attempt; called again under the phase's policy.
        then: the state the item is in when it has worked.
        forgiven: why an item that is not there is skipped instead of failed (spec 1.8, 1.13); empty when it is not.
        there: whether what an earlier process did is still there; asked only when it says that it was done.
    """

    item: Item
    work: Callable[[], None]
    then: ItemState
    forgiven: str = ""
    there: Callable[[], bool] = lambda: True


@dataclass(slots=True)
class _Shared:
    """The driver of one store, and whose turn it is to make it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    driver: Driver | None = None


class Stay:
    """What a phase has in hand while it runs: a way to perform items, and to say what failed."""

    def __init__(self, pod: Pod, phase: Phase, policy: RetryPolicy) -> None:
        self.phase = phase
        self.policy = policy
        self.items: list[Item] = []
        self._pod = pod
        self._began = pod.clock.monotonic()
        self._ended: float | None = None
        self._stores: dict[str, _Shared] = {}

    @property
    def seconds(self) -> float:
        """How long it lasted, so far or in all."""
        return (self._ended if self._ended is not None else self._pod.clock.monotonic()) - self._began

    @property
    def cancel(self) -> Cancel:
        """What ends its waits: a wish to stop, or in a phase that tidies up the end of the time for that."""
        if self.phase.cancellable:
            return self._pod.cancel
        return self._pod.last if self.phase.insists else self._pod.abandon

    def close(self) -> None:
        """The phase is over."""
        self._ended = self._pod.clock.monotonic()

    def item(self, kind: str, name: str) -> Item:
        """A new item of this phase."""
        item = Item(kind=kind, name=name, phase=self.phase.state)
        self.items.append(item)
        return item

    def driver(self, location: Location, item: Item) -> Driver:
        """The driver of a location: one for all items of its store, and a new one once an attempt has failed.

        Eight artifacts of one bucket would make eight clients, of 11 ms each; a new one reads its credentials anew,
        which may have been rotated (upstream #15044).

        Raises:
            LifecycleError: none can be made.
        """
        shared = self._stores.setdefault(location.store, _Shared())
        with shared.lock:
            if shared.driver is None or item.attempts:
                shared.driver = self._pod.drivers(location)
            return shared.driver

    def settle(self, item: Item, state: ItemState, note: str = "") -> None:
        """Move an item without an attempt, and tell the journal. One that was left behind stays so."""
        if item.state is ItemState.ABANDONED:
            return
        item.move(state)
        item.note = note or item.note
        self._pod.keep_item(item)
        self._pod.journal.write("item", phase=self.phase.state, item=item.record())

    def recall(self, item: Item, then: ItemState, there: Callable[[], bool] = lambda: True) -> bool:
        """Whether an earlier process has settled this item: it is then as that one left it, and nothing is to be done.

        Args:
            item: new.
            then: the state of one that has worked.
            there: as in :class:`Task`.
        """
        record = self._pod.known.take(item)
        if record is None or (record["state"] == then and not there()):
            return False
        if record["state"] not in (then, ItemState.SKIPPED, ItemState.FAILED, ItemState.ABANDONED):
            return False
        fill(item, record)
        return True

    def fail(self, failure: Failure) -> None:
        """Keep a failure: in the record, the journal and the log. One that a restart meets again is there already."""
        if failure in self._pod.known.failures:
            return
        self._pod.record.add(failure)
        self._pod.journal.write("failure", failure=failure.record())
        log.error("%s", failure)

    def note(self, text: str) -> None:
        """Tell what is worth knowing and is no failure."""
        self._pod.journal.write("note", phase=self.phase.state, text=text)
        log.warning("%s: %s", self.phase.state, text)

    def need(self, what: str, work: Callable[[], T]) -> T:
        """Like :meth:`attempt`, for what the phase cannot go on without; a failure is recorded with its attempt.

        Raises:
            Recorded: it failed; there is nothing more to be said.
        """
        item = Item(kind=what, name="", phase=self.phase.state)  # only for its attempts: it is none of the phase's
        try:
            return self.attempt(item, work)
        except Cancelled:
            raise
        except Exception as error:
            self.fail(self._failure(error, item))
            raise Recorded from error

    def attempt(self, subject: Item | str, work: Callable[[], T], *, cancel: Cancel | None = None) -> T:
        """Call ``work`` under the phase's policy, every failed attempt in the journal.

        Raises:
            LifecycleError: what the last attempt raised.
        """
        item = subject if isinstance(subject, Item) else Item(kind=subject, name="", phase=self.phase.state)
        clock = self._pod.clock
        began = clock.monotonic()
        item.attempts = 0
        told = 0

        def failed(_: int, error: LifecycleError, wait: float | None) -> None:
            nonlocal told
            told += 1
            self._told(item, error, wait)

        attempts = Attempts(
            self.policy, clock, cancel or self.cancel, on_error=failed, insist=self.phase.insists, rng=self._pod.rng
        )
        try:
            return attempts.run(work)
        finally:
            item.attempts += attempts.number - told
            item.seconds = clock.monotonic() - began

    def resume(self, item: Item, broken: Transient, work: Callable[[], T]) -> T:
        """Go on with a transfer that broke: inside an attempt, under the same policy, and counted as attempts.

        Raises:
            LifecycleError: what the last try raised; the attempt that this is part of ends with it.
        """
        first = [broken]

        def again() -> T:
            if first:
                raise first.pop()
            return work()

        def failed(_: int, error: LifecycleError, wait: float | None) -> None:
            if wait is not None:  # else it goes on to whoever asked, and is told there
                self._told(item, error, wait)

        attempts = Attempts(self.policy, self._pod.clock, self.cancel, on_error=failed, rng=self._pod.rng)
        return attempts.run(again)

    def _told(self, item: Item, error: LifecycleError, wait: float | None) -> None:
        item.attempts += 1
        self._pod.journal.write(
            "attempt",
            phase=self.phase.state,
            item=str(item),
            attempt=item.attempts,
            error=type(error).__name__,
            message=error.message,
            wait=None if wait is None else round(wait, 3),
        )
        if wait is not None:
            log.warning("%s: %s: attempt %d: %s; again in %.1f s", self.phase.state, item, item.attempts, error, wait)

    def perform(self, task: Task) -> None:
        """One task to its end. Its failure is recorded and does not leave this method; a wish to stop does.

        Raises:
            Cancelled: in a phase that can be cancelled.
        """
        item = task.item
        if self.recall(item, task.then, task.there):
            return
        try:
            self.attempt(item, task.work)
        except Cancelled as reason:
            if item.state is ItemState.ABANDONED:
                return
            self.settle(item, ItemState.ABANDONED, str(reason))
            if self.phase.cancellable:
                raise
            self.fail(self._failure(reason, item))
        except NotFound as error:
            if task.forgiven:
                self.settle(item, ItemState.SKIPPED, f"{task.forgiven}, and not there: {error}")
            else:
                self._failed(item, error)
        except Exception as error:  # noqa: BLE001 - an item's failure is an outcome: the others go on
            self._failed(item, error)
        else:
            self.settle(item, task.then)

    def perform_all(self, tasks: Sequence[Task]) -> None:
        """All tasks, at most ``pod.settings.parallelism`` at a time, in the given order; none stops another.

        Raises:
            Cancelled: in a phase that can be cancelled, when every task has ended or was left behind.
        """
        width = self._pod.settings.parallelism
        done = self._pod.clock.inbox()
        self.cancel.listen(lambda: done.put(None))
        todo, running = list(reversed(tasks)), set[int]()
        outcomes: list[Exception] = []
        give_up_at: float | None = None
        while todo or running:
            if todo and len(running) < width:
                running.add(self._begin(todo.pop(), done))
                continue
            timeout = None if give_up_at is None else give_up_at - self._pod.clock.monotonic()
            outcome = done.get(timeout)
            if isinstance(outcome, tuple):
                running.discard(outcome[0])
                outcomes += [outcome[1]] if outcome[1] is not None else []
            elif give_up_at is None and self.cancel.reason is not None:
                now, grace = self._pod.clock.monotonic(), self._pod.grace
                give_up_at = now + (TO_NOTICE if grace is None else min(TO_NOTICE, grace.to_notice(now)))
            elif give_up_at is not None and self._pod.clock.monotonic() >= give_up_at:
                break
        self._abandon(tasks)
        unexpected = next((one for one in outcomes if not isinstance(one, Cancelled)), None)
        if unexpected is not None:
            raise unexpected
        if self.phase.cancellable:
            self.cancel.check()

    def _begin(self, task: Task, done: Inbox) -> int:
        """One task in a thread of its own; its end comes to ``done`` as its number and what it raised."""

        def body() -> None:
            raised: Exception | None = None
            try:
                self.perform(task)
            except Exception as error:  # noqa: BLE001 - a thread has no caller
                raised = error
            done.put((id(task), raised))

        self._pod.clock.start(body, f"{self.phase.state}-{task.item}")
        return id(task)

    def _abandon(self, tasks: Sequence[Task]) -> None:
        """What did not notice the wish to stop in time, such as a read from a silent server, is left behind."""
        for task in tasks:
            if task.item.state is not task.then and task.item.state in (ItemState.PENDING, ItemState.CAPTURED):
                reason = self.cancel.reason or LifecycleError("it did not end")
                self.settle(task.item, ItemState.ABANDONED, str(reason))
                if not self.phase.cancellable:
                    self.fail(self._failure(reason, task.item))

    def _failed(self, item: Item, error: Exception) -> None:
        if item.state is ItemState.ABANDONED:
            return
        if type(error) is LifecycleError:  # classified as a defect of ours: only then a traceback is of use
            log.debug("%s failed", item, exc_info=error)
        self.settle(item, ItemState.FAILED, str(error))
        self.fail(self._failure(error, item))

    def _failure(self, error: Exception, item: Item) -> Failure:
        return Failure.of(
            error,
            phase=self.phase.state,
            item=str(item),
            attempt=max(1, item.attempts),
            # A transfer that goes on where it broke may take more attempts than its policy has without progress.
            attempts=None if item.attempts > (self.policy.attempts or item.attempts) else self.policy.attempts,
        )
