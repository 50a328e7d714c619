"""The built-in functions of the language that work on strings, numbers, arrays and maps; those of dates are refused.

Each takes its arguments evaluated. Those that take a predicate are the evaluator's (:mod:`~.predicates`).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import statistics
import string
from typing import TYPE_CHECKING, Any, Final

from lifecycle.expression import collections
from lifecycle.expression.collections import array
from lifecycle.expression.errors import Refused
from lifecycle.expression.values import integer, is_number, kind, shown, to_json, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_SPACE: Final = (
    string.whitespace + "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
)
_MASK: Final = 2**64 - 1
REPEATED: Final = 1_000_000
"""Times that a string may be repeated, as in the original."""

LATER: Final = ("now", "date", "duration", "timezone")
"""Functions of the original that this executor does not have: the result must be JSON, which has no times."""


def text(value: Any, name: str, place: str = "argument") -> str:
    """A string.

    Raises:
        Refused: it is none.
    """
    if not isinstance(value, str):
        raise Refused(f"{name} needs a string as its {place}, not {kind(value)}")
    return value


# --- strings --------------------------------------------------------------------------------------------------------


def _trim(value: Any, characters: Any = _SPACE) -> str:
    return text(value, "trim").strip(text(characters, "trim", "second argument") or None if characters else "")


def _trim_prefix(value: Any, prefix: Any = " ") -> str:
    return text(value, "trimPrefix").removeprefix(text(prefix, "trimPrefix", "prefix"))


def _trim_suffix(value: Any, suffix: Any = " ") -> str:
    return text(value, "trimSuffix").removesuffix(text(suffix, "trimSuffix", "suffix"))


def _split(value: Any, by: Any, count: Any = -1) -> list[str]:
    return _parts(text(value, "split"), text(by, "split", "delimiter"), integer(count), keep=False)


def _split_after(value: Any, by: Any, count: Any = -1) -> list[str]:
    return _parts(text(value, "splitAfter"), text(by, "splitAfter", "delimiter"), integer(count), keep=True)


def _parts(value: str, by: str, count: int, *, keep: bool) -> list[str]:
    """As Go's SplitN: none for 0, all below it; an empty delimiter stands between any two characters."""
    if count == 0:
        return []
    if not by:
        characters = list(value)
        if 0 < count < len(characters):
            return [*characters[: count - 1], "".join(characters[count - 1 :])]
        return characters
    parts = value.split(by, count - 1 if count > 0 else -1)
    return [part + by for part in parts[:-1]] + parts[-1:] if keep else parts


def _replace(value: Any, old: Any, new: Any, count: Any = -1) -> str:
    return text(value, "replace").replace(
        text(old, "replace", "second argument"), text(new, "replace", "third argument"), integer(count)
    )


def _repeat(value: Any, count: Any) -> str:
    times = integer(count)
    if not 0 <= times <= REPEATED:
        raise Refused(f"repeat takes a number from 0 to {REPEATED}, not {times}")
    return text(value, "repeat") * times


def _join(values: Any, glue: Any = "") -> str:
    return text(glue, "join", "delimiter").join(text(one, "join", "elements") for one in array(values, "join"))


def _index_of(value: Any, part: Any) -> int:
    return text(value, "indexOf").encode().find(text(part, "indexOf", "substring").encode())


def _last_index_of(value: Any, part: Any) -> int:
    return text(value, "lastIndexOf").encode().rfind(text(part, "lastIndexOf", "substring").encode())


def _has_prefix(value: Any, prefix: Any) -> bool:
    return text(value, "hasPrefix").startswith(text(prefix, "hasPrefix", "prefix"))


def _has_suffix(value: Any, suffix: Any) -> bool:
    return text(value, "hasSuffix").endswith(text(suffix, "hasSuffix", "suffix"))


# --- numbers --------------------------------------------------------------------------------------------------------


def _number(value: Any, name: str) -> int | float:
    if not is_number(value):
        raise Refused(f"{name} needs a number, not {kind(value)}")
    found: int | float = value
    return found


def numbers(values: Iterable[Any], name: str) -> Iterator[int | float]:
    """All numbers in them, those in arrays too.

    Raises:
        Refused: something else is in there.
    """
    for value in values:
        if isinstance(value, list):
            yield from numbers(value, name)
        else:
            yield _number(value, name)


def _abs(value: Any) -> int | float:
    return abs(_number(value, "abs"))


def _ceil(value: Any) -> float:
    return float(math.ceil(_number(value, "ceil")))


def _floor(value: Any) -> float:
    return float(math.floor(_number(value, "floor")))


