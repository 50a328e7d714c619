"""Nodes + variables → a value, within a number of steps and an amount of memory.

An expression is the workflow author's, the data are whoever may write to the bucket: neither may make the pod run for
ever or fill its memory (the original has a budget of a million elements for the same reason).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lifecycle.expression import functions
from lifecycle.expression.collections import array
from lifecycle.expression.errors import ExpressionError, Refused
from lifecycle.expression.nodes import (
    Array,
    Binary,
    Call,
    Chain,
    Conditional,
    Let,
    Literal,
    Map,
    Member,
    Name,
    Pointer,
    Slice,
    Unary,
)
from lifecycle.expression.operators import OPERATORS
from lifecycle.expression.parse import parse
from lifecycle.expression.predicates import PREDICATES, total
from lifecycle.expression.values import integer, is_number, kind, shown, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lifecycle.expression.nodes import Node

_LOOK_UP: Final = 4096
"""Steps between two looks at the world, a few milliseconds."""

_CHARACTERS: Final = 16
"""Characters that cost as much as an element of an array."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one evaluation may cost.

    Attributes:
        steps: parts that are evaluated, those of predicates for every element.
        room: elements of arrays and maps, and characters of strings by sixteen, that are made.
    """

    steps: int = 10_000_000
    room: int = 4_000_000


def evaluate(
    text: str,
    variables: Mapping[str, Any],
    limits: Limits | None = None,
    look_up: Callable[[], None] = lambda: None,
) -> Any:
    """The value of an expression.

    Args:
        text: the expression.
        variables: what it may name; JSON values.
        limits: what it may cost.
        look_up: called every few thousand steps; what it raises ends the evaluation.

    Raises:
        ExpressionError: it is none, does not fit its data, or costs too much; the place is named.
    """
    return _Evaluation(text, variables, limits or Limits(), look_up).value(parse(text))


@dataclass(slots=True)
class _Scope:
    """One element that a predicate looks at."""

    element: Any
    index: int
    accumulated: Any = None


class _Nil(Exception):
    """An optional member of nil: the whole chain is nil."""


class _Evaluation:
    """One evaluation: its names, its predicates' elements, and what is left of its limits."""

    def __init__(self, text: str, variables: Mapping[str, Any], limits: Limits, look_up: Callable[[], None]) -> None:
        self._look_up = look_up
        self._text = text
        self._names = dict(variables)
        self._scopes: list[_Scope] = []
        self._limits = limits
        self._steps = limits.steps
        self._room = limits.room

    def value(self, node: Node) -> Any:
        self._steps -= 1
        if not self._steps % _LOOK_UP:
            self._look_up()
        if self._steps < 0:
            raise self._error(node, f"it takes more than {self._limits.steps} steps", "look at fewer elements")
        try:
            return _VALUES[type(node)](self, node)
        except Refused as error:
            raise self._error(node, str(error)) from None

    def _error(self, node: Node, message: str, remedy: str = "") -> ExpressionError:
        return ExpressionError(message, self._text, node.at, remedy=remedy)

    def _made(self, node: Node, value: Any) -> Any:
        """A new value, whose size is taken from what is left."""
        if isinstance(value, (list, dict)):
            self._room -= len(value)
        elif isinstance(value, str):
            self._room -= len(value) // _CHARACTERS
        if self._room < 0:
            raise self._error(node, f"it makes more than {self._limits.room} elements", "filter before you map")
        return value

    # --- leaves -----------------------------------------------------------------------------------------------------

    def literal(self, node: Literal) -> Any:
        return node.value

    def name(self, node: Name) -> Any:
        if node.name == "$env":
            return self._names
        if node.name not in self._names:
            known = ", ".join(sorted(self._names))
            raise self._error(node, f"there is no variable {node.name!r}", f"there is: {known}")
        return self._names[node.name]

    def pointer(self, node: Pointer) -> Any:
        if not self._scopes:
            raise self._error(node, f"#{node.name} stands outside of a predicate")
        scope = self._scopes[-1]
        if node.name == "acc":
            return scope.accumulated
        return scope.index if node.name == "index" else scope.element

    # --- members ----------------------------------------------------------------------------------------------------

    def member(self, node: Member) -> Any:
        of = self.value(node.of)
        if of is None and node.optional:
            raise _Nil
        key = self.value(node.key)
        if isinstance(of, dict):
            return None if isinstance(key, (list, dict)) else of.get(key)
        if isinstance(of, (list, str)) and is_number(key):
            whole_one: Any = of.encode() if isinstance(of, str) else of
            place = integer(key)
            if not -len(whole_one) <= place < len(whole_one):
                raise self._error(node.key, f"there is no element {place}: there are {len(whole_one)}")
            return whole_one[place]
        raise self._error(node.key, f"{kind(of)} has no member {shown(key)}")

    def chain(self, node: Chain) -> Any:
        try:
            return self.value(node.node)
        except _Nil:
            return None

    def slice(self, node: Slice) -> Any:
        of = self.value(node.of)
        if not isinstance(of, (list, str)):
            raise self._error(node, f"{kind(of)} has no slices")
        found: Any = of.encode() if isinstance(of, str) else of
        first = 0 if node.first is None else integer(self.value(node.first))
        last = len(found) if node.last is None else integer(self.value(node.last))
        cut = found[first:last]
        return self._made(node, cut.decode(errors="replace") if isinstance(of, str) else cut)

    # --- what is made -----------------------------------------------------------------------------------------------

    def array(self, node: Array) -> Any:
        return self._made(node, [self.value(one) for one in node.items])

    def map(self, node: Map) -> Any:
        made: dict[Any, Any] = {}
        for key, value in node.pairs:
            name = self.value(key)
            if isinstance(name, (list, dict)):
                raise self._error(key, f"{kind(name)} cannot be a key")
            made[name] = self.value(value)
        return self._made(node, made)

    def let(self, node: Let) -> Any:
        if node.name in self._names:
            raise self._error(node, f"there is a variable {node.name!r} already")
        self._names[node.name] = self.value(node.value)
        try:
            return self.value(node.body)
        finally:
            del self._names[node.name]

    # --- operators --------------------------------------------------------------------------------------------------

    def conditional(self, node: Conditional) -> Any:
        return self.value(node.yes if self._truth(node.test) else node.no)

    def unary(self, node: Unary) -> Any:
        if node.operator == "not":
            return not self._truth(node.operand)
        value = self.value(node.operand)
        if not is_number(value):
            raise self._error(node, f"{node.operator} needs a number, not {kind(value)}")
        return value if node.operator == "+" else whole(-value) if isinstance(value, int) else -value

    def binary(self, node: Binary) -> Any:
        # a + b + c is nested to the left, maybe thousands deep, which would be as deep in the interpreter's stack.
        row = [node]
        while isinstance(row[-1].left, Binary):
            row.append(row[-1].left)
        value = self.value(row[-1].left)
        for one in reversed(row):
            value = self._applied(one, value)
        return value

    def _applied(self, node: Binary, left: Any) -> Any:
        match node.operator:
            case "and":
                return self.truth(node.left, left) and self._truth(node.right)
            case "or":
                return self.truth(node.left, left) or self._truth(node.right)
            case "??":
                return self.value(node.right) if left is None else left
        right = self.value(node.right)
        try:
            if node.operator == "..":
                return self._range(node, left, right)
            return self._made(node, OPERATORS[node.operator](left, right))
        except Refused as error:
            raise self._error(node, str(error)) from None

    def _truth(self, node: Node) -> bool:
        return self.truth(node, self.value(node))

    def _range(self, node: Node, first: Any, last: Any) -> Any:
        low, high = integer(first), integer(last)
        if high - low >= self._room:
            raise self._error(node, f"the range has more than {self._limits.room} elements")
        return self._made(node, list(range(low, high + 1)))

    # --- functions --------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Any:
        if node.name in PREDICATES:
            return self._made(node, self._predicated(node))
        found = functions.FUNCTIONS.get(node.name)
        if found is None:
            why = ": results are JSON, which has no times" if node.name in functions.LATER else ""
            known = ", ".join(sorted({*functions.FUNCTIONS, *PREDICATES}))
            raise self._error(node, f"there is no function {node.name!r}{why}", f"there are: {known}")
        work, least, most = found
        self._count(node, least, most)
        arguments = [self.value(one) for one in node.arguments]
        if node.name == "repeat":
            self._afford(node, arguments)
        return self._made(node, work(*arguments))

    def _count(self, node: Call, least: int, most: int | None) -> None:
        given = len(node.arguments)
        if given < least or (most is not None and given > most):
            wanted = f"at least {least}" if most is None else f"{least}" if most == least else f"{least} or {most}"
            raise self._error(node, f"{node.name} takes {wanted} arguments, not {given}")

    def _afford(self, node: Call, arguments: list[Any]) -> None:
        """Refuse a long string before it is made."""
        value, times = arguments
        if isinstance(value, str) and is_number(times) and len(value) * times > self._room * _CHARACTERS:
            raise self._error(node, f"the string has more than {self._limits.room * _CHARACTERS} characters")

    def _predicated(self, node: Call) -> Any:
        work, least, most = PREDICATES[node.name]
        self._count(node, least, most)
        values = array(self.value(node.arguments[0]), node.name)
        if len(node.arguments) == 1:
            return total(values) if node.name == "sum" else sum(self.truth(node, one) for one in values)
        rest = [self.value(one) for one in node.arguments[2:]]
        predicate = node.arguments[1]
        if node.name == "sortBy" and isinstance(predicate, Literal) and isinstance(predicate.value, str):
            # Before predicates, the name of a member stood there.
            predicate = Member(predicate.at, Pointer(predicate.at, ""), predicate, optional=False)
        return work(values, _Predicate(self, predicate), *rest)

    def of_element(self, node: Node, scope: _Scope) -> Any:
        """What a predicate gives for one element."""
        self._scopes.append(scope)
        try:
            return self.value(node)
        finally:
            self._scopes.pop()

    def truth(self, node: Node, value: Any) -> bool:
        """The value, which must be a bool."""
        if not isinstance(value, bool):
            raise self._error(node, f"a bool is needed, not {kind(value)}")
        return value


@dataclass(frozen=True, slots=True)
class _Predicate:
    """An expression about one element, within its evaluation."""

    evaluation: _Evaluation
    node: Node

    def value(self, element: Any, index: int, accumulated: Any = None) -> Any:
        return self.evaluation.of_element(self.node, _Scope(element, index, accumulated))

    def holds(self, element: Any, index: int) -> bool:
        return self.evaluation.truth(self.node, self.value(element, index))


_VALUES: Final[dict[type[Node], Callable[[_Evaluation, Any], Any]]] = {
    Literal: _Evaluation.literal,
    Name: _Evaluation.name,
    Pointer: _Evaluation.pointer,
    Member: _Evaluation.member,
    Chain: _Evaluation.chain,
    Slice: _Evaluation.slice,
    Array: _Evaluation.array,
    Map: _Evaluation.map,
    Let: _Evaluation.let,
    Conditional: _Evaluation.conditional,
    Unary: _Evaluation.unary,
    Binary: _Evaluation.binary,
    Call: _Evaluation.call,
}
