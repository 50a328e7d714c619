"""Peak memory of a process that saves or loads a directory, at 100 MiB and at 4 GiB."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.e2e.test_flat_memory import MIB, fill, moved
from tests.servers.seaweedfs import SeaweedFS

SMALL, LARGE = 128 * MIB, 4096 * MIB


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name, SeaweedFS.started(Path(name) / "weed") as server:
        work = Path(name)
        config = server.location(work / "secrets")
        peaks: dict[str, list[float]] = {"save": [], "load": []}
        for size in (SMALL, LARGE):
            tree = work / f"tree-{size}"
            fill(tree, size)
            for verb, where in (("save", tree), ("load", work / f"back-{size}")):
                peaks[verb].append(moved(verb, where, work / "secrets", config, f"{size}.tgz"))
        print(f"{'peak RSS, MiB':24} {SMALL // MIB:>6} MiB {LARGE // MIB:>6} MiB {'ratio':>8}")
        for verb, (small, large) in peaks.items():
            print(f"{verb:24} {small:10.0f} {large:10.0f} {large / small:8.2f}", flush=True)


if __name__ == "__main__":
    main()
