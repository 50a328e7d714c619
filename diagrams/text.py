"""Text as diagrams need it: safe to draw, measured, wrapped, cut.

A journal holds what servers and programs said, so nothing of it is drawn as it is. And an SVG does not wrap
text, nor does it say how wide a text is: both are estimated here, on the safe side of the fonts people have.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ELLIPSIS = "…"

MESSAGE_LIMIT = 300
"""Characters of a message that a diagram shows; the journal has it all."""

# Advance widths of DejaVu Sans in thousandths of an em: the widest face that the font stacks of the diagrams
# commonly end in. Whoever has a narrower one sees some air instead of clipped text.
_BY_WIDTH = {
    278: "ijl",
    295: "IJ",
    318: " .,'",
    361: ":;-/|\\·",
    392: "ft()[]",
    411: "r!",
    500: '_*"',
    525: "sz?`",
    557: "ckL",
    600: "vxyFPTY",
    698: "ABCKRVXZ",
    787: "DGHNOQU&",
    818: "w",
    838: "→\N{MULTIPLICATION SIGN}≤≥~+=<>#^",
    863: "M",
    1000: "mW%@…—",
}
_ADVANCE = {char: advance for advance, chars in _BY_WIDTH.items() for char in chars}
_USUAL, _UNKNOWN, _FULL_WIDTH = 637, 800, 1050
_BOLD = 1.14

_UNSAFE = {"Cc", "Cs", "Cf", "Co", "Cn", "Zl", "Zp"}
"""Categories that do not belong into a picture: controls, surrogates, bidirectional overrides, unassigned."""


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Text that every format can carry: one line, without what XML or a terminal stumbles over, and cut."""
    shown = "".join(" " if char in "\t\n\r" else "\ufffd" if _unsafe(char) else char for char in text[: 4 * limit])
    line = " ".join(shown.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + ELLIPSIS


def _unsafe(char: str) -> bool:
    return unicodedata.category(char) in _UNSAFE


def width(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a text is, in pixels, estimated rather too wide than too narrow."""
    return sum(_advance(char) for char in text) / 1000 * size * (_BOLD if bold else 1.0)


def _advance(char: str) -> int:
    known = _ADVANCE.get(char)
    if known is not None:
        return known
    if char.isascii():
        return _USUAL
    if unicodedata.combining(char):
        return 0
    return _FULL_WIDTH if unicodedata.east_asian_width(char) in "WF" else _UNKNOWN


def fit(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """The text, or as much of it as there is room for and an ellipsis."""
    if width(text, size, bold=bold) <= room:
        return text
    while text and width(text + ELLIPSIS, size, bold=bold) > room:
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def wrap(text: str, room: float, size: float, *, bold: bool = False, lines: int | None = None) -> list[str]:
    """Lines no wider than ``room``. A word that is too wide is broken; what passes ``lines`` is cut."""
    return _cut(_pack(text.split(), room, size, bold=bold), room, size, bold=bold, limit=lines)


def wrap_parts(text: str, room: float, size: float) -> list[str]:
    """As :func:`wrap`, but breaking after commas where it can: for a policy, whose parts belong together."""
    *first, last = text.split(", ")
    lines: list[str] = []
    for part in (*(part + "," for part in first), last):
        longer = f"{lines[-1]} {part}" if lines else part
        if lines and width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines += wrap(part, room, size)
    return lines


def columns(text: str, limit: int, separator: str = " ") -> list[str]:
    """Lines of about ``limit`` characters, for the formats whose renderer measures by itself."""
    lines: list[str] = []
    *first, last = text.split(separator)
    for word in (*(part + separator.rstrip() for part in first), last):
        if lines and len(lines[-1]) + 1 + len(word) <= limit:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def _pack(words: Iterable[str], room: float, size: float, *, bold: bool = False) -> list[str]:
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, size, bold=bold) <= room:
            lines[-1] = longer
            continue
        rest = word
        while width(rest, size, bold=bold) > room and len(rest) > 1:
            taken = next(n for n in range(len(rest), 0, -1) if n == 1 or width(rest[:n], size, bold=bold) <= room)
            lines.append(rest[:taken])
            rest = rest[taken:]
        lines.append(rest)
    return lines


def _cut(lines: list[str], room: float, size: float, *, bold: bool, limit: int | None) -> list[str]:
    if limit is None or len(lines) <= limit:
        return lines
    return [
        *lines[: limit - 1],
        fit(lines[limit - 1] + ELLIPSIS, room, size, bold=bold).rstrip(ELLIPSIS) + ELLIPSIS,
    ]


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def count(number: int, thing: str) -> str:
    """A number and its noun."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
