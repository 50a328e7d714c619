"""What the phases have found out, on disk for a process that goes on after this one (ADR 0037).

The journal must hold no value of a parameter, and may be read by anybody; so what the later phases need of the earlier
ones is in a file of mode 0600 beside it, a JSON object a line. A line is written before the journal's: what the journal
says is believed only if its line is here as well, so no line has to be fsynced.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lifecycle import errors
from lifecycle.journal import cut_torn_line, write_all
from lifecycle.ports import Container, ExecutionControl, ExitStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lifecycle.context import Pod
    from lifecycle.outcome import Item

log = logging.getLogger("argoexec")

LARGEST = 1 << 20
"""Bytes of one value that is kept. Only the keys of a `data` template can be more: they are listed again instead."""


class FindingsFile:
    """The file. When it cannot be written any more, a restart repeats what came after that; the pod goes on."""

    def __init__(self, path: Path, *, anew: bool) -> None:
        """Open it, or make it.

        Args:
            path: beside the journal, whose lock is held.
            anew: forget what is in it.

        Raises:
            OSError: it cannot be made.
        """
        self.path = path
        self._lock = threading.Lock()
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(self._fd, 0o600)
            if anew:
                os.ftruncate(self._fd, 0)
            cut_torn_line(self._fd)
        except OSError:
            self.close()
            raise

    def write(self, line: Mapping[str, Any]) -> bool:
        """Add one line; whether it was."""
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if len(data) > LARGEST:
            return False
        with self._lock:
            if self._fd is None:
                return False
            try:
                write_all(self._fd, data)
            except OSError as error:
                log.warning("a restart will repeat what follows: %s cannot be written: %s", self.path, error.strerror)
                with suppress(OSError):
                    os.close(self._fd)
                self._fd = None
                return False
        return True

    def close(self) -> None:
        """Close the file; later lines are dropped."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


def read(path: Path) -> list[dict[str, Any]]:
    """Its lines up to the first that is torn; none when it cannot be read."""
    lines: list[dict[str, Any]] = []
    with suppress(OSError):
        for raw in path.read_bytes().split(b"\n")[:-1]:
            try:
                line = json.loads(raw)
            except ValueError:
                break
            if not isinstance(line, dict):
                break
            lines.append(line)
    return lines


def of_item(pod: Pod, item: Item) -> dict[str, Any]:
    """The line of an item that has been settled: what was found out about it."""
    return {"item": [item.phase, item.kind, item.name], "value": _value(pod, item)} | _state(pod)


def of_phase(pod: Pod, phase: str) -> dict[str, Any]:
    """The line of a phase that is being left."""
    return {"left": phase} | _state(pod)


def _value(pod: Pod, item: Item) -> Any:
    found = pod.found
    match item.kind:
        case "parameter":
            return found.parameters.get(item.name)
        case "artifact" | "log":
            return found.artifacts.get(item.name)
        case "result":
            return found.result
        case "source" | "expression":
            return found.data
        case "object":
            return [_reference(one) for one in found.objects]
    return None


def _reference(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of an object only what it is found by: it may be a Secret."""
    metadata = found.get("metadata") or {}
    named = {key: metadata[key] for key in ("name", "namespace", "uid") if key in metadata}
    return {"apiVersion": found.get("apiVersion"), "kind": found.get("kind"), "metadata": named}


def _state(pod: Pod) -> dict[str, Any]:
    found, reason, execution = pod.found, pod.record.cancelled, pod.execution
    return {
        "main": None if found.main is None else asdict(found.main),
        "exit": None if found.exit is None else asdict(found.exit),
        "ran": found.ran,
        "hadTurn": found.had_turn,
        "ended": pod.record.ended,
        "cancelled": None if reason is None else [type(reason).__name__, reason.message, reason.remedy],
        "execution": None if execution is None else [
            execution.deadline and execution.deadline.isoformat(), execution.terminate, execution.include_script_output
        ],
    }  # fmt: skip


def restore(pod: Pod, lines: Sequence[Mapping[str, Any]]) -> None:
    """Give a new pod what an earlier process has found out.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: a line is not as this release writes it.
    """
    for line in lines:
        if "item" in line:
            _, kind, name = line["item"]
            _restore_value(pod, kind, name, line["value"])
        if "main" in line:
            _restore_state(pod, line)
        if line.get("cancelled") is not None:
            pod.record.cancelled = _reason(*line["cancelled"])


def _restore_value(pod: Pod, kind: str, name: str, value: Any) -> None:
    if value is None:
        return
    found = pod.found
    match kind:
        case "parameter":
            found.parameters[name] = value
        case "artifact" | "log":
            found.artifacts[name] = value
        case "result":
            found.result = value
        case "source" | "expression":
            found.data = value
        case "object":
            found.objects = list(value)


def _restore_state(pod: Pod, line: Mapping[str, Any]) -> None:
    found = pod.found
    found.main = None if line["main"] is None else Container(**line["main"])
    found.exit = None if line["exit"] is None else ExitStatus(**line["exit"])
    found.ran, found.had_turn = line["ran"], line["hadTurn"]
    pod.record.ended = line["ended"]
    if line["execution"] is not None:
        deadline, terminate, include = line["execution"]
        pod.execution = ExecutionControl(deadline and datetime.fromisoformat(deadline), terminate, include)


def _reason(name: str, message: str, remedy: str) -> errors.Cancelled:
    kinds = {"DeadlineExceeded": errors.DeadlineExceeded, "Terminated": errors.Terminated}
    return kinds.get(name, errors.Cancelled)(message, remedy=remedy)
