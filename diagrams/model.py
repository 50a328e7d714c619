"""What every picture of a table shows: its edges merged into arrows, and the choice of the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.pod import ANNOTATING, INIT, KILLING_SIDECARS, RELEASING, RUN, SAVING, STARTING, WAIT, WAITING
from lifecycle.table import END, Event, Verdict

if TYPE_CHECKING:
    from lifecycle.table import Phase, Table

VERDICT = "verdict"
"""What the pictures call ``END``: the place where the verdict is chosen."""

CANCELS = (Event.TERMINATED, Event.DEADLINE)
"""The events in which somebody asks to stop."""


LIFELINES = {"main": WAITING, "sidecars": KILLING_SIDECARS, "late": RELEASING}
"""The containers of a pod, and the phase in which each of them ends. Nothing runs before they are started."""

LATE = "late: the sidecars that the upload goes through, such as istio-proxy"

CONTRACTS = {
    WAITING: "before v3.2 a controller asks for an end by the pod's annotation and SIGUSR2, later by ARGO_DEADLINE",
    SAVING: "before v3.0 what was saved is reported with its whole location, later by its key",
    ANNOTATING: "before v3.3 into the pod's annotations, later as a WorkflowTaskResult, and as before where that is "
    "refused",
}
"""Where controllers of v2.3 to v3.3 differ. The path never does (ADR 28), so these are captions and not edges."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """All events that lead from one state to another; ``dest`` may be ``END``."""

    source: str
    dest: str
    events: tuple[Event, ...]

    @property
    def label(self) -> str:
        """The events, as the text formats write them."""
        return ", ".join(self.events)


@dataclass(frozen=True, slots=True)
class Choice:
    """One way on from the place where the verdict is chosen; the first whose guard holds is taken."""

    verdict: Verdict
    guard: str

    @property
    def label(self) -> str:
        """The guard in words."""
        return self.guard.replace("_", " ") if self.guard else "otherwise"


def arrows(table: Table) -> list[Arrow]:
    """The edges of a table, those between the same two states merged, in the order of the table."""
    merged: dict[tuple[str, str], list[Event]] = {}
    for source, event, dest in table.edges():
        merged.setdefault((source, dest), []).append(event)
    return [Arrow(source, dest, tuple(events)) for (source, dest), events in merged.items()]


def choices(table: Table) -> list[Choice]:
    """How ``END`` becomes a verdict, in the order of precedence: read from the law that the engine runs."""
    found: dict[str, Choice] = {}
    for row in table.machine()["transitions"]:
        if row["dest"] in set(Verdict):
            found.setdefault(row["dest"], Choice(Verdict(row["dest"]), row.get("conditions", "")))
    return list(found.values())


def lifelines(table: Table, state: str) -> dict[str, bool]:
    """The containers that run in a phase when all goes well, and whether each still does at its end.

    Empty for the tables that have nothing to do with containers, and before there are any.
    """
    order = [phase.state for phase in table.phases]
    if KILLING_SIDECARS not in order:
        return {}
    first = order.index(STARTING if STARTING in order else WAITING)
    here = order.index(state)
    return {name: here < order.index(end) for name, end in LIFELINES.items() if first <= here <= order.index(end)}


def commands(phase: Phase) -> list[str]:
    """The commands that run a phase, in the order in which a pod starts them."""
    known = [INIT, WAIT, RUN]
    return sorted(phase.runs_in, key=lambda name: (known.index(name) if name in known else len(known), name))


def shown(state: str) -> str:
    """A state, or the place where the verdict is chosen."""
    return VERDICT if state == END else state


def identifiers(table: Table) -> dict[str, str]:
    """A name for each state and ``END`` that is a plain word in every format, and a keyword of none."""
    taken: dict[str, str] = {}
    for state in (*table.states, END):
        word = "".join(char if char.isascii() and char.isalnum() else "_" for char in shown(state)) or "_"
        if not word[0].isalpha() or word.lower() in _KEYWORDS:
            word = f"s_{word}"
        while word in taken.values():
            word += "_"
        taken[state] = word
    return taken


def prefix(table: Table) -> str:
    """What every id in the picture of a table begins with, so that those of two can stand in one page."""
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in table.name) or "table"


_KEYWORDS = {
    "as", "class", "classdef", "default", "digraph", "direction", "edge", "end", "graph", "hide", "node",
    "note", "root", "scale", "state", "strict", "style", "subgraph",
}  # fmt: skip
