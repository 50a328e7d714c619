"""The functions that look at every element of an array: ``filter``, ``map`` and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from lifecycle.expression.collections import ordered
from lifecycle.expression.errors import Refused
from lifecycle.expression.functions import numbers
from lifecycle.expression.values import kind, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Predicate(Protocol):
    """An expression about one element."""

    def value(self, element: Any, index: int, accumulated: Any = None) -> Any:
        """What it gives for it."""

    def holds(self, element: Any, index: int) -> bool:
        """The same, where it must be a bool."""


def _all(values: list[Any], predicate: Predicate) -> bool:
    return all(predicate.holds(one, index) for index, one in enumerate(values))


def _any(values: list[Any], predicate: Predicate) -> bool:
    return any(predicate.holds(one, index) for index, one in enumerate(values))


def _none(values: list[Any], predicate: Predicate) -> bool:
    return not _any(values, predicate)


def _one(values: list[Any], predicate: Predicate) -> bool:
    return _count(values, predicate) == 1


def _count(values: list[Any], predicate: Predicate) -> int:
    return sum(predicate.holds(one, index) for index, one in enumerate(values))


def _filter(values: list[Any], predicate: Predicate) -> list[Any]:
    return [one for index, one in enumerate(values) if predicate.holds(one, index)]


def _map(values: list[Any], predicate: Predicate) -> list[Any]:
    return [predicate.value(one, index) for index, one in enumerate(values)]


def _matching(values: list[Any], predicate: Predicate, order: Iterable[int]) -> Iterator[int]:
    return (index for index in order if predicate.holds(values[index], index))


def _find_index(values: list[Any], predicate: Predicate) -> int:
    return next(_matching(values, predicate, range(len(values))), -1)


def _find_last_index(values: list[Any], predicate: Predicate) -> int:
    return next(_matching(values, predicate, reversed(range(len(values)))), -1)


def _find(values: list[Any], predicate: Predicate) -> Any:
    index = _find_index(values, predicate)
    return None if index < 0 else values[index]


def _find_last(values: list[Any], predicate: Predicate) -> Any:
    index = _find_last_index(values, predicate)
    return None if index < 0 else values[index]


def _sum(values: list[Any], predicate: Predicate) -> int | float:
    return total(_map(values, predicate))


def _group_by(values: list[Any], predicate: Predicate) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for index, one in enumerate(values):
        key = predicate.value(one, index)
        if isinstance(key, (list, dict)):
            raise Refused(f"{kind(key)} cannot be a key")
        groups.setdefault(key, []).append(one)
    return groups


def _sort_by(values: list[Any], predicate: Predicate, order: Any = "asc") -> list[Any]:
    keyed = [(predicate.value(one, index), one) for index, one in enumerate(values)]
    return [one for _, one in ordered(keyed, lambda pair: pair[0], order)]


def _reduce(values: list[Any], predicate: Predicate, *initial: Any) -> Any:
    if not values and not initial:
        raise Refused("reduce of an empty array needs an initial value")
    accumulated = initial[0] if initial else values[0]
    for index in range(0 if initial else 1, len(values)):
        accumulated = predicate.value(values[index], index, accumulated)
    return accumulated


def total(values: list[Any]) -> int | float:
    """The sum of an array's numbers.

    Raises:
        Refused: something else is in it, or the sum is too large.
    """
    found = sum(numbers(values, "sum"))
    return whole(found) if isinstance(found, int) else found


PREDICATES: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "all": (_all, 2, 2),
    "any": (_any, 2, 2),
    "one": (_one, 2, 2),
    "none": (_none, 2, 2),
    "map": (_map, 2, 2),
    "filter": (_filter, 2, 2),
    "find": (_find, 2, 2),
    "findIndex": (_find_index, 2, 2),
    "findLast": (_find_last, 2, 2),
    "findLastIndex": (_find_last_index, 2, 2),
    "count": (_count, 1, 2),
    "sum": (_sum, 1, 2),
    "groupBy": (_group_by, 2, 2),
    "sortBy": (_sort_by, 2, 3),
    "reduce": (_reduce, 2, 3),
}
"""Each function with the least and the greatest number of its arguments, the array and the predicate among them."""
