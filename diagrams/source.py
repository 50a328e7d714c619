"""What the code of a phase may do, read from its source: the ports it calls, the errors it makes and their remedies.

Nothing is run: what is found is what *can* happen, without a world in which it does (ADR 39). A call of a port is known
by the name of what it is called on, since a port has the same name everywhere; the tests compare it with what a
recorded run calls.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from diagrams.messages import HOLE, Message, error_class, messages
from diagrams.reach import Part, reached, source_of
from lifecycle import errors, objects, ports

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HOLE", "Message", "Reading", "about", "common", "raised", "read"]

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

_ABOUT_MADE = {
    "driver.made": "A driver for the location, with its credentials; after a failed attempt a new one.",
    "kubelet.tell": "The termination message, which stays however the process ends.",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one phase may do, sorted."""

    calls: tuple[str, ...]
    messages: tuple[Message, ...]


@cache
def read(work: str) -> Reading:
    """The reading of ``module:function``, as tables name what is done in a phase."""
    parts = reached(work)
    attributes = (node for part in parts for node in ast.walk(part.node) if isinstance(node, ast.Attribute))
    calls = {call for node in attributes for call in _port_call(node)}
    return Reading(tuple(sorted(calls)), tuple(messages(parts)))


@cache
def common() -> tuple[Message, ...]:
    """What any phase may end with: how the errors of the kernel, and defects of our own, are told."""
    home = errors.__name__
    return tuple(messages(Part(home, source_of(home).defined[name]) for name in ("from_os_error", "classify")))


def about(call: str) -> str:
    """The first paragraph of what a port promises of a call."""
    if call in _ABOUT_MADE:
        return _ABOUT_MADE[call]
    return " ".join(_documentation(call).split("\n\n")[0].split())


def raised(call: str) -> tuple[str, ...]:
    """The errors that a port's documentation gives a call, beside those that any may have."""
    found = []
    for line in _documentation(call).partition("Raises:")[2].splitlines():
        names, colon, _ = line.strip().partition(":")
        if colon:
            found += [one.strip() for one in names.split(",") if error_class(errors.__name__, one.strip())]
    return tuple(found)


def _documentation(call: str) -> str:
    port, _, name = call.partition(".")
    member = next((getattr(kind, name) for kind in PORTS.get(port, ()) if hasattr(kind, name)), None)
    return inspect.getdoc(member) or ""


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
