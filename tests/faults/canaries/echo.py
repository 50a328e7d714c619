"""The far end that tells everybody what it was told: the whole request is in its answer, in the words of each store."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.servers.loopback import Loopback, LoopbackHandler

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

_CODES = {
    400: "InvalidArgument",
    401: "InvalidAccessKeyId",
    403: "AccessDenied",
    404: "NoSuchKey",
    500: "InternalError",
}
_SENT = ("Authorization", "Proxy-Authorization", "X-Amz-Security-Token", "X-Oss-Security-Token",
         "X-Registry-Auth", "X-Meta-Token")  # fmt: skip
_KEY = "server-side-encryption-customer-key"

ANSWERS = (
    "400", "401", "403", "404", "407", "500", "text 403", "reason 403", "garbage", "not http", "200", "redirect",
    "elsewhere",
)  # fmt: skip
"""What it can do: refuse with the request in an XML or JSON body as it was asked for, in a page, in the status line, in
what is no HTTP, in what should be the object or a listing, in the place that it redirects to."""


class Echo(Loopback):
    """Answers every request alike; ``sent`` are the credentials that came, ``children`` what ran beside meanwhile."""

    def __init__(self, answer: str, certificate: Any = None, handler: type[LoopbackHandler] | None = None) -> None:
        self.answer = answer
        self.token = ""
        self.sent: list[bytes] = []
        self.children: list[str] = []
        self._lock = threading.Lock()
        self._before = _parents()
        super().__init__(handler or _Handler, certificate, joined=True)
        self.url = self.origin

    def note(self, headers: Any) -> None:
        """Remember what came, and who runs."""
        with self._lock:
            found = [value for name in _SENT for value in headers.get_all(name) or ()]
            found += [value for name, value in headers.items() if name.lower().endswith(_KEY)]
            self.sent += [one.encode("latin-1") for one in found]
            self.children += children(self._before)


class _Handler(LoopbackHandler):
    timeout = 0.5  # of somebody who speaks another protocol, and waits for us to begin

    def handle_expect_100(self) -> bool:
        return True  # nobody gets leave: what does not ask twice sends it, what waits is answered

    def _answer(self) -> None:
        owner: Echo = self.server.owner
        owner.note(self.headers)
        self.close_connection = True
        request = "\r\n".join([self.requestline, str(self.headers), self._body()])
        if self.path.startswith("/token") and owner.token:
            answer = {"access_token": owner.token, "token_type": "Bearer", "expires_in": 3600}
            self._send(200, json.dumps(answer), "application/json")
            return
        kind, _, number = owner.answer.rpartition(" ")
        match kind, number:
            case "", "garbage":
                self.wfile.write(request.replace("\r\n", " ").encode("latin-1") + b"\r\n\r\n")
            case "not", "http":
                self.wfile.write(b"HTTP/1.1 " + request.encode("latin-1"))
            case "", "redirect":
                self._send(307, request, "text/plain", location=f"/{quote(request[:200])}?{quote(request)}")
            case "", "elsewhere":
                place = f"http://user:{quote(request, safe='')}@127.0.0.1:1/?{quote(request)}"
                self._send(302, request, "text/plain", location=place)
            case "reason", _:
                self._send(int(number), "", "text/plain", reason=request.replace("\r\n", " "))
            case "text", _:
                self._send(int(number), request, "text/plain")
            case _:
                body, form = self._in_its_words(int(number), request)
                self._send(int(number), body, form)

    def _body(self) -> str:
        if self.headers.get("Expect"):
            return ""
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline() or b"0", 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)[:4096].decode("latin-1")
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))[:4096].decode("latin-1")

    def _in_its_words(self, status: int, request: str) -> tuple[str, str]:
        code = _CODES.get(status, "Refused")
        accepts = str(self.headers.get("Accept", ""))
        if "/storage/v1/" in self.path or "json" in accepts or self.path.startswith(("/token", "/webhdfs", "/api")):
            remote = {"exception": "AccessControlException", "message": request}
            words = {
                "error": {"code": status, "message": request, "errors": [{"message": request, "reason": request}]},
                "error_description": request, "message": request, "reason": code, "RemoteException": remote,
            }  # fmt: skip
            if self.path.startswith("/token"):
                words["error"] = request
            return json.dumps(words), "application/json"
        said = escape(request)
        return (
            f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{said}</Message><AWSAccessKeyId>{said}'
            f"</AWSAccessKeyId><AuthenticationErrorDetail>{said}</AuthenticationErrorDetail></Error>"
        ), "application/xml"

    def _send(self, status: int, body: str, form: str, *, location: str = "", reason: str = "") -> None:
        data = body.encode("latin-1", "replace")
        self.send_response(status, reason or HTTPStatus(status).phrase)
        for name, value in (
            ("Content-Type", form), ("Content-Length", str(len(data))), ("Connection", "close"), ("Location", location),
            ("WWW-Authenticate", 'Basic realm="r"' if status == 401 else ""), ("ETag", '"1"'),
            ("x-ms-error-code", _CODES.get(status, "")), ("x-ms-request-id", "1"),
        ):  # fmt: skip
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - the base class looks for these


class DockerEcho(Echo):
    """A docker daemon that tells its version, unless that is refused as well, and else what it was asked."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer, handler=_DockerHandler)


class _DockerHandler(_Handler):
    def _answer(self) -> None:
        owner = self.server.owner
        owner.note(self.headers)
        self.close_connection = True
        place = self.path.partition("?")[0]
        if place.endswith("/version") and not owner.answer.startswith("version "):
            self._send(200, json.dumps({"ApiVersion": "1.41"}), "application/json")
        elif owner.answer == "progress" and place.endswith("/images/create"):
            request = "\r\n".join([self.requestline, str(self.headers)])
            self._send(200, json.dumps({"error": request, "errorDetail": {"message": request}}), "application/json")
        elif owner.answer == "progress":
            self._send(404, json.dumps({"message": "no such image"}), "application/json")
        elif owner.answer == "no container" and place.endswith("/containers/create"):
            body = self._body()
            owner.sent.append(body.encode("latin-1"))
            self._send(403, json.dumps({"message": f"denied: {body}"}), "application/json")
        elif owner.answer == "no container":
            self._send(200, "[]" if place.endswith("/containers/json") else "{}", "application/json")
        else:
            super()._answer()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the base class looks for these


class FtpEcho(Loopback):
    """An FTP server that lets nobody in, and says with which words they asked."""

    def __init__(self) -> None:
        super().__init__(_FtpHandler, joined=True)


class _FtpHandler(LoopbackHandler):
    timeout = 0.5

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                self.wfile.write((b"331 " if line.startswith(b"USER") else b"530 ") + line)


def children(before: Container[int] = ()) -> list[str]:
    """Command line of every process below this one, and what its environment has that ours has not.

    Those that were there ``before`` are servers of other tests.
    """
    parents = {pid: parent for pid, parent in _parents().items() if pid not in before}
    return [line for pid in _below(os.getpid(), parents) for line in _shown(pid)]


def _parents() -> dict[int, int]:
    """The parent of every process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return parents


def _below(pid: int, parents: dict[int, int]) -> Iterator[int]:
    for child, parent in parents.items():
        if parent == pid:
            yield child
            yield from _below(child, parents)


def _shown(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for one in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = one.decode(errors="replace").partition("=")
            if os.environ.get(name) != value:  # else it is inherited, and whoever reads it here reads it there
                yield f"{name}={value}"
