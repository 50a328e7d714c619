"""How far a transfer is: bytes done of a total, told to whoever watches, and now and then to the journal.

A line is fsynced, so the journal gets one every ten seconds at most: enough to see in which minute a transfer stood
still, and how fast it had been.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lifecycle.context import Pod
    from lifecycle.outcome import Item

EVERY: Final = 10.0
"""Seconds between two lines of one item."""


class Progress:
    """Of one item, in one attempt; may be told from several threads."""

    def __init__(self, pod: Pod, item: Item) -> None:
        """Nothing is written before the first ten seconds are over: most transfers never are in the journal."""
        self._pod = pod
        self._item = item
        self._lock = threading.Lock()
        self._next = pod.clock.monotonic() + EVERY

    def __call__(self, done: int, total: int | None) -> None:
        """So many bytes of so many; the total where it is known."""
        self._pod.settings.progress(str(self._item), done, total)
        now = self._pod.clock.monotonic()
        with self._lock:
            if now < self._next:
                return
            self._next = now + EVERY
        known = {} if total is None else {"total": total}
        self._pod.journal.write("progress", phase=self._item.phase, item=str(self._item), bytes=done, **known)
