"""Where the things of an SVG stand: cards in rows that turn like a snake, and lines between the rows.

The order of a table is its way when all goes well, so the cards stand in it, and what goes on to the next
card is a straight arrow. Every other arrow leaves its card upwards or downwards into the *channel* between
two rows, runs there on a *track* of its own, and comes to its destination from there. A second row runs
from right to left: then the arrow to it is short, and the lines that skip ahead to it cross nothing. Arrows
with the same events and destination share a track.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

from diagrams.model import Arrow, arrows
from diagrams.text import width
from lifecycle.table import END, Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lifecycle.table import Table

Point = tuple[float, float]

COLUMNS = 5
"""Slots in a row: as many as leave text of 12 px legible in a picture that is 1000 px wide."""

CARD = 162.0
GAP = 34.0
LEFT = 34.0
RIGHT = 20.0
TRACK = 24.0
PORT = 22.0
LABEL = 12.0
DIAMOND = 19.0


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a phase, or of the verdict, in the grid.

    Attributes:
        row: counted from the top.
        column: counted from the left.
        forth: the row runs from left to right.
    """

    row: int
    column: int
    forth: bool

    @property
    def x(self) -> float:
        """The left edge."""
        return LEFT + self.column * (CARD + GAP)


@dataclass(slots=True)
class Line:
    """An arrow and the corners of its way, from the edge of the source to that of the destination."""

    arrow: Arrow
    points: list[Point] = field(default_factory=list)


@dataclass(slots=True)
class Bus:
    """Arrows that share a track, since they have the same events and destination.

    Attributes:
        lines: one for each source.
        channel: the gap between rows in which they run; channel 0 is above the first row.
        label: where the label stands: its middle and its baseline.
    """

    lines: list[Line]
    channel: int
    label: Point = (0.0, 0.0)
    track: int = 0

    @property
    def arrow(self) -> Arrow:
        """One of the arrows, for what they have in common."""
        return self.lines[0].arrow