def _round(value: Any) -> float:
    """Half away from zero; Python's goes to the even one."""
    number = _number(value, "round")
    return float(math.copysign(math.floor(abs(number) + 0.5), number))


def _max(*values: Any) -> Any:
    return max(numbers(values, "max"), default=None)


def _min(*values: Any) -> Any:
    return min(numbers(values, "min"), default=None)


def _mean(*values: Any) -> float:
    found = [float(one) for one in numbers(values, "mean")]
    return math.fsum(found) / len(found) if found else 0.0


def _median(*values: Any) -> float:
    found = [float(one) for one in numbers(values, "median")]
    return statistics.median(found) if found else 0.0


def _int(value: Any) -> int:
    if isinstance(value, str):
        try:
            return whole(int(value, 10)) if "_" not in value and value.strip() == value else int("")
        except ValueError:
            raise Refused(f"int cannot read {value[:40]!r}") from None
    return integer(value)


def _float(value: Any) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise Refused(f"float cannot read {value[:40]!r}") from None
    return float(_number(value, "float"))


def _bits(name: str, work: Callable[[int, int], int]) -> Callable[[Any, Any], int]:
    def both(left: Any, right: Any) -> int:
        for value in (left, right):
            if type(value) is not int:
                raise Refused(f"{name} needs integers, not {kind(value)}")
        if name.startswith("bitsh") and right < 0:
            raise Refused(f"{name} cannot shift by {right}")
        return _signed(work(left, right))

    return both


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


# --- conversions ----------------------------------------------------------------------------------------------------


def _to_json(value: Any) -> str:
    return to_json(value, indent=2)


def _from_json(value: Any) -> Any:
    try:
        # As Go's decoder, which knows only floating numbers.
        return json.loads(text(value, "fromJSON"), parse_int=float, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused("fromJSON was given no JSON") from None


def _no_constant(word: str) -> Any:
    raise ValueError(word)


def _to_base64(value: Any) -> str:
    return base64.b64encode(text(value, "toBase64").encode()).decode()


def _from_base64(value: Any) -> str:
    try:
        return base64.b64decode(text(value, "fromBase64"), validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        raise Refused("fromBase64 was given no Base64") from None


FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int | None]]] = {
    "trim": (_trim, 1, 2),
    "trimPrefix": (_trim_prefix, 1, 2),
    "trimSuffix": (_trim_suffix, 1, 2),
    "upper": (lambda value: text(value, "upper").upper(), 1, 1),
    "lower": (lambda value: text(value, "lower").lower(), 1, 1),
    "split": (_split, 2, 3),
    "splitAfter": (_split_after, 2, 3),
    "replace": (_replace, 3, 4),
    "repeat": (_repeat, 2, 2),
    "join": (_join, 1, 2),
    "indexOf": (_index_of, 2, 2),
    "lastIndexOf": (_last_index_of, 2, 2),
    "hasPrefix": (_has_prefix, 2, 2),
    "hasSuffix": (_has_suffix, 2, 2),
    "abs": (_abs, 1, 1),
    "ceil": (_ceil, 1, 1),
    "floor": (_floor, 1, 1),
    "round": (_round, 1, 1),
    "max": (_max, 1, None),
    "min": (_min, 1, None),
    "mean": (_mean, 1, None),
    "median": (_median, 1, None),
    "int": (_int, 1, 1),
    "float": (_float, 1, 1),
    "string": (shown, 1, 1),
    "type": (kind, 1, 1),
    **collections.FUNCTIONS,
    "toJSON": (_to_json, 1, 1),
    "fromJSON": (_from_json, 1, 1),
    "toBase64": (_to_base64, 1, 1),
    "fromBase64": (_from_base64, 1, 1),
    "bitand": (_bits("bitand", lambda x, y: x & y), 2, 2),
    "bitor": (_bits("bitor", lambda x, y: x | y), 2, 2),
    "bitxor": (_bits("bitxor", lambda x, y: x ^ y), 2, 2),
    "bitnand": (_bits("bitnand", lambda x, y: x & ~y), 2, 2),
    "bitshl": (_bits("bitshl", lambda x, y: x << y if y < 64 else 0), 2, 2),
    "bitshr": (_bits("bitshr", lambda x, y: x >> y), 2, 2),
    "bitushr": (_bits("bitushr", lambda x, y: (x & _MASK) >> y), 2, 2),
    "bitnot": (lambda value: ~integer(value), 1, 1),
}
"""Each function with the least and the greatest number of its arguments."""
