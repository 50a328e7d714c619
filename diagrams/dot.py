"""A table as a graph for Graphviz: ``argoexec diagram --format dot | dot -Tsvg``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from diagrams.model import CANCELS, VERDICT, arrows, choices, commands, identifiers
from diagrams.text import columns
from diagrams.way import way_of
from lifecycle.table import END, Event, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from diagrams.model import Arrow
    from diagrams.way import Way
    from lifecycle.table import Phase, Table

_COLUMN = 26
_GREEN, _RED, _AMBER, _SLATE, _PALE = "#1f8a4c", "#cc2f46", "#9a6200", "#52627a", "#b4bdca"
_ENDS = {Verdict.SUCCEEDED: _GREEN, Verdict.TERMINATED: _AMBER, Verdict.FAILED: _RED}


def render(table: Table, journal: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The source of a ``digraph``.

    Args:
        table: what is drawn.
        journal: the lines of a journal; the way that they tell of is marked.

    Raises:
        InputError: the journal is of another table, or its lines have not the shape they should have.
    """
    return "\n".join(_lines(table, way_of(table, journal))) + "\n"


def _lines(table: Table, way: Way | None) -> Iterator[str]:
    ids = identifiers(table)
    title = table.about or table.name
    if way is None:
        yield "// Made from the table by `python -m diagrams.generate`; do not edit."
    else:
        title = "\n".join([title, way.headline, *columns(way.outcome, 100)])
    yield f"digraph {_quote(table.name)} {{"
    yield f"    graph [label={_quote(title)}, labelloc=t, rankdir=LR, nodesep=0.3, ranksep=0.5]"
    yield "    graph [fontname=Helvetica]"
    yield f'    node [shape=box, style="rounded,filled", fillcolor=white, color="{_SLATE}"]'
    yield "    node [fontname=Helvetica, fontsize=12]"
    yield f'    edge [fontname=Helvetica, fontsize=10, color="{_SLATE}", arrowsize=0.7]'
    yield ""
    yield f'    start [shape=point, width=0.15, color="{_SLATE}"]'
    for phase in table.phases:
        yield f"    {ids[phase.state]} [{_node(phase, way)}]"
    yield f"    {ids[END]} [label={VERDICT}, shape=diamond, style=filled]"
    for verdict, colour in _ENDS.items():
        reached = way is None or way.verdict == verdict
        drawn = colour if reached else _PALE
        width = 1 if way is None or not reached else 3
        colours = f'color="{drawn}", fontcolor="{drawn}"'
        yield f"    {ids[verdict]} [label={_quote(verdict)}, {colours}, penwidth={width}]"
    yield ""
    yield f"    start -> {ids[table.initial]}"
    for arrow in arrows(table):
        yield f"    {ids[arrow.source]} -> {ids[arrow.dest]} [{_edge(arrow, way)}]"
    for choice in choices(table):
        taken = way is None or way.verdict == choice.verdict
        colour = _ENDS[choice.verdict] if taken else _PALE
        yield f'    {ids[END]} -> {ids[choice.verdict]} [label={_quote(choice.label)}, color="{colour}"]'
    yield "}"


def _node(phase: Phase, way: Way | None) -> str:
    rows = [f"<b>{escape(phase.state)}</b>"]
    rows += [escape(line) for line in columns(phase.does, _COLUMN)]
    rows += [_small(line) for line in columns(f"↻ {phase.retry}", _COLUMN, ", ")]
    if phase.runs_in:
        rows.append(_small(f"runs in {', '.join(commands(phase))}"))
    attributes = ""
    if way is not None:
        visit = way.visits.get(phase.state)
        if visit is None:
            attributes = f', color="{_PALE}", fontcolor="{_PALE}"'
        else:
            rows += [f"<b>{escape(fact)}</b>" for fact in visit.facts]
            colour = _RED if way.failing(phase.state) else _AMBER if visit.open else _GREEN
            attributes = f', color="{colour}", penwidth=2'
    return f"label=<{'<br/>'.join(rows)}>{attributes}"


def _small(text: str) -> str:
    return f'<font point-size="10">{escape(text)}</font>'


def _edge(arrow: Arrow, way: Way | None) -> str:
    taken = [event for event in arrow.events if way is not None and way.took(arrow.source, event, arrow.dest)]
    attributes = [f"label={_label(arrow.events)}"]
    if Event.DONE in arrow.events:
        attributes.append("weight=8")
    if way is not None and not taken:
        return ", ".join([*attributes, f'color="{_PALE}"', f'fontcolor="{_PALE}"'])
    colour = _colour(taken or arrow.events)
    attributes += [f'color="{colour}"', f'fontcolor="{colour}"']
    if all(event in CANCELS for event in arrow.events):
        attributes.append("style=dashed")
    if taken:
        attributes[0] = f"label={_label(taken)}"
        attributes.append("penwidth=2.5")
    return ", ".join(attributes)


def _label(events: Sequence[Event]) -> str:
    """The events in short lines: a wide label moves everything apart."""
    return _quote("\n".join(columns(", ".join(events), 20)))


def _colour(events: Sequence[Event]) -> str:
    if Event.DONE in events:
        return _SLATE
    return _RED if Event.FAILED in events else _AMBER


def _quote(text: str) -> str:
    shown = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{shown}"'
