"""A 5 GiB directory to S3 and back, in a process whose address space could not hold a fifth of it."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import seaweedfs

MIB = 1024 * 1024
ADDRESS_SPACE = 1024 * MIB

CHILD = """
import json, resource, sys
from pathlib import Path
verb, tree, secrets, config, key, space = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (space, space))
from lifecycle import transfer
from lifecycle.archive.extract import Limits
from lifecycle.mirror import Mirrored
from lifecycle.location import Location
from lifecycle.registry import drivers
from lifecycle.source import MirrorSource
location, tree = Location("s3", config, key), Path(tree)
driver, moved = drivers(Path(secrets))(location), transfer.Moved()
if verb == "save":
    with MirrorSource(Mirrored(tree.parent, tree.name), "/" + tree.name) as source:
        transfer.save_archive(driver, location, source, None, moved)
else:
    transfer.load(driver, location, tree, "tar", limits=Limits(), width=8, moved=moved)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps(int(peak.split()[1]) / 1024))
"""


def moved(verb: str, tree: Path, secrets: Path, config: dict[str, object], key: str) -> float:
    """Peak resident MiB of a process that saves or loads a tree."""
    argument = json.dumps([verb, str(tree), str(secrets), config, key, ADDRESS_SPACE])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, argument], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return float(json.loads(done.stdout))


def fill(tree: Path, size: int) -> None:
    """Files of 128 MiB that do not compress; each is other than the last."""
    tree.mkdir()
    block = os.urandom(16 * MIB)
    for number in range(size // (128 * MIB)):
        with (tree / f"f{number:03}").open("wb") as file:
            for part in range(8):
                file.write(number.to_bytes(4, "big") + part.to_bytes(4, "big") + block[8:])


@pytest.mark.slow
@pytest.mark.server("seaweedfs")
def test_five_gib_take_no_more_memory_than_half_a_gib(tmp_path):
    seaweedfs.binary()
    secrets = tmp_path / "secrets"
    with seaweedfs.SeaweedFS.started(tmp_path / "weed") as server:
        config = server.location(secrets)
        peaks: dict[str, list[float]] = {"save": [], "load": []}
        for size in (512 * MIB, 5 * 1024 * MIB):
            tree, back = tmp_path / f"tree-{size}", tmp_path / f"back-{size}"
            fill(tree, size)
            peaks["save"].append(moved("save", tree, secrets, config, f"{size}.tgz"))
            peaks["load"].append(moved("load", back, secrets, config, f"{size}.tgz"))
            names = [path.name for path in tree.iterdir()]
            assert filecmp.cmpfiles(tree, back, names, shallow=False)[0] == names
            for directory in (tree, back):
                shutil.rmtree(directory)  # pytest keeps the directories of three runs
    shutil.rmtree(tmp_path / "weed")

    print("peak MiB at 512 MiB and 5 GiB:", peaks)
    for small, large in peaks.values():
        assert large <= small * 1.10
        assert large < 128
