"""OpenSSH's server on loopback: public keys only, for the user that runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.process import free_port, needs, started_process

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server.

    Attributes:
        address: host and port.
        key: a private key it takes; `stranger` is one it does not.
        known_hosts: a file that knows the server's key; `liars` is one that knows another for it.
    """

    address: str
    user: str
    key: str
    stranger: str
    known_hosts: Path
    liars: Path

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@{self.address}"

    @classmethod
    @contextlib.contextmanager
    def started(cls, *, modern: bool = False) -> Iterator[Sshd]:
        """Start one; it is killed at the end, with its sessions.

        Args:
            modern: let clients ask for the git protocol's version 2; servers do not unless they are told to.
        """
        program = needs("sshd", "sshd", "ssh", "ssh-keygen")
        port = free_port()
        user = getpass.getuser()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where it locks itself up before it knows who is there
        with tempfile.TemporaryDirectory(prefix="sshd-") as made:
            room = Path(made)
            for name in ("host", "other", "key", "stranger"):
                subprocess.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", room / name], check=True
                )
            (room / "authorized").write_text((room / "key.pub").read_text())
            for file, name in (("known_hosts", "host"), ("liars", "other")):
                (room / file).write_text(f"[127.0.0.1]:{port} {(room / f'{name}.pub').read_text()}")
            (room / "config").write_text(
                f"Port {port}\nListenAddress 127.0.0.1\nHostKey {room}/host\nPidFile none\n"
                f"AuthorizedKeysFile {room}/authorized\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                "PermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\n"
                + ("AcceptEnv GIT_PROTOCOL\n" if modern else "")
            )
            with started_process(
                [program, "-D", "-e", "-f", room / "config"], room / "log", {"PATH": os.environ["PATH"]}, port=port
            ):
                yield cls(
                    f"127.0.0.1:{port}", user, (room / "key").read_text(), (room / "stranger").read_text(),
                    room / "known_hosts", room / "liars",
                )  # fmt: skip
