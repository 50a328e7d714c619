"""How figures and foreign text are shown to a person: by ``explain`` and by the display of ``run``."""

from __future__ import annotations

MARKS = {"done": "✓", "failed": "✗", "terminated": "■", "deadline": "⏱"}
"""How a phase ended, by its event."""

WORTH_A_RATE = 1.0
"""Seconds that a transfer must have taken for its rate to mean something."""

_VISIBLE = {code: 0x2400 + code for code in range(0x20) if code != ord("\t")}
_VISIBLE |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
# Characters that reorder what is around them, or that some terminals take for the end of a line.
_VISIBLE |= dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def harmless(text: str | bytes) -> str:
    """The text with every control character as a picture of it; bytes that are no UTF-8 as U+FFFD.

    Half of a surrogate pair, which a template may escape and a file's name may be read as, is shown by its number: no
    file takes it, nor does a terminal.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return text.translate(_VISIBLE).encode(errors="backslashreplace").decode()


def duration(seconds: float) -> str:
    """``12 ms``, ``3.4 s``, ``2 min 5 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def size(count: float) -> str:
    """``512 B``, ``3.4 MiB``."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024 or unit == "GiB":
            break
    return f"{count:.1f} {unit}"


def rate(count: float, seconds: float) -> str:
    """``3.4 MiB/s``; nothing can be said of no time at all."""
    return f"{size(count / seconds)}/s" if seconds > 0 else "– B/s"
