"""`git daemon` on loopback: the git protocol, without any authentication."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.servers.process import free_port, needs, started_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class GitDaemon:
    """Serves the repositories below `root` that have a file `git-daemon-export-ok`."""

    address: str

    @property
    def url(self) -> str:
        return f"git://{self.address}"

    @classmethod
    @contextlib.contextmanager
    def started(cls, root: Path, log: Path) -> Iterator[GitDaemon]:
        """Start one; it is killed at the end."""
        program = needs("git daemon", "git")
        port = free_port()
        where = subprocess.run([program, "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
        # The daemon itself, not `git daemon`: that is a parent which would leave it behind when it is killed.
        argv = [f"{where}/git-daemon", f"--base-path={root}", "--listen=127.0.0.1", f"--port={port}", "--reuseaddr"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(log.parent)} | {
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }  # fmt: skip
        with started_process([*argv, str(root)], log, environment, port=port):
            yield cls(f"127.0.0.1:{port}")
