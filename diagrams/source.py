"""What the code of a phase may do, read from its source: the ports it calls, the errors it raises and their remedies.

Nothing is run. From the function that a table names, every function and class that is mentioned is followed through
the modules of ``lifecycle``; so what is found is what *can* happen, without a world in which it does (ADR 39). A call
of a port is known by the name of what it is called on, since a port has the same name everywhere; the tests compare it
with what a recorded run calls.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from lifecycle import errors, objects, ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OWN = "lifecycle"

_MACHINERY = {
    f"{_OWN}.{name}"
    for name in ("clock", "context", "engine", "errors", "journal", "outcome", "policy", "ports", "stay", "table")
}
"""Modules that belong to every phase, and would say the same of each."""

PORTS: Final[dict[str, tuple[type, ...]]] = {
    "runtime": (ports.Runtime, ports.RootHolder),
    "driver": (ports.Driver, ports.RangeDriver, ports.TreeDriver),
    "control": (ports.ControlPlane,),
    "sandbox": (ports.Sandbox,),
    "objects": (objects.Objects,),
}
"""Each port by its name in a place such as ``driver.save``, and the protocols that it may have."""

_CALLED = {"cluster": "objects"}
"""Other names that the code has for a port."""

_MADE = {("pod", "drivers"): "driver.made", ("stay", "driver"): "driver.made", ("pod", "tell"): "kubelet.tell"}
"""What is injected as a function."""

ABOUT_MADE = {
    "driver.made": "A driver for the location, with its credentials; after a failed attempt a new one.",
    "kubelet.tell": "The termination message, which stays however the process ends.",
}

HOLE = "…"
"""Stands in a message for what is known only when it is raised."""


@dataclass(frozen=True, slots=True)
class Message:
    """What an error says where it is raised, with holes for what is known only then."""

    error: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one phase may do, sorted."""

    calls: tuple[str, ...]
    messages: tuple[Message, ...]


@cache
def read(work: str) -> Reading:
    """The reading of ``module:function``, as tables name what is done in a phase."""
    calls: set[str] = set()
    messages: set[Message] = set()
    reached = list(_reached(*work.split(":")))
    callers = _callers(reached)
    for module, node in reached:
        scope = _Scope(module, node, callers.get((module, getattr(node, "name", "")), ()))
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute):
                calls.update(_port_call(part))
            elif isinstance(part, ast.Call):
                messages.update(_message(scope, part))
    return Reading(tuple(sorted(calls)), tuple(sorted(messages, key=lambda one: (one.error, one.text, one.remedy))))


@cache
def common() -> tuple[Message, ...]:
    """What any phase may end with: how the errors of the kernel, and defects of our own, are told."""
    home = errors.__name__
    found: dict[Message, None] = {}
    for name in ("from_os_error", "classify"):
        node = _module(home).defined[name]
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                found |= dict.fromkeys(_message(_Scope(home, node), part))
    return tuple(found)


def about(call: str) -> str:
    """The first sentence of what a port promises of a call."""
    if call in ABOUT_MADE:
        return ABOUT_MADE[call]
    port, _, name = call.partition(".")
    member = next(getattr(kind, name) for kind in PORTS[port] if hasattr(kind, name))
    return inspect.cleandoc(inspect.getdoc(member) or "").split("\n\n")[0].replace("\n", " ")


def raised(call: str) -> tuple[str, ...]:
    """The errors that a port's documentation gives a call, beside those that any may have."""
    port, _, name = call.partition(".")
    member = next((getattr(kind, name) for kind in PORTS.get(port, ()) if hasattr(kind, name)), None)
    found = []
    for line in (inspect.getdoc(member) or "").partition("Raises:")[2].splitlines():
        names, colon, _ = line.strip().partition(":")
        if colon:
            found += [one.strip() for one in names.split(",") if _error_class(errors.__name__, one.strip())]
    return tuple(found)


class _Module:
    """One module: what its names stand for."""

    def __init__(self, name: str) -> None:
        self.name = name
        tree = ast.parse(inspect.getsource(importlib.import_module(name)))
        self.defined: dict[str, ast.AST] = {}
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


@cache
def _module(name: str) -> _Module:
    return _Module(name)


def _reached(module: str, function: str) -> Iterator[tuple[str, ast.AST]]:
    todo, seen = [(module, function)], set[tuple[str, str]]()
    while todo:
        place = todo.pop()
        if place in seen or place[0] in _MACHINERY:
            continue
        seen.add(place)
        node = _module(place[0]).defined.get(place[1])
        if node is None:
            value = _module(place[0]).constants.get(place[1])
            if value is None or isinstance(value, ast.Constant):
                continue
            node = value
        yield place[0], node
        todo.extend(_mentioned(place[0], node))


