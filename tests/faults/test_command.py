"""`argoexec run --fault`: what comes of a plan, and that it prints what repeats it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sandbox

WORKFLOW = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: wf-}
spec:
  entrypoint: t
  templates:
  - name: t
    container: {image: i, command: [sh, -c, echo hi > /tmp/o]}
    outputs: {artifacts: [{name: o, path: /tmp/o}]}
"""


def run(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    (directory / "wf.yaml").write_text(WORKFLOW)
    return subprocess.run(
        [sys.executable, "-m", "lifecycle.cli", "run", *argv],
        cwd=directory, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_what_has_happened_is_in_the_notes_with_the_command_that_repeats_it(tmp_path: Path):
    (tmp_path / "plan.yaml").write_text("faults: ['saving:driver.save(o):forbidden', 'loading:driver.open:hang']")

    done = run(tmp_path, "wf.yaml", "--fault", "plan.yaml", "--fault", "random:3:1", "-o", "json")

    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["message"].startswith("saving: artifact o: injected: saving:driver.save(o):forbidden")
    once, never, _, command = found["notes"]
    assert once == "injected 1×: saving:driver.save(o):forbidden"
    assert never == "injected 0×: loading:driver.open:hang"
    again = run(tmp_path, *shlex.split(command.partition("argoexec run ")[2]), "-o", "json")
    assert json.loads(again.stdout)["message"] == found["message"]
    assert json.loads(again.stdout)["notes"][-1] == command


def test_a_person_is_told_at_the_end(tmp_path: Path):
    done = run(tmp_path, "wf.yaml", "--fault", "saving:driver.save(o):delay=0.01")

    assert done.returncode == 0
    *_, happened, command = done.stdout.splitlines()
    assert happened == "injected 1×: saving:driver.save(o):delay=0.01"
    assert command.endswith("argoexec run wf.yaml --fault 'saving:driver.save(o):delay=0.01'")


def test_a_kill_is_the_end_of_the_process(tmp_path: Path):
    assert run(tmp_path, "wf.yaml", "--fault", "saving:driver.save(o):kill").returncode == -9
