"""Bytes that do not arrive as they were: they end early, break off, or are others."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from lifecycle.errors import Unavailable
from lifecycle.faults.plan import STREAMS

if TYPE_CHECKING:
    from lifecycle.faults.plan import Fault

_UNKNOWN = 64 * 1024
"""Bytes that a stream of unknown size is taken for."""


class Damaged(io.RawIOBase):
    """A stream with one fault in it, at a share of its size."""

    def __init__(self, inner: BinaryIO, fault: Fault, size: int | None) -> None:
        """``size`` in bytes, or ``None``: then the fault comes in the first 64 KiB."""
        self._inner = inner
        self._fault = fault
        share = STREAMS[fault.kind] if fault.argument is None else fault.argument
        self._left = max(1, int((_UNKNOWN if size is None else size) * share))

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As many bytes as there are before the fault.

        Raises:
            Unavailable: the stream is broken there.
        """
        view = memoryview(buffer).cast("B")
        if self._left <= 0 and self._fault.kind != "wrong":
            if self._fault.kind == "broken":
                raise Unavailable(f"injected: {self._fault}")
            return 0
        wanted = len(view) if self._fault.kind == "wrong" else min(len(view), self._left)
        data = self._inner.read(wanted)
        if self._fault.kind == "wrong" and 0 < self._left <= len(data):
            at = self._left - 1
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        self._left -= len(data)
        view[: len(data)] = data
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def close(self) -> None:
        """With the stream below it."""
        if not self.closed:
            super().close()
            self._inner.close()
