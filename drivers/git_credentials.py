"""How credentials reach git and ssh: as files that exist in memory alone, and only while a repository is fetched.

A ``memfd`` has no name in any directory; the children read it as ``/proc/<our pid>/fd/<n>``, which the kernel lets
nobody do who could not read our memory anyway. So nothing is on a command line, in an environment or on a disk, and
nothing has to be removed, even after SIGKILL (ADR 15). git's whole configuration and that of ssh come the same way:
what the machine is configured for is not looked at.
"""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote

from lifecycle.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.git_address import Address
    from lifecycle.secret import Secret

_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]*@")
_PASSED_ON: Final = ("PATH", "TMPDIR")
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a git artifact is configured with.

    Attributes:
        username, password: for http and https.
        key: a private key for ssh.
        any_host_key: whether ssh takes every server for the right one.
        any_certificate: whether TLS does.
    """

    username: Secret | None = None
    password: Secret | None = None
    key: Secret | None = None
    any_host_key: bool = False
    any_certificate: bool = False

    def check(self) -> None:
        """Look for what git and ssh would only fail at, or wait for an answer to.

        Raises:
            BadRequest: the key is none, or has a passphrase; the user or password has more than one line.
        """
        for name, secret in (("usernameSecret", self.username), ("passwordSecret", self.password)):
            if secret is not None and any(char in secret.reveal() for char in "\r\n\0"):
                raise BadRequest(f"`{name}` of a git artifact has more than one line, which git cannot be told")
        if self.key is not None:
            _check_key(self.key.reveal())

    def redact(self, text: str) -> str:
        """The text without any of them, and without the user part of URLs."""
        for secret in self._shown_as():
            text = text.replace(secret, "***")
        return _USERINFO.sub("", text)

    def _shown_as(self) -> list[str]:
        user = self.username.reveal() if self.username else ""
        password = self.password.reveal() if self.password else ""
        secret = password or user  # a token may be given as the user
        lines = self.key.reveal().splitlines() if self.key else []
        shown = [line for line in lines if len(line) > 15 and not line.startswith("-----")]
        if secret:
            shown += [base64.b64encode(f"{user}:{password}".encode()).decode(), quote(secret, safe=""), secret]
        return sorted(shown, key=len, reverse=True)


class Lent:
    """The files in memory, and the environment that names them; closing it takes them all back."""

    def __init__(self, credentials: Credentials, address: Address, *, patience: float) -> None:
        """``patience``: seconds that a server may say nothing."""
        self._open: list[int] = []
        try:
            config = self._file("git-config", _git_config(credentials, address, self._file, patience))
            ssh = self._file("ssh-config", _ssh_config(credentials, address, self._file, patience))
        except BaseException:
            self.close()
            raise
        self.environment = _environment(config, ssh, local=address.scheme == "file")

    def trace(self) -> tuple[int, str]:
        """An empty file for git to write to: its descriptor and its path."""
        path = self._file("git-trace", "")
        return self._open[-1], path

    def close(self) -> None:
        """Nothing can be read from now on."""
        for descriptor in self._open:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _file(self, name: str, content: str) -> str:
        descriptor = os.memfd_create(f"argoexec-{name}", os.MFD_CLOEXEC)
        self._open.append(descriptor)
        os.fchmod(descriptor, 0o600)  # ssh refuses a key that others may read
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content.encode())
        return f"/proc/{os.getpid()}/fd/{descriptor}"


def _environment(config: str, ssh: str, *, local: bool) -> dict[str, str]:
    names = [*_PASSED_ON, *_PROXIES, *(name.upper() for name in _PROXIES)]
    authorities = {
        "GIT_SSL_CAINFO": os.environ.get("GIT_SSL_CAINFO") or os.environ.get("SSL_CERT_FILE"),
        "GIT_SSL_CAPATH": os.environ.get("GIT_SSL_CAPATH") or os.environ.get("SSL_CERT_DIR"),
    }
    passed = {name: os.environ[name] for name in names if name in os.environ}
    return passed | {name: path for name, path in authorities.items() if path} | {
        "HOME": "/nonexistent",  # no ~/.netrc, no ~/.config/git
        "LC_ALL": "C",  # git_errors reads what git says
        "GIT_CONFIG_GLOBAL": config,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TEMPLATE_DIR": "",  # no hooks of the machine
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": f"ssh -F {ssh}",
        "GIT_SSH_VARIANT": "ssh",
        # Neither `ext`, which runs any program, nor for a remote repository's submodules this machine's files.
        "GIT_ALLOW_PROTOCOL": "http:https:ssh:git" + (":file" if local else ""),
    }  # fmt: skip


def _git_config(
    credentials: Credentials, address: Address, file: Callable[[str, str], str], patience: float
) -> str:  # fmt: skip
    sections = [
        "[safe]\n\tdirectory = *",  # a volume may belong to anybody; there are no hooks to be afraid of
        "[core]\n\thooksPath = /dev/null\n\tfsmonitor = false",
        "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false",  # would go on in the background
        f"[http]\n\tlowSpeedLimit = 1\n\tlowSpeedTime = {max(1, round(patience))}",
        "[credential]\n\thelper =",
    ]
    # The same host, and for http the same scheme and port: a submodule may name any other.
    origin = address.origin or f"https://{_bracketed(address.host)}"
    user = credentials.username or address.username
    password = credentials.password or address.password
    if address.host and (user or password):
        answer = f"username={user.reveal() if user else ''}\npassword={password.reveal() if password else ''}\n"
        path = file("git-password", answer)
        helper = f'!f() {{ test \\"$1\\" = get && cat {path}; }}; f'
        sections.append(f'[credential "{origin}"]\n\thelper = "{helper}"')
    if address.host and credentials.any_certificate:
        sections.append(f'[http "{origin}/"]\n\tsslVerify = false')
    return "\n".join(sections) + "\n"


def _ssh_config(
    credentials: Credentials, address: Address, file: Callable[[str, str], str], patience: float
) -> str:  # fmt: skip
    every = max(1, round(patience / 4))
    known = "/dev/null" if credentials.any_host_key else " ".join(map(_quoted, known_hosts()))
    lines = [
        "BatchMode yes",
        "LogLevel INFO",  # one level less says nothing of a server that went silent
        "User git",  # where the URL names none (spec 5.29)
        "IdentityAgent none",
        "IdentitiesOnly yes",
        "PreferredAuthentications publickey",
        f"ConnectTimeout {max(1, round(patience))}",
        f"ServerAliveInterval {every}",
        "ServerAliveCountMax 3",
        "UpdateHostKeys no",
        f"StrictHostKeyChecking {'no' if credentials.any_host_key else 'yes'}",
        f"UserKnownHostsFile {known}",
        "GlobalKnownHostsFile /dev/null",
    ]
    if credentials.key is not None and address.host:
        key = file("git-key", credentials.key.reveal().replace("\r\n", "\n") + "\n")
        hosts = sorted({address.host, address.host.lower()})  # ssh compares them as they are written
        lines += [f"Host {' '.join(hosts)}", f"\tIdentityFile {key}", f"Host * {' '.join('!' + one for one in hosts)}"]
    lines.append("\tIdentityFile none")
    return "\n".join(lines) + "\n"


def known_hosts() -> list[str]:
    """The files that say which host has which key: those of ``SSH_KNOWN_HOSTS``, else the user's and the system's."""
    if named := os.environ.get("SSH_KNOWN_HOSTS"):
        return named.split(":")
    homes = [os.environ.get("HOME", "")]
    with contextlib.suppress(KeyError):  # a user that is only a number
        homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    own = [str(Path(home) / ".ssh/known_hosts") for home in homes if home]
    return list(dict.fromkeys([*own, "/etc/ssh/ssh_known_hosts"]))


def _quoted(path: str) -> str:
    return '"' + path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check_key(key: str) -> None:
    begin, _, rest = key.partition("\n")
    if not begin.startswith("-----BEGIN ") or "PRIVATE KEY-----" not in begin:
        raise BadRequest(
            "`sshPrivateKeySecret` of a git artifact is not a private key",
            remedy="it is a PEM or OpenSSH private key with all its lines, from -----BEGIN to -----END",
        )
    if "ENCRYPTED" in begin or "ENCRYPTED" in rest[:100] or _cipher(rest) not in {b"none", b""}:
        raise BadRequest(
            "`sshPrivateKeySecret` of a git artifact has a passphrase, and nobody is there to type it",
            remedy="give a key without one: `ssh-keygen -p -N ''` takes it off a copy",
        )


def _cipher(body: str) -> bytes:
    """The cipher of a key in OpenSSH's own format (PROTOCOL.key), nothing for another."""
    magic = b"openssh-key-v1\0"
    try:
        raw = base64.b64decode("".join(body.split()[:2])[:64])
    except ValueError:
        return b""
    if not raw.startswith(magic):
        return b""
    length = struct.unpack_from(">I", raw, len(magic))[0]
    return raw[len(magic) + 4 :][:length]
