"""Bytes that do not arrive as they were: they end early, break off, or are others."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from lifecycle.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.faults.plan import Fault
    from lifecycle.ports import StoredObject

_HALF = 0.5
_SHORT = 7
"""A short read gives this part of what was asked for."""


class Damaged(io.RawIOBase):
    """A stream with one fault in it, at a share of its size."""

    def __init__(self, inner: BinaryIO, fault: Fault, size: int | None) -> None:
        """``size`` in bytes, or ``None``: then it is a share of the first piece that is read."""
        super().__init__()
        self._inner = inner
        self._fault = fault
        self._share = _HALF if fault.argument is None else fault.argument
        self._at = None if size is None else int(size * self._share)
        self._read = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As many bytes as there are before the fault.

        Raises:
            Unavailable, OSError: the stream is broken there.
        """
        view = memoryview(buffer).cast("B")
        match self._fault.kind:
            case "short":
                data = self._inner.read(max(1, len(view) // _SHORT))
            case "wrong":
                data = self._wrong(self._inner.read(len(view)))
            case _:
                data = self._before_the_end(len(view))
        self._read += len(data)
        view[: len(data)] = data
        return len(data)

    def _wrong(self, data: bytes) -> bytes:
        if self._at is None:
            self._at = int(len(data) * self._share)
        at = self._at - self._read
        if not 0 <= at < len(data):
            return data  # it is further on, or has been
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]

    def _before_the_end(self, wanted: int) -> bytes:
        if self._at is None:
            data = self._inner.read(wanted)
            self._at = int(len(data) * self._share)
            data = data[: self._at]
        else:
            wanted = min(wanted, self._at - self._read)
            data = self._inner.read(wanted) if wanted > 0 else b""
        if not data:
            end(self._fault)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def close(self) -> None:
        """With the stream below it."""
        if not self.closed:
            super().close()
            self._inner.close()


def listed(entries: Iterator[StoredObject], fault: Fault) -> Iterator[StoredObject]:
    """A listing that ends early, or breaks off.

    Raises:
        Unavailable: it breaks off.
    """
    whole = list(entries)
    yield from whole[: int(len(whole) * (_HALF if fault.argument is None else fault.argument))]
    end(fault)


def end(fault: Fault) -> None:
    """What comes instead of the next byte.

    Raises:
        Unavailable, OSError: nothing, if it is truncated.
    """
    if fault.kind == "broken":
        raise Unavailable(f"injected: {fault}")
    if fault.kind == "disk-full":
        raise full(fault)


def full(fault: Fault) -> OSError:
    """The kernel's own error; where the kernel names a file, it names the fault."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"injected: {fault}")
