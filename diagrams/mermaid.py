"""A table as a mermaid state diagram, which GitHub and most wikis draw from the text itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diagrams.model import arrows, choices, commands, identifiers
from diagrams.text import columns
from diagrams.way import way_of
from lifecycle.table import END, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from diagrams.way import Way
    from lifecycle.table import Phase, Table

_COLUMN = 26
"""Characters of a line in a state: mermaid does not wrap, and a wide state makes the rest small."""

_PLAIN = set(" _.,'()/+\N{MULTIPLICATION SIGN}≤→…↻✔-")
"""What means nothing to mermaid, beside letters and digits; the rest is written as its own entities."""

# Fills with a text colour of their own, since GitHub's dark mode changes the text and not the fill.
_CLASSES = {
    "good": "fill:#d9f2e3,stroke:#1f8a4c,color:#10331f,stroke-width:2px",
    "bad": "fill:#fde0e3,stroke:#cc2f46,color:#4a0f18,stroke-width:2px",
    "stop": "fill:#fdf0d0,stroke:#9a6200,color:#3d2700,stroke-width:2px",
    "away": "fill:#eef1f5,stroke:#b4bdca,color:#77818f,stroke-dasharray:4 3",
}


def render(table: Table, journal: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The source of a ``stateDiagram-v2``.

    Args:
        table: what is drawn.
        journal: the lines of a journal; the way that they tell of is marked.

    Raises:
        InputError: the journal is of another table, or its lines have not the shape they should have.
    """
    return "\n".join(_lines(table, way_of(table, journal))) + "\n"


def _lines(table: Table, way: Way | None) -> Iterator[str]:
    ids = identifiers(table)
    yield (
        "%% Made from the table by `python -m diagrams.generate`; do not edit."
        if way is None
        else ("%% Made by `argoexec diagram --journal`: ✔ is the way that was taken.")
    )
    yield "stateDiagram-v2"
    yield f"    accTitle: {_title(table)}"
    yield "    direction LR"
    yield ""
    for phase in table.phases:
        yield from (f"    {line}" for line in _state(phase, ids[phase.state], way))
    yield f"    state {ids[END]} <<choice>>"
    for verdict in Verdict:
        yield f'    state "{_escape(verdict)}" as {ids[verdict]}'
    if way is not None:
        for line in columns(way.headline, _COLUMN) + columns(way.outcome, 2 * _COLUMN):
            yield f"    {ids[way.verdict or way.stopped or table.initial]} : {_escape(line)}"
    yield ""
    yield f"    [*] --> {ids[table.initial]}"
    for arrow in arrows(table):
        label = ", ".join(
            f"✔ {event}" if way is not None and way.took(arrow.source, event, arrow.dest) else event
            for event in arrow.events
        )
        yield f"    {ids[arrow.source]} --> {ids[arrow.dest]} : {_escape(label)}"
    for choice in choices(table):
        mark = "✔ " if way is not None and way.verdict == choice.verdict else ""
        yield f"    {ids[END]} --> {ids[choice.verdict]} : {mark}{_escape(choice.label)}"
    for verdict in Verdict:
        yield f"    {ids[verdict]} --> [*]"
    if way is not None:
        yield ""
        yield from (f"    {line}" for line in _marks(table, way, ids))


def _state(phase: Phase, name: str, way: Way | None) -> Iterator[str]:
    yield f'state "{_escape(phase.state)}" as {name}'
    told = columns(phase.does, _COLUMN)
    policy = str(phase.retry)
    told += columns(f"↻ {policy}", _COLUMN, ", ")
    told += [f"({', '.join(commands(phase))})"] if phase.runs_in else []
    visit = way.visits.get(phase.state) if way is not None else None
    if visit is not None:
        told += [f"→ {fact}" for fact in visit.facts]
    yield from (f"{name} : {_escape(line)}" for line in told)


def _marks(table: Table, way: Way, ids: Mapping[str, str]) -> Iterator[str]:
    groups: dict[str, list[str]] = {name: [] for name in _CLASSES}
    for phase in table.phases:
        groups[_mark(way, phase.state)].append(ids[phase.state])
    for verdict in Verdict:
        ended = {Verdict.SUCCEEDED: "good", Verdict.FAILED: "bad", Verdict.TERMINATED: "stop"}[verdict]
        groups[ended if way.verdict == verdict else "away"].append(ids[verdict])
    for name, style in _CLASSES.items():
        if groups[name]:
            yield f"classDef {name} {style}"
            yield f"class {', '.join(groups[name])} {name}"


def _mark(way: Way, state: str) -> str:
    visit = way.visits.get(state)
    if visit is None:
        return "away"
    if way.failing(state):
        return "bad"
    return "stop" if visit.open else "good"


def _title(table: Table) -> str:
    """The name for screen readers, where mermaid does not decode entities."""
    return " ".join(
        "".join(char if char.isalnum() or char in _PLAIN else " " for char in table.about or table.name).split()
    )


def _escape(text: str) -> str:
    """Text in which nothing is mermaid's; it decodes ``#38;`` itself, before the page sees it."""
    return "".join(char if char.isalnum() or char in _PLAIN else f"#{ord(char)};" for char in text)
