"""A secret that sings: a value that is found again in any text, however it was encoded on its way there."""

from __future__ import annotations

import base64
import html
import json
import re
import traceback
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lifecycle.outcome import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

_ESCAPED = re.compile(r"\\u00([0-9a-fA-F]{2})")
_LINE = 16
"""Characters of a line that is taken for a part of a secret, and not for its frame."""


class Canaries:
    """The secrets of one test, by the field that each was planted in."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[bytes, ...]] = {}

    def plant(self, field: str) -> str:
        """A value for a field. It begins with a mark, so that a half of it is found, too.

        What follows has to be escaped in JSON, XML, URLs and shells: who takes out only the value as it is misses it.
        """
        mark = f"c4n4ry{len(self._marks):03}-"
        self._marks[field] = (mark.encode(),)
        return f"""{mark}of+a/secret&"it's"=<9>%41"""

    def keep(self, field: str, value: bytes) -> bytes:
        """Look for a value that somebody else has made, such as a key; its long lines are looked for one by one."""
        lines = (line.strip() for line in value.splitlines())
        self._marks[field] = tuple(one for one in lines if len(one) >= _LINE and not one.startswith(b"-----"))
        return value

    @property
    def fields(self) -> set[str]:
        """Where one is planted."""
        return set(self._marks)

    def found(self, text: str, *, but: tuple[str, ...] = ()) -> dict[str, str]:
        """Which of them are in a text, each with what is around it; ``but`` are fields that may be."""
        plain = _plain(text)
        hits = {}
        for field, marks in self._marks.items():
            for mark in marks:
                for form, where in ((mark.decode("latin-1"), plain), *((one, text) for one in _encoded(mark))):
                    place = where.find(form)
                    if place >= 0 and field not in but:
                        hits[field] = where[max(0, place - 160) : place + 40]
        return hits


def _plain(text: str) -> str:
    """As it is, and with every escaping that is in use taken back."""
    bare = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).replace("\\", "")
    return "\n".join([text, bare, html.unescape(bare), unquote(bare)])


def _encoded(mark: bytes) -> Iterator[str]:
    """In hex, and in base64 wherever in a longer text it may begin, with either alphabet."""
    yield mark.hex()
    yield mark.hex().upper()
    for before in range(3):
        text = base64.b64encode(bytes(before) + mark).decode().rstrip("=")
        whole = len(bytes(before) + mark) % 3 == 0
        core = text[(0, 2, 3)[before] : None if whole else -1]  # the ends share bits with what is around them
        yield core
        if set(core) & set("+/"):
            yield core.replace("+", "-").replace("/", "_")


def told(error: BaseException) -> str:
    """All that could be printed of an error: its traceback with its causes, its record, its parts."""
    parts = traceback.format_exception(error)
    one: BaseException | None = error
    while one is not None:
        parts += [str(one), repr(one), repr(one.args), str(getattr(one, "remedy", ""))]
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    if isinstance(error, Exception):
        failure = Failure.of(error, phase="loading")
        parts += [str(failure), json.dumps(failure.record())]
    return "\n".join(parts)
