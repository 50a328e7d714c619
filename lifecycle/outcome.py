"""What became of things: items, their states, and failures. Data only; the engine and the journal pass it around."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lifecycle.errors import Cancelled, classify
from lifecycle.wording import harmless


class ItemState(StrEnum):
    """The life of one parameter, artifact, log, container: each has its own, and none stops another."""

    PENDING = "pending"
    CAPTURED = "captured"
    LOADED = "loaded"
    SAVED = "saved"
    DONE = "done"
    REPORTED = "reported"
    SKIPPED = "skipped"
    FAILED = "failed"
    ABANDONED = "abandoned"


_MOVES: dict[ItemState, frozenset[ItemState]] = {
    ItemState.PENDING: frozenset(ItemState) - {ItemState.PENDING, ItemState.REPORTED},
    ItemState.CAPTURED: frozenset({ItemState.SAVED, ItemState.REPORTED, ItemState.FAILED, ItemState.ABANDONED}),
    ItemState.SAVED: frozenset({ItemState.REPORTED}),
    ItemState.LOADED: frozenset(),
    ItemState.DONE: frozenset(),
    ItemState.REPORTED: frozenset(),
    ItemState.SKIPPED: frozenset(),
    ItemState.FAILED: frozenset(),
    ItemState.ABANDONED: frozenset(),
}


@dataclass(slots=True)
class Item:
    """One thing a phase takes care of.

    Attributes:
        kind: ``input``, ``parameter``, ``artifact``, ``log``, ``result``, ``container`` …
        name: as the template calls it.
        phase: the state in which it was met.
        size: bytes that were moved, once known; of the artifact's content, not of its archive.
        attempts: how many were made, those that went on where a broken one had stopped included.
        seconds: how long they took together, waits included.
        note: what a person should know although it did not fail.
    """

    kind: str
    name: str
    phase: str
    state: ItemState = ItemState.PENDING
    attempts: int = 0
    seconds: float = 0.0
    size: int | None = None
    note: str = ""

    def move(self, to: ItemState) -> None:
        """Go on to the next state.

        Raises:
            ValueError: there is no way from the present state: a defect of ours.
        """
        if to not in _MOVES[self.state]:
            raise ValueError(f"{self}: no way from {self.state} to {to}")
        self.state = to

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.kind

    def record(self) -> dict[str, Any]:
        """As the journal and ``-o json`` show it."""
        shown: dict[str, Any] = {"kind": self.kind, "name": self.name, "state": self.state.value}
        shown |= {"attempts": self.attempts, "seconds": round(self.seconds, 4)}
        if self.size is not None:
            shown["bytes"] = self.size
        if self.note:
            shown["note"] = self.note
        return shown


@dataclass(frozen=True, slots=True)
class Failure:
    """What a person must know of one failure: phase, item, attempt n of m, class, cause chain, remedy."""

    phase: str
    item: str
    attempt: int
    attempts: int | None
    code: str
    error: str
    message: str
    causes: tuple[str, ...] = ()
    remedy: str = ""

    @classmethod
    def of(cls, error: Exception, *, phase: str, item: str = "", attempt: int = 1, attempts: int | None = 1) -> Failure:
        """The record of an error; the causes are its ``__cause__`` chain, without what the message says already."""
        known = classify(error)
        causes: list[str] = []
        cause = error.__cause__
        while cause is not None:
            said = str(classify(cause)) if isinstance(cause, OSError) else str(cause)
            text = f"{type(cause).__name__}: {said}"
            if said not in known.message and text not in causes:
                causes.append(text)
            cause = cause.__cause__
        return cls(
            phase=phase,
            item=item,
            attempt=attempt,
            attempts=attempts,
            code=known.code,
            error=type(known).__name__,
            message=known.message,
            causes=tuple(causes),
            remedy=known.remedy,
        )

    def __str__(self) -> str:
        """One line, as the node message shows it."""
        return self.line(MESSAGE_LIMIT)

    def line(self, limit: int) -> str:
        """One line of at most ``limit`` bytes; where something must give way, it is the causes, then the message."""
        of = f" of {self.attempts}" if self.attempts else ""
        head = one_line(f"{self.phase}: {self.item}: " if self.item else f"{self.phase}: ")
        tail = f" (attempt {self.attempt}{of})" if self.attempt > 1 else ""
        tail = one_line(tail + (f" — {self.remedy}" if self.remedy else ""))
        why = one_line(self.message + "".join(f", caused by {cause}" for cause in self.causes))
        room = limit - len(head.encode()) - len(tail.encode())
        # A name or a remedy that leaves no room for what happened is cut with the rest.
        return f"{head}{clip(why, room)}{tail}" if room >= limit // 4 else clip(f"{head}{why}{tail}", limit)

    def record(self) -> dict[str, Any]:
        """As the journal and the logs show it."""
        return {
            "phase": self.phase,
            "item": self.item,
            "attempt": self.attempt,
            "attempts": self.attempts,
            "code": self.code,
            "error": self.error,
            "message": self.message,
            "causes": list(self.causes),
            "remedy": self.remedy,
        }


MESSAGE_LIMIT = 4096
"""Bytes of a termination message that the kubelet keeps (spec 5.7)."""

OOM_KILLED = "OOMKilled"
"""The kubelet's and the engines' word for a container that passed its memory limit."""

LOST = "lost"
"""Our word for a container that was killed with whoever ran it: nobody knows how it would have ended."""

LOST_WHY = "main was lost: the executor that ran it was killed, and main with it"
RUN_AGAIN = "run it again from its beginning; what it had written until then is saved"

NOT_BEGUN = frozenset({"ContainerCannotRun", "StartError"})
"""Words of docker and of containerd for a container whose command could not be begun: it has ended all the same."""


@dataclass(slots=True)
class Record:
    """Everything that went wrong in one pod: the first decides the message, all are kept.

    Attributes:
        failures: the executor's own; they make the step an Error.
        cancelled: why main was stopped.
        ended: how main ended where its exit code alone does not say; the step is Failed by main, not by this.
    """

    failures: list[Failure] = field(default_factory=list)
    cancelled: Cancelled | None = None
    ended: str = ""

    def add(self, failure: Failure) -> None:
        """Keep another one."""
        self.failures.append(failure)

    @property
    def first(self) -> Failure | None:
        """The one that decides the message."""
        return self.failures[0] if self.failures else None

    def message(self) -> str:
        """One line of at most 4 KiB: why main was stopped, how it ended, the first failure whole, and which others."""
        parts = [one_line(part) for part in (self.cancelled.message if self.cancelled else "", self.ended) if part]
        if not self.failures:
            return clip("; ".join(parts), MESSAGE_LIMIT)
        before = "".join(f"{clip(part, MESSAGE_LIMIT // 4)}; " for part in parts)
        room = MESSAGE_LIMIT - len(before.encode())
        first = before + self.failures[0].line(room - (_FOR_OTHERS if len(self.failures) > 1 else 0))
        return first + _others(self.failures[1:], MESSAGE_LIMIT - len(first.encode()))

    def record(self) -> dict[str, Any]:
        """All of it, as the journal's last line and the log have it; empty when nothing went wrong."""
        shown: dict[str, Any] = {}
        if self.cancelled is not None:
            shown["cancelled"] = {
                "code": self.cancelled.code,
                "error": type(self.cancelled).__name__,
                "message": self.cancelled.message,
            }
        if self.ended:
            shown["ended"] = self.ended
        if self.failures:
            shown["failures"] = [failure.record() for failure in self.failures]
        return shown


_FOR_OTHERS = 64
"""Bytes that a first failure leaves for the others: enough for how many there are."""


def _others(failures: list[Failure], room: int) -> str:
    """``(and 3 more: saving: artifact a, parameter p; annotating: report)``, as far as there is room."""
    if not failures:
        return ""
    begin, phase = f" (and {len(failures)} more: ", None
    text = begin
    for failure in failures:
        name = one_line(failure.item or failure.error)
        piece = f", {name}" if failure.phase == phase else f"{'; ' if phase else ''}{failure.phase}: {name}"
        if len((text + piece).encode()) > room - len(", …)".encode()):
            return text + (", …)" if text != begin else "…)")
        text, phase = text + piece, failure.phase
    return text + ")"


def one_line(text: str) -> str:
    """The text without line ends; any other control character as a picture of it."""
    # A space that was put there on purpose, at an end, stays.
    return harmless(_LINE_ENDS.sub(" ", text))


_LINE_ENDS = re.compile(r"\s*[\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


def clip(text: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, cut between characters, with an ellipsis where something is missing."""
    raw = text.encode()
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode(errors="ignore") + "…"
