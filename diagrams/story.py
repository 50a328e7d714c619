"""What happened to one pod, step by step, read from the lines of its journal: for the page that replays it.

:mod:`diagrams.way` says which states and edges were met; this says when, of which item, and in what order. All times
are seconds since the first header: a restart's own clock begins anew, so it is set on by the wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from diagrams.line import Odd, get, number, take_all
from diagrams.text import clean, count, duration
from lifecycle.table import END, Verdict
from lifecycle.wording import MARKS, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lifecycle.table import Table

LONG = 4096
"""Characters of a message on a page: as many as a termination message has bytes."""

GOOD, BAD, STOPPED, QUIET = "good", "failed", "stopped", "quiet"

_ITEM_LOOKS = {"failed": (BAD, "✗"), "abandoned": (STOPPED, "■"), "skipped": (QUIET, "–")}
_EVENT_LOOKS = {"done": GOOD, "failed": BAD, "terminated": STOPPED, "deadline": STOPPED}
_VERDICT_LOOKS = {Verdict.SUCCEEDED: (GOOD, "✓"), Verdict.FAILED: (BAD, "✗"), Verdict.TERMINATED: (STOPPED, "■")}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the journal, as a page tells it.

    Attributes:
        at: when, in seconds.
        kind: as in the journal.
        look: ``good``, ``failed``, ``stopped`` or ``quiet``.
        mark: one character that says the same without colour.
        text: one line.
        more: what follows from it, such as a remedy.
        state: the state that the pod is in from here on, where that changed.
        edge: the way it came there, ``END`` for the choice of the verdict.
    """

    at: float
    kind: str
    look: str
    mark: str
    text: str
    more: str = ""
    state: str = ""
    edge: tuple[str, str] | None = None


@dataclass(slots=True)
class Span:
    """One stay in one phase. ``event`` is empty when it was not left."""

    state: str
    begin: float
    end: float
    event: str = ""
    broken: int = 0
    failures: int = 0

    @property
    def look(self) -> str:
        """How it ended."""
        return BAD if self.failures else _EVENT_LOOKS.get(self.event, STOPPED)


