"""The cases: every place that was seen × every fault × how often, and pairs of them. Their counts are a page.

``python -m tests.faults.matrix [--check]`` writes ``diagrams/faults.md``; no case is run for it (ADR 36).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

from lifecycle.faults.kinds import ERRORS, OTHERS, STREAMS
from lifecycle.faults.plan import ALWAYS, ANY, Fault, can_happen
from lifecycle.pod import INIT_TABLE, POD, WAIT_TABLE
from tests.faults.segments import SEGMENTS, places

PAGE = Path(__file__).parents[2] / "diagrams/faults.md"
REFRESH = "python -m tests.faults.matrix"

KINDS: dict[str, tuple[str, float | None]] = {
    **{kind: (kind, None) for kind in (*ERRORS, *STREAMS, *OTHERS) if kind != "kill"},
    "disk-full=0.5": ("disk-full", 0.5),
    "clock=-3600": ("clock", -3600.0),
}
"""What goes wrong; a process that is killed and goes on is another test's."""

TIMES = (1, 2, ALWAYS)

PAIRED: tuple[tuple[str, int], ...] = (("unavailable", 1), ("forbidden", ALWAYS), ("defect", 1), ("lost", 1))
"""Of two at once: worth another attempt, not worth it, nobody's error, and done although it failed."""

HEAD = """# What goes wrong, and where

The cases of the fault matrix, written by `{command}` from the tables. Every call that is seen in a phase
of a run without faults is a place; at each of them every [fault](../docs/faults.md) happens once, twice and always.
`make test-real` runs all of them, and {two} pairs of places with four kinds of faults; `make test` runs a part in which
every place and every fault is. No case has an expectation of its own. After each of them it must hold that

- the pod has ended, within its time, and so have main and the sidecars, or it is said that they could not be ended;
- the report was delivered once, and names what the store holds; or exit status and message say that it was not;
- what succeeded is neither lost nor done again: an object was stored once and is reported, or its item has failed;
- the message, or a cause in the record, names what was injected if the command did not succeed;
- no secret and no traceback is in the journal, the report, the log or the message;
- no temporary file, no half of an input and no unfinished upload is left.
"""

PAIR = "two at once"

PARTS = (INIT_TABLE, WAIT_TABLE)

Shown = Mapping[tuple[str, str], tuple[int, int]]
"""Cases and failures by phase and fault."""


def cases(segment: str, kind: str) -> Iterator[Fault]:
    """Every case of one fault in one segment."""
    name, argument = KINDS[kind]
    for phase, port, call in places(segment):
        for times in TIMES:
            fault = Fault(phase, port, call, name, argument=argument, times=times)
            if can_happen(fault):
                yield fault


def quick(segment: str) -> Iterator[tuple[str, Fault]]:
    """A part in which every place and every fault is: each place has its turn with every fourth of the faults."""
    for turn, kind in enumerate(KINDS):
        for number, fault in enumerate(cases(segment, kind)):
            place, times = divmod(number, len(TIMES))
            if (place + turn) % 4 == 0 and times == (place + turn // 4) % len(TIMES):
                yield kind, fault


def pairs(segment: str) -> Iterator[tuple[Fault, Fault]]:
    """Two at once. A plan has no order, so both orders are one case; at one place the second meets its second call."""
    singles = [Fault(*place, kind, times=times) for place in places(segment) for kind, times in PAIRED]
    for one, other in combinations(singles, 2):
        if SEGMENTS[segment].table is POD and any({one.phase, other.phase} <= set(part.states) for part in PARTS):
            continue  # within one command's part of the table it is a pair of that command's
        same = (one.phase, one.port, one.call) == (other.phase, other.port, other.call)
        nth = 2 if same else 1
        yield one, Fault(other.phase, other.port, other.call, other.kind, nth=nth, times=other.times)
        if same:
            yield other, Fault(one.phase, one.port, one.call, one.kind, nth=2, times=one.times)


def counted() -> dict[tuple[str, str], tuple[int, int]]:
    """How many cases there are, by phase and fault."""
    found: Counter[tuple[str, str]] = Counter(
        (fault.phase, kind) for segment in SEGMENTS for kind in KINDS for fault in cases(segment, kind)
    )
    return {where: (number, 0) for where, number in found.items()}


def table(shown: Shown) -> str:
    """Phase × fault: cases, and how many of them failed where any did."""
    order = dict.fromkeys(phase.state for one in ("run", *SEGMENTS) for phase in SEGMENTS[one].table.phases)
    phases = [phase for phase in (*order, ANY) if any(where[0] == phase for where in shown)]
    kinds = [kind for kind in (*KINDS, PAIR) if any(where[1] == kind for where in shown)]
    lines = [f"| fault | {' | '.join(map(_shown, phases))} | all |", "|---|" + "--:|" * (len(phases) + 1)]
    for kind in kinds:
        row = [shown.get((phase, kind), (0, 0)) for phase in phases]
        lines.append(f"| `{kind}` | {' | '.join(_cell(*one) for one in (*row, _sum(row)))} |")
    columns = [_sum([shown.get((phase, kind), (0, 0)) for kind in kinds]) for phase in phases]
    lines.append(f"| **all** | {' | '.join(_cell(*one) for one in (*columns, _sum(columns)))} |")
    return "\n".join(lines)


def _shown(phase: str) -> str:
    return "any" if phase == ANY else phase


def _sum(cells: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(one for one, _ in cells), sum(other for _, other in cells)


def _cell(number: int, failed: int) -> str:
    return f"{number} ({failed} failed)" if failed else str(number) if number else ""


def page() -> str:
    """The page, as it is to be."""
    two = sum(1 for segment in SEGMENTS for _ in pairs(segment))
    return "\n".join([HEAD.format(command=REFRESH, two=two), table(counted()), "", *_places()]) + "\n"


def _places() -> Iterator[str]:
    yield from ("## The places", "", "| command | phase | calls |", "|---|---|---|")
    for segment in SEGMENTS:
        by_phase: dict[str, list[str]] = {}
        for phase, port, call in places(segment):
            by_phase.setdefault(phase, []).append(f"`{port}.{call}`")
        for phase, calls in by_phase.items():
            yield f"| {segment} | {_shown(phase)} | {', '.join(calls)} |"


def main() -> int:
    """The command: 0 when the page is up to date now."""
    parser = argparse.ArgumentParser(prog=REFRESH)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is stale")
    given = parser.parse_args()
    logging.getLogger("argoexec").setLevel(logging.CRITICAL)  # what is given in some of the runs is said there
    wanted = page()
    if PAGE.exists() and PAGE.read_text() == wanted:
        return 0
    if given.check:
        sys.stderr.write(f"{PAGE} is stale: refresh it with: {REFRESH}\n")
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