class Layout:
    """Where everything of one table stands, given how high a card must be."""

    def __init__(self, table: Table, top: float, card_height: float) -> None:
        """Lay a table out.

        Args:
            table: what is drawn.
            top: where the first channel begins.
            card_height: as high as the fullest card needs to be.
        """
        self.card_height = card_height
        states = [*(phase.state for phase in table.phases), END]
        rows = ceil(len(states) / COLUMNS)
        self.columns = ceil(len(states) / rows)
        self.slots = {state: self._slot(index) for index, state in enumerate(states)}
        self.width = LEFT + self.columns * (CARD + GAP) - GAP + RIGHT
        following = dict(pairwise(states))
        self.straight: list[Line] = []
        buses: dict[tuple[object, ...], Bus] = {}
        for arrow in arrows(table):
            if following.get(arrow.source) == arrow.dest:
                self.straight.append(Line(arrow))
                continue
            channel = self._channel(arrow)
            key = (arrow.dest, arrow.events, channel)
            buses.setdefault(key, Bus([], channel)).lines.append(Line(arrow))
        self.buses = list(buses.values())
        self._assign_ports()
        self._assign_tracks()
        self._rows = self._stack(top, rows)
        self.bottom = self._rows[-1] + card_height + self._channel_height(rows, rows)
        for line in self.straight:
            line.points = self._straight(line.arrow)
        for bus in self.buses:
            self._route(bus)

    def y(self, state: str) -> float:
        """The top edge of a state's card."""
        return self._rows[self.slots[state].row]

    def diamond(self) -> Point:
        """The middle of the diamond of the verdict: on the side of its slot where the last phase is."""
        return self._diamond_x(), self.y(END) + self.card_height / 2

    def verdict_from_below(self) -> bool:
        """Whether a line comes up to the diamond, where its caption would stand."""
        return (END, False) in self._busy

    def _slot(self, index: int) -> Slot:
        row, place = divmod(index, self.columns)
        forth = row % 2 == 0
        return Slot(row, place if forth else self.columns - 1 - place, forth)

    def _channel(self, arrow: Arrow) -> int:
        """In which channel an arrow leaves its source."""
        source, dest = self.slots[arrow.source], self.slots[arrow.dest]
        if dest.row != source.row:
            return source.row + (dest.row > source.row)
        # Failure runs above; what skips ahead for another reason runs below, and so does not cross it.
        return source.row + (Event.FAILED not in arrow.events)

    # Ports: where on the upper or lower edge of a card an arrow begins or ends.

    def _assign_ports(self) -> None:
        self._ports: dict[tuple[str, str, int], float] = {}
        sides: dict[tuple[str, bool], list[tuple[float, str, int]]] = {}
        for number, bus in enumerate(self.buses):
            target = self._middle(bus.arrow.dest)
            for line in bus.lines:
                source = line.arrow.source
                upper = bus.channel == self.slots[source].row
                sides.setdefault((source, upper), []).append((target, "source", number))
            ahead = self._middle(bus.lines[-1].arrow.source)
            upper = self._arrives_above(bus)
            sides.setdefault((bus.arrow.dest, upper), []).append((ahead, "dest", number))
        self._busy = set(sides)
        for (state, _), wanted in sides.items():
            # Whoever comes from the left stands left, so that lines to the same card do not cross before it.
            for place, (_, role, number) in enumerate(sorted(wanted)):
                shift = 0.0 if state == END else (place - (len(wanted) - 1) / 2) * PORT
                self._ports[state, role, number] = self._middle(state) + shift

    def _middle(self, state: str) -> float:
        return self._diamond_x() if state == END else self.slots[state].x + CARD / 2

    def _diamond_x(self) -> float:
        """The middle of the diamond; known before the rows have their heights."""
        slot = self.slots[END]
        return slot.x + DIAMOND if slot.forth else slot.x + CARD - DIAMOND

    def _arrives_above(self, bus: Bus) -> bool:
        source, dest = self.slots[bus.arrow.source], self.slots[bus.arrow.dest]
        return bus.channel == dest.row if dest.row == source.row else dest.row > source.row

    # Tracks: the shortest lines are nearest to the cards, and none overlaps another.

    def _assign_tracks(self) -> None:
        taken: dict[int, list[list[tuple[float, float]]]] = {}
        for bus in sorted(self.buses, key=self._length):
            span = self._span(bus)
            tracks = taken.setdefault(bus.channel, [])
            bus.track = next((n for n, spans in enumerate(tracks) if not _overlap(span, spans)), len(tracks))
            if bus.track == len(tracks):
                tracks.append([])
            tracks[bus.track].append(span)
        self._tracks = {channel: len(tracks) for channel, tracks in taken.items()}

    def _span(self, bus: Bus) -> tuple[float, float]:
        number = self.buses.index(bus)
        ends = [self._ports[line.arrow.source, "source", number] for line in bus.lines]
        ends.append(self._ports[bus.arrow.dest, "dest", number])
        if self._around(bus):
            ends.append(self.width)
        label = width(label_text(bus.arrow), LABEL)
        low, high = min(ends), max(ends)
        spare = max(0.0, label - (high - low)) / 2
        return low - spare - 8, high + spare + 8

    def _length(self, bus: Bus) -> float:
        low, high = self._span(bus)
        return high - low

    def _around(self, bus: Bus) -> bool:
        """Whether it leads past a whole row, so that it must run around the outside."""
        return abs(self.slots[bus.arrow.source].row - self.slots[bus.arrow.dest].row) > 1

    def _stack(self, top: float, rows: int) -> list[float]:
        tops = []
        for row in range(rows):
            top += self._channel_height(row, rows)
            tops.append(top)
            top += self.card_height
        return tops

    def _channel_height(self, channel: int, rows: int) -> float:
        tracks = self._tracks.get(channel, 0)
        if 0 < channel < rows:
            return max(46.0, 40.0 + tracks * TRACK)
        if channel == 0:
            return 20.0 + tracks * TRACK if tracks else 22.0
        return 26.0 + tracks * TRACK if tracks else 14.0

    def _track_y(self, bus: Bus) -> float:
        below_row = bus.channel
        if below_row < len(self._rows):
            return self._rows[below_row] - 22.0 - bus.track * TRACK
        return self._rows[-1] + self.card_height + 27.0 + bus.track * TRACK

    def _straight(self, arrow: Arrow) -> list[Point]:
        source, dest = self.slots[arrow.source], self.slots[arrow.dest]
        middle = self.y(arrow.source) + self.card_height / 2
        if source.row == dest.row:
            begin = source.x + CARD if source.forth else source.x
            end = dest.x if dest.forth else dest.x + CARD
            return [(begin, middle), (end, middle)]
        x = self._middle(arrow.dest)
        if arrow.dest != END and not self._busy.isdisjoint({(arrow.source, False), (arrow.dest, True)}):
            # The middle of the edge is for the lines from afar.
            x += CARD / 4 if source.forth else -CARD / 4
        end_y = self.diamond()[1] - DIAMOND if arrow.dest == END else self.y(arrow.dest)
        return [(x, self.y(arrow.source) + self.card_height), (x, end_y)]

    def _route(self, bus: Bus) -> None:
        number = self.buses.index(bus)
        dest = bus.arrow.dest
        end_x = self._ports[dest, "dest", number]
        above = self._arrives_above(bus)
        end_y = self.y(dest) if above else self.y(dest) + self.card_height
        if dest == END:
            end_y = self.diamond()[1] - DIAMOND if above else self.diamond()[1] + DIAMOND
        track = self._track_y(bus)
        for line in bus.lines:
            source = line.arrow.source
            x = self._ports[source, "source", number]
            upper = bus.channel == self.slots[source].row
            y = self.y(source) if upper else self.y(source) + self.card_height
            if self._around(bus):
                outside = self.width - RIGHT / 2
                near = self.y(dest) - 12 if above else self.y(dest) + self.card_height + 12
                middle = [(outside, track), (outside, near), (end_x, near)]
            else:
                middle = [(end_x, track)]
            line.points = [(x, y), (x, track), *middle, (end_x, end_y)]
        bus.label = (self._label_x(bus), track - 7)

    def _label_x(self, bus: Bus) -> float:
        """The middle of the piece of the track nearest to the destination in which the label has room."""
        turns = sorted({point[0] for line in bus.lines for point in (line.points[1], line.points[2])})
        pieces = sorted(pairwise(turns), key=lambda piece: abs(sum(piece) / 2 - bus.lines[0].points[2][0]))
        room = width(label_text(bus.arrow), LABEL) + 16
        low, high = next((piece for piece in pieces if piece[1] - piece[0] >= room), (turns[0], turns[-1]))
        return (low + high) / 2


