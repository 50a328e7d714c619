"""A page for each phase, in Markdown: what it does, where it leads, what it calls, and what it can end with.

Made by :mod:`diagrams.generate` from the tables and from the source of what they name; nothing here is written by hand.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from diagrams import source
from diagrams.model import CONTRACTS, VERDICT, commands, lifelines
from lifecycle.table import END, Event
from lifecycle.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lifecycle.table import Phase, Table

FAULTS = "../faults.md"
"""The page with the faults that every phase was tried with."""


def pages() -> dict[str, str]:
    """The name and the text of every page, the index among them."""
    by_state: dict[str, list[tuple[Table, Phase]]] = {}
    for table in TABLES.values():
        for phase in table.phases:
            by_state.setdefault(phase.state, []).append((table, phase))
    files = {"README.md": "\n".join(_index(by_state)) + "\n"}
    return files | {page(state): "\n".join(_page(state, places)) + "\n" for state, places in by_state.items()}


def page(state: str) -> str:
    """The name of the page of a state."""
    return state.replace(" ", "-") + ".md"


def _index(by_state: dict[str, list[tuple[Table, Phase]]]) -> Iterator[str]:
    yield "# The phases"
    yield ""
    yield "One page for each: what it does, where it leads, what it calls, what it can end with and what to do then."
    yield "Made from the tables and from the source by `python -m diagrams.generate`; [the pictures](../README.md)."
    yield ""
    yield "| phase | what it does | in | ports |"
    yield "|---|---|---|---|"
    for state, places in by_state.items():
        does = "; ".join(dict.fromkeys(_cell(phase.does) for _, phase in places))
        calls = {call.partition(".")[0] for _, phase in places for call in source.read(phase.work).calls}
        names = ", ".join(table.name for table, _ in places)
        yield f"| [{state}]({page(state)}) | {does} | {names} | {', '.join(sorted(calls)) or '–'} |"
    yield ""
    yield "## What any phase can end with"
    yield ""
    yield "The kernel's errors, told by their number, and defects of argoexec itself. An InputError first names the"
    yield "place that is wrong: a flag, a file, or a path in the template such as `$.inputs.artifacts[0]`."
    yield ""
    yield from _messages(source.common())


def _page(state: str, places: Sequence[tuple[Table, Phase]]) -> Iterator[str]:
    yield f"# {state}"
    yield ""
    pictures = " · ".join(f"[{table.name}](../{table.name}.svg)" for table, _ in places)
    yield f"A state of the tables {pictures} — [all phases](README.md)"
    # The segments of a table share its phases but for where they lead.
    works = dict.fromkeys(phase.work for _, phase in places)
    for work in works:
        mine = [(table, phase) for table, phase in places if phase.work == work]
        if len(works) > 1:
            yield ""
            yield f"## In {_names(mine)}"
        yield from _section(mine, "##" if len(works) == 1 else "###")
    yield ""
    yield "## Faults tried"
    yield ""
    yield f"Every call above, with every fault: [the table of faults]({FAULTS})."


def _section(places: Sequence[tuple[Table, Phase]], level: str) -> Iterator[str]:
    _, phase = places[0]
    reading = source.read(phase.work)
    yield ""
    for does in dict.fromkeys(one.does for _, one in places):
        yield f"> {does}"
    yield ""
    yield from _paragraphs(phase)
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {said} |" for name, said in _facts(places))
    yield ""
    yield f"{level} Where it leads"
    yield ""
    yield f"| when it | {' | '.join(table.name for table, _ in places)} |"
    yield "|---|" + "---|" * len(places)
    for event in Event:
        yield f"| {_EVENTS[event]} | {' | '.join(_state_link(one.to[event]) for _, one in places)} |"
    yield ""
    yield f"{level} Ports it calls"
    yield ""
    if reading.calls:
        yield "| call | what is asked | its own errors |"
        yield "|---|---|---|"
        for call in reading.calls:
            errors = ", ".join(source.raised(call)) or "–"
            yield f"| `{call}` | {_cell(source.about(call))} | {errors} |"
        yield ""
        yield "Any of them may raise what [`lifecycle/errors.py`](../../lifecycle/errors.py) has. What is transient is"
        yield "tried again by the policy, the rest ends the item at once; the words are the store's or the runtime's."
    else:
        yield "None: it works with files alone."
    yield ""
    yield f"{level} What it can end with"
    yield ""
    if reading.messages:
        yield from _messages(reading.messages)
        yield ""
    yield "And [what any phase can end with](README.md#what-any-phase-can-end-with)."


_EVENTS = {
    Event.DONE: "is done",
    Event.FAILED: "has failed",
    Event.TERMINATED: "is told to stop",
    Event.DEADLINE: "is out of time",
}


def _facts(places: Sequence[tuple[Table, Phase]]) -> Iterator[tuple[str, str]]:
    table, phase = places[0]
    yield "run by", ", ".join(f"`argoexec {name}`" for name in commands(phase) or [one.name for one, _ in places])
    yield "retries of each item", str(phase.retry)
    variable = f"ARGOEXEC_RETRY_{phase.state.upper().replace(' ', '_')}"
    yield "set by", f"`{variable}_STEPS`, `_DURATION`, `_FACTOR`, `_JITTER`, `_CAP`, `_BUDGET`"
    stop = "ends it" if phase.cancellable else "gives it less time, and does not end it"
    yield "a wish to stop", stop + ("; each item has one attempt in any case" if phase.insists else "")
    if phase.blocking:
        yield "waits until it", " or ".join(_EVENTS[event] for event in phase.ended_by)
    running = lifelines(table, phase.state)
    if running:
        yield (
            "containers that run",
            ", ".join(name if lasts else f"{name} (ends here)" for name, lasts in running.items()),
        )
    if phase.state in CONTRACTS:
        yield "controllers differ", _cell(CONTRACTS[phase.state])
    module, _, name = phase.work.partition(":")
    path = module.replace(".", "/") + ".py"
    yield "its code", f"[`{name}`](../../{path}) in `{path}`"


def _messages(messages: Sequence[source.Message]) -> Iterator[str]:
    yield f"| error | message (`{source.HOLE}`: known only then) | remedy |"
    yield "|---|---|---|"
    for one in messages:
        remedy = "its cause's" if one.remedy == source.HOLE else _cell(one.remedy) or "–"
        yield f"| {one.error} | {_cell(one.text)} | {remedy} |"


def _paragraphs(phase: Phase) -> Iterator[str]:
    """What the code says of itself, without the errors it raises."""
    told = inspect.getdoc(phase.resolve()) or ""
    yield _cell(" ".join(told.split("Raises:")[0].split()))


def _names(places: Sequence[tuple[Table, Phase]]) -> str:
    return ", ".join(table.name for table, _ in places)


def _state_link(state: str) -> str:
    return f"*the {VERDICT}*" if state == END else f"[{state}]({page(state)})"


def _cell(text: str) -> str:
    """Text in a table: on one line, and nothing of it Markdown but its code."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
