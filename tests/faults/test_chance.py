"""A thousand random plans against the local runner, with real processes (:mod:`tests.faults.batch`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

ROOT = Path(__file__).parents[2]
PLANS = 1000
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
def test_a_thousand_random_plans_end_well_or_are_said():
    with ThreadPoolExecutor(WORKERS) as pool:
        batches = list(pool.map(lambda first: batch(first, WORKERS, 1 + PLANS), range(1, 1 + WORKERS)))
    plans = [one for found in batches for one in found]
    print(f"\n{len(plans)} plans, {sum(one['seconds'] for one in plans):.0f} s of {WORKERS} workers")
    judged(plans)
