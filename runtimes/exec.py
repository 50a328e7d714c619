"""Run a command in a container that runs: by WebSocket, as the API server and the kubelet both offer it.

Its exit code comes in a Status at the end, on a channel of its own (subprotocol ``v4.channel.k8s.io``).
"""

from __future__ import annotations

import json
import ssl
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlencode, urljoin, urlsplit

from lifecycle.errors import BadRequest, TimedOut, Unavailable
from lifecycle.network import broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtimes.api import ApiServer

API_STREAMS: Final = (("stdout", "1"), ("stderr", "1"))
"""Of the API server; without any stream it refuses (spec 7.3 #63)."""
KUBELET_STREAMS: Final = (("output", "1"), ("error", "1"))

_PROTOCOL: Final = "v4.channel.k8s.io"
_ERROR: Final = 3
"""The channel of the Status; 1 and 2 are stdout and stderr."""
_KEPT: Final = 4096
"""Bytes of output that are kept: enough for what a shell complains of."""
_REDIRECTS: Final = 3
_STATUS: Final = 3.0
"""Seconds between output and Status: docker never tells the one of a command that died with its container."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended.

    Attributes:
        code: its exit code; ``None`` when it was not even started, and ``said`` tells why.
        said: the beginning of what it wrote, or of the server's message.
    """

    code: int | None
    said: str


def run(
    server: ApiServer, path: str, resource: str, query: Sequence[tuple[str, str]], argv: Sequence[str], seconds: float
) -> Finished:
    """Run ``argv`` in a container, at most for so many seconds.

    Args:
        server: the API server or the kubelet.
        path: of the container's exec.
        resource: as RBAC calls it, for messages; the verb is ``get`` (ADR 21).
        query: which container, and which streams.
        argv: program and arguments.
        seconds: for all of it, and three from its first output on. A command that still runs goes on without us.

    Raises:
        NotFound, Forbidden, Unauthorized, BadRequest: as :meth:`ApiServer.call`; the handshake was refused.
        TimedOut, Unavailable: it is not known whether the command has run.
    """
    until = time.monotonic() + seconds
    asked = [*query, *(("command", word) for word in argv)]
    url = f"{server.base}{path}?{urlencode(asked)}"
    with closing(_connected(server, url, path, resource, until)) as socket:
        return _followed(socket, f"exec {path}", until)


def _followed(socket: Any, where: str, until: float) -> Finished:
    """Read what it writes, up to the Status."""
    import websocket  # noqa: PLC0415 - 15 ms: most pods signal nobody

    output = b""
    while True:
        left = until - time.monotonic()
        if left <= 0:  # a command that never falls silent never lets a read time out
            raise TimedOut(f"{where}: the command still runs")
        try:
            socket.settimeout(left)
            frame = socket.recv()
        except websocket.WebSocketTimeoutException as error:
            raise TimedOut(f"{where}: the command still runs") from error
        except websocket.WebSocketConnectionClosedException as error:
            raise Unavailable(f"{where}: it ended without a status") from error
        except (websocket.WebSocketException, OSError) as error:
            raise broken(where, error) from error
        data = frame.encode() if isinstance(frame, str) else frame
        if not data:
            # A close frame reads as nothing; an empty message of a channel has its number.
            raise Unavailable(f"{where}: it ended without a status")
        if data[0] == _ERROR:
            return _finished(data[1:], output)
        if len(data) > 1:
            output = (output + data[1:])[:_KEPT]
            until = min(until, time.monotonic() + _STATUS)


def _finished(status: bytes, output: bytes) -> Finished:
    try:
        found: dict[str, Any] = json.loads(status)
    except ValueError:
        return Finished(None, _text(status))  # a kubelet of before v4 says it in plain words
    if found.get("status") == "Success":
        return Finished(0, _text(output))
    causes = (found.get("details") or {}).get("causes") or ()
    for cause in causes:
        if cause.get("reason") == "ExitCode":
            return Finished(int(cause["message"]), _text(output))
    return Finished(None, str(found.get("message", "")))


def _text(data: bytes) -> str:
    return " ".join(data.decode(errors="replace").split())


# --- the connection -----------------------------------------------------------------------------------------------


def _connected(server: ApiServer, url: str, path: str, resource: str, until: float) -> Any:
    """Connect; a redirect is followed to another port of the same host, where a runtime streams by itself (spec 2.3).

    It knows the request by a token in the URL: our own is not for it.
    """
    import websocket  # noqa: PLC0415 - as above

    where, first = f"exec {path}", urlsplit(url)
    for _ in range(_REDIRECTS):
        here = urlsplit(url)
        socket: Any = websocket.WebSocket(sslopt=_tls(server), enable_multithread=False)  # it is typed in part
        socket.settimeout(max(0.001, until - time.monotonic()))
        ours = here.netloc == first.netloc and here.scheme == first.scheme
        try:
            socket.connect(
                url.replace("http", "ws", 1), header=_headers(server) if ours else [], subprotocols=[_PROTOCOL],
                redirect_limit=0, suppress_origin=True, **_proxy(server),
            )  # fmt: skip
        except websocket.WebSocketBadStatusException as error:
            raise server.refusal(
                "get", path, resource, error.status_code, error.resp_headers or {}, error.resp_body or b""
            ) from error
        except websocket.WebSocketTimeoutException as error:
            raise TimedOut(f"{where}: {server.called} does not answer in time") from error
        except (websocket.WebSocketException, OSError) as error:
            answer = getattr(socket, "handshake_response", None)
            location = None if answer is None else answer.headers.get("location")
            if not location:
                raise broken(f"{where}: {server.called} at {server.place}", error, remedy=server.distrusted) from error
            url = urljoin(url, location)
            if urlsplit(url).hostname != first.hostname:
                raise BadRequest(f"{where}: {server.called} sends us to another host, which is not followed") from error
            continue
        return socket
    raise BadRequest(f"{where}: {server.called} sends us in circles")


def _headers(server: ApiServer) -> list[str]:
    held = server.credentials.impersonate
    return [f"{name}: {value}" for name, value in (*server.headers().items(), *held)]


def _tls(server: ApiServer) -> dict[str, Any]:
    found = server.credentials
    named = {
        "ca_certs": found.ca if found.verify else None,
        "certfile": found.certificate,
        "keyfile": found.key,
        "server_hostname": found.server_name,
    }
    return {name: value for name, value in named.items() if value} | {
        "cert_reqs": ssl.CERT_REQUIRED if found.verify else ssl.CERT_NONE,
        "check_hostname": found.verify,
    }


def _proxy(server: ApiServer) -> dict[str, Any]:
    """That of the kubeconfig; never the environment's, as for every other request."""
    if not server.credentials.proxy:
        return {"http_no_proxy": ["*"]}
    proxy = urlsplit(server.credentials.proxy)
    login = (unquote(proxy.username), unquote(proxy.password or "")) if proxy.username else None
    return {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port, "http_proxy_auth": login,
            "proxy_type": proxy.scheme.replace("https", "http"), "http_no_proxy": []}  # fmt: skip
