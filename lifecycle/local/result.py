"""What became of a local run: Argo's node phase, the outputs, and the lifecycle phase by phase."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lifecycle.local.prepare import JOURNAL
from lifecycle.phases.starting import how_it_ended

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lifecycle.context import Pod
    from lifecycle.engine import Observer
    from lifecycle.journal import Journal
    from lifecycle.local.prepare import Prepared
    from lifecycle.stay import Stay
    from lifecycle.table import Event

SUCCEEDED, FAILED, ERROR = "Succeeded", "Failed", "Error"
"""Argo's node phases, not to be confused with the phases of a lifecycle."""

_EXIT_STATUS = {SUCCEEDED: 0, ERROR: 1, FAILED: 3}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a run.

    Attributes:
        phase: the node phase: ``Succeeded``, ``Failed`` or ``Error``.
        message: why, when it is not the first.
        remedy: what a person can do about it.
        exit_code: main's, if it ran to an end.
        outputs: as the annotation carries them (spec 1.15).
        lifecycle: each stay in a phase with its items.
        prepared: what was run.
        notes: what a person should know and did not yet when it began.
    """

    phase: str
    message: str
    remedy: str
    exit_code: int | None
    outputs: Mapping[str, Any]
    lifecycle: tuple[dict[str, Any], ...]
    prepared: Prepared
    notes: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """Of the command: 0 Succeeded, 1 Error, 3 main failed."""
        return _EXIT_STATUS[self.phase]

    @property
    def journal(self) -> Path:
        """Where the journal is."""
        return self.prepared.workdir / JOURNAL

    def record(self) -> dict[str, Any]:
        """As ``-o json`` shows it."""
        return {
            "phase": self.phase,
            "message": self.message,
            "exitCode": self.exit_code,
            "outputs": dict(self.outputs),
            "lifecycle": list(self.lifecycle),
            "journal": str(self.journal),
            "workdir": str(self.prepared.workdir),
            "pod": self.prepared.identity.pod,
            "template": self.prepared.template.name,
            "notes": [*self.prepared.notes, *self.notes],
        }

    @classmethod
    def of(cls, pod: Pod, prepared: Prepared, lifecycle: tuple[dict[str, Any], ...], notes: tuple[str, ...]) -> Result:
        """The node phase as a controller would infer it (spec 1.7.9), and why."""
        record, ended = pod.record, pod.found.exit
        message, remedy = record.message(), record.first.remedy if record.first else ""
        if record.failures:
            phase = ERROR
        elif record.cancelled is None and prepared.layout.launch is None:
            phase = SUCCEEDED
        elif record.cancelled is not None or ended is None or ended.code != 0:
            phase = FAILED
            reason = f" ({ended.reason})" if ended and ended.reason else ""
            message = message or (f"main {how_it_ended(ended.code)}{reason}" if ended else "main did not run")
        else:
            phase = SUCCEEDED
        return cls(
            phase=phase,
            message=message,
            remedy=remedy,
            exit_code=ended.code if ended else None,
            outputs=pod.found.outputs,
            lifecycle=lifecycle,
            prepared=prepared,
            notes=notes,
        )


@dataclass
class Outcomes:
    """What the lifecycle was, phase by phase: the event is the outcome."""

    watcher: Observer | None
    journal: Journal
    notes: tuple[str, ...]
    before: list[dict[str, Any]]
    stays: list[tuple[Stay, Event]] = field(default_factory=list)

    def entered(self, stay: Stay) -> None:
        """A phase begins."""
        if not self.stays:  # the header of a journal comes first, and a person has read them in ours
            for note in self.notes:
                self.journal.write("note", phase=stay.phase.state, text=note)
        if self.watcher:
            self.watcher.entered(stay)

    def left(self, stay: Stay, event: Event, to: str) -> None:
        """A phase has ended."""
        self.stays.append((stay, event))
        if self.watcher:
            self.watcher.left(stay, event, to)

    def records(self) -> tuple[dict[str, Any], ...]:
        """As ``-o json`` shows them, those of an earlier process first."""
        return (*self.before, *self._records())

    def _records(self) -> Iterator[dict[str, Any]]:
        yield from (
            {
                "phase": stay.phase.state,
                "outcome": event.value,
                "attempts": max((item.attempts for item in stay.items), default=0) or 1,
                "seconds": round(stay.seconds, 4),
                "items": [item.record() for item in stay.items],
            }
            for stay, event in self.stays
        )


def reported(path: Path) -> dict[str, Any]:
    """The outputs that a killed process has reported."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return dict(found.get("outputs") or {})
