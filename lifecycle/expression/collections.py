"""The functions of arrays and maps whose arguments are values; those with a predicate are in :mod:`~.predicates`."""

from __future__ import annotations

import itertools
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any, Final

from lifecycle.expression.errors import Refused
from lifecycle.expression.values import equal, integer, is_number, kind, less, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def array(value: Any, name: str) -> list[Any]:
    """An array.

    Raises:
        Refused: it is none.
    """
    if not isinstance(value, list):
        raise Refused(f"{name} needs an array, not {kind(value)}")
    return value


def mapping(value: Any, name: str) -> dict[Any, Any]:
    """A map.

    Raises:
        Refused: it is none.
    """
    if not isinstance(value, dict):
        raise Refused(f"{name} needs a map, not {kind(value)}")
    return value


def _len(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise Refused(f"len needs a string, an array or a map, not {kind(value)}")
    return len(value)


def _first(values: Any) -> Any:
    return next(iter(array(values, "first")), None)


def _last(values: Any) -> Any:
    return array(values, "last")[-1] if values else None


def _get(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return value.get(key) if not isinstance(key, (list, dict)) else None
    if isinstance(value, list) and is_number(key):
        place = integer(key)
        return value[place] if -len(value) <= place < len(value) else None
    return None


def _take(values: Any, count: Any) -> list[Any]:
    if type(count) is not int or count < 0:
        raise Refused("take needs a number of elements")
    return array(values, "take")[:count]


def _reverse(values: Any) -> list[Any]:
    return array(values, "reverse")[::-1]


def _uniq(values: Any) -> list[Any]:
    found: list[Any] = []
    simple: set[tuple[str, Any]] = set()
    for value in array(values, "uniq"):
        if isinstance(value, (list, dict)):
            known = any(equal(value, one) for one in found)
        else:
            mark = ("number" if is_number(value) else kind(value), value)
            known = mark in simple
            simple.add(mark)
        if not known:
            found.append(value)
    return found


def _concat(*values: Any) -> list[Any]:
    return list(itertools.chain.from_iterable(array(one, "concat") for one in values))


def _flatten(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in array(values, "flatten"):
        found += _flatten(value) if isinstance(value, list) else [value]
    return found


def ordered(values: Iterable[Any], key: Callable[[Any], Any], order: Any = "asc") -> list[Any]:
    """Sorted; equal ones stay in their order.

    Raises:
        Refused: the order is neither ``asc`` nor ``desc``, or the keys cannot be compared.
    """
    if order not in ("asc", "desc"):
        raise Refused(f"the order is 'asc' or 'desc', not {shown(order)!r}")

    def compare(one: Any, other: Any) -> int:
        return -1 if less(key(one), key(other)) else int(less(key(other), key(one)))

    return sorted(values, key=cmp_to_key(compare), reverse=order == "desc")


def _sort(values: Any, order: Any = "asc") -> list[Any]:
    return ordered(array(values, "sort"), lambda one: one, order)


def _keys(value: Any) -> list[Any]:
    return list(mapping(value, "keys"))


def _values(value: Any) -> list[Any]:
    return list(mapping(value, "values").values())


def _to_pairs(value: Any) -> list[Any]:
    return [[key, one] for key, one in mapping(value, "toPairs").items()]


def _from_pairs(values: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for pair in array(values, "fromPairs"):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Refused("fromPairs needs pairs: arrays of two")
        if isinstance(pair[0], (list, dict)):
            raise Refused(f"{kind(pair[0])} cannot be a key")
        found[pair[0]] = pair[1]
    return found


FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int, int | None]]] = {
    "len": (_len, 1, 1),
    "first": (_first, 1, 1),
    "last": (_last, 1, 1),
    "get": (_get, 2, 2),
    "take": (_take, 2, 2),
    "reverse": (_reverse, 1, 1),
    "uniq": (_uniq, 1, 1),
    "concat": (_concat, 1, None),
    "flatten": (_flatten, 1, 1),
    "sort": (_sort, 1, 2),
    "keys": (_keys, 1, 1),
    "values": (_values, 1, 1),
    "toPairs": (_to_pairs, 1, 1),
    "fromPairs": (_from_pairs, 1, 1),
}
"""Each function with the least and the greatest number of its arguments."""
