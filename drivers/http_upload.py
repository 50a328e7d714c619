"""The body of a PUT, and a connection that asks for leave before it sends one (RFC 9110, 10.1.1).

A source can be read only once. A server that redirects, refuses, or wants another token should say so before it is
read: ``Expect: 100-continue``, which neither urllib3 nor http.client does. nginx, Apache, Go's servers and S3 answer it
at once; one that never does costs each body of more than 1 MiB a second.
"""

from __future__ import annotations

import functools
import http.client
import io
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from drivers.spool import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterator

    _Connection = HTTPConnection
else:
    _Connection = object

SMALL: Final = 1 << 20  # bytes; what is not more is sent without asking, and can be sent again
_PATIENCE: Final = 1.0  # seconds for the server's 100; curl and Go wait as long
_LINE: Final = 65536  # the longest line of an answer that http.client takes


class SourceFailed(Exception):
    """The source raised :attr:`Upload.failure`, which urllib3 must not see: it takes an OSError for the peer's."""


class Upload:
    """What is sent: ``head``, then what ``rest`` gives to its end.

    Attributes:
        size: bytes, where they are known; else the body goes in chunks, and the last one says that it is whole.
        expects: whether the server is asked for leave.
        answered: the server has given its answer instead of leave: nothing is read or sent.
        begun: some of it may have been sent.
        done: all has been sent.
        failure: what the source raised.
    """

    def __init__(
        self, head: bytes | bytearray, rest: BinaryIO | None = None, *, size: int | None = None, seekable: bool = False
    ) -> None:
        """Nothing is read yet.

        Args:
            head: the beginning, or all, in memory.
            rest: what follows; the caller closes it.
            size: of all of it; that of ``head`` when nothing follows.
            seekable: whether ``rest`` can be read again from its beginning, where it is now.
        """
        self.size = len(head) if rest is None else size
        self.expects = rest is not None
        self.timeout = 60.0
        self.answered = False
        self.begun = False
        self.done = False
        self.failure: Exception | None = None
        self._head = head
        self._rest = rest
        self._seekable = seekable
        self._taken = False

    def again(self) -> bool:
        """Prepare to be sent once more; false when the source has been read and cannot be read again."""
        if self._taken and not self._seekable:
            return False
        if self._taken and self._rest is not None:
            self._rest.seek(0)
        self.answered = self.done = self._taken = False
        return True

    def __iter__(self) -> Iterator[bytes | bytearray]:
        if self.answered:
            return
        self.begun = True
        if self._head:
            yield self._head
        while self._rest is not None and (piece := self._piece(self._rest)):
            yield piece
        self.done = True

    def _piece(self, rest: BinaryIO) -> bytes:
        self._taken = True
        try:
            return rest.read(PIECE)
        except Exception as error:
            self.failure = error
            raise SourceFailed from error


class _Begun(http.client.HTTPResponse):
    """An answer whose first line has been read."""

    def __init__(self, *args: Any, first: bytes, **options: Any) -> None:
        super().__init__(*args, **options)
        self._first = first

    def _read_status(self) -> tuple[str, int, str]:
        first, self._first = self._first, b""
        rest = self.fp
        if first:
            self.fp = io.BytesIO(first)  # type: ignore[assignment]
        try:
            status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        finally:
            self.fp = rest
        return status


class _Asking(_Connection):
    """Sends the head of a request, waits for leave or for an answer, and then the body, or not."""

    _upload: Upload | None = None

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        self._upload = body if isinstance(body, Upload) else None
        self.response_class = http.client.HTTPResponse
        super().request(method, url, body=body, headers=headers, **options)

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        super().endheaders(message_body, encode_chunked=encode_chunked)
        if self._upload is not None:
            if self._upload.expects:
                self._await_leave(self._upload)
            self.sock.settimeout(self._upload.timeout)  # it had that for connecting

    def send(self, data: Any) -> None:
        if self._upload is None or not self._upload.answered:
            super().send(data)

    def _await_leave(self, upload: Upload) -> None:
        # Byte by byte, not by select and a buffer: what comes after the line belongs to http.client, and under TLS a
        # readable socket may hold nothing but a session ticket.
        self.sock.settimeout(_PATIENCE)
        try:
            first = self.sock.recv(1)
        except TimeoutError:
            return  # it does not know the question: RFC 9110 says to send
        self.sock.settimeout(upload.timeout)
        line = first + self._line()
        while (status := line.split(None, 2)[1:2]) and status[0].startswith(b"1"):
            while self._line().strip():  # its headers
                pass
            if status == [b"100"]:
                return
            line = self._line()
        upload.answered = True
        self.response_class = functools.partial(_Begun, first=line)  # type: ignore[assignment]

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) < _LINE and (byte := self.sock.recv(1)):
            line += byte
        return line


class _PlainConnection(_Asking, HTTPConnection):
    pass


class _SecureConnection(_Asking, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOLS: Final = {"http": _PlainPool, "https": _SecurePool}
"""For ``PoolManager.pool_classes_by_scheme``, urllib3's way to have connections of another class."""
