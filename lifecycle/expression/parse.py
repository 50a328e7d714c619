"""Text → nodes. lark reads the grammar; the precedences of its operators are resolved here, by the original's table."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from lifecycle.expression.errors import ExpressionError
from lifecycle.expression.grammar import GRAMMAR
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
    Node,
    Pointer,
    Slice,
    Unary,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST: Final = 64 * 1024
"""Characters of an expression."""
DEEPEST: Final = 100
"""How far parts may be nested; the interpreter's own stack is the reason."""

BINARY: Final = {
    "||": 10, "or": 10, "&&": 15, "and": 15,
    "==": 20, "!=": 20, "<": 20, ">": 20, "<=": 20, ">=": 20,
    "in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20,
    "..": 25, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
}  # fmt: skip
UNARY: Final = {"not": 50, "!": 50, "-": 90, "+": 90}
_RIGHT: Final = {"**", "^"}
_ORDERING: Final = {"<", ">", "<=", ">="}
_SAME: Final = {"||": "or", "&&": "and", "^": "**", "!": "not"}
_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"',
    "/": "/",
}  # fmt: skip
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_INT: Final = 2**63


def parse(text: str) -> Node:
    """The expression of a text.

    Raises:
        ExpressionError: it is none; line and column are named.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"the expression is longer than {LONGEST} characters", text, 0)
    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None
    return _Builder(text).build(tree.children[0])


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    return Lark(GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _unexpected(text: str, error: UnexpectedInput) -> ExpressionError:
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        return ExpressionError(f"unexpected {str(error.token)!r}", text, error.token.start_pos or 0)
    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or 0
        found = text[at]
        what = "a string that does not end" if found in "\"'`" else f"unexpected {found!r}"
        return ExpressionError(what, text, at)
    assert isinstance(error, (UnexpectedEOF, UnexpectedToken))  # noqa: S101 - lark has no other
    return ExpressionError("the expression ends too early", text, len(text))


class _Builder:
    """Nodes of lark's tree."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0

    def build(self, tree: Tree[Token] | Token) -> Node:
        assert isinstance(tree, Tree)  # noqa: S101 - tokens are read by those who expect them
        with self.deeper(_at(tree)):
            made: Node = getattr(self, f"_{tree.data}")(_at(tree), *tree.children)
        return made

    @contextmanager
    def deeper(self, at: int) -> Iterator[None]:
        """One level further down.

        Raises:
            ExpressionError: it is too deep.
        """
        self._depth += 1
        if self._depth > DEEPEST:
            raise ExpressionError(f"it is nested more than {DEEPEST} deep", self._text, at)
        yield
        self._depth -= 1

    def _all(self, tree: Any) -> tuple[Node, ...]:
        return () if tree is None else tuple(self.build(one) for one in tree.children if one is not None)

    # --- leaves -----------------------------------------------------------------------------------------------------

    def _number(self, at: int, token: Token) -> Node:
        digits = token.replace("_", "").lower()
        if digits[:2] in {"0x", "0b", "0o"}:
            value: int | float = int(digits, 0)
        elif any(mark in digits for mark in ".e"):
            value = float(digits)
        else:
            value = int(digits)
        if isinstance(value, int) and value >= _INT:
            raise ExpressionError("the number is larger than 64 bits", self._text, at)
        return Literal(at, value)

    def _string(self, at: int, token: Token) -> Node:
        return Literal(at, self._unescaped(at, token))

    def _raw(self, at: int, token: Token) -> Node:
        return Literal(at, str(token)[1:-1])

    def _true(self, at: int) -> Node:
        return Literal(at, True)

    def _false(self, at: int) -> Node:
        return Literal(at, False)

    def _nil(self, at: int) -> Node:
        return Literal(at, None)

    def _name(self, at: int, token: Token) -> Node:
        return Name(at, str(token))

    def _pointer(self, at: int, token: Token) -> Node:
        return Pointer(at, str(token)[1:])

    def _field(self, at: int, token: Token) -> Node:
        return Member(at, Pointer(at, ""), Literal(at, str(token)), optional=False)

    def _unescaped(self, at: int, token: Token) -> str:
        def meaning(match: re.Match[str]) -> str:
            byte, short, long, octal, simple = match.groups()
            if simple is not None:
                if simple not in _ESCAPES:
                    place = (token.start_pos or at) + 1 + match.start()
                    raise ExpressionError(f"unknown escape {match.group()}", self._text, place)
                return _ESCAPES[simple]
            return chr(int(octal, 8) if octal else int(byte or short or long, 16))

        return _ESCAPE.sub(meaning, str(token)[1:-1])

    # --- what is made of parts --------------------------------------------------------------------------------------

    def _member(self, at: int, of: Tree[Token], key: Token) -> Node:
        return self._chained(Member(at, self.build(of), Literal(key.start_pos or at, str(key)), optional=False))

    def _optional_member(self, at: int, of: Tree[Token], key: Token) -> Node:
        return self._chained(Member(at, self.build(of), Literal(key.start_pos or at, str(key)), optional=True))

    def _index(self, at: int, of: Tree[Token], key: Tree[Token]) -> Node:
        return self._chained(Member(at, self.build(of), self.build(key), optional=False))

    def _optional_index(self, at: int, of: Tree[Token], key: Tree[Token]) -> Node:
        return self._chained(Member(at, self.build(of), self.build(key), optional=True))

    def _chained(self, member: Member) -> Node:
        """With the chain around all of the row, not around its beginning."""
        if isinstance(member.of, Chain):
            return Chain(member.at, Member(member.at, member.of.node, member.key, member.optional))
        return Chain(member.at, member) if member.optional else member

    def _slice(self, at: int, of: Tree[Token], first: Tree[Token] | None, last: Tree[Token] | None) -> Node:
        ends = [None if one is None else self.build(one) for one in (first, last)]
        return Slice(at, self.build(of), *ends)

    def _method(self, at: int, of: Tree[Token], name: Token, arguments: Any) -> Node:  # noqa: ARG002 - lark's
        raise ExpressionError(f"values have no methods such as {name}", self._text, name.start_pos or at)

    def _array(self, at: int, items: Tree[Token] | None) -> Node:
        return Array(at, self._all(items))

    def _map(self, at: int, pairs: Tree[Token] | None) -> Node:
        found = () if pairs is None else tuple(self._pair(pair) for pair in pairs.children if pair is not None)
        return Map(at, found)

    def _pair(self, pair: Any) -> tuple[Node, Node]:
        key, value = pair.children
        if isinstance(key, Tree):
            return self.build(key.children[0]), self.build(value)
        text = self._unescaped(0, key) if key.type == "STRING" else str(key)
        return Literal(key.start_pos or 0, text[1:-1] if key.type == "RAW" else text), self.build(value)

    def _call(self, at: int, name: Token, arguments: Tree[Token] | None) -> Node:
        return Call(at, str(name), self._all(arguments))

    def _let(self, at: int, name: Token, value: Tree[Token], body: Tree[Token]) -> Node:
        return Let(at, str(name), self.build(value), self.build(body))

    def _conditional(self, at: int, test: Tree[Token], yes: Tree[Token], no: Tree[Token]) -> Node:
        return Conditional(at, self.build(test), self.build(yes), self.build(no))

    def _otherwise(self, at: int, test: Tree[Token], no: Tree[Token]) -> Node:
        value = self.build(test)
        return Conditional(at, value, value, self.build(no))

    def _chain(self, _: int, *parts: Tree[Token]) -> Node:
        if len(parts) == 1 and len(parts[0].children) == 1:
            return self.build(parts[0].children[0])
        return _Row(self, self._text, self._flat(parts)).expression(0)

    def _flat(self, parts: tuple[Tree[Token], ...]) -> list[Any]:
        """Signs, operands, operators and pipes in a row; an operand is a tree, an operator its tokens."""
        row: list[Any] = []
        for part in parts:
            if part.data == "operand":
                row += part.children
            elif part.data == "infix":
                row.append(tuple(_tokens(part)))
            else:
                row.append(part)
        return row


