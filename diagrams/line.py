"""The fields of a journal's line, each taken with a check: a journal comes from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

K = TypeVar("K", str, dict[str, Any])


class Odd(ValueError):
    """Why a line cannot be taken."""


def take_all(journal: Iterable[Mapping[str, Any]], take: Callable[[Mapping[str, Any]], None], remedy: str) -> None:
    """Give ``take`` one line after the other.

    Raises:
        InputError: it cannot take one; its place is ``journal:n``.
    """
    for place, line in enumerate(journal, start=1):
        try:
            take(line)
        except Odd as odd:
            raise InputError(str(odd), place=f"journal:{place}", remedy=remedy) from odd


def get(line: Mapping[str, Any], key: str, kind: type[K], default: K | None = None) -> K:
    """A text or an object.

    Raises:
        Odd: it is something else, or it is missing and there is no ``default``.
    """
    value = line.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind):
        raise Odd(f"{key!r} must be {'a text' if kind is str else 'an object'}")
    return value


def number(line: Mapping[str, Any], key: str, default: float) -> float:
    """A number that can be counted with.

    Raises:
        Odd: it is none, or it is below zero.
    """
    value = line.get(key, default)
    # json reads Infinity and NaN, and neither can be counted with.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise Odd(f"{key!r} must be a number, not below zero")
    return float(value)
