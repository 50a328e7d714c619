"""The control plane of a pod without an API server: annotations come in by file (the downward API).

Used by the local runner, which plays the controller, and wherever something else carries the report to the
pod. The file has a line ``key="value"`` per annotation (spec 1.5.1); Kubernetes replaces it by pointing
the link ``..data`` at a new directory. Nothing polls: inotify tells.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import select
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError, NotFound, from_os_error
from lifecycle.ports import ExecutionControl
from runtimes.inotify import Watch
from runtimes.records import write, write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lifecycle.clock import Cancel
    from lifecycle.ports import Report

_log = logging.getLogger("argoexec")

TEMPLATE = "workflows.argoproj.io/template"
EXECUTION = "workflows.argoproj.io/execution"
OUTPUTS = "workflows.argoproj.io/outputs"
NODE_MESSAGE = "workflows.argoproj.io/node-message"

ANNOTATIONS = 256 * 1024
"""Bytes of all annotations of a pod together, keys and values (spec 1.15)."""

_ZERO_YEAR = 1
"""Go's zero time, 0001-01-01T00:00:00Z, by which the controller asks to terminate (spec 1.9)."""
_TERMINATION_LOG = 4096
"""What the kubelet takes of a termination message."""

_SIMPLE = {
    "a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v",
    "\\": b"\\", '"': b'"', "'": b"'", "/": b"/",
}  # fmt: skip
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.?))", re.DOTALL)


class DownwardControlPlane:
    """Template and execution control out of an annotations file; the report into files."""

    def __init__(self, annotations: Path, reported: Path | None = None, termination_log: Path | None = None) -> None:
        """Nothing is read yet.

        Args:
            annotations: the file of the downward API.
            reported: where the report goes, as the merge patch that a cluster's adapter would send.
            termination_log: where the message goes for the kubelet to read.
        """
        self._annotations = annotations
        self._reported = reported
        self._termination_log = termination_log

    def template(self) -> dict[str, Any]:
        """The template as the controller wrote it.

        Raises:
            NotFound: the file or the annotation is not there.
            InputError: it is not the JSON of an object.
        """
        found = self._object(TEMPLATE)
        if found is None:
            raise NotFound(
                f"{self._annotations} has no annotation {TEMPLATE}",
                remedy="mount the pod's annotations there; some controllers forget it beside a kubeconfig",
            )
        return found

    def execution(self) -> ExecutionControl:
        """The execution control as it is now; nothing special when there is no annotation.

        Raises:
            NotFound: the file is not there.
            InputError: it is not what a controller writes.
        """
        found = self._object(EXECUTION)
        if found is None:
            return ExecutionControl()
        include = found.get("includeScriptOutput")
        text = found.get("deadline")
        deadline = None if text is None else self._time(text)
        if deadline is not None and deadline.year == _ZERO_YEAR:
            return ExecutionControl(terminate=True, include_script_output=include)
        return ExecutionControl(deadline=deadline, include_script_output=include)

    def watch_execution(self, changed: Callable[[], None], cancel: Cancel) -> None:
        """Call ``changed`` once, when changes begin to be seen, and after each; until ``cancel``.

        The first call closes the gap between the caller's last look and the watch.

        Raises:
            NotFound: the directory of the file is not there.
        """
        watched = {self._annotations.name, "..data", ""}
        with Watch() as watch:
            watch.add(self._annotations.parent)
            poller = select.poll()
            poller.register(watch, select.POLLIN)
            poller.register(cancel, select.POLLIN)
            changed()
            while cancel.reason is None:
                poller.poll()
                if watched & watch.names():
                    changed()

    @property
    def room(self) -> int:
        """As much as a pod's annotations take beside the template (spec 1.15)."""
        return max(ANNOTATIONS - self._annotations.stat().st_size - 4096, 16 * 1024)

    def time_left(self) -> float | None:
        """Nobody has said: whoever sends a signal here has no deadline of the kubelet's."""
        return None

    def report(self, report: Report) -> None:
        """Write the patch and the message, each as a whole; what was reported before is replaced.

        Raises:
            NotFound, StorageFull, Forbidden: as the file system says.
        """
        if self._reported is not None:
            annotations = {}
            if report.outputs:
                annotations[OUTPUTS] = json.dumps(report.outputs, separators=(",", ":"), ensure_ascii=False)
            if report.message:
                annotations[NODE_MESSAGE] = report.message
            try:
                write(self._reported, {"metadata": {"annotations": annotations}}, durable=True)
            except OSError as error:
                raise from_os_error(error) from error
        if self._termination_log is not None and report.message:
            text = report.message.encode()[:_TERMINATION_LOG].decode(errors="ignore")
            try:
                # In place: the kubelet mounts this very file.
                self._termination_log.write_text(text, encoding="utf-8")
            except OSError as error:
                _log.warning("cannot write the termination message to %s: %s", self._termination_log, error)

    def _object(self, key: str) -> dict[str, Any] | None:
        try:
            lines = self._annotations.read_bytes().split(b"\n")
        except OSError as error:
            raise from_os_error(error) from error
        prefix = key.encode() + b"="
        for number, line in enumerate(lines, 1):
            if line.startswith(prefix):
                place = f"{self._annotations}:{number}"
                try:
                    text = unquote(line[len(prefix) :].decode().rstrip("\r"))
                    found = json.loads(text)
                except ValueError as error:  # of the text, the quoting or the JSON
                    raise InputError(f"the annotation {key} cannot be read: {error}", place=place) from error
                if found is None:
                    return None
                if not isinstance(found, dict):
                    raise InputError(f"the annotation {key} is not a JSON object", place=place)
                return found
        return None

    def _time(self, text: Any) -> datetime:
        try:
            moment = datetime.fromisoformat(text)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the deadline {text!r} of {EXECUTION} is not an RFC 3339 time", place=str(self._annotations)
            ) from error
        if moment.tzinfo is None:
            raise InputError(f"the deadline {text!r} of {EXECUTION} has no time zone", place=str(self._annotations))
        return moment


