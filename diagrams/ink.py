"""What the SVG is drawn with: sizes, colours for light and dark, and the smallest marks. For :mod:`diagrams.svg`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from diagrams.layout import number
from diagrams.model import LATE
from diagrams.text import clean, width
from lifecycle.pod import INIT, RUN, WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diagrams.layout import Point

TITLE = 15.0
BODY = 12.5
SMALL = 12.0
HEADING = 20.0

CHIP = 19.0
STRAND = 4.2
HEAD = 9.0

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"

# Per class: property, light, dark. The contrast of every text to what it stands on is at least 4.5 : 1.
_COLOURS = (
    (".canvas", "fill", "#f7f9fc", "#10151c"),
    (".canvas", "stroke", "#dde4ee", "#29323f"),
    (".card", "fill", "#ffffff", "#19212c"),
    (".card", "stroke", "#c6d0de", "#3a475a"),
    (".rule", "stroke", "#e4e9f1", "#2d3847"),
    (".title", "fill", "#17202e", "#f1f5fb"),
    (".text", "fill", "#445168", "#c3cedd"),
    (".faint", "fill", "#5d6a7f", "#98a6ba"),
    (".badge", "fill", "#52627a", "#93a5c0"),
    (".badge-text", "fill", "#ffffff", "#10151c"),
    (".glyph", "stroke", "#5d6a7f", "#98a6ba"),
    (".glyph-head", "fill", "#5d6a7f", "#98a6ba"),
    (".done", "stroke", "#52627a", "#93a5c0"),
    (".done-fill", "fill", "#52627a", "#93a5c0"),
    (".failed", "stroke", "#d03a50", "#ff7885"),
    (".failed-fill", "fill", "#c22d44", "#ff8a95"),
    (".stopped", "stroke", "#b87a08", "#e9b54d"),
    (".stopped-fill", "fill", "#8f5b00", "#e9b54d"),
    (".life", "stroke", "#0d8a80", "#4fc4b8"),
    (".good", "stroke", "#1d8a4a", "#4fcb83"),
    (".good-fill", "fill", "#17733d", "#5ed890"),
    (".end-good", "fill", "#e3f5ea", "#12301f"),
    (".end-stopped", "fill", "#fcf0d6", "#33270d"),
    (".end-failed", "fill", "#fde6e9", "#3a161c"),
    (".chip-init", "fill", "#e4edff", "#1b2e52"),
    (".chip-init-text", "fill", "#2450a6", "#a5c4ff"),
    (".chip-wait", "fill", "#efe7fd", "#33235a"),
    (".chip-wait-text", "fill", "#6237b0", "#cbb2ff"),
    (".chip-run", "fill", "#dcf3f1", "#123b3a"),
    (".chip-run-text", "fill", "#0d665f", "#7fdcd3"),
    (".chip-other", "fill", "#e9edf3", "#2d3847"),
    (".chip-other-text", "fill", "#445168", "#c3cedd"),
)

_LAYOUT = (
    f"text{{font-family:{_FONT}}}"
    f".title{{font-size:{TITLE:g}px;font-weight:650}}"
    f".heading{{font-size:{HEADING:g}px}}"
    f".body{{font-size:{BODY:g}px}}"
    f".small{{font-size:{SMALL:g}px}}"
    ".bold{font-weight:650}"
    ".line{fill:none;stroke-width:1.7}"
    ".line.done{stroke-width:2.2}"
    ".line.stopped{stroke-dasharray:5 3.5}"
    ".line.taken{stroke-width:3.2}"
    ".glyph,.glyph-line{fill:none;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}"
    ".thick{stroke-width:2}"
    ".life{fill:none;stroke-width:3;stroke-linecap:round}"
    ".away{opacity:.38}"
    ".off{opacity:.3}"
    ".mark{stroke-width:2.4}"
)


def chip_width(name: str) -> float:
    return width(name, SMALL) + 14


def style() -> str:
    def rules(which: int) -> str:
        return "".join(f"{row[0]}{{{row[1]}:{row[which]}}}" for row in _COLOURS)

    return f"{_LAYOUT}{rules(2)}@media (prefers-color-scheme:dark){{{rules(3)}}}"


def text(x: float, y: float, look: str, words: str, *, anchor: str = "") -> str:
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class={quoteattr(look)} x="{number(x)}" y="{number(y)}"{where}>{escape(clean(words))}</text>'


def path(*parts: str | float) -> str:
    """The ``d`` of a path."""
    return " ".join(part if isinstance(part, str) else number(part) for part in parts)


def rule(x: float, y: float, length: float) -> str:
    return f'<path class="rule" d="M{number(x)} {number(y)}h{number(length)}"/>'


def chip(x: float, y: float, name: str) -> Iterator[str]:
    look = name if f".chip-{name}" in {row[0] for row in _COLOURS} else "other"
    wide = chip_width(name)
    size = f'width="{number(wide)}" height="{number(CHIP)}"'
    yield f'<rect class="chip-{look}" x="{number(x)}" y="{number(y)}" {size} rx="5"/>'
    yield text(x + wide / 2, y + 13.5, f"chip-{look}-text small", name, anchor="middle")


def repeat(x: float, y: float) -> Iterator[str]:
    """Three quarters of a circle with a head: again."""
    yield f'<path class="glyph" d="{path("M", x + 4.9, y + 1, "A5 5 0 1 1", x + 2.6, y - 4.2)}"/>'
    tip = path("M", x + 1, y - 7.4, "L", x + 6, y - 3.4, "L", x, y - 1.4, "Z")
    yield f'<path class="glyph-head" d="{tip}"/>'


def single(x: float, y: float) -> Iterator[str]:
    """An arrow to a bar: once, and no further."""
    yield f'<path class="glyph" d="{path("M", x - 5, y, "h7m-3 -3l3 3l-3 3M", x + 5, y - 4, "v8")}"/>'


def outcome(x: float, y: float, look: str) -> Iterator[str]:
    shapes = {
        "good": path("M", x - 4.5, y, "l3.2 3.4l6 -7"),
        "failed": path("M", x - 4, y - 4, "l8 8m0 -8l-8 8"),
        "stopped": path("M", x - 2.5, y - 4, "v8m5 -8v8"),
    }
    yield f'<path class="glyph-line thick {look}" d="{shapes[look]}"/>'


_PLACES = {"main": (0.0, 34.0), "sidecars": (41.0, 58.0), "late": (106.0, 34.0)}
"""Where a lifeline begins on its card, and how long it is: a row of cards is a row of bars."""


def lifeline(x: float, y: float, name: str, *, ends: bool) -> Iterator[str]:
    """A container that runs: a bar over its name, which a stop ends."""
    begin, long = _PLACES[name]
    x += begin
    if ends:
        middle = x + long / 2 + 4
        yield f'<path class="life" d="{path("M", x, y, "H", middle - 4)}"/>'
        yield f'<path class="life" d="{path("M", middle - 4, y - 4, "v8")}"/>'
    else:
        yield f'<path class="life" d="{path("M", x, y, "h", long)}"/>'
    yield text(x, y + 16, "faint small", name)


def direction(points: Sequence[Point]) -> Point:
    (x, y), (end_x, end_y) = points[-2:]
    return float((end_x > x) - (end_x < x)), float((end_y > y) - (end_y < y))


def head(tip: Point, heading: Point, look: str, size: float = 1.0) -> str:
    """The head of an arrow. Not a marker: a marker cannot take the colour of its line everywhere."""
    (x, y), (across, down) = tip, heading
    back, half = HEAD * size, 5.5 * size
    one = (x - across * back - down * half, y - down * back + across * half)
    two = (x - across * back + down * half, y - down * back - across * half)
    return f'<path class="{look}-fill" d="{path("M", x, y, "L", *one, "L", *two, "Z")}"/>'


def curve(begin: Point, end: Point) -> str:
    middle = (begin[0] + end[0]) / 2
    return path("M", *begin, "C", middle, begin[1], middle, end[1], *end)


_ARROW = 34.0
_CHIPS = sum(chip_width(name) + 4 for name in (INIT, WAIT, RUN))
LEGEND = (
    ("done", _ARROW, "done"),
    ("failed", _ARROW, "failed"),
    ("stopped", _ARROW, "terminated, deadline"),
    ("failed+done+stopped", _ARROW, "goes on, whatever happens"),
    ("chips", _CHIPS, "the commands that run a phase"),
    ("retry", 14.0, "retries of each item: first wait \N{MULTIPLICATION SIGN} factor ≤ longest wait"),
    ("lives", 14.0, f"a container that runs; its end ({LATE})"),
)


def sample(what: str, x: float, y: float) -> Iterator[str]:
    if what == "lives":
        yield f'<path class="life" d="{path("M", x, y, "h12m0 -4v8")}"/>'
    elif what == "retry":
        yield from repeat(x + 7, y - 0.5)
    elif what == "chips":
        for name in (INIT, WAIT, RUN):
            yield from chip(x, y - CHIP / 2, name)
            x += chip_width(name) + 4
    else:
        strands = what.split("+")
        for n, look in enumerate(strands):
            level = y + (n - (len(strands) - 1) / 2) * STRAND
            yield f'<path class="line {look}" d="{path("M", x, level, "h", _ARROW - HEAD + 2)}"/>'
        yield head((x + _ARROW, y), (1, 0), "done" if "done" in strands else strands[0])
