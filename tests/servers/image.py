"""The executor's image as a cluster would get it, made by :mod:`deploy.rootfs` from what is in the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import distributions, libraries, rootfs, tarball
from tests.servers.process import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.dockerd import Dockerd

EXECUTOR = "docker.io/library/argoexec:test"
"""Its name in every runtime, in full: containerd knows no other; docker takes the short one, too."""

SHORT = "argoexec:test"

_KEPT = 7 * 24 * 3600
"""Seconds that a base is kept after its last use: each has 300 MiB."""


def build(tar: Path) -> None:
    """Write the root file system. All but argoexec is kept from run to run, outside the tree: it takes 20 s."""
    needs("the executor's image", "git", "ssh", "busybox", "ldd")
    with tempfile.TemporaryDirectory(prefix="argoexec-own-") as own:
        rootfs.build_own(Path(own))
        tarball.pack([base(), Path(own)], tar)


def base() -> Path:
    """The part below argoexec, from the cache; built if what it is made from has changed."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    home = cache / f"rootfs-{_digest()}"
    with (cache / "rootfs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may be in progress; it ends with the process
        if not home.exists():
            half = Path(tempfile.mkdtemp(prefix="rootfs-half-", dir=cache))
            try:
                rootfs.build_base(half, rootfs.STORES)
                half.rename(home)
            except BaseException:
                shutil.rmtree(half)
                raise
        os.utime(home)
        for other in cache.glob("rootfs-*"):
            if other.is_dir() and other.stat().st_mtime < time.time() - _KEPT:
                shutil.rmtree(other)
    return home


def load_docker(dockerd: Dockerd, archive: Path) -> None:
    """Into a dockerd."""
    dockerd.docker("load", "--quiet", "--input", str(archive))


def load_containerd(socket: Path, archive: Path, namespace: str = "k8s.io") -> None:
    """Into a containerd, where the kubelet looks."""
    argv = ["ctr", "--address", socket, "--namespace", namespace, "images", "import", archive]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ctr images import: {done.stderr}")


@pytest.fixture(scope="session")
def executor_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root file system as a tar, which `docker import` takes."""
    tar = tmp_path_factory.mktemp("image") / "rootfs.tar"
    build(tar)
    yield tar
    tar.unlink()  # pytest keeps the directories of three runs, and this has hundreds of MiB


@pytest.fixture(scope="session")
def executor_archive(executor_rootfs: Path) -> Iterator[Path]:
    """The image :data:`EXECUTOR` as a file, for :func:`load_docker` and :func:`load_containerd`."""
    archive = executor_rootfs.with_name("image.tar")
    tarball.image(executor_rootfs, EXECUTOR, archive)
    yield archive
    archive.unlink()


@pytest.fixture(scope="session")
def executor_image(dockerd: Dockerd, executor_archive: Path) -> str:
    """The name of the image in the run's dockerd."""
    load_docker(dockerd, executor_archive)
    return SHORT


def _cache() -> Path:
    """Where run-real.sh has its own."""
    if named := os.environ.get("ARGOEXEC_TEST_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argoexec-tests"


def _digest() -> str:
    """Of all that the base is made from: how, of which files, by which interpreter, with which programs.

    Of the files themselves, because an installed one need not be what its package brought: who has a certificate
    authority of his own adds it to certifi's.
    """
    digest = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode())
    programs = [shutil.which(name) for name in ("git", "ssh", "busybox")]
    sources = [
        *(module.__file__ for module in (distributions, libraries, rootfs)),
        distributions.TREE / "pyproject.toml",
        *(source for source, _ in rootfs.installed(rootfs.STORES)),
        *(program for program in programs if program),
        *rootfs.FROM_ETC,
        "/var/lib/dpkg/status",  # stands for the shared libraries
    ]
    for source in map(Path, sources):
        digest.update(f"{source.name} ".encode())
        if source.exists():
            digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
