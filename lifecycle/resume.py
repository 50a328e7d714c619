"""A restarted executor finds the files of the last one: whose they are, and whether it can go on from them (ADR 0037).

What they say is read in :mod:`lifecycle.known`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import findings
from lifecycle.errors import InputError
from lifecycle.findings import FindingsFile
from lifecycle.journal import VERSION, FileJournal, headers
from lifecycle.known import Known, known_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lifecycle.clock import Clock
    from lifecycle.table import Table
    from lifecycle.template import Template

_OF_POD = re.compile(r"/pods/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")

log = logging.getLogger("argoexec")


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


def pod_uid(environ: Mapping[str, str], mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The uid of this process's pod, which no other pod of the same name has.

    Where the controller does not tell (before v3.3), the kubelet does: the files that it mounts into every container,
    such as /etc/hosts, lie in a directory of the pod's, named by its uid. Empty when nothing tells.
    """
    if uid := environ.get("ARGO_POD_UID"):
        return uid
    with suppress(OSError):
        if found := _OF_POD.search(mounts.read_text(errors="replace")):
            return found[1]
    return ""


def begin(path: Path, clock: Clock, table: Table, whose: Whose, *, strict: bool = False) -> Kept:
    """Open a journal, and find out what is known from it. One that is not this pod's is moved aside, never changed.

    Raises:
        InputError: with ``strict``, instead of moving it aside.
        BlockingIOError: another process writes it.
        OSError: it cannot be made.
    """
    beside = path.with_name(f"{path.name}.findings")
    notes = _make_room(path, beside, whose, strict=strict)
    journal = FileJournal(path, clock)
    known, private = Known(), None
    try:
        lines = _read(path)[0]  # under the lock: nobody writes any more
        found = findings.read(beside)
        if lines and found and found[0] == whose.line():
            known = known_from(lines, found, table)
        elif lines:
            known.restarts = headers(lines)
            notes.append("what was found out before the restart has not been kept: everything is done again")
        known.journal = lines
        if path.is_file():  # /dev/stderr has nothing beside it
            private = _open_findings(beside, anew=not known.lines)
    except BaseException:
        journal.close()
        raise
    known.notes = notes + known.notes
    if private is not None and not known.lines:
        private.write(whose.line())
    return Kept(journal, private, known)


def _make_room(path: Path, beside: Path, whose: Whose, *, strict: bool) -> list[str]:
    """Move a journal that is not ours aside; what there is to say of the one that was found.

    Raises:
        InputError: with ``strict``, instead of moving it aside.
    """
    if not path.is_file():
        return []
    lines, torn, stranger = _read(path)
    if lines and not stranger:
        stranger = _stranger(lines, findings.read(beside), whose)
    if stranger and strict:
        raise InputError(f"its journal is {stranger}", place=str(path))
    if stranger:
        return [f"the journal that was here is {stranger}: it is kept as {_move_aside(path, beside, lines)}"]
    if torn:
        return ["the last line of the journal was torn by a crash, and is cut off"]
    return [] if lines else ["the journal was empty: nothing is known of what was done before"]


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
