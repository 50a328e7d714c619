"""What stands below the picture of a table: what its marks mean, and where controllers differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagrams import ink
from diagrams.model import CONTRACTS, lifelines, prefix
from diagrams.text import fit, width, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.table import Table

_ROW, _LINE = 26.0, 17.0
_BETWEEN = 24.0


class Legend:
    """The marks in rows, as many beside each other as fit, and the captions below them."""

    def __init__(self, table: Table, room: float, *, captions: bool) -> None:
        """Wrap everything to ``room``; ``captions`` are for a table, not for the way of one pod."""
        self._prefix = prefix(table)
        self._room = room
        self._rows = list(self._packed(table))
        self._captions = list(self._contracts(table)) if captions else []

    @property
    def height(self) -> float:
        """Everything, with the air around it."""
        return 22.0 + len(self._rows) * _ROW + (len(self._captions) * _LINE + 14.0 if self._captions else 0.0)

    def lines(self, left: float, top: float) -> Iterator[str]:
        """The elements."""
        yield f'<g id="{self._prefix}-legend">'
        yield ink.rule(left, top + 2, self._room)
        for place, row in enumerate(self._rows):
            y = top + 24 + _ROW * place
            for x, what, room, words in row:
                yield from ink.sample(what, left + x, y)
                yield ink.text(left + x + room + 8, y + 4, "faint small", words)
        yield "</g>"
        if not self._captions:
            return
        top += 14 + _ROW * len(self._rows)
        yield f'<g id="{self._prefix}-contracts">'
        yield ink.rule(left, top, self._room)
        for place, (look, line) in enumerate(self._captions):
            yield ink.text(left, top + 20 + _LINE * place, look, line)
        yield "</g>"

    def _packed(self, table: Table) -> Iterator[list[tuple[float, str, float, str]]]:
        """Rows of (x, what, room, text)."""
        without = set()
        if not any(phase.runs_in for phase in table.phases):
            without.add("chips")
        if not any(lifelines(table, phase.state) for phase in table.phases):
            without.add("lives")
        row: list[tuple[float, str, float, str]] = []
        x = 0.0
        for what, room, words in ink.LEGEND:
            if what in without:
                continue
            wide = room + 8 + width(words, ink.SMALL)
            if row and x + wide > self._room:
                yield row
                row, x = [], 0.0
            row.append((x, what, room, words))
            x += wide + _BETWEEN
        yield row

    def _contracts(self, table: Table) -> Iterator[tuple[str, str]]:
        """Class and text of each line."""
        differ = [(state, words) for state, words in CONTRACTS.items() if state in table]
        if not differ:
            return
        said = "Controllers of v2.3 to v3.3 take the same path; they differ in:"
        yield "text small bold", fit(said, self._room, ink.SMALL, bold=True)
        for state, words in differ:
            yield from (("faint small", line) for line in wrap(f"{state}: {words}", self._room, ink.SMALL))