def _tokens(tree: Tree[Token]) -> Iterator[Token]:
    for child in tree.children:
        if isinstance(child, Tree):
            yield from _tokens(child)
        else:
            yield child


def _at(tree: Tree[Token]) -> int:
    return getattr(tree.meta, "start_pos", 0)


class _Row:
    """A row of operands and operators, read once from left to right by precedence (Pratt)."""

    def __init__(self, builder: _Builder, text: str, row: list[Any]) -> None:
        self._builder = builder
        self._text = text
        self._row = row
        self._next = 0

    def expression(self, precedence: int) -> Node:
        """All that binds at least as tightly as ``precedence``."""
        left = self._operand()
        before, pipes = "", 0
        while self._next < len(self._row):
            part = self._row[self._next]
            if isinstance(part, Tree):  # a pipe, the loosest of all
                if precedence > 0:
                    break
                self._next += 1
                pipes += 1
                if pipes > DEEPEST:
                    raise ExpressionError(f"it has more than {DEEPEST} pipes", self._text, _at(part))
                name, arguments = part.children
                left = Call(_at(part), str(name), (left, *self._builder._all(arguments)))  # noqa: SLF001
                before = "|"
                continue
            *negated, operator = part
            if BINARY[operator] < precedence:
                break
            if before == "??" and operator != "??":
                message = f"{operator} and ?? cannot be mixed"
                raise ExpressionError(message, self._text, operator.start_pos, remedy="put one into parentheses")
            if operator in _ORDERING:
                left = self._ordering(left)
            else:
                left = self._binary(left, operator, negated=bool(negated))
            before = str(operator)
        return left

    def _operand(self) -> Node:
        part = self._row[self._next]
        self._next += 1
        if isinstance(part, Token):
            with self._builder.deeper(part.start_pos or 0):
                operand = self.expression(UNARY[part])
            return Unary(part.start_pos or 0, _SAME.get(part, str(part)), operand)
        return self._builder.build(part)

    def _binary(self, left: Node, token: Token, *, negated: bool) -> Node:
        self._next += 1
        binds = BINARY[token]
        at = token.start_pos or 0
        with self._builder.deeper(at):
            right = self.expression(binds if token in _RIGHT else binds + 1)
        made = Binary(at, _SAME.get(token, str(token)), left, right)
        return Unary(at, "not", made) if negated else made

    def _ordering(self, left: Node) -> Node:
        """``a < b < c`` is ``a < b and b < c``."""
        whole: Node | None = None
        while self._next < len(self._row):
            part = self._row[self._next]
            if isinstance(part, Tree) or part[-1] not in _ORDERING:
                break
            token = part[-1]
            self._next += 1
            right = self.expression(BINARY[token] + 1)
            one = Binary(token.start_pos, str(token), left, right)
            whole = one if whole is None else Binary(token.start_pos, "and", whole, one)
            left = right
        return whole if whole is not None else left
