"""Saving and loading through a real S3 server, as ratios to `tar c | gzip -6` and one plain upload of the same bytes.

The plain transfer is one presigned PUT or GET over http.client: no AWS library on the path. Needs ARGOEXEC_WEED.
"""

from __future__ import annotations

import http.client
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from lifecycle import transfer
from lifecycle.archive.extract import Limits
from lifecycle.location import Location
from lifecycle.mirror import Mirrored
from lifecycle.registry import drivers
from lifecycle.source import MirrorSource
from tests.benchmarks.measure import ratio, seconds
from tests.servers.seaweedfs import SeaweedFS

MIB = 1024 * 1024


def mixed(root: Path, size: int) -> None:
    """Files of text-like, binary-like and random bytes, 64 KiB to 16 MiB, ``size`` bytes together."""
    rng = random.Random(1)
    words = [rng.randbytes(rng.randint(2, 9)).hex().encode() for _ in range(4000)]
    number = 0
    while size > 0:
        count = min(size, rng.choice([64 * 1024, MIB, 4 * MIB, 16 * MIB]))
        kind = number % 4
        if kind == 3:
            data = rng.randbytes(count)
        else:
            block = b" ".join(rng.choices(words, k=30_000))
            data = (
                (block * (count // len(block) + 1))[:count]
                if kind
                else b"".join(block[i : i + 400] + rng.randbytes(100) for i in range(0, count, 500))[:count]
            )
        path = root / f"d{number % 7}" / f"f{number:05}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        size -= count
        number += 1


def small(root: Path, count: int) -> None:
    """Many files of 4 KiB."""
    rng = random.Random(2)
    for number in range(count):
        path = root / f"d{number % 50}" / f"f{number:05}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rng.randbytes(2048) + b"x" * 2048)


class Case:
    """One tree, saved and loaded by us and by the pipe."""

    def __init__(self, server: SeaweedFS, work: Path, tree: Path, name: str) -> None:
        self.server, self.work, self.tree, self.name = server, work, tree, name
        secrets = work / "secrets"
        self.location = Location("s3", server.location(secrets), f"bench/{name}.tgz")
        self.make = drivers(secrets)

    def save(self) -> float:
        with MirrorSource(Mirrored(self.tree.parent, self.tree.name), f"/{self.tree.name}") as source:
            return seconds(
                lambda: transfer.save_archive(self.make(self.location), self.location, source, None, transfer.Moved())
            )

    def load(self) -> float:
        dest = self.work / "ours"
        taken = seconds(
            lambda: transfer.load(
                self.make(self.location), self.location, dest, "tar", limits=Limits(), width=8, moved=transfer.Moved()
            )
        )
        shutil.rmtree(dest)
        return taken

    def pipe_save(self) -> float:
        def work() -> None:
            archive = self.work / "theirs.tgz"
            with archive.open("wb") as out:
                tar = subprocess.Popen(["tar", "c", "-C", self.tree.parent, self.tree.name], stdout=subprocess.PIPE)
                subprocess.run(["gzip", "-6"], stdin=tar.stdout, stdout=out, check=True)
                tar.stdout.close()
                tar.wait()
            self._request("PUT", archive)

        return seconds(work)

    def pipe_load(self) -> float:
        target = self.work / "theirs"
        target.mkdir()

        def work() -> None:
            archive = self.work / "down.tgz"
            self._request("GET", archive)
            subprocess.run(["tar", "xzf", archive, "-C", target], check=True)

        taken = seconds(work)
        shutil.rmtree(target)
        return taken

    def _request(self, method: str, path: Path) -> None:
        url = urlsplit(self.server.presigned(method, f"bench/{self.name}-plain.tgz"))
        connection = http.client.HTTPConnection(url.netloc, timeout=600)
        if method == "PUT":
            with path.open("rb") as body:
                connection.request("PUT", f"{url.path}?{url.query}", body, {"Content-Length": str(path.stat().st_size)})
                answer = connection.getresponse()
                answer.read()
        else:
            connection.request("GET", f"{url.path}?{url.query}")
            answer = connection.getresponse()
            with path.open("wb") as out:
                shutil.copyfileobj(answer, out, MIB)
        if answer.status >= 300:
            raise RuntimeError(f"{method} answered {answer.status}")
        connection.close()


def main(size: int = 1024 * MIB, count: int = 5000, runs: int = 3) -> None:
    """Print the table; ``size`` bytes of mixed files, ``count`` small ones."""
    if "ARGOEXEC_WEED" not in os.environ:
        sys.exit(
            "the transfer benchmark needs SeaweedFS: name its `weed` in ARGOEXEC_WEED (make test-real installs one)"
        )
    with tempfile.TemporaryDirectory() as name, SeaweedFS.started(Path(name) / "weed") as server:
        work = Path(name)
        trees = {f"{size // MIB} MiB mixed": work / "mixed", f"{count} small files": work / "small"}
        for tree in trees.values():
            tree.mkdir()
        mixed(trees[f"{size // MIB} MiB mixed"], size)
        small(trees[f"{count} small files"], count)
        print(f"{'transfer':24} {'ours s':>8} {'pipe s':>8} {'ours / pipe':>12}")
        for title, tree in trees.items():
            case = Case(server, work, tree, tree.name)
            for verb, ours, theirs in (("save", case.save, case.pipe_save), ("load", case.load, case.pipe_load)):
                a, b, quotient = ratio(ours, theirs, runs)
                print(f"{verb + ' ' + title:24} {a:8.2f} {b:8.2f} {quotient:12.2f}", flush=True)


if __name__ == "__main__":
    main()
