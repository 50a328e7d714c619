"""The small streams between a socket and a file: chunks as a file, a look ahead, a count.

They hold at most one chunk. :class:`Head` and :class:`Counted` do not own what they wrap: closing, or
forgetting, one of them leaves the inner stream open.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

    class _Raw(io.RawIOBase, BinaryIO):
        """What typeshed does for FileIO: a raw stream that may be passed where a BinaryIO is asked for."""
else:
    _Raw = io.RawIOBase


class Readable(_Raw):
    """A raw stream that is told by its ``read`` alone."""

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, all that is left when it is negative, nothing at the end."""
        raise NotImplementedError

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer from :meth:`read`."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Everything that is left."""
        return b"".join(iter(lambda: self.read(1 << 20), b""))


class ChunkReader(Readable):
    """An iterator of chunks as a file. Closing it closes the generator, and then calls ``on_close``.

    ``read(n)`` gives exactly ``n`` bytes as long as there are so many: an uploader that cuts its parts by
    what one call returns gets whole parts. An error of the iterator is raised again by every later read; else
    whoever reads on after it would take a broken stream for a short one.
    """

    def __init__(self, chunks: Iterator[bytes], on_close: Callable[[], None] | None = None) -> None:
        """Nothing is taken from ``chunks`` before the first read."""
        self._chunks = chunks
        self._on_close = on_close
        self._rest = memoryview(b"")
        self._failure: Exception | None = None

    def read(self, size: int = -1, /) -> bytes:
        """Exactly ``size`` bytes; fewer only at the end."""
        if size < 0:
            return self.readall()
        parts: list[memoryview] = []
        while size > 0 and (len(self._rest) > 0 or self._advance()):
            part = self._rest[:size]
            self._rest = self._rest[len(part) :]
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _advance(self) -> bool:
        if self.closed:
            raise ValueError("read of a closed stream")
        if self._failure is not None:
            raise self._failure
        try:
            for chunk in self._chunks:
                if chunk:
                    self._rest = memoryview(chunk)
                    return True
        except Exception as error:
            self._failure = error
            raise
        return False

    def close(self) -> None:
        """Close the generator; twice is once."""
        if self.closed:
            return
        super().close()
        self._rest = memoryview(b"")
        try:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()
        finally:
            if self._on_close is not None:
                self._on_close()


class Head(Readable):
    """A stream whose first bytes can be looked at before they are read."""

    def __init__(self, stream: BinaryIO) -> None:
        """Nothing is read before the first call."""
        self._stream = stream
        self._ahead = bytearray()

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end; they stay to be read."""
        while len(self._ahead) < size:
            data = self._stream.read(size - len(self._ahead))
            if not data:
                break
            self._ahead += data
        return bytes(self._ahead[:size])

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes: first what was looked at, alone, then from the stream."""
        if size < 0:
            return self.readall()
        if self._ahead:
            data = bytes(self._ahead[:size])
            del self._ahead[:size]
            return data
        return self._stream.read(size)


class Counted(Readable):
    """A stream that tells how much of it was read."""

    def __init__(self, stream: BinaryIO, moved: Callable[[int], None] | None = None) -> None:
        """``moved`` is called with the number of bytes after every read that gave any."""
        self._stream = stream
        self._moved = moved
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        """As the inner stream."""
        data = self._stream.read(size)
        if data:
            self.count += len(data)
            if self._moved is not None:
                self._moved(len(data))
        return data
