"""Where a repository is: the forms of ``repo`` that are spoken, taken apart, and without what must not be shown.

git itself understands more: a word before ``::`` runs any program, a leading ``-`` is an option. What is not one of
the forms here never reaches its command line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from lifecycle.errors import BadRequest
from lifecycle.secret import Secret

_SCHEMES: Final = {"http", "https", "ssh", "git", "file"}
# No wildcard, quote or space: a host also stands in a pattern of ssh's configuration.
_HOST: Final = re.compile(r"[^\W_][\w.-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_USER: Final = re.compile(r"[\w.%+~$][\w.%+~$-]*")
_SCP: Final = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<host>\[[^\]/]+\]|[^:/@\[\]]+):(?P<path>[^:].*)")
_REMEDY: Final = "`repo` is an http, https, ssh, git or file URL, user@host:path, or an absolute path"


@dataclass(frozen=True, slots=True)
class Address:
    """A repository.

    Attributes:
        url: what git is given and what stays in the tree's ``.git/config``: an ssh user, but no credentials.
        scheme: ``http``, ``https``, ``ssh``, ``git`` or ``file``.
        host: as it is written, without brackets; empty for ``file``.
        origin: of http and https the part of the URL before the path, else empty.
        username, password: what stood in an http URL.
    """

    url: str
    scheme: str
    host: str = ""
    origin: str = ""
    username: Secret | None = None
    password: Secret | None = None


def parse(repo: str) -> Address:
    """Take a ``repo`` apart.

    Raises:
        BadRequest: it is none of the forms; what it is stays unsaid, for it may hold a password anywhere.
    """
    if not repo or any(ord(char) < 0x20 or ord(char) == 0x7F for char in repo):
        raise BadRequest("`repo` of a git artifact is empty or has control characters", remedy=_REMEDY)
    if repo.startswith("/"):
        return Address(repo, "file")
    if "://" not in repo:
        return _scp(repo)
    try:
        parts = urlsplit(repo)
        possible = parts.port != 0
    except ValueError:  # from None: it names the URL
        raise BadRequest("`repo` of a git artifact cannot be parsed as a URL", remedy=_REMEDY) from None
    if not (possible and parts.path and parts.scheme in _SCHEMES and repo.startswith(f"{parts.scheme}://")):
        raise BadRequest("`repo` of a git artifact has a scheme that is not spoken, or no path", remedy=_REMEDY)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Address(repo, "file")
    host = parts.hostname or ""
    if parts.scheme == "file" or not _HOST.fullmatch(host):
        raise BadRequest("`repo` of a git artifact has a host that cannot be one", remedy=_REMEDY)
    return _http(parts, host) if parts.scheme in {"http", "https"} else _other(repo, parts, host)


def _other(repo: str, parts: SplitResult, host: str) -> Address:
    if parts.password is not None or not _USER.fullmatch(parts.username or "git"):
        raise BadRequest(
            "`repo` of a git artifact has a password, or a user that cannot be one",
            remedy="ssh asks for a key: `sshPrivateKeySecret`",
        )
    written = parts.netloc.rpartition("@")[2]
    start = written.lower().index(host)
    return Address(repo, parts.scheme, written[start : start + len(host)])


def _scp(repo: str) -> Address:
    found = _SCP.fullmatch(repo)
    host = found["host"].strip("[]") if found else ""
    if found is None or not _HOST.fullmatch(host) or not _USER.fullmatch(found["user"] or "git"):
        raise BadRequest("`repo` of a git artifact is neither a URL nor an absolute path", remedy=_REMEDY)
    return Address(repo, "ssh", host)


def _http(parts: SplitResult, host: str) -> Address:
    if parts.query or parts.fragment:
        raise BadRequest(
            "`repo` of a git artifact has a query or a fragment, which git would take for a part of the path",
            remedy="give credentials in `usernameSecret` and `passwordSecret`",
        )
    netloc = parts.netloc.rpartition("@")[2]
    return Address(
        urlunsplit((parts.scheme, netloc, parts.path, "", "")),
        parts.scheme,
        host,
        origin=f"{parts.scheme}://{netloc}",
        username=None if parts.username is None else Secret(unquote(parts.username)),
        password=None if parts.password is None else Secret(unquote(parts.password)),
    )
