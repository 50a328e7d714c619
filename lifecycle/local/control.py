"""The controller's side of a pod that has none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lifecycle.phases.staging import write_whole
from lifecycle.ports import ExecutionControl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lifecycle.clock import Cancel
    from lifecycle.ports import Report

_ANNOTATIONS = 256 * 1024


class LocalControl:
    """The controller's side of a pod that has none: the template is known, the report becomes a file."""

    def __init__(self, template: dict[str, Any], report: Path) -> None:
        self._template = template
        self._report = report

    def template(self) -> dict[str, Any]:
        """The substituted template."""
        return self._template

    def execution(self) -> ExecutionControl:
        """Nobody controls it but the person at the terminal."""
        return ExecutionControl()

    def watch_execution(self, changed: Callable[[], None], cancel: Cancel) -> None:  # noqa: ARG002 - it never changes
        """Block until ``cancel``."""
        cancel.wait(None)

    @property
    def room(self) -> int:
        """As much as a pod's annotations take beside the template, so that what runs here runs there."""
        size = len(json.dumps(self._template, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))
        return max(_ANNOTATIONS - size - 4096, 16 * 1024)

    @property
    def key_only(self) -> bool:
        """A person wants to see where it went."""
        return False

    def time_left(self) -> float | None:
        """Nobody kills it."""
        return None

    def report(self, report: Report) -> None:
        """Write the file, whole or not at all, for its owner alone: an output's location is in it as it was written.

        Raises:
            OSError: classified by the phase.
        """
        shown = {"outputs": dict(report.outputs), "message": report.message}
        write_whole(self._report, json.dumps(shown, indent=2, ensure_ascii=False).encode() + b"\n", 0o600)
