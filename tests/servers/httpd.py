"""A real HTTP server on loopback that answers by script, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.servers.loopback import Loopback, LoopbackHandler

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        length: the Content-Length to claim instead of the body's; ``-1`` claims none.
        hangs: say nothing more, after the body, until the server closes.
        early: to who asks for leave to send a body, answer instead, without having read it.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    hangs: bool = False
    early: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. ``target`` is as in the request line: path and query, or a URL where a proxy is asked.

    ``whole`` is false when the body broke off.
    """

    method: str
    target: str
    headers: Message
    body: bytes
    whole: bool = True


class Httpd(Loopback):
    """Answers ``target`` with its script, one answer after another; the last one stays. 404 without a script.

    It closes every connection after one answer, and never answers ``Expect: 100-continue`` before the body, unless it
    ``grants`` leave or an answer is early.
    """

    def __init__(
        self, certificate: tuple[Path, Path] | None = None, *, grants: bool = False, clients: Path | None = None
    ) -> None:
        self.grants = grants
        self.scripts: dict[str, list[Answer]] = {}
        self.requests: list[Request] = []
        self.asked: dict[str, int] = defaultdict(int)
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._asked = threading.Condition(self._lock)
        super().__init__(_Handler, certificate, joined=True, clients=clients)
        self.url = self.origin

    def on(self, target: str, *answers: Answer) -> str:
        """Set the script of a target; gives its URL."""
        self.scripts[target] = list(answers)
        return self.url + target

    def next(self, request: Request) -> Answer:
        """The answer to a request."""
        with self._lock:
            self.requests.append(request)
            script = self.scripts.get(request.target) or [Answer(404, b"no such page")]
            self.asked[request.target] += 1
            self._asked.notify_all()
            return script[min(self.asked[request.target], len(script)) - 1]

    def await_requests(self, count: int) -> None:
        """Until it has been asked so often; bounded."""
        with self._asked:
            assert self._asked.wait_for(lambda: len(self.requests) >= count, 30)

    def await_hanging(self) -> None:
        """Until a script has come to its last answer, if there is one whose last answer hangs; bounded.

        A client that is about to connect when a server goes leaves a socket behind (CPython's ssl).
        """
        last = {target: len(script) for target, script in self.scripts.items() if script[-1].hangs}
        with self._asked:
            reached = self._asked.wait_for(
                lambda: not last or any(self.asked[one] >= count for one, count in last.items()), 30
            )
        assert reached

    def answers_early(self, target: str) -> bool:
        """Whether the next answer to a target does not wait for the body."""
        with self._lock:
            script = self.scripts.get(target)
            return bool(script) and script[min(self.asked[target] + 1, len(script)) - 1].early

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        super().__exit__()


class _Handler(LoopbackHandler):
    def handle_expect_100(self) -> bool:
        if self.server.owner.answers_early(self.path):
            self._answer_to(b"")
            return False
        return super().handle_expect_100() if self.server.owner.grants else True

    def _answer(self) -> None:
        if self.headers.get("Transfer-Encoding") != "chunked":
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            self._answer_to(body, whole=len(body) == size)
            return
        pieces = []
        while size := int(self.rfile.readline() or b"-1", 16):
            pieces.append(self.rfile.read(max(0, size)))
            if size < 0 or len(pieces[-1]) < size or not self.rfile.readline():
                break
        self._answer_to(b"".join(pieces), whole=size == 0 and self.rfile.readline() == b"\r\n")

    def _answer_to(self, body: bytes, *, whole: bool = True) -> None:
        owner = self.server.owner
        answer = owner.next(Request(self.command, self.path, self.headers, body, whole))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        length = len(answer.body) if answer.length is None else answer.length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()
        if answer.hangs:
            owner.closing.wait(60)
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - the base class looks for these
