"""Success and failure conditions of `resource` templates: Kubernetes' label selectors over paths into an object.

``status.phase in (Succeeded,Done),status.active!=1`` (spec 4.1.2). What stands for a label's key is a path such as
``status.conditions.0.type``; its value is the text of what is found there. The grammar of labels bounds both: names of
at most 63 letters, digits, ``-``, ``_`` and ``.``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN: Final = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")
_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MISSING: Final = object()
_SPECIAL: Final = set("=!<>(),")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of a condition's requirements.

    Attributes:
        path: into the object, its parts joined by dots.
        operator: ``in``, ``notin``, ``=``, ``!=``, ``>``, ``<``, ``exists`` or ``!``.
        values: what it is compared with.
        text: as it stands in the condition.
    """

    path: str
    operator: str
    values: tuple[str, ...]
    text: str

    def matches(self, found: Mapping[str, Any]) -> bool:
        """Whether an object meets it; what is not there meets ``!=``, ``notin`` and ``!`` alone."""
        value = _MISSING
        if (there := at(found, self.path)) is not _MISSING:
            value = text_of(there)
        match self.operator:
            case "exists":
                return value is not _MISSING
            case "!":
                return value is _MISSING
            case "=" | "in":
                return value in self.values
            case "!=" | "notin":
                return value not in self.values
        number = _integer(value)
        if number is None:
            return False
        limit = int(self.values[0])
        return number > limit if self.operator == ">" else number < limit


def parse(condition: str, *, place: str) -> tuple[Requirement, ...]:
    """The requirements of a condition; none when it is empty.

    Raises:
        InputError: it is no label selector.
    """
    return tuple(_Parser(condition, place).requirements())


def failure(requirements: tuple[Requirement, ...], found: Mapping[str, Any]) -> Requirement | None:
    """The first requirement that is met: any of a failure condition's fails (spec 4.1.2)."""
    return next((one for one in requirements if one.matches(found)), None)


def success(requirements: tuple[Requirement, ...], found: Mapping[str, Any]) -> bool:
    """Whether all requirements are met; without any, the first object will do."""
    return all(one.matches(found) for one in requirements)


def at(found: Any, path: str) -> Any:
    """What is at a path, or a mark that nothing is: keys of objects, indexes of arrays, ``#`` for an array's length."""
    for part in path.split("."):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return _MISSING
    return found


def text_of(value: Any) -> str:
    """The text of a JSON value, as a condition compares it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _integer(value: Any) -> int | None:
    try:
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value) else None
    except ValueError:  # thousands of digits
        return None
    return number if number is not None and -(2**63) <= number < 2**63 else None


class _Parser:
    """One condition, read from left to right."""

    def __init__(self, condition: str, place: str) -> None:
        self._condition = condition
        self._place = place
        self._tokens = [(match.start(1), match.group(1)) for match in _TOKEN.finditer(condition)]
        self._next = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self._peek():
            found.append(self._requirement())
            if self._peek() and self._take() != ",":
                raise self._error("a comma is expected", self._tokens[self._next - 1][0])
        return found

    def _requirement(self) -> Requirement:
        start = self._position()
        if self._peek() == "!":
            self._take()
            return self._made(start, self._key(), "!", ())
        key = self._key()
        operator = self._peek()
        if operator in {"", ","}:
            return self._made(start, key, "exists", ())
        self._take()
        if operator in {"in", "notin"}:
            return self._made(start, key, operator, self._set())
        if operator in {"=", "==", "!="}:
            return self._made(start, key, operator.replace("==", "="), (self._value(),))
        if operator in {"<", ">"}:
            where = self._position()
            limit = self._value()
            if _integer(limit) is None:
                raise self._error(f"{operator} compares with an integer, not {limit!r}", where)
            return self._made(start, key, operator, (limit,))
        raise self._error(f"unexpected {operator!r}", self._tokens[self._next - 1][0])

    def _made(self, start: int, key: str, operator: str, values: tuple[str, ...]) -> Requirement:
        end = self._position()
        return Requirement(key, operator, values, self._condition[start:end].strip())

    def _key(self) -> str:
        where = self._position()
        key = self._take()
        prefix, slash, name = key.rpartition("/")
        if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
            raise self._error(
                f"{key!r} is no path" if key else "a path is expected", where,
                "a path is at most 63 letters, digits, '-', '_' and '.', such as status.conditions.0.type",
            )  # fmt: skip
        return key

    def _value(self) -> str:
        if self._peek() in {"", ",", ")"}:
            return ""
        where = self._position()
        value = self._take()
        if not _NAME.fullmatch(value):
            raise self._error(
                f"{value!r} is no value", where, "a value is at most 63 letters, digits, '-', '_' and '.'"
            )
        return value

    def _set(self) -> tuple[str, ...]:
        where = self._position()
        if self._take() != "(":
            raise self._error("'(' is expected", where)
        values = [self._value()]
        while (separator := self._take()) == ",":
            values.append(self._value())
        if separator != ")":
            raise self._error("')' is expected", self._position())
        return tuple(values)

    def _peek(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _position(self) -> int:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else len(self._condition)

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _error(self, message: str, position: int, remedy: str = "") -> InputError:
        return InputError(f"column {position + 1}: {message}", place=self._place, remedy=remedy)
