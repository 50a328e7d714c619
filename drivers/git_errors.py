"""What git's and ssh's words mean.

The one place where text has to be read: git ends with 128 for everything, and says what it was only in words. They
are the fixed messages of git, curl and ssh in the C locale, looked for line by line; lines that begin with ``remote:``
are the server's and decide nothing. (What a server writes by ssh cannot be told apart: it may choose how its own
failure is called, but none of the names is NotFound.) What is in no row is worth another attempt if a server had part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lifecycle.errors import (
    BadRequest,
    Forbidden,
    Permanent,
    StorageFull,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)

if TYPE_CHECKING:
    from drivers.git_command import Failed
    from lifecycle.errors import LifecycleError

_LONGEST: Final = 300
_CREDENTIALS: Final = (
    "correct the secrets of `usernameSecret` and `passwordSecret` (many hosts want a token there); "
    "they are sent to the repository's own host only, not to that of a submodule elsewhere"
)
_KEY: Final = (
    "add the public half of `sshPrivateKeySecret` to the repository's deploy keys, or correct the user in `repo`; "
    "the key is offered to the repository's own host only"
)
_KNOWN: Final = (
    "put what `ssh-keyscan HOST` prints, once you have checked it, into /etc/ssh/ssh_known_hosts, ~/.ssh/known_hosts "
    "or a file that SSH_KNOWN_HOSTS names; or set `insecureIgnoreHostKey`"
)
_CA: Final = (
    "put the issuing CA into the system's store, name a PEM file of it in SSL_CERT_FILE, or set `insecureSkipTLS`"
)
_REPOSITORY: Final = (
    "correct `repo`; many hosts also say so of a private repository when the credentials are missing or too weak"
)


@dataclass(frozen=True, slots=True)
class _Row:
    pattern: re.Pattern[str]
    error: type[LifecycleError]
    says: str
    remedy: str = ""


def _row(pattern: str, error: type[LifecycleError], says: str, remedy: str = "") -> _Row:
    return _Row(re.compile(pattern), error, says, remedy)


# The first row that any line matches: a full disk also breaks the connection, an unknown host key also forbids to read.
_TABLE: Final = (
    _row(
        r"No space left on device|Disk quota exceeded|Out of diskspace|: File too large",
        StorageFull,
        "there is no space for it here",
        "free space there, raise the volume's size or ephemeral-storage limit, or fetch less with `depth`",
    ),
    _row(r"^No user exists for uid", Unsupported, "ssh wants a user of /etc/passwd", "run the executor as one"),
    _row(
        r"^Load key .*: (error in libcrypto|invalid format)",
        BadRequest,
        "`sshPrivateKeySecret` is not a key that ssh can read",
        "it is a PEM or OpenSSH private key with all its lines",
    ),
    _row(
        r"^Load key .*: |Can't open user config file /proc/",
        Unsupported,
        "ssh cannot read what this process has in memory",
        "mount /proc, and run the executor and ssh as one user",
    ),
    _row(r"^Host key for .* has changed", Permanent, "the host key is not the one that is known", _KNOWN),
    _row(r"^Host key verification failed", Permanent, "the host key is not known", _KNOWN),
    _row(r": Permission denied \([a-z,-]+\)\.$|Too many authentication failures", Unauthorized, "no access", _KEY),
    _row(r"fatal: Authentication failed for", Unauthorized, "the credentials are not accepted", _CREDENTIALS),
    _row(r"fatal: could not read (Username|Password) for", Unauthorized, "it asks for credentials", _CREDENTIALS),
    _row(
        r"certificate verification failed|SSL certificate problem|certificate subject name"
        r"|no alternative certificate",
        Permanent,
        "the certificate is not trusted",
        _CA,
    ),
    _row(
        r"unexpected TLS packet|wrong version number|packet length too long",
        Permanent,
        "TLS failed",
        "does the port there speak TLS?",
    ),
    _row(
        r"Could not resolve (host|proxy|hostname)\b|unable to look up .*\(port",
        Unavailable,
        "the host name cannot be resolved",
    ),
    _row(
        r"Operation too slow|[Tt]imed out|^Timeout, server .* not responding|Timeout was reached",
        TimedOut,
        "no answer in time",
    ),
    _row(r"Connection refused|Couldn't connect to server|No route to host|is unreachable", Unavailable, "no answer"),
    _row(
        r"^fatal: repository '.*' not found|does not appear to be a git repository|repository not exported"
        r"|^ERROR: Repository not found|not valid: is this a git repository",
        BadRequest,
        "there is no such repository, or not for these credentials",
        _REPOSITORY,
    ),
    _row(
        r"transport '.*' not allowed",
        BadRequest,
        "a submodule asks for a transport that is not spoken",
        "https, http, ssh and git are; set `disableSubmodules` to go without",
    ),
    _row(
        r"[Dd]irect fetching of that commit failed|did not contain [0-9a-f]{40}",
        BadRequest,
        "a submodule's commit is not in its repository, or not to be had without `depth`",
        "leave `depth` out, or set `disableSubmodules`",
    ),
    _row(
        r"dumb http transport does not support",
        Unsupported,
        "the repository is served as plain files, which have no depth",
        "leave `depth` out",
    ),
    _row(
        r"couldn't find remote ref|invalid refspec",
        BadRequest,
        "a ref is not there",
        "correct `fetch`, `revision` or `branch`",
    ),
    _row(r"not our ref|unadvertised object", BadRequest, "the commit is not there", "correct `revision`"),
    _row(
        r"is not a git command|[Uu]nable to find remote helper|cannot run ssh|ssh: (command )?not found",
        Unsupported,
        "this git lacks a part",
        "install git with its remote helpers, and the ssh client, where the executor runs",
    ),
    _row(
        r"^fatal: .* is not a valid branch name|invalid (initial )?branch name",
        BadRequest,
        "that cannot be the name of a branch",
        "correct `branch`",
    ),
    _row(
        r"(: Permission denied|Read-only file system)$",
        Forbidden,
        "it cannot be written here",
        "run the executor as a user who may write there",
    ),
)
_STATUS: Final = re.compile(r"(?:The requested URL returned error:|RPC failed; HTTP) (\d{3})\b")
_PROXY: Final = re.compile(r"CONNECT tunnel failed, response (\d{3})|Received HTTP code (\d{3}) from proxy")
_REFUSED: Final = re.compile(r"not our ref|unadvertised object")


def meaning(where: str, failed: Failed) -> LifecycleError:
    """The meaning of a git command's failure; the caller raises it ``from`` that.

    Args:
        where: the repository, for the message; without credentials.
        failed: what ended, and what it said.
    """
    lines = [line for line in failed.text.splitlines() if not line.startswith("remote:")]
    for row in _TABLE:
        for line in lines:
            if row.pattern.search(line):
                return row.error(f"{where}: {row.says} ({line[:_LONGEST]})", remedy=row.remedy)
    for line in lines:
        if found := _PROXY.search(line):
            return _of_proxy(where, int(found[1] or found[2]))
        if found := _STATUS.search(line):
            return _of_status(where, int(found[1]))
    last = next((line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))), lines[-1] if lines else "")
    text = f"{where}: git ended with {failed.status}" + (f" ({last[:_LONGEST]})" if last else "")
    return Unavailable(text) if failed.network or failed.status < 0 else Permanent(text)


def refused(failed: Failed) -> bool:
    """Whether the server does not give a commit by its bare id, or has none."""
    return any(_REFUSED.search(line) for line in failed.text.splitlines())


def _of_status(where: str, status: int) -> LifecycleError:
    if status == 407:
        return _of_proxy(where, status)
    text = f"{where}: HTTP status {status}"
    if status == 401:
        return Unauthorized(text, remedy=_CREDENTIALS)
    if status == 403:
        return Forbidden(text, remedy="the credentials are known there, but may not read this repository")
    if status == 404:
        return BadRequest(text, remedy=_REPOSITORY)
    if status == 429:
        return Throttled(text)
    return Unavailable(text) if status == 408 or status >= 500 else BadRequest(text)


def _of_proxy(where: str, status: int) -> LifecycleError:
    text = f"{where}: the proxy answers with HTTP status {status}"
    if status == 407:
        return Unauthorized(text, remedy="correct the credentials of the proxy in https_proxy or http_proxy")
    return Unavailable(text)
