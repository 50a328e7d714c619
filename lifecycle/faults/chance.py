"""Plans that a seed chooses: the same seed gives the same plan, and a plan prints itself line by line."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Final

from lifecycle.errors import InputError
from lifecycle.faults.kinds import ERRORS, OTHERS, STREAMS
from lifecycle.faults.plan import ALWAYS, ANY, PORTS, Fault, can_happen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LINE: Final = re.compile(r"random:(?P<seed>\d{1,18})(?::(?P<number>\d{1,3}))?")

_SELDOM: Final = frozenset({"template", "held_root", "load_tree", "delete", "time_left", "secrets", "own"})
"""Calls that next to no run makes."""

_LOCAL: Final = {
    port: tuple(call for call in calls if call not in _SELDOM) for port, calls in PORTS.items() if port != "objects"
}
"""What a template with containers calls; a `resource` template has a cluster, which nobody wants random faults in."""

ARGUMENTS: Final[Mapping[str, Sequence[float | None]]] = {
    "delay": (0.02, 0.1),
    "clock": (3600.0, -3600.0),
    "truncated": (0.0, None, 0.9),
    "broken": (0.0, None, 0.9),
    "disk-full": (None, 0.5),
}

_KINDS: Final = tuple(kind for kind in (*ERRORS, *STREAMS, *OTHERS) if kind not in {"hang", "kill"})
"""All but what only somebody else could end, or tell of."""


def of_line(line: str, place: str) -> tuple[Fault, ...]:
    """The faults of ``random:SEED`` or ``random:SEED:N``.

    Raises:
        InputError: it is neither.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise InputError(f"{line!r} is no random plan", place=place, remedy="such as random:7, or random:7:3 for three")
    return randomly(int(match["seed"]), int(match["number"]) if match["number"] else None)


def randomly(seed: int, number: int | None = None) -> tuple[Fault, ...]:
    """So many faults, or one to three, at calls of a local run in whatever phase makes them."""
    rng = random.Random(seed)  # noqa: S311 - to be repeated, not a secret
    faults: list[Fault] = []
    while len(faults) < (number if number is not None else 1 + seed % 3):
        port = rng.choice(tuple(_LOCAL))
        kind = rng.choice(_KINDS)
        fault = Fault(
            phase=ANY,
            port=port,
            call=rng.choice(_LOCAL[port]),
            kind=kind,
            nth=rng.choice((1, 1, 2)),
            argument=rng.choice(ARGUMENTS.get(kind, (None,))),
            times=rng.choice((1, 2, ALWAYS)),
        )
        if can_happen(fault):
            faults.append(fault)
    return tuple(faults)
