"""Two thousand objects of 4 KiB, `archive: none` both ways, against a boto3 loop that moves one after another."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from lifecycle import transfer
from lifecycle.archive.extract import Limits
from lifecycle.location import Location
from lifecycle.mirror import Mirrored
from lifecycle.registry import drivers
from lifecycle.source import MirrorSource
from tests.benchmarks.measure import MEMORY, ratio, seconds
from tests.servers.seaweedfs import SeaweedFS

COUNT, SIZE, WIDTH = 2_000, 4096, 8


class Case:
    """The tree, moved by us and by the loop."""

    def __init__(self, server: SeaweedFS, work: Path) -> None:
        self.server, self.work, self.tree = server, work, work / "tree"
        rng = random.Random(3)
        for number in range(COUNT):
            path = self.tree / f"d{number % 20}" / f"f{number:05}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(SIZE))
        self.config = server.location(work / "secrets")
        self.make = drivers(work / "secrets")
        self.client = server.client()

    def save(self) -> float:
        location = Location("s3", self.config, "bench/ours")
        with MirrorSource(Mirrored(self.work, "tree"), "/tree") as source:
            return seconds(
                lambda: transfer.save_files(self.make(location), location, source, width=WIDTH, moved=transfer.Moved())
            )

    def load(self) -> float:
        location = Location("s3", self.config, "bench/ours")
        dest = self.work / "back"
        taken = seconds(
            lambda: transfer.load(
                self.make(location), location, dest, "none", limits=Limits(), width=WIDTH, moved=transfer.Moved()
            )
        )
        shutil.rmtree(dest)
        return taken

    def loop_save(self) -> float:
        def work() -> None:
            for path in sorted(self.tree.rglob("*")):
                if path.is_file():
                    key = f"bench/loop/{path.relative_to(self.tree)}"
                    self.client.put_object(Bucket=self.server.bucket, Key=key, Body=path.read_bytes())

        return seconds(work)

    def loop_load(self) -> float:
        dest = self.work / "loop"

        def work() -> None:
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.server.bucket, Prefix="bench/loop/"
            )
            for page in pages:
                for entry in page["Contents"]:
                    path = dest / entry["Key"].removeprefix("bench/loop/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    answer = self.client.get_object(Bucket=self.server.bucket, Key=entry["Key"])
                    path.write_bytes(answer["Body"].read())

        taken = seconds(work)
        shutil.rmtree(dest)
        return taken


def main(runs: int = 3) -> None:
    """Print the table."""
    if "ARGOEXEC_WEED" not in os.environ:
        sys.exit("this benchmark needs SeaweedFS: name its `weed` in ARGOEXEC_WEED (make test-real installs one)")
    with tempfile.TemporaryDirectory(dir=MEMORY) as name, SeaweedFS.started(Path(name) / "weed") as server:
        case = Case(server, Path(name))
        print(f"{f'{COUNT} objects of 4 KiB':24} {'ours s':>8} {'loop s':>8} {'loop / ours':>12}")
        for verb, ours, theirs in (("save", case.save, case.loop_save), ("load", case.load, case.loop_load)):
            ours()  # the first writes of a server allot volumes
            a, b, quotient = ratio(ours, theirs, runs)
            print(f"{verb:24} {a:8.2f} {b:8.2f} {1 / quotient:12.1f}", flush=True)


if __name__ == "__main__":
    main()
