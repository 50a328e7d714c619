"""A table as an SVG: for the README, legible at 1000 px, in light and in dark mode, without a dependency.

The classes are styled for light mode and overridden in a media query, without CSS variables, which renderers
outside of browsers (librsvg, Inkscape) do not know. Every id begins with the table's name, so that the
pictures of two tables can stand in one page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from diagrams import ink
from diagrams.layout import CARD, DIAMOND, LEFT, RIGHT, Layout, number, rounded, shifted, shortened
from diagrams.legend import Legend
from diagrams.model import (
    CANCELS,
    VERDICT,
    choices,
    commands,
    identifiers,
    lifelines,
    prefix,
    shown,
)
from diagrams.text import count, duration, fit, wrap, wrap_parts
from diagrams.way import way_of
from lifecycle.table import END, Event, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from diagrams.layout import Bus, Line
    from diagrams.model import Arrow
    from diagrams.way import Visit, Way
    from lifecycle.table import Phase, Table

_PAD = 11.0
_ROOM = CARD - 2 * _PAD
_GLYPH = 16.0
_BODY_STEP = 16.0
_SMALL_STEP = 15.5
_RADIUS = 12.0
_PILL_WIDTH, _PILL_HEIGHT, _PILL_STEP = 100.0, 42.0, 54.0

_LOOKS = {
    Verdict.SUCCEEDED: "good",
    Verdict.TERMINATED: "stopped",
    Verdict.FAILED: "failed",
}


def render(table: Table, journal: Sequence[Mapping[str, Any]] | None = None, *, framed: bool = True) -> str:
    """The source of an SVG.

    Args:
        table: what is drawn.
        journal: the lines of a journal; the way that they tell of is marked, and the rest is dimmed.
        framed: with a heading and a ground of its own; a page has both already.

    Raises:
        InputError: the journal is of another table, or its lines have not the shape they should have.
    """
    return "\n".join(_Picture(table, way_of(table, journal), framed=framed).lines()) + "\n"


@dataclass(frozen=True, slots=True)
class _Content:
    """What stands on a card, wrapped to its width."""

    title: list[str]
    does: list[str]
    retry: list[str]
    facts: list[str]


class _Picture:
    """One drawing, from the outside in: canvas, heading, lines, cards, verdict, legend."""

    def __init__(self, table: Table, way: Way | None, *, framed: bool = True) -> None:
        self._table = table
        self._framed = framed
        self._way = way
        self._ids = identifiers(table)
        self._content = {phase.state: self._wrapped(phase) for phase in table.phases}
        contents = self._content.values()
        self._title_lines = max(len(content.title) for content in contents)
        self._does_lines = max(len(content.does) for content in contents)
        self._retry_lines = max(len(content.retry) for content in contents)
        self._facts_lines = max(len(content.facts) for content in contents)
        # A picture of few columns is as wide as its heading needs: measured first, laid out, then wrapped.
        probe = Layout(table, 0, self._card_height())
        self._headings = self._heading(probe.width) if framed else []
        top = 40.0 + len(self._headings) * 19.0 if framed else 0.0
        self._layout = Layout(table, top, self._card_height())
        self._legend = Legend(table, self._layout.width - LEFT - RIGHT, captions=way is None)
        self._height = self._layout.bottom + self._legend.height

    def lines(self) -> Iterator[str]:
        name = self._ids_prefix
        wide, high = number(self._layout.width), number(self._height)
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
            f'height="{high}" '
            f'role="img" aria-labelledby="{name}-title {name}-desc">'
        )
        if self._way is None:
            yield "<!-- Made from the table by `python -m diagrams.generate`; do not edit. -->"
        yield f'<title id="{name}-title">{escape(self._table.about or self._table.name)}</title>'
        yield f'<desc id="{name}-desc">{escape(self._description())}</desc>'
        yield f"<style>{ink.style()}</style>"
        if self._framed:
            yield (
                f'<rect class="canvas" x="0.5" y="0.5" width="{number(self._layout.width - 1)}" '
                f'height="{number(self._height - 1)}" rx="14"/>'
            )
            yield from self._heading_lines()
        yield from self._edges()
        for place, phase in enumerate(self._table.phases, start=1):
            yield from self._card(phase, place)
        yield from self._ends()
        yield from self._legend.lines(LEFT, self._layout.bottom)
        yield "</svg>"

    @property
    def _ids_prefix(self) -> str:
        return prefix(self._table)

    def _description(self) -> str:
        states = ", ".join(self._table.states)
        way = f" {self._way.headline}. {self._way.outcome}." if self._way else ""
        return f"The states {states}, and the events that lead from one to the next.{way}"

    # Heading

    def _heading(self, wide: float) -> list[tuple[str, str]]:
        """Class and text of the lines below the title."""
        room = wide - LEFT - RIGHT
        way = self._way
        if way is None:
            begins = f"{count(len(self._table.phases), 'phase')}, from {self._table.initial} to a verdict"
            return [("faint", line) for line in wrap(begins, room, ink.SMALL)]
        look = "stopped-fill" if way.verdict is None else f"{_LOOKS[way.verdict]}-fill"
        lines = [("faint", line) for line in wrap(way.headline, room, ink.SMALL, lines=1)]
        return lines + [(f"{look} bold", line) for line in wrap(way.outcome, room, ink.BODY, bold=True, lines=3)]

    def _heading_lines(self) -> Iterator[str]:
        title = fit(self._table.about or self._table.name, self._layout.width - LEFT - RIGHT, ink.HEADING, bold=True)
        yield ink.text(LEFT, 36, "title heading", title)
        for place, (look, line) in enumerate(self._headings):
            size = "body" if "bold" in look else "small"
            yield ink.text(LEFT, 57 + 19 * place, f"{look} {size}", line)

    # Cards

    def _wrapped(self, phase: Phase) -> _Content:
        visit = self._way.visits.get(phase.state) if self._way else None
        return _Content(
            title=wrap(phase.state, _ROOM, ink.TITLE, bold=True),
            does=wrap(phase.does, _ROOM, ink.BODY),
            retry=wrap_parts(str(phase.retry), _ROOM - _GLYPH, ink.SMALL),
            facts=_facts(visit),
        )

    def _card_height(self) -> float:
        facts = 10.0 + self._facts_lines * 17.0 if self._facts_lines else 0.0
        return self._chips_top() + self._chips_height() + _PAD + self._lives_height() + facts

    def _chips_height(self) -> float:
        """None in a lifecycle that one command runs as a whole."""
        return ink.CHIP if any(phase.runs_in for phase in self._table.phases) else 0.0

    def _lives_height(self) -> float:
        return 25.0 if any(lifelines(self._table, phase.state) for phase in self._table.phases) else 0.0

    def _does_top(self) -> float:
        return 32.0 + self._title_lines * 18.0

    def _retry_top(self) -> float:
        return self._does_top() + self._does_lines * _BODY_STEP + 12.0

    def _chips_top(self) -> float:
        return self._retry_top() + self._retry_lines * _SMALL_STEP - 2.0

    def _card(self, phase: Phase, place: int) -> Iterator[str]:
        state, way = phase.state, self._way
        x, y = self._layout.slots[state].x, self._layout.y(state)
        content = self._content[state]
        visit = way.visits.get(state) if way else None
        away = ' class="away"' if way and visit is None else ""
        look = self._look(state)
        yield f'<g id="{self._ids_prefix}-state-{self._ids[state]}"{away}>'
        yield f"<title>{escape(_told(phase, visit))}</title>"
        yield (
            f'<rect class="card{f" mark {look}" if look else ""}" x="{number(x)}" y="{number(y)}" '
            f'width="{number(CARD)}" height="{number(self._layout.card_height)}" rx="10"/>'
        )
        badge = f"{look}-fill" if look else "badge"
        yield f'<circle class="{badge}" cx="{number(x + 20)}" cy="{number(y)}" r="10"/>'
        yield ink.text(x + 20, y + 4.3, "badge-text small bold", str(place), anchor="middle")
        left = x + _PAD
        for n, line in enumerate(content.title):
            yield ink.text(left, y + 29 + 18 * n, "title", line)
        for n, line in enumerate(content.does):
            yield ink.text(left, y + self._does_top() + _BODY_STEP * n, "text body", line)
        top = y + self._retry_top()
        yield ink.rule(left, top - 15, _ROOM)
        yield from (
            ink.repeat(left + 6, top - 1 + 0.5) if phase.retry.attempts != 1 else ink.single(left + 6, top - 0.5)
        )
        for n, line in enumerate(content.retry):
            yield ink.text(left + _GLYPH, top + 3 + _SMALL_STEP * n, "faint small", line)
        top = y + self._chips_top()
        for name in commands(phase):
            yield from ink.chip(left, top, name)
            left += ink.chip_width(name) + 5
        for name, lasts in lifelines(self._table, state).items():
            yield from ink.lifeline(x + _PAD, top + self._chips_height() + 12, name, ends=not lasts)
        yield from self._footer(content, visit, x, top + self._chips_height() + self._lives_height(), look)
        yield "</g>"

    def _footer(self, content: _Content, visit: Visit | None, x: float, top: float, look: str) -> Iterator[str]:
        if visit is None:
            return
        left = x + _PAD
        yield '<g class="facts">'
        yield ink.rule(left, top + 9, _ROOM)
        for n, line in enumerate(content.facts):
            first = n == 0
            if first:
                yield from ink.outcome(left + 6, top + 22.5, look)
            strong = (
                f"{look}-fill bold small"
                if first or (n == len(content.facts) - 1 and (visit.failures or visit.open))
                else "text small"
            )
            yield ink.text(left + (_GLYPH if first else 0), top + 27 + 17 * n, strong, line)
        yield "</g>"

    def _look(self, state: str) -> str:
        """How a visited phase ended; empty when it was not visited, or there is no way."""
        visit = self._way.visits.get(state) if self._way else None
        if self._way is None or visit is None:
            return ""
        if self._way.failing(state):
            return "failed"
        cancelled = any(self._way.took(state, event) for event in CANCELS)
        return "stopped" if visit.open or cancelled else "good"

    # Lines

    def _edges(self) -> Iterator[str]:
        layout = self._layout
        first = layout.slots[self._table.initial].x
        level = layout.y(self._table.initial) + layout.card_height / 2
        yield f'<circle class="done-fill" cx="{number(first - 22)}" cy="{number(level)}" r="5"/>'
        yield f'<path class="line done" d="{ink.path("M", first - 22, level, "H", first - ink.HEAD + 2)}"/>'
        yield ink.head((first, level), (1, 0), "done")
        lines = [*(line for bus in layout.buses for line in bus.lines), *layout.straight]
        # What was taken is drawn last, over what was not.
        for line in sorted(lines, key=lambda line: bool(self._taken(line.arrow))):
            yield from self._edge(line, upright=line in layout.straight)
        for bus in layout.buses:
            yield self._label(bus)

    def _taken(self, arrow: Arrow) -> list[Event]:
        if self._way is None:
            return []
        return [event for event in arrow.events if self._way.took(arrow.source, event, arrow.dest)]

    def _edge(self, line: Line, *, upright: bool) -> Iterator[str]:
        arrow = line.arrow
        taken = self._taken(arrow)
        strands = _strands(arrow.events)
        used = _strands(taken)
        away = "" if self._way is None or taken else ' class="off"'
        source, dest = self._ids[arrow.source], self._ids[arrow.dest]
        yield f'<g id="{self._ids_prefix}-edge-{source}-{dest}"{away}>'
        yield f"<title>{escape(arrow.source)} → {escape(shown(arrow.dest))}: {escape(arrow.label)}</title>"
        # On a straight way from right to left, failure stays the upper strand.
        flip = -1 if upright and line.points[0][0] > line.points[-1][0] else 1
        for place, look in enumerate(strands):
            shift = flip * ((len(strands) - 1) / 2 - place) * ink.STRAND
            path = rounded(shortened(shifted(line.points, shift), ink.HEAD - 2), _RADIUS - shift)
            mark = "" if not taken else " taken" if look in used else " off"
            yield f'<path class="line {look}{mark}" d="{path}"/>'
        main = next(look for look in ("done", "failed", "stopped") if look in (used or strands))
        yield ink.head(line.points[-1], ink.direction(line.points), main)
        yield "</g>"

    def _label(self, bus: Bus) -> str:
        x, y = bus.label
        taken = {event for line in bus.lines for event in self._taken(line.arrow)}
        spans = []
        for event in bus.arrow.events:
            pale = "" if self._way is None or event in taken else ' fill-opacity="0.4"'
            spans.append(f'<tspan class="{_strands([event])[0]}-fill"{pale}>{escape(event)}</tspan>')
        text = '<tspan class="faint"> · </tspan>'.join(spans)
        return f'<text class="small" x="{number(x)}" y="{number(y)}" text-anchor="middle">{text}</text>'

    # The verdict

    def _ends(self) -> Iterator[str]:
        x, y = self._layout.diamond()
        forth = self._layout.slots[END].forth
        away = ' class="away"' if self._way is not None and self._way.verdict is None else ""
        yield f'<g id="{self._ids_prefix}-state-{self._ids[END]}"{away}>'
        yield "<title>the verdict: the first of these whose condition holds</title>"
        half = DIAMOND
        edge = ink.path("M", x - half, y, "L", x, y - half, "L", x + half, y, "L", x, y + half, "Z")
        yield f'<path class="card done" stroke-width="2" d="{edge}"/>'
        yield ink.text(x, y + 5, "faint bold body", "?", anchor="middle")
        caption = y - DIAMOND - 7 if self._layout.verdict_from_below() else y + DIAMOND + 17
        yield ink.text(x, caption, "faint small", VERDICT, anchor="middle")
        yield "</g>"
        options = choices(self._table)
        slot = self._layout.slots[END]
        left = slot.x + CARD - _PILL_WIDTH if forth else slot.x
        for place, choice in enumerate(options):
            top = y + (place - (len(options) - 1) / 2) * _PILL_STEP - _PILL_HEIGHT / 2
            look = _LOOKS[choice.verdict]
            reached = self._way is not None and self._way.verdict == choice.verdict
            off, away = (' class="off"', ' class="away"') if self._way is not None and not reached else ("", "")
            away_from, into = (x + DIAMOND, left) if forth else (x - DIAMOND, left + _PILL_WIDTH)
            level = top + _PILL_HEIGHT / 2
            yield f'<g id="{self._ids_prefix}-edge-{self._ids[END]}-{self._ids[choice.verdict]}"{off}>'
            yield f"<title>{VERDICT} → {choice.verdict}: {escape(choice.label)}</title>"
            yield (
                f'<path class="line done{" taken" if reached else ""}" '
                f'd="{ink.curve((away_from, y), (into - (5 if forth else -5), level))}"/>'
            )
            yield ink.head((into, level), (1 if forth else -1, 0), "done", size=0.75)
            yield "</g>"
            yield f'<g id="{self._ids_prefix}-state-{self._ids[choice.verdict]}"{away}>'
            yield (
                f'<rect class="end-{look} {look}" stroke-width="{3 if reached else 1.4}" x="{number(left)}" '
                f'y="{number(top)}" width="{number(_PILL_WIDTH)}" height="{number(_PILL_HEIGHT)}" rx="13"/>'
            )
            middle = left + _PILL_WIDTH / 2
            yield ink.text(middle, top + 18, f"{look}-fill bold body", choice.verdict, anchor="middle")
            yield ink.text(middle, top + 33, "faint small", choice.label, anchor="middle")
            yield "</g>"


def _facts(visit: Visit | None) -> list[str]:
    """What a card says of a visit: the time beside a glyph, the rest below."""
    if visit is None:
        return []
    time = duration(visit.seconds)
    if visit.open:
        time += " so far"
    lines = [fit(time, _ROOM - _GLYPH, ink.SMALL, bold=True)]
    if visit.entered > 1:
        lines.append(fit(f"entered {visit.entered} times", _ROOM, ink.SMALL))
    if visit.attempts:
        failed = f", {visit.failed_attempts} failed" if visit.failed_attempts else ""
        lines += wrap_parts(count(visit.attempts, "attempt") + failed, _ROOM, ink.SMALL)
    if visit.failures:
        lines.append(fit(count(len(visit.failures), "failure"), _ROOM, ink.SMALL, bold=True))
    if visit.open:
        lines.append("stopped here")
    return lines


def _told(phase: Phase, visit: Visit | None) -> str:
    """What a pointer over a card shows: everything, unwrapped."""
    ends = "a wish to stop ends it" if phase.cancellable else "a wish to stop only gives it less time"
    told = [f"{phase.state}: {phase.does}", f"retries of each item: {phase.retry}"]
    if phase.runs_in:
        told.append(f"runs in {', '.join(commands(phase))}")
    told += [ends, f"work: {phase.work}"]
    if visit is not None:
        told += [", ".join(visit.facts), *visit.failures[:5]]
    return "\n".join(told)


def _strands(events: Sequence[Event]) -> list[str]:
    """The lines that stand for some events, from the upper to the lower."""
    looks = {"failed": Event.FAILED in events, "done": Event.DONE in events}
    looks["stopped"] = any(event in CANCELS for event in events)
    return [look for look, present in looks.items() if present]
