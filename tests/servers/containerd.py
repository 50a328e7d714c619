"""A containerd as the container runtime of a cluster, its images made from tars without a registry or a dockerd."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from tests.servers.dockerd import RUNC
from tests.servers.process import Daemon, needs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.servers.enclosure import Enclosure

_CONFIG = """
version = 2
root = "{directory}/root"
state = "{directory}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/{pause}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
"""
_NETWORK = {"cniVersion": "0.4.0", "name": "loopback", "plugins": [{"type": "loopback"}]}
"""Pods share the machine's network; but a node without any is not ready."""
_LOADED = 30.0


@dataclass(frozen=True)
class Containerd:
    """One that runs."""

    socket: Path
    name = "containerd"

    @property
    def kubelet(self) -> Sequence[str]:
        """Options of a kubelet that speaks CRI."""
        return (
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.socket}",
            f"--containerd={self.socket}",
        )

    def ctr(self, *argv: str) -> bytes:
        """What its command line prints; for what a test sets up, never for what it tests."""
        done = subprocess.run(self._ctr(*argv), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"ctr {' '.join(argv)}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def load(self, name: str, rootfs: Path | bytes, env: Mapping[str, str], entrypoint: Sequence[str]) -> None:
        """Make an image of a tar, which is not compressed.

        Raises:
            RuntimeError: containerd refuses it.
            TimeoutError: the kubelet's side of containerd does not hear of it.
        """
        argv = self._ctr("images", "import", "-")
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            image = _write(cast("IO[bytes]", process.stdin), name, rootfs, env, entrypoint)
            output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"ctr images import: {output.decode(errors='replace')}")
        until = time.monotonic() + _LOADED
        while image not in self.ctr("images", "list", "-q").decode().split():  # it has heard, and gives it its own name
            if time.monotonic() > until:
                raise TimeoutError(f"{name} is not among the images after {_LOADED} s")

    def _ctr(self, *argv: str) -> list[str]:
        return ["ctr", f"--address={self.socket}", "--namespace=k8s.io", *argv]


def node(directory: Path, inside: Enclosure) -> tuple[Containerd, Daemon]:
    """One for a cluster, to be started; containers survive when it is killed, until the enclosure ends."""
    containerd = needs("containerd", "containerd", "ctr", "runc", "/usr/lib/cni/loopback")
    (directory / "cni").mkdir(parents=True)
    (directory / "cni/loopback.conflist").write_text(json.dumps(_NETWORK))
    one = Containerd(directory / "s")
    config = directory / "config.toml"
    config.write_text(_CONFIG.format(directory=directory, socket=one.socket, pause="pause:test", runc=RUNC))
    argv = [*inside.enter, containerd, "--config", config]
    return one, Daemon(argv, directory / "containerd.log", path=one.socket)


def _write(to: IO[bytes], name: str, rootfs: Path | bytes, env: Mapping[str, str], entrypoint: Sequence[str]) -> str:
    """Write what `docker save` would of an image of one layer; returns the image's id."""
    with rootfs.open("rb") if isinstance(rootfs, Path) else io.BytesIO(rootfs) as layer:
        digest = hashlib.file_digest(layer, "sha256").hexdigest()  # type: ignore[arg-type]
        size = layer.seek(0, os.SEEK_END)
        layer.seek(0)
        settings = {"Env": [f"{key}={value}" for key, value in env.items()], "Entrypoint": list(entrypoint)}
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            }
        ).encode()
        image = hashlib.sha256(config).hexdigest()
        manifest = json.dumps([{"Config": f"{image}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
        with tarfile.open(fileobj=to, mode="w|") as archive:
            for member, content in ((f"{image}.json", config), ("manifest.json", manifest)):
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            entry = tarfile.TarInfo("layer.tar")
            entry.size = size
            archive.addfile(entry, layer)
    return f"sha256:{image}"
