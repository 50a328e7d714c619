"""What became of things: items, their states, and failures. Data only; the engine and the journal pass it around."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lifecycle.errors import Cancelled, classify


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
            text = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
            if str(cause) not in known.message and text not in causes:
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
        of = f" of {self.attempts}" if self.attempts else ""
        attempt = f" (attempt {self.attempt}{of})" if self.attempt > 1 else ""
        item = f"{self.item}: " if self.item else ""
        remedy = f" — {self.remedy}" if self.remedy else ""
        return f"{self.phase}: {item}{self.message}{attempt}{remedy}"

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
        """One line of at most 4 KiB: why main was stopped, how it ended, the first failure, how many more there are."""
        parts = [self.cancelled.message] if self.cancelled else []
        parts += [self.ended] if self.ended else []
        if self.failures:
            more = len(self.failures) - 1
            also = "; ".join(f"{one.phase}: {one.item or one.error}" for one in self.failures[1:4])
            parts.append(str(self.failures[0]) + (f" [and {more} more: {also}]" if more else ""))
        return clip(" ".join("; ".join(parts).split()), MESSAGE_LIMIT)


def clip(text: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, cut between characters, with an ellipsis where something is missing."""
    raw = text.encode(errors="backslashreplace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode(errors="ignore") + "…"
