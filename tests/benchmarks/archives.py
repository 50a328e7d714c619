"""Packing and unpacking by itself, without a store: zip against Info-ZIP, tar against GNU tar and gzip.

Ours read a tree and write one file, or the other way round, as theirs do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lifecycle import transfer
from lifecycle.archive.extract import Limits, unpack
from lifecycle.location import Location
from lifecycle.mirror import Mirrored
from lifecycle.moved import Moved
from lifecycle.source import MirrorSource
from tests.benchmarks.measure import ratio, seconds
from tests.benchmarks.transfer import MIB, mixed, small

NEEDED = ("zip", "unzip", "tar", "gzip")
KEY = Location("raw", {}, "archive")


class File:
    """A store of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, key: str, stream, size_hint: int | None) -> None:
        with self.path.open("wb", buffering=0) as out:
            while chunk := stream.read(MIB):
                out.write(chunk)


class Case:
    """One tree, packed and unpacked by us and by them; each unpacks what it has packed."""

    def __init__(self, work: Path, tree: Path, kind: str) -> None:
        self.work, self.tree, self.kind = work, tree, kind
        self.ours, self.theirs = work / f"ours.{kind}", work / f"theirs.{kind}"

    def pack(self) -> float:
        with MirrorSource(Mirrored(self.tree.parent, self.tree.name), f"/{self.tree.name}") as source:
            store = File(self.ours)
            if self.kind == "zip":
                return seconds(lambda: transfer.save_zip(store, KEY, source, Moved()))
            return seconds(lambda: transfer.save_archive(store, KEY, source, None, Moved()))

    def unpack(self) -> float:
        dest = self.work / "unpacked"

        def work() -> None:
            with self.ours.open("rb", buffering=0) as stream:
                unpack(stream, dest, self.kind, Limits())

        taken = seconds(work)
        shutil.rmtree(dest)
        return taken

    def their_pack(self) -> float:
        self.theirs.unlink(missing_ok=True)
        where, name = self.tree.parent, self.tree.name
        if self.kind == "zip":
            return self._run(f"cd '{where}' && zip -q -6 -y -r '{self.theirs}' '{name}'")
        return self._run(f"tar c -C '{where}' '{name}' | gzip -6 > '{self.theirs}'")

    def their_unpack(self) -> float:
        dest = self.work / "unpacked"
        dest.mkdir()
        command = f"unzip -q '{self.theirs}' -d '{dest}'"
        taken = self._run(command if self.kind == "zip" else f"tar xzf '{self.theirs}' -C '{dest}'")
        shutil.rmtree(dest)
        return taken

    def _run(self, command: str) -> float:
        return seconds(lambda: subprocess.run(["bash", "-c", command], check=True))


def main(size: int = 256 * MIB, count: int = 5000, runs: int = 3) -> None:
    """Print the table; ``size`` bytes of mixed files, ``count`` small ones."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        print(f"archives: left out, there is no {' and no '.join(missing)}")
        return
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        trees = {f"{size // MIB} MiB mixed": work / "mixed", f"{count} small files": work / "small"}
        for tree in trees.values():
            tree.mkdir()
        mixed(trees[f"{size // MIB} MiB mixed"], size)
        small(trees[f"{count} small files"], count)
        print(f"{'archives':28} {'ours s':>8} {'theirs s':>8} {'ours / theirs':>14} {'size':>6}")
        for kind in ("tar", "zip"):
            for title, tree in trees.items():
                case = Case(work, tree, kind)
                case.pack(), case.their_pack()
                weight = os.stat(case.ours).st_size / os.stat(case.theirs).st_size
                for verb, ours, theirs in (
                    ("pack", case.pack, case.their_pack), ("unpack", case.unpack, case.their_unpack),
                ):  # fmt: skip
                    a, b, quotient = ratio(ours, theirs, runs)
                    print(
                        f"{kind} {verb + ' ' + title:24} {a:8.2f} {b:8.2f} {quotient:14.2f} {weight:6.2f}", flush=True
                    )


if __name__ == "__main__":
    main()
