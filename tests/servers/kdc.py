"""A real MIT Kerberos KDC on a loopback port of its own, with principals, keytabs and tickets for a test realm."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REALM = "TEST.LOCAL"
_ENCRYPTION = "aes256-cts-hmac-sha1-96:normal,aes128-cts-hmac-sha1-96:normal"
_PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
_START = 30.0


@dataclass(frozen=True, slots=True)
class Kdc:
    """A running KDC. ``config`` is the krb5.conf of its clients."""

    directory: Path
    config: Path

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path) -> Iterator[Kdc]:
        """Start one whose database is below ``directory``, which is made; it is killed at the end."""
        programs = {name: program(name) for name in _PROGRAMS}
        directory.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (directory / "kdc.conf").write_text(_kdc_conf(directory, port))
        server = cls(directory, directory / "krb5.conf")
        server.config.write_text(_krb5_conf(port))
        server._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs["krb5kdc"], "-n", "-r", REALM],
                env=server.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until = time.monotonic() + _START
            while not _listens(port):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
                if process.returncode is not None or time.monotonic() > until:
                    raise RuntimeError(f"the KDC does not come up:\n{(directory / 'log').read_text()[-2000:]}")
            yield server
        finally:
            process.kill()
            process.wait()

    def environment(self) -> dict[str, str]:
        """For programs that use this realm, and no other."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KRB5")}
        return kept | {"KRB5_CONFIG": str(self.config), "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf")}

    def keytab(self, name: str, *principals: str) -> Path:
        """Make principals that are not there yet, with random keys, and a keytab of them."""
        path = self.directory / f"{name}.keytab"
        for principal in principals:
            known = self._run("kadmin.local", "-r", REALM, "-q", f"getprinc {principal}")
            if "Principal:" not in known:
                self._run("kadmin.local", "-r", REALM, "-q", f"addprinc -randkey {principal}")
            # -norandkey: an older keytab of the same principal goes on to work.
            self._run("kadmin.local", "-r", REALM, "-q", f"ktadd -norandkey -k {path} {principal}")
        return path

    def tickets(self, name: str, keytab: Path, principal: str) -> Path:
        """A credential cache with a ticket-granting ticket for an hour."""
        path = self.directory / f"{name}.ccache"
        self._run("kinit", "-c", f"FILE:{path}", "-l", "1h", "-k", "-t", str(keytab), principal)
        return path

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [program(name), *arguments], env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{name} {' '.join(arguments)}: {done.stderr[-1000:]}")
        return done.stdout


def program(name: str) -> str:
    """A program of MIT Kerberos; without it the test is skipped by name, and fails in ``make test-real``."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return found
    reason = "needs a Kerberos KDC: make test-real starts it"
    if os.environ.get("ARGOEXEC_TEST_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _kdc_conf(directory: Path, port: int) -> str:
    return f"""\
[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {REALM} = {{
  database_name = {directory}/principal
  key_stash_file = {directory}/stash
  acl_file = {directory}/acl
  max_life = 10h
  supported_enctypes = {_ENCRYPTION.replace(",", " ")}
 }}
"""


def _krb5_conf(port: int) -> str:
    # Java fails on realm blocks of one line (ClassCastException). TCP only: no timeouts of lost datagrams.
    return f"""\
[libdefaults]
 default_realm = {REALM}
 dns_lookup_realm = false
 dns_lookup_kdc = false
 rdns = false
 dns_canonicalize_hostname = false
 udp_preference_limit = 1
[realms]
 {REALM} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 localhost = {REALM}
"""
