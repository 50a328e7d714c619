"""An answer of a docker daemon that is read while it comes, and the thread that waits for it.

A wait for a container or for events may last for days, and must end at once when somebody wants that: it is read in a
thread whose socket can be shut down.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from lifecycle.archive.stream import Readable
from lifecycle.network import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lifecycle.clock import Cancel
    from lifecycle.errors import LifecycleError

T = TypeVar("T")


class Body(Readable):
    """The body of an answer. A read that blocks is ended by :meth:`abort`, from another thread."""

    def __init__(self, response: Any, where: str, meaning: Callable[[str, Exception], LifecycleError]) -> None:
        """Take an answer whose body has not been read."""
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._where = where
        self._meaning = meaning

    def read(self, size: int = -1, /) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end.

        Raises:
            Unavailable, TimedOut: the connection broke; what was read is not all.
        """
        if size < 0:
            return self.readall()
        return self._pull(lambda: self._response.raw.read(size, decode_content=False))

    def read1(self, size: int = 256 * 1024, /) -> bytes:
        """What has come, at most ``size`` bytes; nothing at the end.

        Raises:
            Unavailable, TimedOut: as ``read``.
        """
        return self._pull(lambda: self._response.raw.read1(size, decode_content=False))

    def _pull(self, read: Callable[[], bytes]) -> bytes:
        if self.closed:
            raise ValueError("read of a closed stream")
        try:
            return read()
        except failures() as error:
            raise self._meaning(self._where, error) from shown(error)

    def quoted(self, text: str) -> str:
        """What it says, without the secrets that went with the request."""
        from runtimes.dockerlogin import quoted  # noqa: PLC0415 - of use only here

        return quoted(self._response, text)

    def lines(self) -> Iterator[bytes]:
        """Its lines as they come; an unfinished one at the end is dropped."""
        rest = b""
        while data := self.read1():
            *whole, rest = (rest + data).split(b"\n")
            yield from whole

    def abort(self) -> None:
        """End a read that blocks; it, and all that follow, break."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # it has ended, or has been closed
            self._response.raw.shutdown()

    def close(self) -> None:
        """Let go of the connection, which is of no more use when not all was read."""
        if not self.closed:
            super().close()
            self._response.close()


class Follower:
    """A thread that opens an answer and reads it to its end; :meth:`stop` ends both."""

    def __init__(
        self, name: str, open_: Callable[[], Body], read: Callable[[Body], None], failed: Callable[[Exception], None]
    ) -> None:
        """Begin.

        Args:
            name: the thread's.
            open_: what is followed.
            read: takes it; raises when it breaks.
            failed: is given the error, but none that came of the stop.
        """
        self._open, self._read, self._failed = open_, read, failed
        self._lock = threading.Lock()
        self._body: Body | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            body = self._open()
            with body:
                with self._lock:
                    if self._stopped:
                        return
                    self._body = body
                self._read(body)
        except Exception as error:  # noqa: BLE001 - a thread has no caller: whoever waits is told
            if not self._stopped:
                self._failed(error)

    def join(self, timeout: float) -> None:
        """Wait for its end, that many seconds at most."""
        self._thread.join(timeout)

    def stop(self) -> None:
        """Let go. A daemon that has not answered at all is left to the thread, which keeps no process alive."""
        with self._lock:
            self._stopped, body = True, self._body
        if body is not None:
            body.abort()
            self._thread.join()


def followed(
    name: str, open_: Callable[[], Body], read: Callable[[Body], T], cancel: Cancel, timeout: float | None
) -> T | None:
    """What ``read`` makes of an answer, however long that takes; ``None`` after ``timeout`` seconds.

    Raises:
        Cancelled: the token was set.
        LifecycleError: what ``open_`` or ``read`` raise.
    """
    cancel.check()
    inbox: queue.SimpleQueue[tuple[T] | Exception | None] = queue.SimpleQueue()
    follower = Follower(name, open_, lambda body: inbox.put((read(body),)), inbox.put)
    try:
        with cancel.listening(lambda: inbox.put(None)):
            found = inbox.get(timeout=None if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))
    except queue.Empty:
        found = None
    finally:
        follower.stop()
    if isinstance(found, Exception):
        raise found
    if found is None:
        cancel.check()
        return None
    return found[0]


def failures() -> tuple[type[Exception], ...]:
    """What the SDK, and what is below it, raises about the way to a daemon."""
    import docker.errors  # noqa: PLC0415 - is loaded already
    import requests  # noqa: PLC0415
    import urllib3  # noqa: PLC0415

    return (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)
