"""The Kubernetes API server, as REST: what the adapters ask it, and what its refusals mean.

urllib3, not the official client: a `wait` that patches one annotation pays 61 ms and 23 MiB instead of 210 and 45, and
the client's typed models would drop the fields they do not know (ADR 21). What is sent and received is JSON as it is.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote, urlencode

import urllib3

from lifecycle.errors import (
    AlreadyExists,
    BadRequest,
    Forbidden,
    LifecycleError,
    NotFound,
    Throttled,
    TimedOut,
    Transient,
    Unauthorized,
    Unavailable,
)
from lifecycle.location import without_userinfo
from lifecycle.network import broken, shown
from lifecycle.redaction import redacted
from runtimes import credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from lifecycle.ports import Surroundings
    from runtimes.credentials import Credentials

MERGE_PATCH: Final = "application/merge-patch+json"
"""Named, because a custom resource refuses the strategic merge that is the default for a pod."""

_CONNECT: Final = 10.0
_ANSWER: Final = 30.0
"""Seconds between two pieces of an answer; the client has no limit of its own."""
_SHOWN: Final = 600
"""Characters of a server's message that are worth repeating."""
_METHODS: Final = {"create": "POST", "patch": "PATCH", "update": "PUT", "delete": "DELETE"}

_KEEPALIVE: Final = [
    *urllib3.connection.HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
"""A watch or a log may be silent for long; a peer that is gone without a word is found within a minute."""

# It logs every request's path at DEBUG, which is ours to log, and warns of retries we have switched off.
logging.getLogger("urllib3").setLevel(logging.WARNING)


class Conflict(Transient):
    """Somebody else has changed the object meanwhile (409)."""


class Gone(Transient):
    """The resource version is too old to watch from: list again (410)."""


_LATER: Final[Mapping[int, type[Transient]]] = {408: TimedOut, 429: Throttled, 504: TimedOut}
_REFUSALS: Final[Mapping[int, type[LifecycleError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
}


class ApiServer:
    """One API server, as one identity; serves several threads over its pool of connections.

    Attributes:
        called: what it is, for messages.
        distrusted: what to do about a certificate that is not trusted.
        base: its URL.
        place: the same for messages, without a login.
    """

    called: ClassVar[str] = "the API server"
    distrusted: ClassVar[str] = (
        "name its authority: the service account's ca.crt, or certificate-authority of the kubeconfig"
    )

    def __init__(self, found: Credentials) -> None:
        """Nothing is sent yet."""
        self.namespace = found.namespace
        self.credentials = found
        self.base = found.server.rstrip("/")
        self.place = without_userinfo(self.base)
        options: dict[str, Any] = {
            "maxsize": 8,
            "socket_options": _KEEPALIVE,
            "retries": False,  # the attempts that a person sees are the phase's
            "cert_reqs": "CERT_REQUIRED" if found.verify else "CERT_NONE",
            "ca_certs": found.ca if found.verify else None,
            "cert_file": found.certificate,
            "key_file": found.key,
        }
        if found.server_name:
            options["server_hostname"] = found.server_name
        if not found.verify:
            options["assert_hostname"] = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # somebody has asked for it
        self._pool = _by_proxy(found.proxy, options) if found.proxy else urllib3.PoolManager(**options)

    @classmethod
    def of(cls, here: Surroundings) -> Self:
        """The pod's; runtime and control plane share one, and its connections.

        Raises:
            InputError: a kubeconfig that is named is nonsense.
            BadRequest: there is no API server that could be asked.
        """
        kind: Any = cls
        with _MAKING:
            made: Self = _shared(kind, here)
        return made

    def call(
        self,
        verb: str,
        path: str,
        resource: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        within: float = _ANSWER,
    ) -> dict[str, Any]:
        """One request and its whole answer.

        Args:
            verb: as RBAC calls it: ``get``, ``patch`` …
            path: from the root on, such as ``/api/v1/namespaces/n/pods/p``.
            resource: as RBAC calls it, such as ``pods/log``; for messages.
            query: in order; a name may occur more than once.
            body: is sent as JSON.
            content_type: of the body.
            within: seconds for the connection, and for each piece of the answer.

        Raises:
            NotFound, Forbidden, Unauthorized, BadRequest, AlreadyExists: another attempt would end the same way.
            Conflict, Throttled, TimedOut, Unavailable: it may work.
        """
        # Characters as they are: escapes would make three times as much of a text that is not English.
        text = "" if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        data = text.encode(errors="replace") or None
        headers = {} if data is None else {"Content-Type": content_type}
        response = self._request(verb, path, resource, query, data, headers, within, preload=True)
        try:
            answer: dict[str, Any] = json.loads(response.data)
        except ValueError as error:
            raise Unavailable(f"{_asked(verb, path)}: the answer is no JSON; is that {self.called}?") from error
        return answer

    def open(
        self,
        verb: str,
        path: str,
        resource: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        silence: float | None = _ANSWER,
    ) -> Answer:
        """One request whose answer is read piece by piece; ``silence`` seconds without one are an error.

        Raises:
            LifecycleError: as :meth:`call`.
        """
        response = self._request(verb, path, resource, query, None, {}, silence, preload=False)
        return Answer(response, _asked(verb, path))

    def headers(self) -> dict[str, str]:
        """What every request of this identity carries.

        Raises:
            BadRequest: the token cannot be read, or cannot be sent.
        """
        authorization = self.credentials.authorization()
        if not authorization.isprintable() or not authorization.isascii():
            # Who would send it says what it is: the token, in an error's text.
            raise BadRequest(
                f"the credentials of {self.credentials.who} cannot be sent: there is a line end, or what is no ASCII, "
                "in them",
                remedy="correct the token's file, or the flag or kubeconfig it is from",
            )
        # Logs and exec are no JSON, and refused (406) to who takes nothing else.
        return {"Accept": "application/json, */*", "User-Agent": "argoexec"} | (
            {"Authorization": authorization} if authorization else {}
        )

    def _request(
        self,
        verb: str,
        path: str,
        resource: str,
        query: Sequence[tuple[str, str]],
        body: bytes | None,
        headers: Mapping[str, str],
        silence: float | None,
        *,
        preload: bool,
    ) -> urllib3.BaseHTTPResponse:
        url = self.base + path + (f"?{urlencode(list(query))}" if query else "")
        wanted = urllib3.HTTPHeaderDict(self.headers() | dict(headers))
        for name, value in self.credentials.impersonate:
            wanted.add(name, value)
        try:
            response = self._pool.request(
                _METHODS.get(verb, "GET"), url, body=body, headers=wanted, preload_content=preload, redirect=False,
                timeout=urllib3.Timeout(connect=min(_CONNECT, silence or _CONNECT), read=silence),
            )  # fmt: skip
            if response.status >= 300:
                text = response.data  # read here: it may break as well
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            where = f"{_asked(verb, path)}: {self.called} at {self.place}"
            raise broken(where, error, remedy=self.distrusted) from shown(error)
        if response.status >= 300:
            raise self.refusal(verb, path, resource, response.status, response.headers, text)
        return response

    def _told(self) -> list[str]:
        """What a request has that an answer may quote and a message must not: a proxy before the server may answer."""
        kind, _, value = self.credentials.authorization().partition(" ")
        words = [value]
        if kind == "Basic":
            words.append(base64.b64decode(value).decode(errors="replace").partition(":")[2])
        if self.credentials.proxy:
            login = unquote(urllib3.util.parse_url(self.credentials.proxy).auth or "")
            words += [login, login.partition(":")[2]]
        return words

    def refusal(
        self, verb: str, path: str, resource: str, status: int, headers: Mapping[str, str], text: bytes
    ) -> LifecycleError:
        """What an answer of 300 or more means; the caller raises it."""
        reason, said = _status(text)
        said = redacted(said, self._told())[:_SHOWN]
        message = f"{_asked(verb, path)}: {self.called} answers {status}" + (f": {said}" if said else "")
        if status in _LATER or status >= 500:
            after = headers.get("Retry-After") or headers.get("retry-after") or ""
            return _LATER.get(status, Unavailable)(message, retry_after=float(after) if after.isdecimal() else None)
        if reason == "AlreadyExists":
            return AlreadyExists(message)
        return _REFUSALS.get(status, BadRequest)(message, remedy=self._remedy(status, verb, path, resource))

    @property
    def role(self) -> str:
        """Where a permission is to be granted."""
        return f"in a Role of the namespace {self.namespace!r}"

    def _remedy(self, status: int, verb: str, path: str, resource: str) -> str:
        who = self.credentials.who
        if status == 403:
            group = path.split("/")[2] if path.startswith("/apis/") else ""
            where = f" of the API group {group!r}" if group else ""
            return f"grant `{verb}` on `{resource}`{where} to {who}, {self.role}"
        if status == 401:
            return f"{who} is not known there, or the token has expired"
        return f"it sends us elsewhere: is that {self.called}?" if status < 400 else ""


class Answer:
    """An answer that is read piece by piece; ``raw`` is the file-like object below it."""

    def __init__(self, response: urllib3.BaseHTTPResponse, where: str) -> None:
        self.raw = response
        self._where = where

    def read1(self, amount: int = 64 * 1024) -> bytes:
        """What has come, at least a byte; nothing at its end.

        Raises:
            TimedOut, Unavailable: it broke, or stayed silent for too long.
        """
        try:
            return self.raw.read1(amount)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise broken(self._where, error) from shown(error)

    def lines(self) -> Iterator[bytes]:
        """Its lines, without their ends; an unfinished one at a broken end is dropped.

        Raises:
            TimedOut, Unavailable: as ``read1``.
        """
        rest = b""
        while data := self.read1():
            *whole, rest = (rest + data).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def abort(self) -> None:
        """End a read that blocks, from another thread."""
        with contextlib.suppress(ValueError, OSError):  # it is at its end already
            self.raw.shutdown()

    def close(self) -> None:
        """Let go; the connection is of no more use when it was not read to its end."""
        self.raw.close()
        self.raw.release_conn()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _by_proxy(url: str, options: dict[str, Any]) -> urllib3.ProxyManager:
    """Of a proxy, whose login may be in its URL; urllib3 does not look for it there."""
    login = urllib3.util.parse_url(url).auth
    headers = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
    return urllib3.ProxyManager(url, proxy_headers=headers, **options)


_MAKING: Final = threading.Lock()
"""The cache itself would let two threads that ask at the same moment each have one of its own."""


@lru_cache(maxsize=8)
def _shared(kind: Any, here: Surroundings) -> Any:
    return kind(credentials.find(here.kube, here.environ))


def _asked(verb: str, path: str) -> str:
    return f"{verb} {path}"


def _status(text: bytes) -> tuple[str, str]:
    """Reason and message of a Status object; of anything else its beginning."""
    try:
        found = json.loads(text)
        return str(found.get("reason", "")), str(found.get("message", ""))
    except (ValueError, AttributeError):
        return "", " ".join(text.decode(errors="replace").split())
