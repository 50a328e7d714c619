"""A restarted executor goes on where the last one stopped: journal and findings → what is known (ADR 0037).

The table stays the law: the machine is entered in the state after the last ``leave`` that can be believed, and of that
state the items that are settled are not done again. What cannot be believed is done again, which every phase allows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lifecycle import findings
from lifecycle.errors import InputError
from lifecycle.findings import FindingsFile
from lifecycle.journal import VERSION, FileJournal
from lifecycle.outcome import Failure, Item, ItemState
from lifecycle.table import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lifecycle.clock import Clock
    from lifecycle.context import Pod
    from lifecycle.table import Table
    from lifecycle.template import Template

log = logging.getLogger("argoexec")

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
    notes: list[str] = field(default_factory=list)

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


@dataclass(slots=True)
class Kept:
    """What a pod writes for a restart, and what it knows from the last one."""

    journal: FileJournal
    findings: FindingsFile | None
    known: Known

    def close(self) -> None:
        """Let go of both files."""
        self.journal.close()
        if self.findings is not None:
            self.findings.close()


@dataclass(frozen=True, slots=True)
class Whose:
    """What tells one pod's work from another's. The uid is empty where nobody tells it."""

    pod: str
    table: str
    template: str
    uid: str = ""

    @classmethod
    def of(cls, pod: str, table: Table, template: Template, uid: str = "") -> Whose:
        """The template by a digest: it is written into the findings, which are as private as it."""
        raw = json.dumps(template.raw, sort_keys=True, default=str).encode()
        return cls(pod, table.name, hashlib.sha256(raw).hexdigest(), uid)

    def line(self) -> dict[str, Any]:
        """The first line of the findings."""
        return {"version": VERSION, "pod": self.pod, "table": self.table, "template": self.template, "uid": self.uid}


def begin(path: Path, clock: Clock, table: Table, whose: Whose, *, strict: bool = False) -> Kept:
    """Open a journal, and find out what is known from it. One that is not this pod's is moved aside, never changed.

    Raises:
        InputError: with ``strict``, instead of moving it aside.
        BlockingIOError: another process writes it.
        OSError: it cannot be made.
    """
    beside = path.with_name(f"{path.name}.findings")
    existed = path.is_file()
    lines, torn, stranger = _read(path)
    found = findings.read(beside)
    whole = bool(found) and found[0] == whose.line()
    notes = []
    if lines or stranger:
        stranger = stranger or _stranger(lines, found, whose)
        if stranger and strict:
            raise InputError(f"its journal is {stranger}", place=str(path))
        if stranger:
            notes.append(f"the journal that was here is {stranger}: it is kept as {_move_aside(path, beside, lines)}")
            lines, torn, whole = [], False, False
    known = Known()
    journal = FileJournal(path, clock)
    try:
        if lines and whole:
            known = _known(lines, found, table)
        elif lines:
            known.restarts = _headers(lines)
            notes.append("what was found out before the restart has not been kept: everything is done again")
        if existed and not lines and not torn and not stranger:
            notes.append("the journal was empty: nothing is known of what was done before")
        if torn:
            notes.append("the last line of the journal was torn by a crash, and is cut off")
        private = _open_findings(beside, anew=not known.lines) if path.is_file() else None  # /dev/stderr has no beside
        kept = Kept(journal, private, known)
    except BaseException:
        journal.close()
        raise
    known.notes = notes + known.notes
    if kept.findings is not None and not known.lines:
        kept.findings.write(whose.line())
    return kept


def _open_findings(path: Path, *, anew: bool) -> FindingsFile | None:
    try:
        return FindingsFile(path, anew=anew)
    except OSError as error:
        log.warning("a restart will begin anew: %s cannot be written: %s", path, error.strerror)
        return None


def _read(path: Path) -> tuple[list[dict[str, Any]], bool, str]:
    """The lines that there are; whether the last one is torn; why it cannot be read as a journal."""
    *whole, tail = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    lines: list[dict[str, Any]] = []
    for raw in whole:
        try:
            line = json.loads(raw)
            line["kind"]
        except (ValueError, TypeError, KeyError):
            # Torn lines that earlier releases have left stand before a header.
            if lines or len(whole) == 1:
                lines.append({"kind": "torn"})
            else:
                return [], False, "not a journal"
        else:
            lines.append(line)
    broken = [n for n, line in enumerate(lines) if line["kind"] == "torn"]
    if any(n + 1 < len(lines) and lines[n + 1]["kind"] != "pod" for n in broken):
        return lines, bool(tail), "damaged"
    lines = [line for line in lines if line["kind"] != "torn"]
    return lines, bool(tail), ""


def _stranger(lines: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], whose: Whose) -> str:
    """Why a journal is not this pod's; empty when it is."""
    header = lines[0]
    if header.get("kind") != "pod" or header.get("version") != VERSION:
        return f"of another version than {VERSION}"
    if header.get("pod") != whose.pod:
        return f"of the pod {header.get('pod')}"
    if header.get("table") != whose.table:
        return f"of {header.get('table')}"
    mine = found[0] if found else whose.line()
    if mine.get("uid") != whose.uid:
        return "of an earlier pod of this name"
    if mine.get("template") != whose.template:
        return "of another template"
    return ""


def _move_aside(path: Path, beside: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """To a name that tells whose it is; nothing is overwritten."""
    pod = str(lines[0].get("pod") or "unknown") if lines else "unknown"
    safe = "".join(one if one.isalnum() or one in "-." else "-" for one in pod)[:63]
    number, aside = 1, path.with_name(f"{path.name}.of-{safe}")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.of-{safe}.{number}")
    os.rename(path, aside)
    if beside.exists():
        os.rename(beside, aside.with_name(f"{aside.name}.findings"))
    return aside


def _headers(lines: Sequence[Mapping[str, Any]]) -> int:
    return sum(line["kind"] == "pod" for line in lines)


def _known(lines: list[dict[str, Any]], found: list[dict[str, Any]], table: Table) -> Known:
    """What both the journal and the findings say."""
    try:
        known = _Reader(table, found).read(lines)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        anew = Known(restarts=_headers(lines))
        anew.notes.append(
            f"the journal cannot be understood, everything is done again: {type(error).__name__}: {error}"
        )
        return anew
    known.restarts = 0 if known.ended else _headers(lines)
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
        over = "nothing is left to do: it had ended before the restart"
        known.notes.append(f"{over} ({self._state})" if self._ended else f"restarted: it goes on with {self._state}")
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
