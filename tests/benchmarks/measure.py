"""What the benchmarks share: a process measured from outside, and medians of interleaved runs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Making a file on a disk takes ten times as long right after a tree was removed there, whoever makes it.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where many small files are timed."""


@dataclass(frozen=True)
class Cost:
    """What one process used, by the kernel's own account of it when it was reaped."""

    cpu: float
    rss: float
    status: int


# The kernel counts what a process was before its exec, which is the size of whoever forked it: so a small one forks.
_SMALL = """
import json, resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, status]))
"""


def process(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end. CPU in seconds, peak resident size in MiB."""
    done = subprocess.run([sys.executable, "-ISc", _SMALL, *argv], env=env, capture_output=True, text=True, check=True)
    return Cost(*json.loads(done.stdout))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(ours: Callable[[], float], theirs: Callable[[], float], runs: int = 3) -> tuple[float, float, float]:
    """Medians of both, taken in turn so that a machine whose speed drifts favours neither, and ours / theirs."""
    pairs = [(ours(), theirs()) for _ in range(runs)]
    a, b = statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)
    return a, b, statistics.median(p[0] / p[1] for p in pairs)
