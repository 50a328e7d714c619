"""Random plans against the local runner, with real processes: ``python -m tests.faults.batch FIRST STEP END``.

One line of JSON for each seed: what did not hold, and the command that repeats it. Every so many runs are processes of
their own that are killed in the middle. Whatever such a run leaves becomes a child of this process, so that nothing of
it can be missed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lifecycle.clock import SystemClock
from lifecycle.commands.in_pod import settings
from lifecycle.faults.chance import randomly
from lifecycle.faults.injection import Faults
from lifecycle.faults.plan import ANY, Fault, Plan
from lifecycle.local.prepare import Request, prepare
from lifecycle.local.runner import LocalRun
from runtimes import kernel
from tests.faults.invariants import QUIET

WORKFLOW = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: wf-}
spec:
  entrypoint: t
  templates:
  - name: t
    activeDeadlineSeconds: 3
    inputs: {artifacts: [{name: text, path: /tmp/text}]}
    script:
      image: i
      command: [sh]
      source: read line < /tmp/text; echo "$line"; echo "$line" > /tmp/one; echo "$line" > /tmp/p
    sidecars: [{name: side, image: i, command: [sleep, "60"]}]
    outputs:
      parameters: [{name: p, valueFrom: {path: /tmp/p}}]
      artifacts:
      - {name: one, path: /tmp/one}
      - {name: two, path: /tmp/one, archive: {none: {}}}
"""

ENVIRON = {
    "EXECUTOR_RETRY_BACKOFF_DURATION": "2ms",
    "EXECUTOR_RETRY_BACKOFF_FACTOR": "1",
    # These two have no cap of their own: a runtime that never comes back is waited for until the deadline.
    "ARGOEXEC_RETRY_WAITING_STEPS": "4",
    "ARGOEXEC_RETRY_ANNOTATING_STEPS": "4",
    "ARGO_TERMINATION_GRACE_PERIOD_SECONDS": "1",
    "TERM": "dumb",
}

KILLED_EVERY = 20
KILLS = (
    "driver.open",
    "sandbox.start",
    "runtime.find_main",
    "runtime.wait",
    "runtime.signal",
    "driver.save",
    "control.report",
)
TOO_LONG = 40
"""Seconds after which a run is given up."""

MEMORY = Path("/dev/shm")
"""Where the work dirs are, if there is such a place: an fsync costs nothing there."""

_CHILD_SUBREAPER = 36


def main(first: int, step: int, end: int) -> int:
    """Run the seeds from ``first`` to ``end``, each ``step``-th of them."""
    kernel.prctl(_CHILD_SUBREAPER, 1)
    logging.getLogger("argoexec").setLevel(logging.CRITICAL)
    os.environ.update(ENVIRON)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        here = Path(name)
        (here / "wf.yaml").write_text(WORKFLOW)
        (here / "text").write_text("hello\n")
        (here / "temporary").mkdir()
        os.chdir(here)
        os.environ["TMPDIR"] = tempfile.tempdir = str(here / "temporary")
        known = _left(_run(Plan(), here))
        for seed in range(first, end, step):
            plan = Plan(randomly(seed))
            if seed % KILLED_EVERY == 0:
                port, _, call = KILLS[seed // KILLED_EVERY % len(KILLS)].partition(".")
                plan = Plan((*plan.faults, Fault(ANY, port, call, "kill")))
            began = time.monotonic()
            signal.alarm(TOO_LONG)
            wrong = _killed(plan, here) if seed % KILLED_EVERY == 0 else _judge(plan, here, known)
            signal.alarm(0)
            seconds = round(time.monotonic() - began, 2)
            print(json.dumps({"seed": seed, "wrong": wrong, "command": plan.command(), "seconds": seconds}), flush=True)
    return 0


def _run(plan: Plan, here: Path) -> tuple[Path, Any, Faults]:
    clock = SystemClock()
    faults = Faults(plan, clock)
    prepared = prepare(
        Request(file="wf.yaml", artifacts=[f"text={here}/text"]), os.environ, clock.now(), random.SystemRandom()
    )
    run = LocalRun(
        prepared, clock=clock, environ=os.environ, settings=settings(os.environ), watcher=None, faults=faults
    )
    return prepared.workdir, run.run(), faults


def _judge(plan: Plan, here: Path, known: set[str]) -> list[str]:
    ran = workdir, result, faults = _run(plan, here)
    wrong = []
    lines = [json.loads(line) for line in (workdir / "journal.jsonl").read_text().splitlines()]
    if lines[-1]["kind"] != "end":
        wrong.append(f"the journal ends with {lines[-1]}")
    quiet = {fault.kind for fault in plan.faults if faults.happened[fault]} & QUIET
    told = result.message + json.dumps([line for line in lines if line["kind"] == "failure"])
    if result.exit_status and "injected" not in told and not (quiet and result.message):
        wrong.append(f"exit status {result.exit_status} with {result.message!r}")
    if result.exit_status not in {0, 1, 3} or "Traceback" in told:
        wrong.append(f"exit status {result.exit_status}: {told}")
    for artifact in result.outputs.get("artifacts", []):
        path = Path(artifact["fsspec"]["url"].removeprefix("file://"))
        if not path.is_file():
            wrong.append(f"{path} is reported and not stored")
    wrong += [f"{path} is left" for path in sorted(_left(ran) - known)]
    wrong += [f"the process {pid} is left" for pid in _children()]
    wrong += [f"{path} is left" for path in (here / "temporary").iterdir()]
    shutil.rmtree(workdir)
    return wrong


def _killed(plan: Plan, here: Path) -> list[str]:
    argv = [sys.executable, "-m", "lifecycle.cli", "run", "wf.yaml", "-a", f"text={here}/text", "--workdir", "killed"]
    flags = [flag for fault in plan.faults for flag in ("--fault", str(fault))]
    done = subprocess.run([*argv, *flags], capture_output=True, text=True, check=False)
    wrong = [] if done.returncode in {-signal.SIGKILL, 0, 1, 3} else [f"exit status {done.returncode}: {done.stderr}"]
    # What was its child ends with it: the kernel says when, and the alarm if it never does.
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    shutil.rmtree(here / "killed")
    for one in (here / "temporary").iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    return wrong


def _left(ran: tuple[Path, Any, Faults]) -> set[str]:
    """Every file of a work dir, whatever the pod was called."""
    workdir, result, _ = ran
    pod = result.prepared.identity.pod
    return {str(one.relative_to(workdir)).replace(pod, "POD") for one in workdir.rglob("*") if one.is_file()}


def _children() -> list[int]:
    """Processes that have not ended, or that nobody has waited for."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)) is not None:
            found.append(pid.si_pid)
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        found += [int(pid) for pid in text.split()]
    return found


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
