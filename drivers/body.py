"""What a driver's ``open`` gives: a stream that knows its size, is complete or fails, speaks our errors."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from lifecycle.archive.stream import Readable
from lifecycle.errors import LifecycleError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    import urllib3


class Inner(Protocol):
    """What is wrapped: the answer of a client library."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, nothing at the end."""

    def close(self) -> None:
        """Let go of the connection."""


class Undecoded:
    """An answer of urllib3's as an :class:`Inner`: its bytes as they came, whatever ``Content-Encoding`` says."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        return self._response.read(size, decode_content=False)

    def shutdown(self) -> None:
        """End a read that blocks in another thread."""
        self._response.shutdown()

    def close(self) -> None:
        """What has not come is not waited for."""
        self._response.close()


class Body(Readable):
    """Owns what it wraps. Closing it before the end is cheap: the rest is not read."""

    def __init__(
        self,
        inner: Inner,
        where: str,
        size: int | None,
        translate: Callable[[Exception], LifecycleError],
        version: str = "",
    ) -> None:
        """Take the answer of a client library.

        Args:
            inner: the answer.
            where: for messages.
            size: what the store announced; fewer bytes than that are an error, not the end.
            translate: what an error of ``inner`` means.
            version: what tells this content from others under the same key, such as a strong ETag; empty where the
                rest of it cannot be asked for.
        """
        self.size = size
        self.version = version
        self._inner = inner
        self._where = where
        self._translate = translate
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes.

        Raises:
            LifecycleError: the connection broke, or ended before the announced size.
        """
        if self.closed:
            raise ValueError("read of a closed stream")
        if size < 0:
            return self.readall()
        try:
            data = self._inner.read(size)
        except LifecycleError:  # of an inner that translates by itself, because its causes may quote a secret
            raise
        except Exception as error:
            raise self._translate(error) from error
        self._count += len(data)
        if not data and size > 0 and self.size is not None and self._count < self.size:
            raise Unavailable(f"{self._where}: the store broke off after {self._count} of {self.size} bytes")
        return data

    def abort(self) -> None:
        """End a read that blocks in another thread, which then fails as if the store had broken off."""
        shutdown = getattr(self._inner, "shutdown", None) or getattr(
            getattr(self._inner, "_raw_stream", None), "shutdown", None
        )
        if shutdown is not None and not self.closed:
            with contextlib.suppress(Exception):  # it ended in this moment: as good
                shutdown()

    def close(self) -> None:
        """Close the inner stream; twice is once."""
        if not self.closed:
            super().close()
            self._inner.close()
