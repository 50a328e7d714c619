r"""kubectl's JSONPath templates: ``{.status.phase}``, ``{range .items[*]}{.metadata.name}{"\n"}{end}`` (spec 4.1.4).

It is a dialect of its own: text with paths in braces, several results joined by a blank, no functions. What is not
there is nothing, as kubectl prints it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GRAMMAR: Final = r"""
start: (TEXT | "{" _SPACE? action? "}")*
?action: RANGE _SPACE path _SPACE?  -> range
       | END _SPACE?                -> end
       | STRING _SPACE?             -> text
       | _paths                     -> paths
_paths: path | path _SPACE | path _SPACE _paths
path: ROOT? step+ | ROOT
?step: "." NAME                     -> field
     | "." "*"                      -> each
     | ".."                         -> descend
     | ".." NAME                    -> descend_field
     | "[" _SPACE? "*" _SPACE? "]"  -> each
     | "[" _SPACE? "?" "(" _SPACE? filter _SPACE? ")" _SPACE? "]"
     | "[" [INT] ":" [INT] [":" [INT]] "]" -> slice
     | "[" _SPACE? item (_SPACE? "," _SPACE? item)* _SPACE? "]" -> items
?item: INT                          -> index
     | STRING                       -> key
     | NAME                         -> key
     | path                         -> below
filter: operand [_SPACE? OPERATOR _SPACE? operand]
?operand: path                      -> found
        | STRING                    -> string
        | NUMBER                    -> number
        | INT                       -> number
        | BOOL                      -> bool

