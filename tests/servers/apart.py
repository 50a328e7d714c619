"""A network and mounts of a test's own: what it cuts and fills is nobody else's, and goes with the last process inside.

Namespaces are the calling thread's, and those of what it starts from then on: servers and programs that are started
inside see each other and nothing of the machine, and a run that is killed leaves no rule and no mount behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from runtimes import kernel
from tests.servers.process import await_ready, needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NETWORK = 0x40000000
"""CLONE_NEWNET."""

_WAY = """
add table inet way
delete table inet way
table inet way {{
  quota passed {{ over {after} bytes }}
  chain out {{
    type filter hook output priority 0
    tcp flags rst accept
    tcp sport {port} quota name "passed" {verdict}
    tcp dport {port} quota name "passed" {verdict}
  }}
}}
"""
"""Of the last two a packet meets one; once so many bytes have gone either way, nothing does any more."""

DROPPED = "drop"
"""Silence, as of a cable that is pulled."""
REFUSED = "reject with tcp reset"
"""As of a firewall that says no."""


@contextlib.contextmanager
def network() -> Iterator[None]:
    """A network that has nothing but a loopback. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a network namespace")
    with _left("net", _NETWORK):
        subprocess.run([needs("namespaces", "ip"), "link", "set", "lo", "up"], check=True)
        yield


@contextlib.contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes on a directory, which is made. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a small file system is mounted")
    here = os.getcwd()  # entering a mount namespace is entering its root
    with _left("mnt", kernel.CLONE_NEWNS):
        kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
        directory.mkdir(parents=True, exist_ok=True)
        kernel.mount("tmpfs", str(directory), "tmpfs", data=f"size={size},mode=777")
        try:
            yield directory
        finally:
            kernel.call("umount2", os.fsencode(directory), 2)  # MNT_DETACH: a sandbox's mounts may still be below
    os.chdir(here)


@contextlib.contextmanager
def _left(kind: str, flag: int) -> Iterator[None]:
    """This thread leaves a namespace for a new one, and comes back."""
    machine = os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.unshare(flag)
        try:
            yield
        finally:
            _enter(machine, flag)
    finally:
        os.close(machine)


def _enter(namespace: int, flag: int) -> None:
    """The kernel refuses it to who shares its root with a thread, and one that was joined may still be leaving it."""
    until = time.monotonic() + 10
    while True:
        try:
            kernel.call("setns", namespace, flag)
        except OSError as error:
            if error.errno != errno.EINVAL or time.monotonic() > until:
                raise
            threading.Event().wait(0.001)
        else:
            return


class Way:
    """The way to one port, in a :func:`network`, where it can be cut in the middle of a transfer."""

    def __init__(self, port: int, log: Path) -> None:
        self._port = port
        self._log = log
        self._monitor: subprocess.Popen[bytes] | None = None

    def cut(self, verdict: str = DROPPED, *, after: int = 0) -> None:
        """Cut it, as soon as so many bytes more have gone along it."""
        self._end_monitor()
        self._rules(after or 1, verdict)
        if after:
            self._begin_monitor()

    def await_cut(self) -> None:
        """Block until that has come: the kernel tells when the last of the bytes has gone."""
        assert self._monitor
        assert self._monitor.stdout
        for line in self._monitor.stdout:
            if b"add quota" in line:
                break
        else:
            pytest.fail("nft monitor has ended")
        self._end_monitor()

    def heal(self) -> None:
        """Everything passes again."""
        self._end_monitor()
        self._nft("delete table inet way")

    def close(self) -> None:
        self._end_monitor()

    def _begin_monitor(self) -> None:
        """Subscribed once it has told of a table that is made only for that."""
        # setpriv: killed with us, and then nobody is left inside.
        argv = ["setpriv", "--pdeathsig", "KILL", needs("nftables", "nft"), "monitor"]
        with self._log.open("wb") as log:
            self._monitor = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log)
        output = self._monitor.stdout
        assert output
        os.set_blocking(output.fileno(), False)

        def ask() -> None:
            self._nft("add table inet heard\ndelete table inet heard")
            if not output.peek():
                raise BlockingIOError

        await_ready("nft monitor", [self._monitor], [self._log], ask, (BlockingIOError,))
        os.set_blocking(output.fileno(), True)

    def _end_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor.kill()
            self._monitor.wait()
            assert self._monitor.stdout
            self._monitor.stdout.close()
            self._monitor = None

    def _rules(self, after: int, verdict: str) -> None:
        self._nft(_WAY.format(port=self._port, after=after, verdict=verdict))

    def _nft(self, text: str) -> None:
        subprocess.run([needs("nftables", "nft"), "-f", "-"], input=text.encode(), check=True)
