"""The account of one transfer: what was moved, of how much, who is told, who may stop it, and how it goes on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from lifecycle.archive.stream import Readable
from lifecycle.clock import NEVER, Cancel
from lifecycle.errors import NotFound, Transient, Unavailable
from lifecycle.ports import RangeDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.ports import Driver


def _give_up(broken: Transient, _: Callable[[], Any]) -> Any:
    raise broken


@dataclass(slots=True)
class Moved:
    """What a transfer has moved so far.

    Attributes:
        size: bytes; of an object as the store has it when it is loaded, of the content when it is packed.
        total: how many there will be, where that is known beforehand.
        tell: called with both after every chunk.
        cancel: a wish to stop.
        resume: called with the error that broke a download and with what goes on with it; decides when, and how often.
    """

    size: int = 0
    total: int | None = None
    note: str = ""
    tell: Callable[[int, int | None], None] = field(default=lambda *_: None)
    cancel: Cancel = field(default=NEVER)
    resume: Callable[[Transient, Callable[[], BinaryIO]], BinaryIO] = field(default=_give_up)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, count: int) -> None:
        """More bytes; every chunk comes by here, so here a wish to stop ends a transfer.

        Raises:
            Cancelled: the token is set.
        """
        self.cancel.check()
        with self._lock:  # the objects of a directory come in several threads
            self.size += count
            self.tell(self.size, self.total)


class Resumed(Readable):
    """An object that is read on where its connection broke, if its store can give the rest (upstream #15044).

    Each break is an attempt of the phase's policy; one that has moved no byte since the last is not gone on with.
    """

    def __init__(self, driver: Driver, key: str, moved: Moved) -> None:
        """Open it.

        Raises:
            LifecycleError: from the driver.
        """
        self._driver = driver
        self._key = key
        self._moved = moved
        self._stream = driver.open(key)
        self._version = str(getattr(self._stream, "version", None) or "")
        self._count = 0
        self._broke_at = 0
        self.size: int | None = getattr(self._stream, "size", None)

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes.

        Raises:
            Transient: it broke, and cannot be gone on with.
            LifecycleError: what else the driver's stream raised.
        """
        if self.closed:
            raise ValueError("read of a closed stream")
        if size < 0:
            return self.readall()
        while True:
            try:
                data = self._stream.read(size)
            except Transient as error:
                self._go_on(error)
            except NotFound as gone:
                raise _changed(gone) from gone
            else:
                self._count += len(data)
                if data or not size or self.size is None or self._count >= self.size:
                    return data
                # The end of a rest whose own size nobody has told.
                self._go_on(Unavailable(f"the store broke off after {self._count} of {self.size} bytes"))

    def abort(self) -> None:
        """End a read that blocks in another thread."""
        if abort := getattr(self._stream, "abort", None):
            abort()

    def close(self) -> None:
        """Close the driver's stream; twice is once."""
        if not self.closed:
            super().close()
            self._stream.close()

    def _go_on(self, broken: Transient) -> None:
        driver = self._driver
        if not self._version or not isinstance(driver, RangeDriver) or self._count == self._broke_at:
            raise broken
        self._broke_at = self._count
        self._stream.close()
        try:
            self._stream = self._moved.resume(broken, lambda: driver.open_rest(self._key, self._count, self._version))
        except NotFound as gone:
            raise _changed(gone) from gone


def _changed(gone: NotFound) -> Unavailable:
    """What was there has gone: ``optional`` must not forgive that."""
    return Unavailable(f"the object changed while it was read: {gone}")
