"""What must hold whatever goes wrong. Nothing here knows a phase's ways: no expectation is written for a case."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

from lifecycle.pod import INIT_TABLE, POD, WAIT_TABLE
from tests.faults.segments import BUDGET, CANARY, clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lifecycle.pod import INIT_TABLE, POD, WAIT_TABLE
from tests.faults.segments import Case

UNKNOWABLE = {"truncated", "wrong"}
"""Damage that nobody can tell where nothing announces a size or a checksum: what came of the bytes is not judged."""

KILLING = {"make", "find_main", "others", "signal", "wait"}
"""Calls of a runtime without which nothing can be killed."""

QUIET = {"delay", "hang", "clock", "short", *UNKNOWABLE}
"""Faults that raise nothing by which they could be named."""


def broken(case: Case, logged: list[str]) -> Iterator[str]:
    """Every invariant that does not hold, in words."""
    yield from _ends(case)
    yield from _says(case, logged)
    yield from _kills(case)
    yield from _reports(case)
    yield from _keeps(case)
    yield from _cleans_up(case)


def _ends(case: Case) -> Iterator[str]:
    if case.last["kind"] != "end":
        yield f"the journal ends with {case.last}"
    if case.took > BUDGET:
        yield f"it took {case.took:.0f} s"
    if case.world.pod.record.failures and not case.status:
        yield "it has failed with the exit status 0"


def _says(case: Case, logged: list[str]) -> Iterator[str]:
    world, record = case.world, case.world.pod.record
    message = record.message()
    if case.status:
        quiet = {fault.kind for fault in case.plan.faults if case.faults.happened[fault]} & QUIET
        whole = [text for failure in record.failures for text in (failure.message, *failure.causes)]
        if "injected" not in message + "".join(whole) and not (quiet and message):
            yield f"the message names nothing of it: {message!r}"
    for failure in record.failures:
        if not failure.phase or not failure.message:
            yield f"a failure without phase or message: {failure}"
    told = {
        "journal": json.dumps(world.journal.lines, ensure_ascii=False, default=str),
        "message": message + "".join(world.messages),
        "reports": "".join(json.dumps(dict(one.outputs)) + one.message for one in world.control.reports),
        "log": "\n".join(logged),
    }
    for where, text in told.items():
        if CANARY in text:
            yield f"a secret is in the {where}"
        if "Traceback" in text or 'File "' in text:
            yield f"a traceback is in the {where}"


def _kills(case: Case) -> Iterator[str]:
    world, pod = case.world, case.world.pod
    if case.segment.table not in (WAIT_TABLE, POD) or pod.grace is not None:
        return  # of a pod that is being deleted the kubelet kills the containers
    alive = [name for name, one in world.runtime.containers.items() if one.status is None]
    if not alive:
        return
    if not any(fault.port == "runtime" and fault.call in KILLING for fault in case.plan.faults):
        yield f"left alive: {alive}"
    said = [failure.phase for failure in pod.record.failures] + [
        line["phase"] for line in world.journal.lines if line["kind"] == "note"
    ]
    if not {"killing sidecars", "releasing", "waiting"} & set(said):
        yield f"left alive without a word: {alive}"


def _reports(case: Case) -> Iterator[str]:
    world, reports = case.world, case.world.control.reports
    if not reports:
        if case.status == 0 and case.segment.table is not INIT_TABLE:
            yield "nothing was reported"
        return
    lost = sum(
        case.faults.happened[fault] for fault in case.plan.faults if fault.kind == "lost" and fault.call == "report"
    )
    if len(reports) > 1 + lost or any(one != reports[0] for one in reports):
        yield f"{len(reports)} reports"
    [expected] = clean(case.name).world.control.reports or [None]
    good: dict[str, Any] = {} if expected is None else dict(expected.outputs)
    outputs = reports[-1].outputs
    for artifact in outputs.get("artifacts", []):
        key = artifact["s3"]["key"]
        if key not in world.store.objects:
            yield f"{key} is reported and not stored"
        elif not _is_damaged(case) and _stored(case, key) != _stored(clean(case.name), key):
            yield f"{key} is stored as other bytes"
    values = {one["name"]: one.get("value") for one in good.get("parameters", [])}
    for parameter in outputs.get("parameters", []):
        if "value" in parameter and parameter["value"] != values[parameter["name"]] and not _is_damaged(case):
            yield f"the parameter {parameter} is reported with another value"
    if "result" in outputs and outputs["result"] != good.get("result") and not _is_damaged(case):
        yield f"another result is reported: {outputs['result']!r}"


def _keeps(case: Case) -> Iterator[str]:
    """What succeeded is in the report, and was done once; what is not has a state that says so."""
    world = case.world
    for key, times in world.store.saved.items():
        lost = sum(case.faults.happened[one] for one in case.plan.faults if (one.call, one.kind) == ("save", "lost"))
        if times > 1 + lost:
            yield f"{key} was stored {times} times"
    good, states = clean(case.name).world, world.states
    reported = world.control.reports[-1].outputs if world.control.reports else None
    if reported is None:
        return
    names = {f"artifact {one['name']}" for one in reported.get("artifacts", [])}
    names |= {f"log {one['name']}" for one in reported.get("artifacts", [])}
    names |= {f"parameter {one['name']}" for one in reported.get("parameters", []) if "value" in one}
    names |= {"result"} if "result" in reported else set()
    left_out = {failure.item for failure in world.pod.record.failures}
    for item, state in good.states.items():
        if item.partition(" ")[0] not in {"artifact", "log", "parameter", "result"} or state != "reported":
            continue
        now = states.get(item)
        if now == "reported" and item not in names:
            yield f"{item} is {now} and not in the report"
        if now != "reported" and item in names and states.get("report") == "done":
            yield f"{item} is in the report and {now}"
        if now in {"failed", "abandoned"} and item not in left_out and world.pod.found.main is not None:
            yield f"{item} is {now} without a failure"
        if now is None and case.status == 0 and world.pod.record.cancelled is None:
            yield f"{item} was forgotten"


def _cleans_up(case: Case) -> Iterator[str]:
    if any(case.world.store.unfinished.values()):
        yield f"unfinished uploads: {case.world.store.unfinished}"
    good, now = _files(clean(case.name).root), _files(case.root)
    for path in now:
        if path not in good:
            yield f"{path} is left"
        elif now[path] != good[path] and not _is_damaged(case):
            yield f"{path} is not what it should be"
    trees = {path.rpartition("/")[0] for path in now if "/tree/" in path}
    if trees and not _is_damaged(case) and {path for path in good if "/tree/" in path} - set(now):
        yield f"there is half of {trees}"


def _files(root: Path) -> dict[str, bytes]:
    return {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()}


def _stored(case: Case, key: str) -> bytes:
    """What is in an object: how its stream was cut into pieces changes what gzip makes of it."""
    data = case.world.store.objects[key]
    return zlib.decompress(data, wbits=31) if key.endswith(".tgz") else data


def _is_damaged(case: Case) -> bool:
    return any(fault.kind in UNKNOWABLE and case.faults.happened[fault] for fault in case.plan.faults)