@dataclass(slots=True)
class Row:
    """What became of one item of one phase. ``step`` is where the page may show its end."""

    phase: str
    label: str
    begin: float
    end: float
    state: str = ""
    attempts: int = 0
    seconds: float = 0.0
    size: int | None = None
    note: str = ""
    breaks: list[float] = field(default_factory=list)
    step: int = 0

    @property
    def look(self) -> str:
        """How it ended; one that was never told of as an item is in hand still."""
        return STOPPED if not self.state else _ITEM_LOOKS.get(self.state, (GOOD, "✓"))[0]

    @property
    def mark(self) -> str:
        """The same as a character."""
        return "…" if not self.state else _ITEM_LOOKS.get(self.state, (GOOD, "✓"))[1]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failure: what the record says of it."""

    phase: str
    item: str
    attempt: str
    error: str
    message: str
    causes: tuple[str, ...]
    remedy: str


@dataclass(slots=True)
class Story:
    """Everything a page tells of one pod.

    Attributes:
        began: the wall clock of the first header, as the journal has it.
        seconds: from the first header to the last line.
        restarts: the moments at which a process began after the first.
    """

    began: str = ""
    seconds: float = 0.0
    restarts: list[float] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    @classmethod
    def read(cls, table: Table, journal: Sequence[Mapping[str, Any]]) -> Story:
        """The story that a journal tells.

        Raises:
            InputError: a line that has not the shape of its kind; its place is ``journal:n``. That the lines fit the
                table is :meth:`~diagrams.way.Way.read`'s to say.
        """
        reader = _Reader(table)
        take_all(journal, reader.take, "show it with the release of argoexec that wrote it")
        return reader.finish()


class _Reader:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._story = Story()
        self._offset = 0.0
        self._now = 0.0
        self._wall: datetime | None = None
        self._span: Span | None = None
        self._rows: dict[tuple[str, str], Row] = {}
        self._latest: dict[str, Row] = {}
        self._reported = 0
        self._kinds: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "pod": self._pod, "enter": self._enter, "leave": self._leave, "attempt": self._attempt,
            "item": self._item, "progress": self._progress, "failure": self._failure, "note": self._note,
            "end": self._end,
        }  # fmt: skip

    def take(self, line: Mapping[str, Any]) -> None:
        kind = get(line, "kind", str)
        if kind not in self._kinds:
            return
        if kind != "item":
            self._tell_reported()
        if kind != "pod":
            # Never back: a line may be written by another thread than the one before it.
            self._now = max(self._now, self._offset + number(line, "s", 0.0))
        self._kinds[kind](line)
        self._wall = _moment(line) or self._wall

    def finish(self) -> Story:
        self._tell_reported()
        self._interrupted()
        self._story.seconds = self._now
        self._story.rows = list(self._rows.values())
        return self._story

    def _pod(self, line: Mapping[str, Any]) -> None:
        began = get(line, "t", str, "")
        if not self._story.began:
            self._story.began = clean(began, 40)
            text = "the lifecycle begins"
        else:
            self._interrupted()
            wall = _moment(line)
            away = max(0.0, (wall - self._wall).total_seconds()) if wall and self._wall else 0.0
            self._now += min(away, 1e9)
            self._offset = self._now
            self._story.restarts.append(self._now)
            text = f"begun again after {duration(away)}: the process before was killed"
        self._step("pod", QUIET if not self._story.restarts else STOPPED, "↻" if self._story.restarts else "●", text)

    def _interrupted(self) -> None:
        if self._span is not None:
            self._span.end = self._now
            self._span = None

    def _enter(self, line: Mapping[str, Any]) -> None:
        state = get(line, "phase", str)
        self._interrupted()
        self._span = Span(state, self._now, self._now)
        self._story.spans.append(self._span)
        does = self._table[state].does if state in self._table else ""
        self._step("enter", QUIET, "▸", f"{state}: {does}", state=state)

    def _leave(self, line: Mapping[str, Any]) -> None:
        state, event, to = get(line, "phase", str), get(line, "event", str), get(line, "to", str)
        if self._span is not None:
            self._span.event = event
            self._interrupted()
        took = duration(number(line, "seconds", 0.0))
        look = _EVENT_LOOKS.get(event, QUIET)
        if to in set(Verdict):
            last, edge = to, (state, END)
        else:
            last, edge = "", (state, to)
        self._step("leave", look, MARKS.get(event, "?"), f"{state}: {event} in {took} → {to}", state=last, edge=edge)

    def _attempt(self, line: Mapping[str, Any]) -> None:
        phase, label = get(line, "phase", str), clean(get(line, "item", str, ""))
        wait = line.get("wait")
        again = "no further attempt" if wait is None else f"again after {duration(number(line, 'wait', 0.0))}"
        told = int(number(line, "attempt", 1))
        row = self._row(phase, label)
        row.breaks.append(self._now)
        row.attempts = max(row.attempts, told + (wait is not None))
        if self._span is not None:
            self._span.broken += 1
        message = clean(get(line, "message", str, ""), LONG)
        self._step("attempt", BAD, "!", f"{label}: attempt {told}: {message}", again)

    def _item(self, line: Mapping[str, Any]) -> None:
        item = get(line, "item", dict)
        kind, state = clean(get(item, "kind", str)), clean(get(item, "state", str, ""))
        label = f"{kind} {clean(get(item, 'name', str, ''))}".rstrip()
        if state == "reported" and kind != "container" and label in self._latest:
            # Its size, time and note were told when it was saved, and are not those of the report.
            self._latest[label].state = state
            self._reported += 1
            return
        self._tell_reported()
        row = self._row(get(line, "phase", str), label)
        row.state, row.note = state, clean(get(item, "note", str, ""), LONG)
        row.attempts = max(row.attempts, int(number(item, "attempts", 0)))
        row.seconds = number(item, "seconds", 0.0)
        row.size = int(number(item, "bytes", 0)) if item.get("bytes") is not None else None
        row.begin, row.end = max(0.0, self._now - row.seconds), self._now
        look, mark = _ITEM_LOOKS.get(state, (GOOD, "✓"))
        row.step = self._step("item", look, mark, _told(row), row.note)

    def _row(self, phase: str, label: str) -> Row:
        row = self._rows.get((phase, label))
        if row is None:
            row = self._rows[phase, label] = Row(phase, label, self._now, self._now, step=len(self._story.steps))
        self._latest[label] = row
        row.end = self._now
        return row

    def _tell_reported(self) -> None:
        """Thousands of items are reported at once: one step says so."""
        if self._reported:
            said, self._reported = self._reported, 0
            self._step("item", GOOD, "✓", f"{count(said, 'item')} reported")

    def _progress(self, line: Mapping[str, Any]) -> None:
        of = f" of {size(number(line, 'total', 0))}" if line.get("total") is not None else ""
        self._step("progress", QUIET, "…", f"{clean(get(line, 'item', str, ''))}: {size(number(line, 'bytes', 0))}{of}")

    def _note(self, line: Mapping[str, Any]) -> None:
        self._step("note", QUIET, "·", clean(get(line, "text", str, ""), LONG))

    def _failure(self, line: Mapping[str, Any]) -> None:
        failure = get(line, "failure", dict)
        attempt = int(number(failure, "attempt", 1))
        attempts = int(number(failure, "attempts", 0)) if failure.get("attempts") is not None else 0
        causes = failure.get("causes") or []
        if not isinstance(causes, list) or not all(isinstance(cause, str) for cause in causes):
            raise Odd("'causes' must be texts")
        kind, code = clean(get(failure, "error", str, "")), clean(get(failure, "code", str, ""))
        trouble = Trouble(
            phase=clean(get(failure, "phase", str)),
            item=clean(get(failure, "item", str, "")),
            attempt=f"{attempt} of {attempts}" if attempts else str(attempt),
            error=f"{kind} ({code})" if code else kind,
            message=clean(get(failure, "message", str, ""), LONG),
            causes=tuple(clean(cause, LONG) for cause in causes),
            remedy=clean(get(failure, "remedy", str, ""), LONG),
        )
        self._story.troubles.append(trouble)
        if self._span is not None:
            self._span.failures += 1
        text = f"{trouble.item}: {trouble.message}" if trouble.item else trouble.message
        self._step("failure", BAD, "✗", text, trouble.remedy)

    def _end(self, line: Mapping[str, Any]) -> None:
        verdict = Verdict(get(line, "verdict", str))
        look, mark = _VERDICT_LOOKS[verdict]
        self._interrupted()
        message = clean(get(line, "message", str, ""), LONG)
        self._step("end", look, mark, str(verdict), message, state=verdict, edge=(END, verdict))

    def _step(
        self, kind: str, look: str, mark: str, text: str, more: str = "", *,
        state: str = "", edge: tuple[str, str] | None = None,
    ) -> int:  # fmt: skip
        self._story.steps.append(Step(self._now, kind, look, mark, text, more, state, edge))
        return len(self._story.steps) - 1


def _told(row: Row) -> str:
    parts = [f"{row.label}: {row.state}"]
    parts += [f"{row.attempts} attempts"] if row.attempts > 1 else []
    parts += [size(row.size)] if row.size is not None else []
    parts += [duration(row.seconds)] if row.seconds else []
    return ", ".join(parts)


def _moment(line: Mapping[str, Any]) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(line.get("t")))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
