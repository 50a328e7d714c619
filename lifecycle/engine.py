"""The engine: `transitions` is the law, a small loop does the work.

The loop performs the phase of the present state, turns what happened into an event, and fires it. Callbacks do no
work: the machine only says which event may follow which state, and tells the journal. A broad ``except`` stands
where something ends and its end must become an outcome: here a phase, in :mod:`lifecycle.stay` an item, in a thread
its message to the inbox.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from transitions import Machine

from lifecycle.errors import Cancelled, DeadlineExceeded
from lifecycle.journal import VERSION
from lifecycle.outcome import Failure
from lifecycle.stay import Recorded, Stay
from lifecycle.table import Event, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transitions import EventData

    from lifecycle.context import Pod
    from lifecycle.table import Phase, Table

# It logs every callback at INFO (3.4 times the time), and warns of each name that model_override skips, as we want.
logging.getLogger("transitions").setLevel(logging.ERROR)

log = logging.getLogger("argoexec")


class Observer(Protocol):
    """Who watches a lifecycle as it runs: a display, a heartbeat. Must return at once and not raise."""

    def entered(self, stay: Stay) -> None:
        """A phase begins."""

    def left(self, stay: Stay, event: Event, to: str) -> None:
        """A phase has ended with ``event``."""


class _Model:
    """What `transitions` moves. Declared, so that nothing is attached dynamically (``model_override``)."""

    state: str

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    def trigger(self, event: str) -> bool:
        raise NotImplementedError  # transitions overrides it

    def has_failed(self, _: EventData) -> bool:
        return bool(self._pod.record.failures)

    def was_cancelled(self, _: EventData) -> bool:
        return self._pod.record.cancelled is not None


class Engine:
    """Runs one table for one pod, from its first phase, or from where it was interrupted, to a verdict."""

    def __init__(
        self, table: Table, pod: Pod, *, environ: Mapping[str, str] | None = None, observer: Observer | None = None
    ) -> None:
        """Take a table and what is injected into its phases.

        Args:
            table: the law.
            pod: the ports and everything else a phase works with.
            environ: where retry policies may be overridden.
            observer: told of every phase.
        """
        self.table = table
        self.pod = pod
        self.stays: list[Stay] = []
        self._observer = observer
        self._policies = {phase.state: phase.retry.overridden(environ or {}, phase.state) for phase in table.phases}
        self._model = _Model(pod)
        self._machine = Machine(
            model=self._model,
            **table.machine(),
            queued=True,
            send_event=True,
            auto_transitions=False,
            model_override=True,
            after_state_change=self._journal_transition,
        )

    @property
    def state(self) -> str:
        """Where it is."""
        return self._model.state

    def run(self) -> Verdict:
        """Perform phase after phase until a verdict."""
        journal, known = self.pod.journal, self.pod.known
        known.restore(self.pod)
        if known.state:
            self._machine.set_state(known.state, self._model)
        for note in filter(None, (known.headline, *known.notes)):
            log.warning("%s", note)
        if known.ended:
            return Verdict(self.state)
        journal.write("pod", version=VERSION, table=self.table.name, **self.pod.identity(), **known.header())
        for note in known.notes:
            journal.write("note", phase=self.state, text=note)
        while self.state in self.table:
            self._fire(self._perform(self.table[self.state]))
        verdict = Verdict(self.state)
        journal.write("end", verdict=verdict.value, message=self.pod.record.message())
        return verdict

    def _perform(self, phase: Phase) -> Event:
        stay = Stay(self.pod, phase, self._policies[phase.state])
        self.stays.append(stay)
        self.pod.journal.write("enter", phase=phase.state)
        log.debug("entering %s", phase.state)
        if self._observer:
            self._observer.entered(stay)
        try:
            phase.resolve()(self.pod, stay)
        except Cancelled as reason:
            if self.pod.record.cancelled is None:
                self.pod.record.cancelled = reason
            return Event.DEADLINE if isinstance(reason, DeadlineExceeded) else Event.TERMINATED
        except Recorded:
            pass
        except Exception as error:
            stay.fail(Failure.of(error, phase=phase.state))
            log.debug("the phase %s failed", phase.state, exc_info=True)
        finally:
            stay.close()
        # Those of an earlier process in this phase count as well.
        failed = any(failure.phase == phase.state for failure in self.pod.record.failures)
        return Event.FAILED if failed else Event.DONE

    def _fire(self, event: Event) -> None:
        source = self.state
        self._model.trigger(event.value)
        if self.state == source:
            # queued=True returns True even when no condition held; a table that was checked cannot come here.
            raise RuntimeError(f"{source} has no way on after {event.value}")
        if self._observer:
            self._observer.left(self.stays[-1], event, self.state)

    def _journal_transition(self, data: EventData) -> None:
        stay = self.stays[-1]
        self.pod.keep_phase(stay.phase.state)
        self.pod.journal.write(
            "leave",
            phase=stay.phase.state,
            event=data.event.name,
            to=self._model.state,
            seconds=round(stay.seconds, 4),
        )