def label_text(arrow: Arrow) -> str:
    """The label of a line from afar."""
    return " · ".join(arrow.events)


def _overlap(span: tuple[float, float], spans: Sequence[tuple[float, float]]) -> bool:
    return any(span[0] < high and low < span[1] for low, high in spans)


def shifted(points: Sequence[Point], by: float) -> list[Point]:
    """A polyline of right angles moved to its left-hand side: for lines that run side by side."""
    normals = [_normal(begin, end) for begin, end in pairwise(points)]
    moved = []
    for index, (x, y) in enumerate(points):
        around = {normals[max(0, index - 1)], normals[min(index, len(normals) - 1)]}
        moved.append((x + by * sum(n[0] for n in around), y + by * sum(n[1] for n in around)))
    return moved


def _normal(begin: Point, end: Point) -> Point:
    across, down = end[0] - begin[0], end[1] - begin[1]
    return (float((down > 0) - (down < 0)), float((across < 0) - (across > 0)))


def rounded(points: Sequence[Point], radius: float) -> str:
    """The ``d`` of a path along a polyline, its corners rounded."""
    return " ".join(_steps(points, radius))


def _steps(points: Sequence[Point], radius: float) -> Iterator[str]:
    yield f"M{_xy(points[0])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        room = min(radius, _distance(before, corner) / 2, _distance(corner, after) / 2)
        yield f"L{_xy(_towards(corner, before, room))}Q{_xy(corner)} {_xy(_towards(corner, after, room))}"
    yield f"L{_xy(points[-1])}"


def _distance(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])  # the pieces are level or upright


def _towards(start: Point, goal: Point, by: float) -> Point:
    length = _distance(start, goal) or 1.0
    return start[0] + (goal[0] - start[0]) / length * by, start[1] + (goal[1] - start[1]) / length * by


def shortened(points: Sequence[Point], by: float) -> list[Point]:
    """A polyline that ends ``by`` before its end."""
    return [*points[:-1], _towards(points[-1], points[-2], by)]


def _xy(point: Point) -> str:
    return f"{number(point[0])} {number(point[1])}"


def number(value: float) -> str:
    """A coordinate as short as it can be written."""
    return f"{value:.1f}".removesuffix(".0")
