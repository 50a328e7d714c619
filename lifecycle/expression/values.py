"""The values of expressions: JSON's, with Go's manners: integers of 64 bits, strings that are counted in bytes."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any, Final

from lifecycle.expression.errors import Refused

_LOW, _HIGH = -(2**63), 2**63


def kind(value: Any) -> str:
    """The name of a value's type, as the function ``type`` gives it."""
    return _KINDS.get(type(value), type(value).__name__)


def is_number(value: Any) -> bool:
    """Whether it is an int or a float; a bool is neither."""
    return type(value) in {int, float}


def equal(left: Any, right: Any) -> bool:
    """Whether they are the same; numbers of different types are compared by value, anything else is not."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    return bool(left == right)


def less(left: Any, right: Any) -> bool:
    """Whether ``left < right``; strings go by their bytes.

    Raises:
        Refused: they cannot be ordered.
    """
    if is_number(left) and is_number(right):
        return bool(left < right)
    if isinstance(left, str) and isinstance(right, str):
        return left.encode("utf-8", "surrogatepass") < right.encode("utf-8", "surrogatepass")
    raise Refused(f"{kind(left)} and {kind(right)} cannot be ordered")


def whole(value: int) -> int:
    """An integer of 64 bits.

    Raises:
        Refused: it does not fit; the original wraps around, silently.
    """
    if not _LOW <= value < _HIGH:
        raise Refused("the result is larger than 64 bits")
    return value


def integer(value: Any, what: str = "an integer") -> int:
    """A number as an integer, cut towards zero.

    Raises:
        Refused: it is no number, or no finite one.
    """
    if not is_number(value) or not math.isfinite(value):
        raise Refused(f"{what} is needed, not {kind(value)}")
    return whole(int(value))


def shown(value: Any) -> str:
    """As Go prints it with ``%v``: what ``string`` gives."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, list):
        return f"[{' '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{shown(key)}:{shown(value[key])}' for key in sorted(value, key=shown))}]"
    return str(value)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """As Go's encoder writes it: keys in order, ``<``, ``>`` and ``&`` escaped, 2.0 as 2.

    Raises:
        Refused: a number that JSON does not have.
    """
    text = json.dumps(
        _encodable(value), ensure_ascii=False, indent=indent, separators=(",", ": " if indent else ":"), sort_keys=True
    )
    for character, escape in _ESCAPED.items():
        text = text.replace(character, escape)
    return text


def _encodable(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(f"{shown(value)} is no JSON")
        return int(value) if value.is_integer() and abs(value) < 1e21 else value
    if isinstance(value, list):
        return [_encodable(one) for one in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else shown(key): _encodable(one) for key, one in value.items()}
    return value


def _float(value: float) -> str:
    """``%v``: the shortest digits, with an exponent from the seventh place on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    digits, power = f"{Decimal(repr(value)).normalize():e}".split("e")
    if -4 <= int(power) < 6 or not value:
        return f"{Decimal(repr(value)).normalize():f}"
    return f"{digits}e{int(power):+03d}"


_KINDS: Final = {
    type(None): "nil", bool: "bool", int: "int", float: "float", str: "string", list: "array", dict: "map",
}  # fmt: skip
_ESCAPED: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
