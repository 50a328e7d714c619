"""A directory of the node as a pod's volume: main waits there for the test's word, and `wait` keeps its journal there.

So a test can follow both, and let main go on, while there is no API server and when `wait` is dead.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtimes.inotify import Watch
from tests.pods.case import MOUNT, Case, Json, shell
from tests.pods.play import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READY = "ready"
"""What main says first."""
_JOURNAL = "wait.jsonl"


@dataclass(frozen=True, slots=True)
class Room:
    """One pod's."""

    directory: Path

    @classmethod
    def made(cls, directory: Path) -> Room:
        """With what main waits for."""
        directory.mkdir(parents=True)
        os.mkfifo(directory / "go")
        return cls(directory)

    def template(self, case: Case, script: str, **more: Any) -> Json:
        """A template whose main runs the script once it may; its volume is ``/work``."""
        return {
            "name": "t",
            "container": shell(f"echo {READY}; read line < /work/go; {script}", volumeMounts=[MOUNT]),
            "volumes": [{"name": MOUNT["name"], "hostPath": {"path": str(self.directory)}}],
            "archiveLocation": {"s3": case.home},
        } | more

    @property
    def environment(self) -> dict[str, str]:
        """Of the executor."""
        return {"ARGOEXEC_JOURNAL": f"/mainctrfs/work/{_JOURNAL}"}

    def let_go(self) -> None:
        """Let main run its script."""
        writing = threading.Thread(target=(self.directory / "go").write_text, args=["go\n"], daemon=True)
        writing.start()
        writing.join(PATIENCE)
        assert not writing.is_alive(), "main does not wait for anything"

    @property
    def journal(self) -> list[Json]:
        """The whole lines, so far."""
        try:
            text = (self.directory / _JOURNAL).read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n") and line != "\n"]

    @property
    def lives(self) -> list[list[Json]]:
        """The journal, by the processes that have written it."""
        lines = self.journal
        begins = [number for number, line in enumerate(lines) if line["kind"] == "pod"]
        return [lines[begin:end] for begin, end in zip(begins, [*begins[1:], None], strict=True)]

    def await_line(self, test: Callable[[Json], object], times: int = 1) -> None:
        """Block until so many lines of the journal are such.

        Raises:
            AssertionError: they have not come in time.
        """
        until = time.monotonic() + PATIENCE
        with Watch() as watch:
            watch.add(self.directory)
            poller = select.poll()
            poller.register(watch, select.POLLIN)
            file = self.directory / _JOURNAL
            while True:
                if file.exists():
                    watch.add_file(file)  # before it is read
                if sum(bool(test(line)) for line in self.journal) >= times:
                    return
                left = until - time.monotonic()
                assert left > 0, f"the journal is still {self.journal}"
                poller.poll(left * 1000)
                watch.names()


def entered(phase: str) -> Callable[[Json], object]:
    """Whether a line is the beginning of a phase."""
    return lambda line: (line["kind"], line.get("phase")) == ("enter", phase)


def main_runs(line: Json) -> object:
    """Whether a line says that `wait` has found main."""
    return line["kind"] == "item" and "main runs" in line["item"].get("note", "")
