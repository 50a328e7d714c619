"""What happened, as a tree: pod → phase → item → attempt. Made of a journal's lines, one after the other.

There is one source, the journal, and one reader of it. The summary at a command's end, spans and metrics are functions
of what stands here; ``argoexec explain`` makes the same of a file. Lines of a kind that it does not know are passed
over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lifecycle.wording import WORTH_A_RATE, duration, rate, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_ENDED = {
    "": "interrupted after",
    "failed": "failed after",
    "terminated": "terminated after",
    "deadline": "ended by its deadline after",
}
BAD = ("failed", "abandoned")
"""States of a thing that came to nothing."""


@dataclass(slots=True)
class Attempt:
    """One attempt at one item; moments are seconds of Unix time.

    Attributes:
        number: from 1 on, over all that was done with the item.
        error: the class of what it failed with; empty when it worked.
        message: what it failed with.
        wait: seconds until the next one; ``None`` when there was none.
    """

    number: int
    began: float
    ended: float
    error: str = ""
    message: str = ""
    wait: float | None = None


@dataclass(slots=True)
class Thing:
    """One item of a phase; ``state`` is empty of what is tried but is no item, such as sending a signal."""

    name: str
    began: float
    ended: float
    kind: str = ""
    state: str = ""
    size: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    round: int = 0
    """Failed attempts since the item last changed its state."""


@dataclass(slots=True)
class Visit:
    """One stay in a phase; ``event`` and ``to`` are empty while it lasts, and of one that was interrupted."""

    phase: str
    began: float
    ended: float
    seconds: float = 0.0
    event: str = ""
    to: str = ""
    things: dict[str, Thing] = field(default_factory=dict)
    failures: list[Mapping[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        """``saving 2.1 s (3 items, 412.0 MiB, 196.2 MiB/s, 4 attempts)``."""
        how = f"{_ENDED[self.event]} " if self.event in _ENDED else ""
        facts = ", ".join(self._facts())
        return f"{self.phase} {how}{duration(self.seconds)}" + (f" ({facts})" if facts else "")

    def _facts(self) -> Iterator[str]:
        things = [thing for thing in self.things.values() if thing.state]
        moved = sum(thing.size or 0 for thing in things)
        if len(things) > 1:
            yield f"{len(things)} items"
        for state in BAD:
            if bad := sum(thing.state == state for thing in things):
                yield f"{bad} {state}"
        if moved:
            yield size(moved)
            if self.seconds >= WORTH_A_RATE:
                yield rate(moved, self.seconds)
        attempts = [attempt for thing in self.things.values() for attempt in thing.attempts]
        if any(attempt.wait is not None for attempt in attempts):
            yield f"{len(attempts)} attempts"


@dataclass(slots=True)
class Account:
    """Of one pod, so far or in all.

    Attributes:
        began, ended: seconds of Unix time; ``ended`` is the last sign of life.
        verdict: empty while it runs, and of one that was interrupted.
        record: what went wrong, as the journal's last line has it.
    """

    pod: str = ""
    template: str = ""
    table: str = ""
    began: float = 0.0
    ended: float = 0.0
    verdict: str = ""
    message: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    _epoch: float | None = None

    def read(self, line: Mapping[str, Any]) -> None:
        """Take one line.

        Raises:
            KeyError, ValueError, TypeError: the line lacks something, or has a wrong value.
        """
        now = self._moment(line)
        if self.visits and not self.visits[-1].event and line["kind"] not in ("pod", "enter"):
            self.visits[-1].ended, self.visits[-1].seconds = now, now - self.visits[-1].began
        match line["kind"]:
            case "pod":
                self.pod, self.template, self.table = line["pod"], line["template"], line["table"]
                self.verdict = ""
            case "enter":
                self.visits.append(Visit(line["phase"], now, now))
            case "attempt":
                self._attempt(line, now)
            case "item":
                self._item(line, now)
            case "failure":
                self._visit(line["failure"]["phase"], now).failures.append(line["failure"])
            case "leave":
                visit = self._visit(line["phase"], now)
                visit.event, visit.to, visit.seconds, visit.ended = line["event"], line["to"], line["seconds"], now
            case "end":
                self.verdict, self.message = line["verdict"], line.get("message", "")
                self.record = line.get("record", {})

    def summary(self) -> str:
        """One line: ``wait succeeded in 63.2 s: waiting 61.0 s · killing sidecars 100 ms · …``."""
        how = f"{self.verdict} in" if self.verdict else "interrupted after"
        return f"{self.table} {how} {duration(self.ended - self.began)}: {self.phases()}"

    def phases(self) -> str:
        """The phases of the summary."""
        return " · ".join(map(str, self.visits))

    def _moment(self, line: Mapping[str, Any]) -> float:
        """When it was, by the monotonic time since the header: a step of the wall clock changes no duration."""
        if line["kind"] == "pod" or self._epoch is None:
            # A second header is a restart, whose time begins anew.
            self._epoch = datetime.fromisoformat(line["t"]).timestamp() - float(line["s"])
            self.began = self.began or self._epoch + line["s"]
        self.ended = self._epoch + float(line["s"])
        return self.ended

    def _visit(self, phase: str, now: float) -> Visit:
        for visit in reversed(self.visits):
            if visit.phase == phase:
                return visit
        self.visits.append(Visit(phase, now, now))
        return self.visits[-1]

    def _attempt(self, line: Mapping[str, Any], now: float) -> None:
        visit = self._visit(line.get("phase", ""), now)
        thing = visit.things.setdefault(line["item"], Thing(line["item"], visit.began, now))
        began = _next(thing, now)
        thing.attempts.append(
            Attempt(len(thing.attempts) + 1, began, now, line["error"], line["message"], line["wait"])
        )
        thing.round += 1
        thing.ended = now

    def _item(self, line: Mapping[str, Any], now: float) -> None:
        item = line["item"]
        name = f"{item['kind']} {item['name']}".rstrip()
        visit = self._visit(line.get("phase", ""), now)
        if item["state"] == "reported" and name not in visit.things:
            for earlier in reversed(self.visits):
                if name in earlier.things:  # what was saved has now been reported: it is the item of that phase
                    earlier.things[name].state = item["state"]
                    return
        began = max(visit.began, now - item["seconds"])
        thing = visit.things.setdefault(name, Thing(name, began, now))
        if thing.attempts and not thing.state:
            thing.began = thing.attempts[0].began = min(began, thing.attempts[0].ended)
        if item["attempts"] > thing.round:
            error = item["state"] if item["state"] in BAD else ""
            number = len(thing.attempts) + 1
            began = max(began, _next(thing, now)) if thing.round else began
            thing.attempts.append(Attempt(number, began, now, error, item.get("note", "") if error else ""))
        thing.kind, thing.state, thing.size = item["kind"], item["state"], item.get("bytes", thing.size)
        thing.ended, thing.round = now, 0


def _next(thing: Thing, now: float) -> float:
    """When the attempt after the last one began; a wait is rounded in the journal, and may end a little after it."""
    if not thing.attempts:
        return thing.began
    last = thing.attempts[-1]
    return min(now, last.ended + (last.wait or 0.0))


def of(lines: Iterable[Mapping[str, Any]]) -> Account:
    """The account of a whole journal.

    Raises:
        KeyError, ValueError, TypeError: as :meth:`Account.read`.
    """
    account = Account()
    for line in lines:
        account.read(line)
    return account
