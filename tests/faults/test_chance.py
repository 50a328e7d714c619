"""A thousand random plans against the local runner, with real processes (:mod:`tests.faults.batch`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.conftest import CHANCE

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[2]
PLANS = 1000
PART = 125
WORKERS = 2


def batch(first: int, step: int, end: int) -> list[dict]:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.batch", *map(str, (first, step, end))],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"after {done.stdout.splitlines()[-1:]}: {done.stderr}"
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(range(first, end, step)), done.stderr
    return found


def judged(plans: list[dict]) -> None:
    wrong = [f"argoexec run FILE {one['command']}\n    " + "\n    ".join(one["wrong"]) for one in plans if one["wrong"]]
    assert not wrong, f"{len(wrong)} of {len(plans)} plans failed:\n" + "\n".join(wrong[:5])


def test_a_few_random_plans_end_well_or_are_said():
    judged(batch(1, 1, 9))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 1 + PLANS, PART))
def test_a_thousand_random_plans_end_well_or_are_said(pytestconfig: pytest.Config, first: int):
    began = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        batches = list(pool.map(lambda one: batch(one, WORKERS, first + PART), range(first, first + WORKERS)))
    plans = [one for found in batches for one in found]
    failed = sum(1 for one in plans if one["wrong"])
    pytestconfig.stash.setdefault(CHANCE, []).append((len(plans), failed, time.monotonic() - began))
    judged(plans)
