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
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError, NotFound, from_os_error
from lifecycle.ports import ExecutionControl
from lifecycle.report import encoded
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


class AnnotationsFile:
    """The annotations of this pod as the downward API shows them; the kubelet is up to a minute behind."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path

    def annotation(self, key: str) -> Annotation | None:
        """One of them, its first; ``None`` when it has none of that name.

        Raises:
            NotFound, Forbidden: of the file.
            InputError: it is not quoted as the kubelet does it.
        """
        prefix = key.encode() + b"="
        for number, line in enumerate(self._lines(), 1):
            if line.startswith(prefix):
                return self._annotation(key, line[len(prefix) :], number)
        return None

    def sizes(self) -> dict[str, int]:
        """Bytes of each annotation's value.

        Raises:
            NotFound, Forbidden, InputError: as :meth:`annotation`.
        """
        found: dict[str, int] = {}
        for number, line in enumerate(self._lines(), 1):
            key, quoted, value = line.partition(b"=")
            if quoted:
                name = key.decode(errors="replace")
                found[name] = len(self._annotation(name, value, number).text.encode(errors="replace"))
        return found

    def watch(self, changed: Callable[[], None], cancel: Cancel) -> None:
        """Call ``changed`` once, when changes begin to be seen, and after each; until ``cancel``.

        Raises:
            NotFound: the directory of the file is not there.
        """
        from runtimes.inotify import Watch  # noqa: PLC0415 - ctypes: 4 ms that an `init` does without

        watched = {self.path.name, "..data", ""}
        with Watch() as watch:
            watch.add(self.path.parent)
            poller = select.poll()
            poller.register(watch, select.POLLIN)
            poller.register(cancel, select.POLLIN)
            changed()
            while cancel.reason is None:
                poller.poll()
                if watched & watch.names():
                    changed()

    def _lines(self) -> list[bytes]:
        try:
            return self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise from_os_error(error) from error

    def _annotation(self, key: str, line: bytes, number: int) -> Annotation:
        place = f"{self.path}:{number}"
        try:
            return Annotation(key, unquote(line.decode().rstrip("\r")), place)
        except ValueError as error:  # of the text or of the quoting
            raise InputError(f"the annotation {key} cannot be read: {error}", place=place) from error


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation of the pod, and where it was found, for messages."""

    key: str
    text: str
    place: str

    def json(self) -> dict[str, Any] | None:
        """The object it is; ``None`` for ``null``.

        Raises:
            InputError: it is none.
        """
        try:
            found = json.loads(self.text)
        except ValueError as error:
            raise InputError(f"the annotation {self.key} cannot be read: {error}", place=self.place) from error
        if found is not None and not isinstance(found, dict):
            raise InputError(f"the annotation {self.key} is not a JSON object", place=self.place)
        return found

    def execution(self) -> ExecutionControl:
        """What it says, if it is the execution control.

        Raises:
            InputError: it is not what a controller writes.
        """
        found = self.json() or {}
        include = found.get("includeScriptOutput")
        text = found.get("deadline")
        deadline = None if text is None else self._time(text)
        if deadline is not None and deadline.year == _ZERO_YEAR:
            return ExecutionControl(terminate=True, include_script_output=include)
        return ExecutionControl(deadline=deadline, include_script_output=include)

    def _time(self, text: Any) -> datetime:
        try:
            moment = datetime.fromisoformat(text)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the deadline {text!r} of {self.key} is not an RFC 3339 time", place=self.place
            ) from error
        if moment.tzinfo is None:
            raise InputError(f"the deadline {text!r} of {self.key} has no time zone", place=self.place)
        return moment


class DownwardControlPlane:
    """Template and execution control out of an annotations file; the report into files."""

    def __init__(self, annotations: Path, reported: Path | None = None, termination_log: Path | None = None) -> None:
        """Nothing is read yet.

        Args:
            annotations: the file of the downward API.
            reported: where the report goes, as the merge patch that a cluster's adapter would send.
            termination_log: where the message goes for the kubelet to read.
        """
        self._file = AnnotationsFile(annotations)
        self._reported = reported
        self._termination_log = termination_log

    def template(self) -> dict[str, Any]:
        """The template as the controller wrote it.

        Raises:
            NotFound: the file or the annotation is not there.
            InputError: it is not the JSON of an object.
        """
        annotation = self._file.annotation(TEMPLATE)
        found = annotation.json() if annotation else None
        if found is None:
            raise NotFound(
                f"{self._file.path} has no annotation {TEMPLATE}",
                remedy="mount the pod's annotations there; some controllers forget it beside a kubeconfig",
            )
        return found

    def execution(self) -> ExecutionControl:
        """The execution control as it is now; nothing special when there is no annotation.

        Raises:
            NotFound: the file is not there.
            InputError: it is not what a controller writes.
        """
        found = self._file.annotation(EXECUTION)
        return found.execution() if found else ExecutionControl()

    def watch_execution(self, changed: Callable[[], None], cancel: Cancel) -> None:
        """Call ``changed`` once, when changes begin to be seen, and after each; until ``cancel``.

        The first call closes the gap between the caller's last look and the watch.

        Raises:
            NotFound: the directory of the file is not there.
        """
        self._file.watch(changed, cancel)

    @property
    def room(self) -> int:
        """As much as a pod's annotations take beside the template (spec 1.15)."""
        return max(ANNOTATIONS - self._file.path.stat().st_size - 4096, 16 * 1024)

    @property
    def key_only(self) -> bool:
        """Annotations in a file are older than that."""
        return False

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
                annotations[OUTPUTS] = encoded(report.outputs)
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
