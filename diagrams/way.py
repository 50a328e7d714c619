"""The way a pod took through a table, read from the lines of its journal.

A journal comes from outside: it may be cut off, edited, or of another release whose table was different.
Whatever does not fit the table is an :class:`~lifecycle.errors.InputError` that names the line; everything
that is drawn is cleaned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diagrams.line import Odd, get, number, take_all
from diagrams.text import clean, count, duration
from lifecycle.table import END, Event, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lifecycle.table import Table

NAME_LIMIT = 80


@dataclass(slots=True)
class Visit:
    """What happened in one phase, over all times it was entered.

    Attributes:
        entered: how often; more than once after a restart.
        seconds: how long it took together.
        subjects: attempts of each item, failed and successful ones.
        failed_attempts: those that failed, whether or not another followed.
        failures: the messages of what failed for good.
        open: it was entered last and not left.
    """

    entered: int = 0
    seconds: float = 0.0
    subjects: dict[str, int] = field(default_factory=dict)
    failed_attempts: int = 0
    failures: list[str] = field(default_factory=list)
    open: bool = False

    @property
    def attempts(self) -> int:
        """How many attempts the items took together."""
        return sum(self.subjects.values())

    @property
    def facts(self) -> list[str]:
        """The visit in a few words each; what did not happen is not said."""
        told = [duration(self.seconds)] if not self.open or self.seconds else []
        if self.entered > 1:
            told.append(f"entered {self.entered} times")
        if self.attempts:
            told.append(
                count(self.attempts, "attempt") + (f" ({self.failed_attempts} failed)" * bool(self.failed_attempts))
            )
        if self.failures:
            told.append(count(len(self.failures), "failure"))
        if self.open:
            told.append("stopped here")
        return told


@dataclass(slots=True)
class Way:
    """The way one pod took.

    Attributes:
        pod: its name.
        template: the name of its template.
        visits: what happened in each phase that was entered.
        taken: the edges that were taken, with ``END`` for those into a verdict.
        verdict: how it ended; ``None`` when the journal does not say so.
        message: the reason, cut.
        stopped: the phase in which an interrupted pod was last seen.
    """

    pod: str = ""
    template: str = ""
    visits: dict[str, Visit] = field(default_factory=dict)
    taken: set[tuple[str, Event, str]] = field(default_factory=set)
    verdict: Verdict | None = None
    message: str = ""
    stopped: str | None = None

    @classmethod
    def read(cls, table: Table, journal: Sequence[Mapping[str, Any]]) -> Way:
        """The way that a journal tells of.

        Raises:
            InputError: a line that has not the shape of its kind, or does not fit the table; its place is
                ``journal:n``.
        """
        reader = _Reader(table)
        take_all(journal, reader.take, "draw it with the release of argoexec that wrote it, or without --journal")
        return reader.finish()

    @property
    def headline(self) -> str:
        """Whose way it is."""
        names = [f"pod {self.pod}"] if self.pod else []
        names += [f"template {self.template}"] if self.template else []
        return ", ".join(names)

    @property
    def outcome(self) -> str:
        """How it ended, in a line."""
        if self.verdict is None:
            where = f"interrupted in {self.stopped}" if self.stopped else "interrupted"
            return f"{where}: the journal does not say how it ended"
        return f"{self.verdict}: {self.message}" if self.message else str(self.verdict)

    def failing(self, state: str) -> bool:
        """Whether something failed for good in this phase."""
        visit = self.visits.get(state)
        return visit is not None and (bool(visit.failures) or self.took(state, Event.FAILED))

    def took(self, source: str, event: Event, dest: str | None = None) -> bool:
        """Whether this edge was taken; to anywhere, when no destination is given."""
        return any(edge[:2] == (source, event) and dest in (None, edge[2]) for edge in self.taken)


def way_of(table: Table, journal: Sequence[Mapping[str, Any]] | None) -> Way | None:
    """The way, when there is a journal to read it from.

    Raises:
        InputError: as :meth:`Way.read`.
    """
    return None if journal is None else Way.read(table, journal)


class _Reader:
    """Takes one line after the other. The kinds are those of ``lifecycle/journal.py``."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._way = Way()
        self._now: str | None = None
        self._entered_at = 0.0
        self._last = 0.0

    def take(self, line: Mapping[str, Any]) -> None:
        kinds = {
            "pod": self._pod, "enter": self._enter, "leave": self._leave, "attempt": self._attempt,
            "item": self._item, "failure": self._failure, "end": self._end,
        }  # fmt: skip
        kind = get(line, "kind", str)
        # A kind that is not drawn is no error: notes, and what a later release may add.
        if kind == "pod":
            self._interrupted()
        if kind in kinds:
            self._last = number(line, "s", self._last)
            kinds[kind](line)

    def finish(self) -> Way:
        self._interrupted()
        if self._now is not None and self._way.verdict is None:
            self._way.visits[self._now].open = True
            self._way.stopped = self._now
        return self._way

    def _interrupted(self) -> None:
        """Count the time of a stay that was not left, up to the last sign of life."""
        if self._now is not None:
            self._way.visits[self._now].seconds += max(0.0, self._last - self._entered_at)

    def _pod(self, line: Mapping[str, Any]) -> None:
        name = get(line, "table", str)
        if name != self._table.name:
            raise Odd(f"it is the journal of the table {clean(name, NAME_LIMIT)!r}, not of {self._table.name!r}")
        self._way.pod = clean(get(line, "pod", str, ""), NAME_LIMIT)
        self._way.template = clean(get(line, "template", str, ""), NAME_LIMIT)
        # A second header is a restart: its clock begins anew, and what went on before was interrupted.
        self._now = None

    def _enter(self, line: Mapping[str, Any]) -> None:
        state = self._state(line)
        self._way.visits.setdefault(state, Visit()).entered += 1
        self._way.verdict = None
        self._now, self._entered_at = state, self._last

    def _leave(self, line: Mapping[str, Any]) -> None:
        state = self._state(line)
        to = get(line, "to", str)
        try:
            event = Event(get(line, "event", str))
        except ValueError:
            raise Odd(f"there is no event {clean(str(line['event']), NAME_LIMIT)!r}") from None
        dest = END if to in set(Verdict) else to
        if self._table[state].to.get(event) != dest:
            name, where = self._table.name, clean(to, NAME_LIMIT)
            raise Odd(f"in the table {name!r} {event} does not lead from {state} to {where!r}")
        self._way.taken.add((state, event, dest))
        self._way.visits.setdefault(state, Visit(entered=1)).seconds += number(line, "seconds", 0.0)
        self._now = None

    def _attempt(self, line: Mapping[str, Any]) -> None:
        visit = self._visit(line)
        visit.failed_attempts += 1
        # With a wait another attempt follows, and its success is not told.
        follows = line.get("wait") is not None
        self._tried(visit, get(line, "item", str, ""), int(number(line, "attempt", 1)) + follows)

    def _item(self, line: Mapping[str, Any]) -> None:
        item = get(line, "item", dict)
        if item.get("state") == "reported" and item.get("kind") != "container":
            return  # its attempts were those of another phase, and have been told there
        name = f"{get(item, 'kind', str)} {get(item, 'name', str, '')}".rstrip()
        self._tried(self._visit(line), name, int(number(item, "attempts", 0)), sure=True)

    @staticmethod
    def _tried(visit: Visit, subject: str, attempts: int, *, sure: bool = False) -> None:
        visit.subjects[subject] = attempts if sure and attempts else max(attempts, visit.subjects.get(subject, 0))

    def _failure(self, line: Mapping[str, Any]) -> None:
        failure = get(line, "failure", dict)
        self._visit(failure).failures.append(clean(get(failure, "message", str, "")))

    def _end(self, line: Mapping[str, Any]) -> None:
        try:
            self._way.verdict = Verdict(get(line, "verdict", str))
        except ValueError:
            raise Odd(f"there is no verdict {clean(str(line['verdict']), NAME_LIMIT)!r}") from None
        self._way.message = clean(get(line, "message", str, ""))
        self._now = None

    def _state(self, line: Mapping[str, Any]) -> str:
        state = get(line, "phase", str)
        if state not in self._table:
            raise Odd(f"the table {self._table.name!r} has no phase {clean(state, NAME_LIMIT)!r}")
        return state

    def _visit(self, line: Mapping[str, Any]) -> Visit:
        return self._way.visits.setdefault(self._state(line), Visit())
