"""What the functions and classes of ``lifecycle`` mention, followed through its modules. Nothing is run."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN = "lifecycle"

_MACHINERY = {
    f"{_OWN}.{name}"
    for name in ("clock", "context", "engine", "errors", "journal", "outcome", "policy", "ports", "stay", "table")
}
"""Modules that belong to every phase, and would say the same of each."""


@dataclass(frozen=True, slots=True)
class Part:
    """A function, a method, or a value that is made once: what is read as one.

    Attributes:
        module: the name of the module it is in.
        owner: of a method the name of its class.
    """

    module: str
    node: ast.AST
    owner: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is known by."""
        return self.module, self.owner, getattr(self.node, "name", "")


class Source:
    """One module: what its names stand for."""

    def __init__(self, name: str) -> None:
        self.name = name
        tree = ast.parse(inspect.getsource(importlib.import_module(name)))
        self.defined: dict[str, ast.FunctionDef | ast.ClassDef] = {}
        self.constants: dict[str, ast.expr] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.defined[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.constants[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                self.constants[node.target.id] = node.value
        for one in ast.walk(tree):  # also those inside of functions, which are imported when they are needed
            if isinstance(one, ast.ImportFrom) and one.module and one.module.split(".")[0] == _OWN:
                for alias in one.names:
                    self.imported[alias.asname or alias.name] = (one.module, alias.name)

    @property
    def names(self) -> set[str]:
        """Everything that can be imported from it."""
        return {*self.defined, *self.constants, *self.imported}


@cache
def source_of(module: str) -> Source:
    """The source of a module, read once."""
    return Source(module)


def home(module: str, name: str) -> tuple[str, str] | None:
    """Where the thing that a name stands for is made, and what it is called there; ``None`` for what is not ours."""
    here = source_of(module)
    if name in here.defined or name in here.constants:
        return module, name
    if name not in here.imported:
        return None
    package, imported = here.imported[name]
    # A package may give out a function that has the name of the module it is in.
    if imported in source_of(package).names or not _is_module(f"{package}.{imported}"):
        return home(package, imported)
    return None


def reached(work: str) -> list[Part]:
    """Everything that ``module:function`` may come to; of a class that is mentioned, all methods."""
    module, _, function = work.partition(":")
    todo, seen, found = [(module, function)], set[tuple[str, str]](), list[Part]()
    while todo:
        place = todo.pop()
        if place in seen or place[0] in _MACHINERY:
            continue
        seen.add(place)
        here = source_of(place[0])
        node = here.defined.get(place[1]) or here.constants[place[1]]
        found += _parts(place[0], node)
        todo += _mentioned(place[0], node)
    return found


def _parts(module: str, node: ast.AST) -> Iterator[Part]:
    if not isinstance(node, ast.ClassDef):
        yield Part(module, node)
        return
    yield from (Part(module, one, node.name) for one in node.body)


def _mentioned(module: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    here = source_of(module)
    for part in _without_annotations(node):
        place = None
        if isinstance(part, ast.Name):
            place = home(module, part.id)
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in here.imported:
            package, name = here.imported[part.value.id]
            place = home(f"{package}.{name}", part.attr) if _is_module(f"{package}.{name}") else None
        if place is not None:
            yield place


@cache
def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _without_annotations(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child
                yield from _without_annotations(child)
