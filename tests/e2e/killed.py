"""An `argoexec run` that is killed at a line of its journal, and what it comes to when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Program

KILLER = """
import os, signal, sys
from lifecycle import cli
from lifecycle.journal import FileJournal

class Lines:
    count, append = 0, FileJournal._append

def append(self, fd, data):
    Lines.append(self, fd, data)
    Lines.count += 1
    if Lines.count == int(os.environ["KILLED_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)

FileJournal._append = append
sys.exit(cli.main())
"""
"""An `argoexec` whose journal kills it when a line is on the disk: no other place is as exact."""


def resume(
    start: Callable[..., Program], directory: Path, *argv: object, status: int = 0, **environ: str
) -> dict[str, Any]:
    program = start(directory.parent, "run", "--resume", directory, "-o", "json", *argv, **environ)
    found: dict[str, Any] = program.end(status).result()
    return found


def outputs(result: dict[str, Any]) -> Any:
    """Without the store's paths, which have the run's names in them."""
    found = json.loads(json.dumps(result["outputs"]))
    for one in found.get("artifacts", []):
        one["fsspec"] = Path(one["fsspec"]["url"]).name
    return found


def phases(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["phase"], one["outcome"]) for one in result["lifecycle"]]


def lines_of(directory: Path) -> list[dict[str, Any]]:
    return journal.read(directory / "journal.jsonl")
