"""A journal as one HTML file that replays it: the way through the table, the time, the items, what failed.

It needs nothing but itself: no network, no other file, and without scripts it is a page to read. What a journal
holds is foreign text, so three things keep it text: it is escaped here, nothing of it is ever parsed again
(``page.js`` moves classes, and sets ``textContent``), and a policy allows only the styles and the script whose hashes
stand in the page.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagrams import svg
from diagrams.model import identifiers, prefix
from diagrams.story import BAD, GOOD, QUIET, STOPPED, Story
from diagrams.text import count, duration
from diagrams.way import Way
from lifecycle.errors import InputError
from lifecycle.table import Verdict
from lifecycle.wording import WORTH_A_RATE, rate, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from diagrams.story import Row, Span, Step, Trouble
    from lifecycle.table import Table

HERE = Path(__file__).parent

_LOOKS = {Verdict.SUCCEEDED: GOOD, Verdict.FAILED: BAD, Verdict.TERMINATED: STOPPED, None: STOPPED}
_LEAST = 0.5
"""Per cent of a bar's rail below which it could not be seen."""

_TICKS = 5

_LONG = 40


def render(table: Table, journal: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The source of the page.

    Args:
        table: the one that the journal is of.
        journal: its lines.

    Raises:
        InputError: there is no journal, it is of another table, or its lines have not the shape they should have.
    """
    if journal is None:
        raise InputError("a page replays a journal, and none was given", place="--journal")
    return "\n".join(_Page(table, journal).lines()) + "\n"


class _Page:
    """One page, from the top to the bottom."""

    def __init__(self, table: Table, journal: Sequence[Mapping[str, Any]]) -> None:
        self._table = table
        self._ids = identifiers(table)
        self._way = Way.read(table, journal)
        self._story = Story.read(table, journal)
        self._drawing = svg.render(table, journal, framed=False)

    def lines(self) -> Iterator[str]:
        css, script = _source("page.css"), _source("page.js")
        drawn = re.findall(r"<style>(.*?)</style>", self._drawing, re.DOTALL)
        styles = " ".join(_hash(text) for text in (css, *drawn))
        policy = (
            f"default-src 'none'; style-src {styles}; script-src {_hash(script)}; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        )
        name = self._way.pod or self._table.name
        yield "<!doctype html>"
        yield '<html lang="en">'
        yield '<meta charset="utf-8">'
        yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield '<meta name="color-scheme" content="light dark">'
        yield '<link rel="icon" href="data:,">'
        yield f"<title>{_text(name)} · argoexec</title>"
        yield f"<style>{css}</style>"
        yield f'<main data-seconds="{self._story.seconds:.4f}">'
        yield from self._top()
        yield from self._figures()
        yield from self._diagram()
        yield from self._tracks()
        yield from self._troubles()
        yield from self._items()
        yield from self._steps()
        yield _PLAYER
        yield "</main>"
        yield f"<script>{script}</script>"
        yield "</html>"

    # What a person wants to know first

    def _top(self) -> Iterator[str]:
        way, story = self._way, self._story
        look = _LOOKS[way.verdict]
        word = str(way.verdict) if way.verdict else "interrupted"
        of = f"template {way.template} · " if way.template else ""
        yield '<header class="top"><div>'
        yield f'<p class="eyebrow">{_text(self._table.about or self._table.name)}</p>'
        yield f"<h1>{_text(way.pod or 'a pod without a name')}</h1>"
        yield f'<p class="eyebrow">{_text(of)}began {_text(story.began)}</p></div>'
        yield f'<p class="verdict is-{look}">{_text(word)} after {duration(story.seconds)}</p>'
        said = way.message if way.verdict else way.outcome
        if said:
            yield f'<p class="message is-{look}"><span>{_text(said)}</span></p>'
        yield "</header>"

    def _figures(self) -> Iterator[str]:
        story = self._story
        broken = sum(step.kind == "attempt" for step in story.steps)
        moved = sum(row.size or 0 for row in story.rows)
        told = [row for row in story.rows if row.state]
        bad = sum(row.look == BAD for row in told)
        longest = max(story.spans, key=lambda span: span.end - span.begin, default=None)
        yield '<dl class="figures">'
        yield _figure("phases", str(len(self._way.visits)), f"of {len(self._table.phases)}")
        yield _figure("items", f"{len(told):,}", f"{bad:,} failed" if bad else "")
        yield _figure("attempts that failed", f"{broken:,}")
        yield _figure("bytes", size(moved))
        if longest is not None:
            yield _figure("longest phase", duration(longest.end - longest.begin), longest.state)
        if story.restarts:
            yield _figure("restarts", str(len(story.restarts)))
        yield "</dl>"

    def _diagram(self) -> Iterator[str]:
        yield '<section class="sheet"><header><h2>The way it took</h2>'
        yield '<span class="hint">what was not taken is pale</span></header>'
        yield f'<figure tabindex="0" aria-label="the table, with the way in it">{self._drawing}</figure></section>'

    # Time

    def _tracks(self) -> Iterator[str]:
        story = self._story
        if not story.spans:
            return
        yield '<section class="sheet"><header><h2>Where the time went</h2>'
        yield '<span class="hint">dashed: begun again</span></header>' if story.restarts else "</header>"
        quiet = all(span.event and not span.broken and not span.failures for span in story.spans)
        yield f'<ol class="tracks{" quiet" if quiet else ""}" id="tracks">'
        entered = (place for place, step in enumerate(story.steps) if step.kind == "enter")
        for span, step in zip(story.spans, entered, strict=True):
            yield from self._track(span, step)
        yield '<li class="axis"><span></span><svg class="scale" aria-hidden="true">'
        for tick in range(_TICKS):
            share = 100 * tick / (_TICKS - 1)
            anchor = "start" if tick == 0 else "end" if tick == _TICKS - 1 else "middle"
            at = duration(story.seconds * share / 100)
            yield f'<text x="{share:g}%" y="13" text-anchor="{anchor}">{at if tick else "0"}</text>'
        yield "</svg></li></ol></section>"

    def _track(self, span: Span, step: int) -> Iterator[str]:
        told = [f"{count(span.broken, 'attempt')} failed"] if span.broken else []
        told += [count(span.failures, "failure")] if span.failures else []
        if not span.event:
            told.append("not left")
        bar = _bar(span.begin, span.end, 0.0, self._story.seconds, span.look, restarts=self._story.restarts)
        yield (
            f'<li data-step="{step}"><span class="name">{_text(span.state)}</span>{bar}'
            f'<span class="num">{duration(span.end - span.begin)}</span>'
            f'<span class="told is-{span.look} hint">{_text(", ".join(told))}</span></li>'
        )

    # What failed

    def _troubles(self) -> Iterator[str]:
        troubles = self._story.troubles
        if not troubles:
            return
        yield f'<section class="sheet"><header><h2>What failed</h2><span class="hint">{len(troubles)}</span></header>'
        yield '<ol class="troubles">'
        for trouble in troubles:
            yield from _trouble(trouble)
        yield "</ol></section>"

    # Items

    def _items(self) -> Iterator[str]:
        rows = self._story.rows
        if not rows:
            return
        yield '<section class="sheet"><header><h2>Items</h2>'
        yield '<span class="hint">a bar is within the time of its phase; red marks are attempts that failed</span>'
        yield "</header>"
        yield '<form class="find" hidden><input type="search" placeholder="find an item" aria-label="find an item">'
        yield '<label><input type="checkbox"> only what did not go well at once</label></form>'
        yield f'<div class="items{_long(rows)}" id="items">'
        for state in dict.fromkeys(row.phase for row in rows):
            mine = [row for row in rows if row.phase == state]
            begin, end = min(row.begin for row in mine), max(row.end for row in mine)
            spans = [span for span in self._story.spans if span.state == state]
            begin = min([begin, *(span.begin for span in spans)])
            end = max([end, *(span.end for span in spans)])
            yield f'<div><div class="phase"><h3>{_text(state)}</h3>'
            yield f'<span class="hint">{count(len(mine), "item")} in {duration(end - begin)}</span></div><ul>'
            for row in mine:
                yield _row(row, begin, end)
            yield "</ul></div>"
        yield "</div></section>"

    # Every line

    def _steps(self) -> Iterator[str]:
        steps = self._story.steps
        yield '<details class="sheet" open><summary><h2>The journal</h2>'
        yield f'<span class="hint">{count(len(steps), "step")}; click one to go there</span></summary>'
        yield f'<ol class="steps{_long(steps)}" id="steps">'
        yield from map(self._step, steps)
        yield "</ol></details>"

    def _step(self, step: Step) -> str:
        looks = [step.kind] + (["bad"] if step.kind == "item" and step.look in (BAD, STOPPED) else [])
        moved = ""
        if step.state:
            moved += f' data-state="{self._anchor("state", step.state)}"'
        if step.edge:
            moved += f' data-edge="{self._anchor("edge", *step.edge)}"'
        strong = ' class="strong"' if step.kind in ("enter", "end", "failure") else ""
        more = f"<small>{_text(step.more)}</small>" if step.more else ""
        return (
            f'<li class="{" ".join(looks)}" data-at="{step.at:.4f}"{moved}><time>{step.at:.3f} s</time>'
            f'<span class="is-{step.look}">{step.mark}</span><span{strong}>{_text(step.text)}{more}</span></li>'
        )

    def _anchor(self, kind: str, *states: str) -> str:
        """The id of a group of the drawing; a state that the table has not is nobody's."""
        return "-".join([prefix(self._table), kind, *(self._ids.get(state, "") for state in states)])


_PLAYER = """\
<form class="player" aria-label="replay" hidden>
<div><button type="button" aria-label="step back">←</button>
<button type="button" aria-label="play">▶</button>
<button type="button" aria-label="step on">→</button></div>
<input type="range" min="0" value="0" aria-label="step" autocomplete="off">
<fieldset aria-label="what a step goes to">
<label><input type="radio" name="by" value="all" checked autocomplete="off">every step</label>
<label><input type="radio" name="by" value="moves" autocomplete="off">transitions</label>
<label><input type="radio" name="by" value="trouble" autocomplete="off">trouble</label></fieldset>
<output aria-live="polite"><span class="figure"></span><span></span><span class="said"></span></output>
</form>"""


def _trouble(trouble: Trouble) -> Iterator[str]:
    where = f"{trouble.phase}: {trouble.item}" if trouble.item else trouble.phase
    yield f"<li><h3>{_text(where)}</h3><p>{_text(trouble.message)}</p><dl>"
    yield f"<dt>error</dt><dd>{_text(trouble.error)}</dd><dt>attempt</dt><dd>{_text(trouble.attempt)}</dd>"
    for cause in trouble.causes:
        yield f"<dt>cause</dt><dd>{_text(cause)}</dd>"
    if trouble.remedy:
        yield f'<dt>remedy</dt><dd class="remedy">{_text(trouble.remedy)}</dd>'
    yield "</dl></li>"


def _row(row: Row, begin: float, end: float) -> str:
    fine = row.look in (GOOD, QUIET) and not row.breaks
    moved = size(row.size) if row.size is not None else ""
    took = row.end - row.begin
    hint = f' title="{rate(row.size, took)}"' if row.size and took >= WORTH_A_RATE else ""
    tries = f"{row.attempts} attempts" if row.attempts > 1 else ""
    note = f'<span class="note">{_text(row.note)}</span>' if row.note else ""
    name = row.label if row.state in ("", "reported", "saved", "loaded", "done") else f"{row.label} · {row.state}"
    return (
        f'<li data-step="{row.step}"{" class=fine" if fine else ""}><span class="is-{row.look}">{row.mark}</span>'
        f'<span class="name">{_text(name)}</span>{_bar(row.begin, row.end, begin, end, row.look, row.breaks)}'
        f'<span class="num tries is-{STOPPED if tries else QUIET}">{tries}</span>'
        f'<span class="num"{hint}>{moved}</span><span class="num">{duration(took)}</span>{note}</li>'
    )


def _bar(
    begin: float, end: float, low: float, high: float, look: str, breaks: Sequence[float] = (), *,
    restarts: Sequence[float] | None = None,
) -> str:  # fmt: skip
    """A bar on a rail from ``low`` to ``high``; with ``restarts`` it is of the whole pod, and has a cursor."""
    span = (high - low) or 1.0

    def share(at: float) -> float:
        return 100 * min(1.0, max(0.0, (at - low) / span))

    wide = max(_LEAST, share(end) - share(begin))
    left = min(share(begin), 100 - wide)
    drawn = '<rect class="rail" width="100%" height="100%" rx="4"/>'
    drawn += f'<rect class="{look}" x="{left:.2f}%" width="{wide:.2f}%" height="100%" rx="3"/>'
    drawn += "".join(f'<circle class="break" cx="{share(at):.2f}%" cy="50%" r="3.5"/>' for at in breaks)
    for at in restarts or ():
        drawn += f'<line class="restart" x1="{share(at):.2f}%" x2="{share(at):.2f}%" y1="-2" y2="120%"/>'
    if restarts is not None:
        drawn += '<line class="cursor" x1="100%" x2="100%" y1="-3" y2="120%" visibility="hidden"/>'
    return f'<svg class="bar" aria-hidden="true">{drawn}</svg>'


def _long(lines: Sequence[object]) -> str:
    """What is longer than a window or two scrolls in a frame of its own, so that the rest of the page stays near."""
    return ' long" tabindex="0' if len(lines) > _LONG else ""


def _figure(name: str, value: str, more: str = "") -> str:
    small = f" <small>{_text(more)}</small>" if more else ""
    return f"<div><dt>{name}</dt><dd>{_text(value)}{small}</dd></div>"


def _text(words: str) -> str:
    return escape(words, quote=True)


def _source(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names an inline style or script."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
