"""A fault plan: where something goes wrong, what, and how often. One line of text for each fault, or a YAML file.

::

    saving:driver.save(model):throttled×2
    └phase  └port  └call └item  └fault   └the first two calls there

``*`` stands for any phase, port or call; the item in parentheses may be left out. ``#3`` after the call is its third
call, ``#3`` and ``×2`` its third and fourth; ``×always`` is every one from there on. A fault may have an argument:
``delay=5``, ``clock=-3600``, ``truncated=0.5``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ANY: Final = "*"
ALWAYS: Final = 0
"""As a count: every call."""

ERRORS: Final = {
    "unavailable": "Unavailable",
    "throttled": "Throttled",
    "timed-out": "TimedOut",
    "not-found": "NotFound",
    "unauthorized": "Unauthorized",
    "forbidden": "Forbidden",
    "bad-request": "BadRequest",
    "corrupt-data": "CorruptData",
    "storage-full": "StorageFull",
    "unsupported": "Unsupported",
    "defect": "RuntimeError",
}
"""Faults that are raised instead of the call, and the class of each."""

STREAMS: Final = {"truncated": 0.5, "broken": 0.5, "wrong": 0.5}
"""Faults of the bytes that a call gives or takes, and after which share of them they come unless it is said."""

OTHERS: Final = {"delay": 1.0, "hang": None, "kill": None, "clock": 3600.0}
"""Faults beside the call: it waits for so many seconds, waits until somebody cancels, the process is killed, the clock
jumps by so many seconds."""

PORTS: Final[dict[str, tuple[str, ...]]] = {
    "runtime": ("find_main", "wait", "others", "signal", "open_file", "open_tar", "open_output"),
    "driver": ("make", "open", "open_rest", "save", "list", "delete", "load_tree"),
    "control": ("template", "execution", "watch_execution", "time_left", "report"),
    "sandbox": ("run_init", "start"),
    "objects": ("perform", "get", "follow"),
}
"""Every call of every port that a plan may name."""

_GIVES: Final = frozenset({"open_file", "open_tar", "open_output", "open", "open_rest"})
_TAKES: Final = frozenset({"save"})

_LINE: Final = re.compile(
    r"""\s*(?P<phase>[a-z ]+|\*)\s*:\s*(?P<port>[a-z]+|\*)\.(?P<call>[a-z_]+|\*)
        (?:\((?P<item>[^)]*)\))?(?:\#(?P<nth>\d+))?\s*:\s*
        (?P<kind>[a-z-]+)(?:=(?P<argument>-?\d+(?:\.\d+)?))?(?:[×x*](?P<times>\d+|always))?\s*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        phase, port, call: where; ``*`` is anywhere.
        item: the name of an item, or the end of a key or path without its suffix; empty for any.
        nth: from which call there on, counted from 1.
        kind: of :data:`ERRORS`, :data:`STREAMS` or :data:`OTHERS`.
        argument: seconds, or a share of a stream.
        times: for how many calls; :data:`ALWAYS` for all.
    """

    phase: str
    port: str
    call: str
    kind: str
    item: str = ""
    nth: int = 1
    argument: float | None = None
    times: int = 1

    def __str__(self) -> str:
        """As it is parsed."""
        item = f"({self.item})" if self.item else ""
        nth = f"#{self.nth}" if self.nth > 1 else ""
        argument = "" if self.argument is None else f"={self.argument:g}"
        times = "×always" if self.times == ALWAYS else f"×{self.times}" if self.times > 1 else ""
        return f"{self.phase}:{self.port}.{self.call}{item}{nth}:{self.kind}{argument}{times}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All faults of one run."""

    faults: tuple[Fault, ...] = ()

    def command(self) -> str:
        """The flags of ``argoexec run`` that repeat it."""
        return " ".join(f"--fault '{fault}'" for fault in self.faults)


def parse(lines: Iterable[str], *, place: str = "--fault") -> Plan:
    """A plan of lines.

    Raises:
        InputError: one names no place, no fault, or a fault that cannot happen there.
    """
    return Plan(tuple(_fault(line, place) for line in lines))


def read(path: Path) -> Plan:
    """A plan of a YAML file: ``faults:`` with lines, or with mappings of the fields of :class:`Fault`.

    Raises:
        InputError: it cannot be read, or is none.
    """
    from lifecycle.local.yamlfile import read_documents  # noqa: PLC0415 - PyYAML: only for who has a file

    found = read_documents(str(path))
    listed: Any = found[0].get("faults") if len(found) == 1 and isinstance(found[0], dict) else None
    if not isinstance(listed, list):
        raise InputError("a list `faults` is needed", place=str(path))
    return Plan(tuple(_entry(entry, f"{path}: $.faults[{number}]") for number, entry in enumerate(listed)))


def _entry(entry: Any, place: str) -> Fault:
    if isinstance(entry, str):
        return _fault(entry, place)
    if not isinstance(entry, dict):
        raise InputError("a line or an object is needed", place=place)
    known = {"phase", "port", "call", "item", "nth", "kind", "argument", "times"}
    if unknown := set(entry) - known:
        raise InputError(
            f"unknown: {', '.join(sorted(unknown))}", place=place, remedy=f"known: {', '.join(sorted(known))}"
        )
    try:
        fault = Fault(**{"phase": ANY, "port": ANY, "call": ANY} | _typed(entry))
    except (TypeError, ValueError) as error:
        raise InputError(f"this is no fault: {error}", place=place) from error
    return _judged(fault, place)


def _typed(entry: Mapping[str, Any]) -> dict[str, Any]:
    times = entry.get("times", 1)
    return dict(entry) | {
        "nth": int(entry.get("nth", 1)),
        "times": ALWAYS if times == "always" else int(times),
        "argument": None if entry.get("argument") is None else float(entry["argument"]),
    }


def _fault(line: str, place: str) -> Fault:
    match = _LINE.fullmatch(line)
    if match is None:
        raise InputError(f"{line!r} is no fault", place=place, remedy="such as 'saving:driver.save(model):throttled×2'")
    times = match["times"]
    return _judged(
        Fault(
            phase=match["phase"].strip(),
            port=match["port"],
            call=match["call"],
            item=match["item"] or "",
            nth=int(match["nth"] or 1),
            kind=match["kind"],
            argument=None if match["argument"] is None else float(match["argument"]),
            times=ALWAYS if times == "always" else int(times or 1),
        ),
        f"{place} {line!r}",
    )


def _judged(fault: Fault, place: str) -> Fault:
    from lifecycle.tables import TABLES  # noqa: PLC0415 - the tables import every phase's policy

    phases = dict.fromkeys(phase.state for table in TABLES.values() for phase in table.phases)
    kinds = {**ERRORS, **STREAMS, **OTHERS}
    for what, name, known in (
        ("phase", fault.phase, [*phases, ANY]),
        ("port", fault.port, [*PORTS, ANY]),
        ("fault", fault.kind, list(kinds)),
    ):
        if name not in known:
            raise InputError(f"there is no {what} {name!r}", place=place, remedy=f"there are: {', '.join(known)}")
    calls = [call for port, calls in PORTS.items() if fault.port in {port, ANY} for call in calls]
    if fault.call not in {*calls, ANY}:
        raise InputError(f"{fault.port} has no call {fault.call!r}", place=place, remedy=f"it has: {', '.join(calls)}")
    if fault.kind in STREAMS and fault.call not in {*_GIVES, *_TAKES, ANY}:
        raise InputError(f"{fault.call} moves no bytes that could be {fault.kind}", place=place)
    if fault.nth < 1 or fault.times < 0:
        raise InputError("calls are counted from 1", place=place)
    return fault
