"""What earlier processes of this pod have left: journal and findings → where it goes on (ADR 0037).

The table stays the law: the machine is entered in the state after the last ``leave`` that can be believed, and of that
state the items that are settled are not done again. What cannot be believed is done again, which every phase allows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lifecycle import findings
from lifecycle.journal import headers
from lifecycle.outcome import Failure, Item, ItemState
from lifecycle.table import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lifecycle.context import Pod
    from lifecycle.table import Table

_OF_REPORT = (ItemState.SAVED, ItemState.CAPTURED)
_LOST = (ItemState.FAILED, ItemState.ABANDONED)


@dataclass(slots=True)
class Known:
    """What earlier processes of this pod have left; nothing in a pod that begins.

    Attributes:
        state: where it goes on.
        ended: it has its verdict, and the journal its last line: nothing is left to do.
        restarts: how many processes have been killed.
        failures: those that count, in order.
        items: by kind and name, those of ``state`` that are settled.
        stays: those in the phases before, as ``-o json`` shows them.
        saved: the items of earlier phases that have been saved and are not reported yet.
        lines: of the findings, all.
        believed: of the findings, what the journal confirms.
        journal: the lines that were there before this process.
        notes: what a person should know.
    """

    state: str = ""
    ended: bool = False
    restarts: int = 0
    failures: list[Failure] = field(default_factory=list)
    items: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    stays: list[dict[str, Any]] = field(default_factory=list)
    saved: list[Item] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    believed: list[dict[str, Any]] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def headline(self) -> str:
        """What a restart does; empty in a pod that begins."""
        if self.ended:
            return f"nothing is left to do: it had ended before the restart ({self.state})"
        return f"restarted: it goes on with {self.state}" if self.state else ""

    def header(self) -> dict[str, Any]:
        """What the header of a restart says more than the first."""
        if not self.restarts:
            return {}
        return {"restart": self.restarts} | ({"resumes": self.state} if self.state else {})

    def take(self, item: Item) -> dict[str, Any] | None:
        """What became of an item, once."""
        found = self.items.get((item.kind, item.name))
        return found.pop(0) if found else None

    def was_begun(self, phase: str, kind: str, name: str) -> bool:
        """Whether the findings have anything of an item, settled or not."""
        return any(line.get("item") == [phase, kind, name] for line in self.lines)

    def begun(self, number: int) -> str:
        """The name under which a document of a manifest was sent to the server; empty when it was not."""
        return next((line["name"] for line in reversed(self.lines) if line.get("begun") == number), "")

    def restore(self, pod: Pod) -> None:
        """Give the pod what is known of it."""
        findings.restore(pod, self.believed)
        pod.record.failures.extend(self.failures)
        pod.found.items.extend(self.saved)


def known_from(lines: list[dict[str, Any]], found: list[dict[str, Any]], table: Table) -> Known:
    """What both the journal and the findings say."""
    try:
        known = _Reader(table, found).read(lines)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        anew = Known(restarts=headers(lines))
        anew.notes.append(
            f"the journal cannot be understood, everything is done again: {type(error).__name__}: {error}"
        )
        return anew
    known.restarts = 0 if known.ended else headers(lines)
    return known


class _Reader:
    """Follows the journal from state to state, as far as the findings confirm it."""

    def __init__(self, table: Table, found: list[dict[str, Any]]) -> None:
        self._table = table
        self._found = found
        self._left = {line["left"] for line in found if "left" in line}
        self._settled = {tuple(line["item"]) for line in found if "item" in line}
        self._state: str = table.initial
        self._open: list[dict[str, Any]] = []  # the lines since the last leave that is believed
        self._failures: list[Failure] = []
        self._items: list[dict[str, Any]] = []
        self._behind: set[str] = set()
        self._stays: list[dict[str, Any]] = []
        self._ended = False

    def read(self, lines: list[dict[str, Any]]) -> Known:
        for line in lines:
            self._take(line)
        failed = [_failure(line) for line in self._open if line["kind"] == "failure"]
        failures = self._failures + [one for one in failed if one.phase == self._state]
        records = [line["item"] for line in self._open if line["kind"] == "item" and line["phase"] == self._state]
        known = Known(state=self._state, ended=self._ended, failures=failures, lines=self._found, stays=self._stays)
        for record in _latest(records):
            if self._is_settled(record, failures):
                known.items.setdefault((record["kind"], record["name"]), []).append(record)
        known.believed = [self._believed(line, set(known.items)) for line in self._found]
        reported = [record for record in records if record["state"] == ItemState.REPORTED]
        known.saved = [item for item in map(self._saved, _latest(self._items + reported)) if item is not None]
        return known

    def _take(self, line: dict[str, Any]) -> None:
        if line["kind"] == "pod" and line.get("resumes") != self._state:
            self._begin_anew()
        self._open.append(line)
        if line["kind"] == "leave" and line["phase"] in self._left:
            # The findings are written in order: what stands before a phase that they have left is there as well.
            if line["to"] not in self._table.states:
                raise ValueError(f"there is no state {line['to']}")
            for one in self._open:
                if one["kind"] == "failure":
                    self._failures.append(_failure(one))
                elif one["kind"] == "item":
                    self._items.append(one["item"] | {"phase": one["phase"]})
            self._stays.append(_stay(line, self._open))
            self._behind.add(line["phase"])
            self._state, self._open = line["to"], []
        self._ended = line["kind"] == "end" and self._state in set(Verdict)

    def _begin_anew(self) -> None:
        """This process did not go on from what stands before."""
        self._state, self._open, self._failures, self._items = self._table.initial, [], [], []
        self._behind, self._stays = set(), []

    def _is_settled(self, record: Mapping[str, Any], failures: list[Failure]) -> bool:
        if (self._state, record["kind"], record["name"]) not in self._settled:
            return False
        if record["state"] not in _LOST:
            return True
        # The line of its failure follows: without it nobody would know why.
        shown = f"{record['kind']} {record['name']}" if record["name"] else record["kind"]
        return any(one.phase == self._state and one.item in (shown, record["name"]) for one in failures)

    def _believed(self, line: dict[str, Any], settled: set[tuple[str, str]]) -> dict[str, Any]:
        """A line of the findings, if the journal has come as far; that somebody has asked for an end is true anyway."""
        if "item" in line:
            phase, kind, name = line["item"]
            sure = phase in self._behind or (phase == self._state and (kind, name) in settled)
        else:
            sure = line.get("left") in self._behind
        return line if sure else {"cancelled": line.get("cancelled")}

    def _saved(self, record: Mapping[str, Any]) -> Item | None:
        if record["kind"] == "container" or record["state"] not in _OF_REPORT:
            return None
        item = Item(kind=record["kind"], name=record["name"], phase=record["phase"])
        fill(item, record)
        return item


def fill(item: Item, record: Mapping[str, Any]) -> None:
    """Make an item what its record says."""
    item.state = ItemState(record["state"])
    item.attempts, item.seconds = record["attempts"], record["seconds"]
    item.size, item.note = record.get("bytes"), record.get("note", "")


def _latest(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last record of each item: those that are under way are followed by another; two may have one name."""
    latest: list[dict[str, Any]] = []
    for record in records:
        same = [
            n
            for n, one in enumerate(latest)
            if (one["kind"], one["name"]) == (record["kind"], record["name"]) and _goes_on(one, record)
        ]
        if same:
            latest[same[0]] = record
        else:
            latest.append(record)
    return latest


def _goes_on(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two records of one name are of one item: captured, saved or failed, then what became of it."""
    if before["state"] in _OF_REPORT:
        return bool(after["state"] != before["state"])
    return before["state"] in _LOST


def _stay(left: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A stay that is over, as ``-o json`` shows it."""
    records = [one["item"] for one in lines if one["kind"] == "item" and one["phase"] == left["phase"]]
    items = _latest(records)
    return {
        "phase": left["phase"],
        "outcome": left["event"],
        "attempts": max((one["attempts"] for one in items), default=0) or 1,
        "seconds": left["seconds"],
        "items": items,
    }


def _failure(line: Mapping[str, Any]) -> Failure:
    record = line["failure"]
    return Failure(**(record | {"causes": tuple(record["causes"])}))
