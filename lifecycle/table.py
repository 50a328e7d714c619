"""What a lifecycle is made of: states, events, phases, and the table that orders them.

A table is data. The engine runs it, ``diagrams/`` draws it, the fault tests are generated from it. A table in which
something cannot work is not constructed: :class:`MalformedTable` says why.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lifecycle.policy import ONCE, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Event(StrEnum):
    """What may come out of a phase. The engine turns everything that happens into one of these."""

    DONE = "done"
    FAILED = "failed"
    TERMINATED = "terminated"
    DEADLINE = "deadline"


class Verdict(StrEnum):
    """The states a lifecycle ends in."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TERMINATED = "terminated"


END = "end"
"""The destination that a guard turns into a :class:`Verdict`: failed, else terminated, else succeeded."""


class MalformedTable(ValueError):
    """Why a table cannot be built, one reason a line."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One state in which work is done.

    Attributes:
        state: its name, unique in the table.
        does: one line for people.
        work: ``module:function`` that performs it; resolved when the table is built.
        to: where each event leads; a state of the table or ``END``.
        retry: the policy of each of its items.
        runs_in: the commands that run it.
        cancellable: a wish to stop ends it; otherwise it tidies up and is only given less time.
        insists: each of its items has one attempt even after everything was abandoned.
        blocking: it waits for something outside, so it must say what ends it.
        ended_by: the events that end the wait, deadlines among them.
    """

    state: str
    does: str
    work: str
    to: Mapping[Event, str]
    retry: RetryPolicy = ONCE
    runs_in: frozenset[str] = frozenset()
    cancellable: bool = False
    insists: bool = False
    blocking: bool = False
    ended_by: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "to", MappingProxyType(dict(self.to)))

    @property
    def meets(self) -> frozenset[Event]:
        """The events it can meet: all of them, since a phase that tidies up is given less time by a deadline too."""
        return frozenset(Event)

    def resolve(self) -> Callable[..., None]:
        """The function that does the work.

        Raises:
            ImportError, AttributeError, ValueError: the name leads nowhere.
            TypeError: what it leads to cannot be called.
        """
        module, _, name = self.work.partition(":")
        function: Callable[..., None] = getattr(importlib.import_module(module), name)
        if not callable(function):
            raise TypeError(f"{name} is no function")
        return function


@dataclass(frozen=True)
class Table:
    """A lifecycle: its phases in the order a reader thinks. The first one is where it begins.

    Raises:
        MalformedTable: an unknown state, an unanswered event, an unreachable state or end, a wait that nothing ends,
            a name that does not resolve.
    """

    name: str
    phases: tuple[Phase, ...]
    about: str = ""
    _by_state: dict[str, Phase] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_state", {phase.state: phase for phase in self.phases})
        reasons = list(self._malformed())
        if reasons:
            raise MalformedTable(f"the table {self.name!r} cannot work:\n  " + "\n  ".join(reasons))

    def __getitem__(self, state: str) -> Phase:
        return self._by_state[state]

    def __contains__(self, state: object) -> bool:
        return state in self._by_state

    @property
    def initial(self) -> str:
        """Where it begins."""
        return self.phases[0].state

    @property
    def states(self) -> tuple[str, ...]:
        """Every state, those it ends in last."""
        return (*(phase.state for phase in self.phases), *Verdict)

    def edges(self) -> Iterator[tuple[str, Event, str]]:
        """Every (source, event, destination), in the order of the table; ``END`` is not expanded."""
        for phase in self.phases:
            for event in Event:
                if event in phase.to:
                    yield phase.state, event, phase.to[event]

    def segment(self, command: str, about: str = "") -> Table:
        """The part that ``command`` runs: an edge that leads out of it ends it."""
        kept = tuple(phase for phase in self.phases if command in phase.runs_in)
        inside = {phase.state for phase in kept}
        return Table(
            name=command,
            about=about,
            phases=tuple(
                replace(phase, to={event: to if to in inside else END for event, to in phase.to.items()})
                for phase in kept
            ),
        )

    def machine(self) -> dict[str, Any]:
        """The keyword arguments of :class:`transitions.Machine` that make it the law of this table."""
        transitions: list[dict[str, Any]] = []
        for source, event, dest in self.edges():
            if dest != END:
                transitions.append({"trigger": event.value, "source": source, "dest": dest})
                continue
            # transitions takes the first whose conditions hold: the order is the precedence.
            for verdict, guard in _VERDICT_GUARDS:
                row: dict[str, Any] = {"trigger": event.value, "source": source, "dest": verdict.value}
                transitions.append(row | ({"conditions": guard} if guard else {}))
        return {"states": [str(state) for state in self.states], "initial": self.initial, "transitions": transitions}

    def _malformed(self) -> Iterator[str]:
        if not self.phases:
            yield "it has no phases"
            return
        if len(self._by_state) != len(self.phases):
            yield "two phases have the same state"
        for phase in self.phases:
            if phase.state in set(Verdict) or phase.state == END:
                yield f"{phase.state}: a state it ends in cannot be a phase"
            yield from self._malformed_phase(phase)
        reached = self._reachable(self.initial)
        for phase in self.phases:
            if phase.state not in reached:
                yield f"{phase.state}: no path from {self.initial} leads to it"
            elif END not in self._reachable(phase.state):
                yield f"{phase.state}: no path from it leads to an end"

    def _malformed_phase(self, phase: Phase) -> Iterator[str]:
        for event in sorted(phase.meets - set(phase.to)):
            yield f"{phase.state}: the event {event.value!r} is not answered"
        for event, to in phase.to.items():
            if to == phase.state:
                yield f"{phase.state}: {event.value!r} leads back to itself: retries belong into the policy"
            if to != END and to not in self._by_state:
                yield f"{phase.state}: {event.value!r} leads to {to!r}, which is no state of the table"
        if phase.blocking and not phase.ended_by:
            yield f"{phase.state}: it blocks, and neither a deadline nor an event ends it"
        if phase.retry.attempts is None and phase.retry.budget is None and not phase.ended_by:
            yield f"{phase.state}: its retries have no cap, no budget and no event that ends them"
        try:
            phase.resolve()
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            yield f"{phase.state}: the work {phase.work!r} does not resolve: {error}"

    def _reachable(self, start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            state = todo.pop()
            if state in seen:
                continue
            seen.add(state)
            if state in self._by_state:
                todo.extend(self._by_state[state].to.values())
        return seen


_VERDICT_GUARDS: tuple[tuple[Verdict, str | None], ...] = (
    (Verdict.FAILED, "has_failed"),
    (Verdict.TERMINATED, "was_cancelled"),
    (Verdict.SUCCEEDED, None),
)