def write_annotations(path: Path, annotations: Mapping[str, str]) -> None:
    """Write the file as the downward API does, at once, so that whoever watches sees old or new."""
    lines = [f"{key}={json.dumps(value)}\n" for key, value in sorted(annotations.items())]
    write_bytes(path, "".join(lines).encode())


def unquote(text: str) -> str:
    """The string that a JSON or a Go literal stands for; the kubelet writes Go's.

    Raises:
        ValueError: it is neither.
    """
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        raise ValueError('the value does not begin and end with "')
    with contextlib.suppress(ValueError):
        # A JSON literal means the same to Go, nearly all are, and this is a hundred times as fast.
        return str(json.loads(text))
    inner = text[1:-1]
    pieces, at = [], 0
    for match in _ESCAPE.finditer(inner):
        pieces += [_plain(inner, at, match.start()), _unescape(match)]
        at = match.end()
    pieces.append(_plain(inner, at, len(inner)))
    # A pair of \u surrogates is one character; \x is a byte.
    return b"".join(pieces).decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16")


def _plain(text: str, start: int, end: int) -> bytes:
    if '"' in text[start:end]:
        raise ValueError(f'a " without a backslash at character {text.index(chr(34), start, end) + 1}')
    return text[start:end].encode()


def _unescape(match: re.Match[str]) -> bytes:
    byte, short, long, octal, simple = match.groups()
    if byte is not None:
        return bytes([int(byte, 16)])
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    if simple is not None:
        if simple not in _SIMPLE:
            raise ValueError(f"unknown escape {match.group()} at character {match.start() + 1}")
        return _SIMPLE[simple]
    return chr(int(short or long, 16)).encode("utf-8", "surrogatepass")
