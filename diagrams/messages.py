"""The errors that a piece of source makes: what they say, as far as it is known without running it, and the remedy."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diagrams.reach import Part, home, source_of
from lifecycle import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

HOLE = "…"
"""Stands in a message for what is known only when it is made."""

_BECOME = {"Refused": "InputError", "ExpressionError": "InputError"}
"""Errors of an expression, and what they are when they leave their phase."""


@dataclass(frozen=True, slots=True)
class Message:
    """What an error says where it is made."""

    error: str
    text: str
    remedy: str


def messages(parts: Iterable[Part]) -> list[Message]:
    """Those of all parts, each once and sorted.

    A function that is given the words of its errors says those of each call of it that is among the parts.
    """
    parts = list(parts)
    callers = _callers(parts)
    found: set[Message] = set()
    for part in parts:
        scope = _Scope(part)
        for given in _given(part, callers.get(part.place, ())) or [{}]:
            for call in ast.walk(part.node):
                if isinstance(call, ast.Call):
                    found.update(_message(scope, call, given))
    return sorted(found, key=lambda one: (one.error, one.text, one.remedy))


def error_class(module: str, name: str) -> type[Exception] | None:
    """The class that a name stands for in a module, if it is one of our errors."""
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    return found if issubclass(found, errors.LifecycleError) or found.__name__ in _BECOME else None


def _message(scope: _Scope, call: ast.Call, given: Mapping[str, str]) -> Iterator[Message]:
    if not isinstance(call.func, ast.Name) or not call.args:
        return
    kind = error_class(scope.module, call.func.id)
    if kind is None or issubclass(kind, errors.Cancelled):
        return
    text = _text(scope, call.args[0], given)
    remedy = next((_text(scope, word.value, given) for word in call.keywords if word.arg == "remedy"), "")
    # Without a word of its own it is the translation of another error.
    if any(char.isalpha() for char in (text + remedy).replace(HOLE, "")):
        yield Message(_BECOME.get(kind.__name__, kind.__name__), text, remedy)


def _callers(parts: Iterable[Part]) -> dict[tuple[str, str, str], list[tuple[_Scope, ast.Call]]]:
    """The calls of each function, and of each method by the others of its class."""
    found: dict[tuple[str, str, str], list[tuple[_Scope, ast.Call]]] = {}
    for part in parts:
        scope = _Scope(part)
        for call in ast.walk(part.node):
            match call:
                case ast.Call(func=ast.Name(id=name)):
                    made = home(part.module, name)
                    place = (made[0], "", made[1]) if made else None
                case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                    place = (part.module, part.owner, name)
                case _:
                    place = None
            if place is not None and isinstance(call, ast.Call):
                found.setdefault(place, []).append((scope, call))
    return found


def _given(part: Part, calls: Iterable[tuple[_Scope, ast.Call]]) -> list[dict[str, str]]:
    """For each call of a function what its parameters are, as far as that is a text."""
    if not isinstance(part.node, ast.FunctionDef):
        return []
    arguments = part.node.args
    names = [one.arg for one in arguments.args if one.arg != "self"]
    here = _Scope(part)
    usual = dict(zip(reversed(names), (_text(here, one) for one in reversed(arguments.defaults)), strict=False))
    found = []
    for scope, call in calls:
        pairs = [*zip(names, call.args, strict=False), *((word.arg or "", word.value) for word in call.keywords)]
        found.append(usual | {name: _text(scope, value) for name, value in pairs})
    return found


class _Scope:
    """What the names in one part stand for, where that is a text or a number."""

    def __init__(self, part: Part) -> None:
        self.module = part.module
        self._local: dict[str, list[ast.expr]] = {}
        for one in ast.walk(part.node):
            if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
                self._local.setdefault(one.targets[0].id, []).append(one.value)

    def value(self, name: str) -> ast.expr | None:
        """What it stands for, when that is known without running anything."""
        if name in self._local:
            [first, *others] = self._local[name]
            return None if others else first
        place = home(self.module, name)
        return source_of(place[0]).constants.get(place[1]) if place else None


def _text(scope: _Scope, node: ast.expr, given: Mapping[str, str] | None = None) -> str:
    """A text as far as the source says it."""
    text = HOLE
    match node:
        case ast.Constant():
            text = str(node.value)
        case ast.JoinedStr():
            text = "".join(_text(scope, part, given) for part in node.values)
        case ast.FormattedValue():
            text = _text(scope, node.value, given)
        case ast.BinOp(op=ast.Add()):
            text = _text(scope, node.left, given) + _text(scope, node.right, given)
        case ast.BoolOp(op=ast.Or()):
            text = next((said for part in node.values if (said := _text(scope, part, given)) != HOLE), HOLE)
        case ast.Name(id=name) if given and name in given:
            text = given[name]
        case ast.Name(id=name):
            value = scope.value(name)
            if isinstance(value, (ast.Constant, ast.JoinedStr)):
                text = _text(scope, value, given)
    return text
