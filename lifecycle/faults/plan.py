"""A fault plan: where something goes wrong, what, and how often. One line of text for each fault, or a YAML file.

::

    saving:driver.save(model)#3:throttled×2
    └phase  └port  └call└item └from its third call on, two of them

``*`` stands for any phase, port or call; the phase and the item may be left out. ``×always`` is every call from there
on. A fault may have an argument: ``delay=5``, ``clock=-3600``, ``truncated=0.5``. ``random:7:3`` is three faults that
the seed 7 chooses.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import InputError
from lifecycle.faults.kinds import ERRORS, GIVES, KINDS, LISTS, OF_LISTS, STREAMS, TAKES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ANY: Final = "*"
ALWAYS: Final = 0
"""As a count: every call."""

PORTS: Final[dict[str, tuple[str, ...]]] = {
    "runtime": ("make", "find_main", "wait", "others", "signal", "open_file", "open_tar", "open_output", "held_root"),
    "driver": ("make", "open", "open_rest", "save", "list", "delete", "load_tree"),
    "control": ("room", "key_only", "template", "execution", "watch_execution", "time_left", "report"),
    "sandbox": ("run_init", "start"),
    "objects": ("make", "perform", "get", "follow"),
    "files": ("script", "manifest", "secrets", "own", "input_artifact", "mirrored"),
}
"""Every call of every port that a plan may name; ``make`` makes the adapter itself."""

_LINE: Final = re.compile(
    r"""\s*(?:(?P<phase>[a-z ]+|\*)\s*:\s*)?(?P<port>[a-z]+|\*)\.(?P<call>[a-z_]+|\*)
        (?:\((?P<item>[^)]*)\))?(?:\#(?P<nth>\d{1,9}))?\s*:\s*
        (?P<kind>[a-z-]+?)(?:=(?P<argument>-?\d{1,9}(?:\.\d{1,9})?))?(?:[×x*](?P<times>\d{1,9}|always))?\s*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        phase, port, call: where; ``*`` is anywhere.
        kind: of :data:`~lifecycle.faults.kinds.KINDS`.
        item: the name of an item, or the end of a key or path without its suffix; empty for any.
        nth: from which call there on, counted from 1.
        argument: seconds; of a stream the share of its bytes.
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

    @property
    def in_bytes(self) -> bool:
        """Whether the call is made, and it is its bytes, or its entries, that go wrong."""
        return self.kind in STREAMS or (self.kind == "disk-full" and self.argument is not None)


@dataclass(frozen=True, slots=True)
class Plan:
    """All faults of one run."""

    faults: tuple[Fault, ...] = ()

    def command(self) -> str:
        """The flags of ``argoexec run`` that repeat it."""
        return " ".join(f"--fault {shlex.quote(str(fault))}" for fault in self.faults)


def parse(lines: Iterable[str], *, place: str = "--fault") -> Plan:
    """A plan of lines.

    Raises:
        InputError: one names no place, no fault, or a fault that cannot happen there.
    """
    return Plan(tuple(fault for line in lines for fault in _faults(line, place)))


def read(path: Path) -> Plan:
    """A plan of a YAML file: ``faults:`` with lines, or with mappings of the fields of :class:`Fault`.

    Raises:
        InputError: it cannot be read, or is none; the entry is named.
    """
    from lifecycle.local.yamlfile import read_documents  # noqa: PLC0415 - PyYAML: only for who has a file

    found = read_documents(str(path))
    listed: Any = found[0].get("faults") if len(found) == 1 and isinstance(found[0], dict) else None
    if not isinstance(listed, list):
        raise InputError("a list `faults` is needed", place=str(path))
    entries = [_entries(entry, f"{path}: $.faults[{number}]") for number, entry in enumerate(listed)]
    return Plan(tuple(fault for entry in entries for fault in entry))


def _faults(line: str, place: str) -> tuple[Fault, ...]:
    if line.strip().startswith("random:"):
        from lifecycle.faults.chance import of_line  # noqa: PLC0415 - it needs what is here

        return of_line(line.strip(), place)
    return (_fault(line, place),)


def _entries(entry: Any, place: str) -> tuple[Fault, ...]:
    if isinstance(entry, str):
        return _faults(entry, place)
    if not isinstance(entry, dict):
        raise InputError("a line or an object is needed", place=place)
    known = {field.name for field in fields(Fault)}
    if unknown := set(entry) - known:
        names = ", ".join(sorted(known))
        raise InputError(f"unknown: {', '.join(sorted(map(str, unknown)))}", place=place, remedy=f"known: {names}")
    if not {"port", "call", "kind"} <= set(entry):
        raise InputError("`port`, `call` and `kind` are needed", place=place)
    try:
        fault = Fault(**{"phase": ANY} | _typed(entry))
    except (TypeError, ValueError) as error:
        raise InputError(f"this is no fault: {error}", place=place) from error
    return (_judged(fault, place),)


def _typed(entry: Mapping[str, Any]) -> dict[str, Any]:
    times = entry.get("times", 1)
    texts = {key: str(entry[key]) for key in ("phase", "port", "call", "kind", "item") if key in entry}
    return texts | {
        "nth": int(entry.get("nth", 1)),
        # Zero times is every time within here, and not what somebody means who writes it.
        "times": ALWAYS if times == "always" else int(times) or -1,
        "argument": None if entry.get("argument") is None else float(entry["argument"]),
    }


def _fault(line: str, place: str) -> Fault:
    match = _LINE.fullmatch(line)
    if match is None:
        raise InputError(f"{line!r} is no fault", place=place, remedy="such as 'saving:driver.save(model):throttled×2'")
    times = match["times"]
    return _judged(
        Fault(
            phase=(match["phase"] or ANY).strip(),
            port=match["port"],
            call=match["call"],
            item=match["item"] or "",
            nth=int(match["nth"] or 1),
            kind=match["kind"],
            argument=None if match["argument"] is None else float(match["argument"]),
            times=ALWAYS if times == "always" else int(times or 1) or -1,
        ),
        f"{place} {line!r}",
    )


def _judged(fault: Fault, place: str) -> Fault:
    from lifecycle.tables import TABLES  # noqa: PLC0415 - the tables import every phase's policy

    phases = dict.fromkeys(phase.state for table in TABLES.values() for phase in table.phases)
    for what, name, known in (
        ("phase", fault.phase, [*phases, ANY]),
        ("port", fault.port, [*PORTS, ANY]),
        ("fault", fault.kind, list(KINDS)),
    ):
        if name not in known:
            raise InputError(f"there is no {what} {name!r}", place=place, remedy=f"there are: {', '.join(known)}")
    calls = [call for port, calls in PORTS.items() if fault.port in {port, ANY} for call in calls]
    if fault.call not in {*calls, ANY}:
        raise InputError(f"{fault.port} has no call {fault.call!r}", place=place, remedy=f"it has: {', '.join(calls)}")
    if not can_happen(fault):
        raise InputError(f"{fault.call} moves no bytes that could be {fault.kind}", place=place)
    if fault.nth < 1 or fault.times < 0:
        raise InputError("calls are counted from 1", place=place)
    if fault.argument is not None and (fault.in_bytes and not 0 <= fault.argument <= 1):
        raise InputError("the share of a stream is a number from 0 to 1", place=place)
    if fault.argument is not None and fault.kind in {*ERRORS, "hang", "kill", "lost"} and fault.kind != "disk-full":
        raise InputError(f"{fault.kind} has no argument", place=place)
    if fault.kind == "delay" and (fault.argument or 0) < 0:
        raise InputError("a delay is no less than 0 s", place=place)
    return fault


def can_happen(fault: Fault) -> bool:
    """Whether the call, if it is named, has bytes or entries that this fault could be in."""
    if not fault.in_bytes or fault.call == ANY:
        return True
    return fault.call in GIVES | TAKES or (fault.call in LISTS and fault.kind in OF_LISTS)
