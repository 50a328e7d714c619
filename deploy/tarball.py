"""Trees as a tar, and a tar as an image: the same bytes from the same files, whoever writes them and when."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",  # an interpreter need not first find out that C means UTF-8; git and ssh speak English
}
COMMAND: Final = ("argoexec",)
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def pack(trees: Sequence[Path], target: Path) -> None:
    """All trees as one, each over those before: sorted, owned by root, of 1970."""
    entries: dict[str, Path] = {}
    for tree in trees:
        for directory, names, files in os.walk(tree):
            for name in (*names, *files):
                path = f"{directory}/{name}"
                entries[os.path.relpath(path, tree)] = tree / os.path.relpath(path, tree)
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(entries):
            _add(archive, name, entries[name])


def image(rootfs: Path, name: str, target: Path, *, user: str = "") -> None:
    """An image of one layer, as `docker load` and `ctr image import` take it.

    Args:
        rootfs: a tar.
        name: with a tag.
        target: the file to write.
        user: ``uid:gid``; empty is root.
    """
    with rootfs.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    environment = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
    config = json.dumps({
        "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": environment, "Cmd": list(COMMAND), "User": user, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "deploy/rootfs.py"}],
    }).encode()  # fmt: skip
    identity = hashlib.sha256(config).hexdigest()
    layer = f"{digest}/layer.tar"
    manifest = json.dumps([{"Config": f"{identity}.json", "RepoTags": [name], "Layers": [layer]}]).encode()
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for path, content in (("manifest.json", manifest), (f"{identity}.json", config)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo(layer)
        entry.size = rootfs.stat().st_size
        with rootfs.open("rb") as file:
            archive.addfile(entry, file)


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    status = path.lstat()
    entry = tarfile.TarInfo(name)
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
        archive.addfile(entry)
    elif stat.S_ISDIR(status.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if status.st_mode & stat.S_ISVTX else 0o755
        archive.addfile(entry)
    else:
        entry.size = status.st_size
        entry.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644  # whatever the umask was
        with path.open("rb") as file:
            archive.addfile(entry, file)
