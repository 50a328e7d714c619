"""The operators whose operands are both evaluated; ``and``, ``or``, ``??`` and ``..`` are the evaluator's.

Regular expressions are RE2's, as Go's are: the same syntax, and time that is linear in the text, where a pattern of
Python's could take for ever.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from lifecycle.expression.errors import Refused
from lifecycle.expression.values import equal, is_number, kind, less, whole

if TYPE_CHECKING:
    from collections.abc import Callable


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    return _arithmetic("+", left, right)


def _arithmetic(sign: str, left: Any, right: Any) -> int | float:
    if not (is_number(left) and is_number(right)):
        raise Refused(f"{sign} cannot take {kind(left)} and {kind(right)}")
    found: int | float = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return whole(found) if isinstance(found, int) else found


def _divide(left: Any, right: Any) -> float:
    """Always a float, as in the original; by zero, an infinity or no number at all."""
    if not (is_number(left) and is_number(right)):
        raise Refused(f"/ cannot take {kind(left)} and {kind(right)}")
    if right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left)
    return float(left) / float(right)


def _modulo(left: Any, right: Any) -> int:
    """Of integers, with the sign of the left one, as in Go."""
    if type(left) is not int or type(right) is not int:
        raise Refused(f"% needs integers, not {kind(left)} and {kind(right)}")
    if right == 0:
        raise Refused("% by zero")
    return int(math.copysign(1, left)) * (abs(left) % abs(right))


def _power(left: Any, right: Any) -> float:
    if not (is_number(left) and is_number(right)):
        raise Refused(f"** cannot take {kind(left)} and {kind(right)}")
    try:
        return math.pow(left, right)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def _in(needle: Any, where: Any) -> bool:
    if where is None:
        return False
    if isinstance(where, list):
        return any(equal(one, needle) for one in where)
    if isinstance(where, dict):
        return not isinstance(needle, (list, dict)) and needle in where
    raise Refused(f"in needs an array or a map, not {kind(where)}")


def _strings(word: str, left: Any, right: Any) -> tuple[str, str]:
    if not (isinstance(left, str) and isinstance(right, str)):
        raise Refused(f"{word} needs strings, not {kind(left)} and {kind(right)}")
    return left, right


def _contains(left: Any, right: Any) -> bool:
    whole_one, part = _strings("contains", left, right)
    return part in whole_one


def _starts_with(left: Any, right: Any) -> bool:
    whole_one, part = _strings("startsWith", left, right)
    return whole_one.startswith(part)


def _ends_with(left: Any, right: Any) -> bool:
    whole_one, part = _strings("endsWith", left, right)
    return whole_one.endswith(part)


def _matches(left: Any, right: Any) -> bool:
    whole_one, pattern = _strings("matches", left, right)
    return _compiled(pattern).search(whole_one) is not None


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    import re2  # noqa: PLC0415 - 10 ms, for those who match

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise Refused(f"{pattern!r} is no regular expression: {_said(error)}") from None


def _said(error: Exception) -> str:
    """RE2's words, which come as bytes."""
    words = error.args[0] if error.args else b""
    return words.decode(errors="replace") if isinstance(words, bytes) else str(words)


OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": less,
    ">": lambda left, right: less(right, left),
    "<=": lambda left, right: not less(right, left),
    ">=": lambda left, right: not less(left, right),
    "+": _add,
    "-": lambda left, right: _arithmetic("-", left, right),
    "*": lambda left, right: _arithmetic("*", left, right),
    "/": _divide,
    "%": _modulo,
    "**": _power,
    "in": _in,
    "contains": _contains,
    "startsWith": _starts_with,
    "endsWith": _ends_with,
    "matches": _matches,
}
