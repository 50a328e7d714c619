"""Eight artifacts at once against one after another, from and to a store that is 50 ms away."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lifecycle.clock import SystemClock
from lifecycle.context import Pod, Settings
from lifecycle.engine import Engine
from lifecycle.files import PodFiles
from lifecycle.journal import MemoryJournal
from lifecycle.pod import INIT_TABLE, WAIT_TABLE
from lifecycle.registry import drivers
from lifecycle.table import Table, Verdict
from lifecycle.template import Template
from tests.benchmarks.measure import ratio, seconds
from tests.fakes import FakeContainer, FakeControl, FakeRuntime
from tests.servers.latency import far_away
from tests.servers.seaweedfs import SeaweedFS

COUNT, SIZE, AWAY = 8, 256 * 1024, 0.05


def template(config: dict[str, object], side: str, path: str) -> dict[str, object]:
    """Eight artifacts, each an object of its own."""
    artifacts = [
        {"name": f"a{n}", "path": path.format(n), "archive": {"none": {}}, "s3": config | {"key": f"bench/a{n}"}}
        for n in range(COUNT)
    ]
    container = {"image": "i", "volumeMounts": [{"name": "v", "mountPath": "/vol"}]}
    return {"name": "t", "container": container, side: {"artifacts": artifacts}}


def run(table: Table, raw: dict[str, object], root: Path, secrets: Path, width: int) -> float:
    """Seconds of the whole lifecycle: the phase, and what is around it."""
    clock = SystemClock()
    pod = Pod(
        name="p",
        template=Template(raw),
        files=PodFiles(root),
        control=FakeControl(clock, raw),
        drivers=drivers(secrets),
        clock=clock,
        journal=MemoryJournal(clock),
        runtime=lambda: FakeRuntime(clock, {"main": FakeContainer(clock, runs=0.0)}),
        settings=Settings(parallelism=width),
    )

    def whole() -> None:
        if Engine(table, pod).run() is not Verdict.SUCCEEDED:
            raise RuntimeError(pod.record.message())

    return seconds(whole)


def main(runs: int = 5) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name, SeaweedFS.started(Path(name) / "weed") as server:
        work = Path(name)
        config = server.location(work / "secrets")
        with far_away(server.endpoint, AWAY) as address:
            config |= {"endpoint": address}
            for n in range(COUNT):
                path = work / f"save/mainctrfs/vol/a{n}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(os.urandom(SIZE))
            print(f"{'8 artifacts, store 50 ms away':30} {'at once s':>10} {'in turn s':>10} {'in turn / at once':>18}")
            numbers = iter(range(10_000))
            for verb, table, raw in (
                ("save", WAIT_TABLE, template(config, "outputs", "/vol/a{}")),
                ("load", INIT_TABLE, template(config, "inputs", "/in/a{}")),
            ):

                def once(width: int, table: Table = table, raw: dict[str, object] = raw, verb: str = verb) -> float:
                    root = work / verb if verb == "save" else work / f"{verb}{next(numbers)}"
                    return run(table, raw, root, work / "secrets", width)

                once(COUNT)  # the first client of a process costs an import
                together, in_turn, quotient = ratio(lambda: once(COUNT), lambda: once(1), runs)
                print(f"{verb:30} {together:10.2f} {in_turn:10.2f} {1 / quotient:18.1f}", flush=True)


if __name__ == "__main__":
    main()
