"""CPU and peak memory of the commands a pod runs, as ratios to a bare interpreter."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from lifecycle.files import LocalFiles
from lifecycle.ports import ContainerSpec
from lifecycle.registry import resolve
from runtimes.downward import write_annotations
from tests.benchmarks.measure import process

RUNS = 7


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        template = {
            "name": "t",
            "container": {"image": "i", "command": ["true"]},
            "inputs": {"artifacts": [{"name": "a", "path": "/a", "raw": {"data": "x"}}]},
        }
        pod = root / "pod"
        pod.mkdir()
        LocalFiles(pod).write()
        write_annotations(root / "annotations", {"workflows.argoproj.io/template": json.dumps(template)})
        env = os.environ | {
            "ARGO_POD_NAME": "p",
            "ARGO_CONTAINER_RUNTIME_EXECUTOR": "local",
            "ARGOEXEC_LOCAL_POD": str(pod),
            "ARGOEXEC_JOURNAL": str(root / "journal"),
            "ARGOEXEC_TERMINATION_LOG": str(root / "termination"),
        }
        sandbox = resolve("sandbox", "local")(pod, "p")
        spec = ContainerSpec("main", ("true",), {})
        sandbox.start(spec)
        argoexec = [sys.executable, "-m", "lifecycle.cli"]
        flags = ["--pod-annotations", str(root / "annotations")]
        commands = {
            "bare interpreter": [sys.executable, "-c", "pass"],
            "version": [*argoexec, "version"],
            "init, one raw artifact": [*argoexec, "init", *flags],
            "wait, nothing to save": [*argoexec, "wait", *flags],
        }
        try:
            _table(commands, env)
        finally:
            sandbox.close()


def _table(commands: dict[str, list[str]], env: dict[str, str]) -> None:
    costs = {name: [process(argv, env) for _ in range(RUNS)] for name, argv in commands.items()}
    cpu = {name: statistics.median(c.cpu for c in seen) for name, seen in costs.items()}
    rss = {name: statistics.median(c.rss for c in seen) for name, seen in costs.items()}
    base = "bare interpreter"
    print(f"{'start-up':26} {'cpu ms':>8} {'× bare':>7} {'RSS MiB':>8} {'× bare':>7}  status")
    for name, seen in costs.items():
        print(
            f"{name:26} {cpu[name] * 1000:8.0f} {cpu[name] / cpu[base]:7.1f}"
            f" {rss[name]:8.1f} {rss[name] / rss[base]:7.1f}  {seen[-1].status}"
        )


if __name__ == "__main__":
    main()
