"""The journal: one JSON object a line, fsynced before the next step begins.

A line is one of ``pod`` (the header; a second one is a restart), ``enter``, ``leave`` (a transition), ``attempt`` (one
that failed), ``item``, ``progress`` (bytes of a long transfer), ``failure``, ``note``, ``end`` (the verdict, and all
that went wrong as ``record``). Every line has ``t`` (wall clock, RFC 3339 UTC) and ``s`` (seconds since the header).
``argoexec explain`` reads it for a person, ``argoexec diagram --journal`` draws the way from it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from lifecycle.clock import Clock

log = logging.getLogger("argoexec")

VERSION = 1


class Journal(Protocol):
    """Where the engine tells what it does."""

    def write(self, kind: str, **fields: Any) -> None:
        """Add one line; it is on the disk when this returns."""


class FileJournal:
    """A journal in a file. A failing disk must not fail the pod: writing stops, and ``error`` says why.

    The file is this process's alone as long as it is open.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open it, or make it; a line that a crash has torn is cut off.

        Raises:
            BlockingIOError: another process writes it.
            OSError: it cannot be made.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._clock = clock
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        self.error: OSError | None = None
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._whole = cut_torn_line(self._fd)
        except OSError:
            self._shut()
            raise

    def write(self, kind: str, **fields: Any) -> None:
        """Add one line and fsync it; the lock keeps the lines of parallel items whole."""
        line = _stamped(self._clock, self._began, kind, fields)
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        # A file name may hold bytes that are no text: as an escape they are JSON again.
        data = text.encode(errors="backslashreplace") + b"\n"
        with self._lock:
            if self._fd is None:
                return
            try:
                self._append(self._fd, data)
            except OSError as error:
                self.error = error
                log.warning("the journal is incomplete: %s cannot be written: %s", self.path, error.strerror)
                with suppress(OSError):  # what there was room for of this line
                    os.ftruncate(self._fd, self._whole)
                self._shut()

    def _append(self, fd: int, data: bytes) -> None:
        write_all(fd, data)
        os.fdatasync(fd)
        self._whole += len(data)

    def close(self) -> None:
        """Close the file; later lines are dropped."""
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def write_all(fd: int, data: bytes) -> None:
    """Write all of it: a disk that becomes full takes a part, and says so only when it is asked again.

    Raises:
        OSError: of the kernel.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def cut_torn_line(fd: int) -> int:
    """Cut off what a crash in mid-write has left after the last whole line; the size of what stays.

    Raises:
        OSError: of the kernel.
    """
    size = end = os.fstat(fd).st_size
    tail = b""
    while end and b"\n" not in tail:
        begin = max(0, end - 64 * 1024)
        tail = os.pread(fd, end - begin, begin)
        end = begin
    whole = end + tail.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(fd, whole)
    return whole


class MemoryJournal:
    """A journal for tests and dry runs: the lines are in ``lines``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lines: list[dict[str, Any]] = []

    def write(self, kind: str, **fields: Any) -> None:
        """Keep one line."""
        self.lines.append(_stamped(self._clock, 0.0, kind, fields))


class Followed:
    """A journal that others read along: each gets every line after it was written, one at a time.

    They are told also of lines that the disk did not take. What one raises goes to nobody but the log: it must not
    fail the pod.
    """

    def __init__(self, journal: Journal, clock: Clock, *readers: Callable[[Mapping[str, Any]], None]) -> None:
        self._journal = journal
        self._clock = clock
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        self._readers = list(readers)

    def write(self, kind: str, **fields: Any) -> None:
        """Write the line, then show it."""
        self._journal.write(kind, **fields)
        with self._lock:
            line = _stamped(self._clock, self._began, kind, fields)
            for reader in tuple(self._readers):
                try:
                    reader(line)
                except Exception as error:
                    self._readers.remove(reader)
                    log.warning("%s follows the pod no longer: %s", reader.__qualname__, error, exc_info=True)


def _stamped(clock: Clock, began: float, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"t": timestamp(clock), "s": round(clock.monotonic() - began, 4), "kind": kind, **fields}


def timestamp(clock: Clock) -> str:
    """RFC 3339 in UTC with milliseconds, as Kubernetes writes times."""
    return clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def headers(lines: Sequence[Mapping[str, Any]]) -> int:
    """How many processes have written a journal."""
    return sum(line["kind"] == "pod" for line in lines)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal. A torn last line (a crash in mid-write) is left out.

    Raises:
        InputError: the file cannot be read, or is no journal; the message names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", place=str(path)) from error
    lines: list[dict[str, Any]] = []
    *whole, torn = data.split(b"\n")
    for number, raw in enumerate(whole, start=1):
        try:
            line = json.loads(raw)
            kind = line["kind"]
        except (ValueError, TypeError, KeyError) as error:
            if number < len(whole) and b'"kind":"pod"' in whole[number]:
                continue  # torn by a crash; a restart follows
            raise InputError("this is not a line of a journal", place=f"{path}:{number}") from error
        if number == 1 and (kind != "pod" or line.get("version") != VERSION):
            raise InputError(f"this is not a journal of version {VERSION}", place=f"{path}:1")
        lines.append(line)
    if not lines:
        raise InputError(
            "this is not a journal" if torn else "the journal is empty",
            place=str(path),
            remedy="give the journal.jsonl that `argoexec run` names at its end",
        )
    return lines