def _mentioned(module: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    here = _module(module)
    for part in _without_annotations(node):
        if isinstance(part, ast.Name):
            yield from _meaning(here, part.id)
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in here.imported:
            package, name = here.imported[part.value.id]
            if _is_module(f"{package}.{name}"):
                yield from _meaning(_module(f"{package}.{name}"), part.attr)


def _meaning(here: _Module, name: str) -> Iterator[tuple[str, str]]:
    if name in here.defined or name in here.constants:
        yield here.name, name
    elif name in here.imported and not _is_module(".".join(here.imported[name])):
        yield here.imported[name]


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


# Calls of ports


def _port_call(node: ast.Attribute) -> Iterator[str]:
    receiver = _last_name(node.value)
    made = _MADE.get((receiver, node.attr))
    if made:
        yield made
    port = _CALLED.get(receiver, receiver)
    if port in PORTS and any(node.attr in vars(kind) for kind in PORTS[port]):
        yield f"{port}.{node.attr}"


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_")
    return node.id.strip("_") if isinstance(node, ast.Name) else ""


# Messages


def _callers(reached: Iterable[tuple[str, ast.AST]]) -> dict[tuple[str, str], list[tuple[str, ast.Call]]]:
    """The calls of each function, and the module that each is in."""
    found: dict[tuple[str, str], list[tuple[str, ast.Call]]] = {}
    for module, node in reached:
        for part in ast.walk(node):
            if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
                for place in _meaning(_module(module), part.func.id):
                    found.setdefault(place, []).append((module, part))
    return found


class _Scope:
    """What the names in one function or class stand for, where that is a text or a number."""

    def __init__(self, module: str, node: ast.AST, callers: Iterable[tuple[str, ast.Call]] = ()) -> None:
        self.module = module
        self.given: dict[str, list[str]] = {}
        """Parameters, and what the calls of this function that were reached give for them."""
        names = [one.arg for one in node.args.args] if isinstance(node, ast.FunctionDef) else []
        for home, call in callers if names else ():
            given = [*zip(names, call.args, strict=False), *((word.arg, word.value) for word in call.keywords)]
            for name, value in given:
                self.given.setdefault(name or "", []).append(_text(_Scope(home, call), value))
        self._local: dict[str, list[ast.expr]] = {}
        for part in ast.walk(node):
            if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
                self._local.setdefault(part.targets[0].id, []).append(part.value)

    def value(self, name: str) -> ast.expr | None:
        """What it stands for, when that is known without running anything."""
        home = _module(self.module)
        if name in self._local:
            [first, *others] = self._local[name]
            return None if others else first
        if name in home.constants:
            return home.constants[name]
        package, imported = home.imported.get(name, ("", ""))
        return _module(package).constants.get(imported) if package and not _is_module(f"{package}.{imported}") else None


def _message(scope: _Scope, call: ast.Call) -> Iterator[Message]:
    if not isinstance(call.func, ast.Name) or not call.args:
        return
    kind = _error_class(scope.module, call.func.id)
    if kind is None or issubclass(kind, errors.Cancelled):
        return
    text = _text(scope, call.args[0])
    asked = next((word.value for word in call.keywords if word.arg == "remedy"), ast.Constant(""))
    given = scope.given.get(asked.id, ()) if isinstance(asked, ast.Name) else ()
    for remedy in given or [_text(scope, asked)]:
        # Without a word of its own it is the translation of another error.
        if any(char.isalpha() for char in (text + remedy).replace(HOLE, "")):
            yield Message(kind.__name__, text, remedy)


def _error_class(module: str, name: str) -> type[errors.LifecycleError] | None:
    found = getattr(importlib.import_module(module), name, None)
    return found if isinstance(found, type) and issubclass(found, errors.LifecycleError) else None


def _text(scope: _Scope, node: ast.expr) -> str:
    """A text as far as the source says it."""
    text = HOLE
    match node:
        case ast.Constant():
            text = str(node.value)
        case ast.JoinedStr():
            text = "".join(_text(scope, part) for part in node.values)
        case ast.FormattedValue():
            text = _text(scope, node.value)
        case ast.BinOp(op=ast.Add()):
            text = _text(scope, node.left) + _text(scope, node.right)
        case ast.BoolOp(op=ast.Or()):
            text = next((said for part in node.values if (said := _text(scope, part)) != HOLE), HOLE)
        case ast.Name():
            value = scope.value(node.id)
            if isinstance(value, (ast.Constant, ast.JoinedStr)):
                text = _text(scope, value)
    return text
