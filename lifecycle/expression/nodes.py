"""What an expression is made of. ``at`` is where it stands in the text, counted from 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """Any part of an expression."""

    at: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A number, a string, true, false or nil."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Pointer(Node):
    """``#``, ``#acc`` or ``#index`` of the predicate it stands in."""

    name: str


@dataclass(frozen=True, slots=True)
class Member(Node):
    """``of.key``, ``of[key]``; nil of nil where it is optional."""

    of: Node
    key: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """A row of members with an optional one in it: nil there is nil for all that follow."""

    node: Node


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """``of[first:last]``."""

    of: Node
    first: Node | None
    last: Node | None


@dataclass(frozen=True, slots=True)
class Array(Node):
    """``[a, b]``."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Map(Node):
    """``{a: b}``."""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function; the pipe's left side is its first argument."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """``not``, ``-`` or ``+``."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Two operands and what is between them."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """``test ? yes : no``."""

    test: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Let(Node):
    """``let name = value; body``."""

    name: str
    value: Node
    body: Node
