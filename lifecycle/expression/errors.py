"""What is wrong with an expression, and where: the column is pointed at."""

from __future__ import annotations

from lifecycle.errors import InputError


class ExpressionError(InputError):
    """An expression that cannot be parsed, or cannot be evaluated on this data.

    Attributes:
        line, column: counted from 1.
    """

    def __init__(self, message: str, text: str, at: int, *, remedy: str = "") -> None:
        """``at`` is the offset in ``text``."""
        self.line = text.count("\n", 0, at) + 1
        self.column = at - text.rfind("\n", 0, at)
        place = f"column {self.column}" if self.line == 1 else f"line {self.line}, column {self.column}"
        super().__init__(message, place=place, remedy=remedy)
        self.what = message


class Refused(Exception):
    """A function or operator does not take these values; the evaluator adds the place."""