RANGE: "range"
END: "end"
BOOL: "true" | "false"
ROOT: "$" | "@"
OPERATOR: "==" | "!=" | "<=" | ">=" | "<" | ">"
INT.2: /-?\d+/
NUMBER.3: /-?\d+\.\d+/
NAME: /(\\.|[^\s.\[\]()=!<>,:{}@$|"'*?\\])+/
STRING: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/
TEXT: /[^{]+/
_SPACE: /\s+/
"""
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r"}


def check(template: str, *, place: str) -> None:
    """Judge a template before anything is done.

    Raises:
        InputError: it is none; the column is named.
    """
    _parse(template, place)


def render(template: str, found: Any, *, place: str) -> str:
    """What kubectl would print of an object.

    Raises:
        InputError: the template is none, or does not fit the object.
    """
    return "".join(_Printer(found, place).block(_parse(template, place)))


@dataclass(frozen=True, slots=True)
class _Range:
    """What stands between ``{range}`` and ``{end}``."""

    path: Tree[Token]
    body: tuple[Any, ...]


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _parse(template: str, place: str) -> tuple[Any, ...]:
    try:
        tree = _grammar().parse(template)
    except UnexpectedInput as error:
        raise InputError(_wrong(template, error), place=place) from None
    blocks: list[list[Any]] = [[]]
    paths: list[Any] = []
    for part in tree.children:
        if isinstance(part, Tree) and part.data == "range":
            paths.append(part.children[1])
            blocks.append([])
        elif isinstance(part, Tree) and part.data == "end":
            if not paths:
                raise InputError(f"column {part.meta.start_pos + 1}: {{end}} without a {{range}}", place=place)
            body = tuple(blocks.pop())
            blocks[-1].append(_Range(paths.pop(), body))
        else:
            blocks[-1].append(part)
    if paths:
        raise InputError("a {range} has no {end}", place=place)
    return tuple(blocks[0])


def _wrong(template: str, error: UnexpectedInput) -> str:
    if isinstance(error, UnexpectedCharacters) or (isinstance(error, UnexpectedToken) and error.token.type != "$END"):
        at = error.pos_in_stream or 0
        return f"column {at + 1}: unexpected {template[at]!r}"
    return "the template ends too early: a brace is not closed"


class _Printer:
    """One template, one object."""

    def __init__(self, root: Any, place: str) -> None:
        self._root = root
        self._place = place

    def block(self, parts: tuple[Any, ...], here: Any = None) -> Iterator[str]:
        here = self._root if here is None else here
        for part in parts:
            if isinstance(part, Token):
                yield str(part)
            elif isinstance(part, _Range):
                for value in self._path(part.path, here):
                    yield from self.block(part.body, value)
            elif part is not None and part.data == "text":
                yield _unquoted(part.children[0])
            elif part is not None:
                values = [value for path in part.children for value in self._path(path, here)]
                yield " ".join(map(shown, values))

    def _path(self, path: Tree[Token], here: Any) -> list[Any]:
        values = [here]
        for step in path.children:
            if isinstance(step, Token):
                values = [self._root if step == "$" else here]
            else:
                values = [value for one in values for value in self._step(step, one)]
        return values

    def _step(self, step: Tree[Token], value: Any) -> list[Any]:
        work: Callable[..., list[Any]] = getattr(self, f"_{step.data}")
        return work(value, *step.children)

    def _field(self, value: Any, name: Token) -> list[Any]:
        key = _ESCAPED.sub(r"\1", name)
        return [value[key]] if isinstance(value, dict) and key in value else []

    def _key(self, value: Any, name: Token) -> list[Any]:
        key = _unquoted(name) if name.type == "STRING" else str(name)
        return [value[key]] if isinstance(value, dict) and key in value else []

    def _each(self, value: Any) -> list[Any]:
        if isinstance(value, dict):
            return list(value.values())
        return list(value) if isinstance(value, list) else []

    def _descend(self, value: Any) -> list[Any]:
        return [value, *(below for one in self._each(value) for below in self._descend(one))]

    def _descend_field(self, value: Any, name: Token) -> list[Any]:
        return [found for one in self._descend(value) for found in self._field(one, name)]

    def _index(self, value: Any, number: Token) -> list[Any]:
        if not isinstance(value, list):
            return []
        place = int(number)
        return [value[place]] if -len(value) <= place < len(value) else []

    def _slice(self, value: Any, first: Token | None, last: Token | None, step: Token | None) -> list[Any]:
        by = 1 if step is None else int(step)
        if by < 1:
            raise InputError(f"a slice goes forward, not by {by}", place=self._place)
        ends = [None if one is None else int(one) for one in (first, last)]
        return value[ends[0] : ends[1] : by] if isinstance(value, list) else []

    def _items(self, value: Any, *items: Tree[Token]) -> list[Any]:
        return [found for one in items for found in self._step(one, value)]

    def _below(self, value: Any, path: Tree[Token]) -> list[Any]:
        return self._path(path, value)

    def _filter(self, value: Any, left: Tree[Token], operator: Token | None, right: Tree[Token] | None) -> list[Any]:
        return [one for one in self._each(value) if self._holds(one, left, operator, right)]

    def _holds(self, value: Any, left: Tree[Token], operator: Token | None, right: Tree[Token] | None) -> bool:
        found = self._operand(left, value)
        if operator is None or right is None:
            return bool(found)
        other = self._operand(right, value)
        if not found or not other:
            return False
        one, two = found[0], other[0]
        if operator in {"==", "!="}:
            same = type(one) is type(two) or {type(one), type(two)} == {int, float}
            return (same and one == two) is (operator == "==")
        if isinstance(one, bool) or isinstance(two, bool) or not _ordered(one, two):
            raise InputError(f"{shown(one)!r} and {shown(two)!r} cannot be compared by {operator}", place=self._place)
        return bool({"<": one < two, ">": one > two, "<=": one <= two, ">=": one >= two}[str(operator)])

    def _operand(self, operand: Tree[Token], value: Any) -> list[Any]:
        kind, token = operand.data, operand.children[0]
        if kind == "found":
            assert isinstance(token, Tree)  # noqa: S101 - the grammar's
            return self._path(token, value)
        if kind == "string":
            return [_unquoted(token)]
        text = str(token)
        if kind == "bool":
            return [text == "true"]
        return [float(text) if "." in text else int(text)]


def _ordered(one: Any, two: Any) -> bool:
    numbers = (int, float)
    return isinstance(one, numbers) == isinstance(two, numbers) and isinstance(one, str) == isinstance(two, str)


def _unquoted(token: Any) -> str:
    return _ESCAPED.sub(lambda match: _LETTERS.get(match.group(1), match.group(1)), str(token)[1:-1])


def shown(value: Any) -> str:
    """A result as kubectl prints it: text and numbers as they are, objects as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
