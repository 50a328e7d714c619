"""Signs of life: which phase a pod is in, since when, and what ends it. Every few minutes, and whenever SIGUSR1 asks.

One thread with one wait on the injected clock: between two beats nothing wakes up.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from lifecycle.outcome import ItemState
from lifecycle.wording import duration, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from lifecycle.context import Pod
    from lifecycle.outcome import Item
    from lifecycle.stay import Stay
    from lifecycle.table import Event

log = logging.getLogger("argoexec")

SHOWN: Final = 4
"""Names of items in a line; of the others it is said how many there are."""

_ASKED, _OVER = "asked", "over"


class Heartbeat:
    """Observes the engine of one pod, and says where it is."""

    def __init__(self, pod: Pod, say: Callable[[str], None] | None = None) -> None:
        """Take a pod; its settings say how often.

        Args:
            pod: its settings' ``progress`` is followed for the bytes so far.
            say: where a line goes; to the log unless given.
        """
        self._pod = pod
        self._say = say
        self._stay: Stay | None = None
        self._began = pod.clock.now()
        self._moved: dict[str, tuple[int, int | None]] = {}
        self._inbox = pod.clock.inbox()
        self._told = pod.settings.progress
        pod.settings = replace(pod.settings, progress=self._progress)

    def start(self) -> None:
        """Begin to beat."""
        self._pod.clock.start(self._beat, "heartbeat")

    def stop(self) -> None:
        """Say nothing more."""
        self._inbox.put(_OVER)

    def ask(self) -> None:
        """Say now where the pod is, with the items under way. May be called from any thread."""
        self._inbox.put(_ASKED)

    def entered(self, stay: Stay) -> None:
        """A phase begins."""
        self._moved = {}
        self._began, self._stay = self._pod.clock.now(), stay

    def left(self, stay: Stay, event: Event, to: str) -> None:
        """A phase has ended; the next one follows at once."""

    def _progress(self, item: str, done: int, total: int | None) -> None:
        self._moved[item] = (done, total)
        self._told(item, done, total)

    def _beat(self) -> None:
        every = self._pod.settings.heartbeat or None
        while (event := self._inbox.get(every)) != _OVER:
            asked = event == _ASKED
            line = self.line(whole=asked)
            if self._say is not None:
                self._say(line)
            elif asked:  # whatever the level: somebody wants to know
                record = log.makeRecord(log.name, logging.INFO, __file__, 0, "%s", (line,), None)
                log.handle(record)
            else:
                log.info("%s", line)

    def line(self, *, whole: bool = False) -> str:
        """``waiting for main (since 12:03:04Z, 5 min 0 s): ends with main, the deadline at 12:10:00Z, or SIGTERM``.

        Args:
            whole: tell of every item under way how far it is.
        """
        stay = self._stay
        if stay is None:
            return "no phase has begun"
        pending = [item for item in list(stay.items) if _is_under_way(item, blocking=stay.phase.blocking)]
        names = _some([item.name or item.kind for item in pending])
        doing = f"{stay.phase.state} for {names}" if stay.phase.blocking and names else stay.phase.state
        reason = self._pod.record.cancelled
        doing += f", which is being stopped: {reason.message}," if reason is not None and stay.phase.blocking else ""
        done = ""
        if stay.items and not stay.phase.blocking:
            done = f", {len(stay.items) - len(pending)} of {len(stay.items)} items done"
        line = f"{doing} (since {self._at(self._began)}, {duration(stay.seconds)}{done})"
        line += f": ends with {_either([names or 'what it does', *self._ends(stay)])}"
        if whole and pending:
            line += " · under way: " + ", ".join(self._under_way(item) for item in pending)
        return line

    def _ends(self, stay: Stay) -> Iterator[str]:
        """What else ends it, or leaves it less time."""
        pod = self._pod
        if pod.grace is not None:
            left = timedelta(seconds=pod.grace.ends - pod.clock.monotonic())
            yield f"the pod's grace at {self._at(pod.clock.now() + left)}"
        if stay.phase.cancellable:
            if pod.deadline is not None and pod.record.cancelled is None:
                yield f"the deadline at {self._at(pod.deadline)}"
            yield "SIGTERM" if pod.stops == 0 else "another SIGTERM"
        else:
            yield "a second SIGTERM" if pod.stops == 0 else "another SIGTERM"

    def _under_way(self, item: Item) -> str:
        parts = [str(item)]
        if str(item) in self._moved:
            done, total = self._moved[str(item)]
            parts.append(size(done) + (f" of {size(total)}" if total is not None else ""))
        if item.note:
            parts.append(f"({item.note})")
        if item.attempts:
            parts.append(f"after {item.attempts} failed attempt{'s' * (item.attempts > 1)}")
        return " ".join(parts)

    def _at(self, moment: datetime) -> str:
        """The time of day, UTC; of another day with its date."""
        moment = moment.astimezone(UTC)
        shape = "%H:%M:%SZ" if moment.date() == self._pod.clock.now().date() else "%Y-%m-%dT%H:%M:%SZ"
        return moment.strftime(shape)


def _is_under_way(item: Item, *, blocking: bool) -> bool:
    # In a phase that waits, what was captured is a container that runs; in others it is a result that is there.
    return item.state is ItemState.PENDING or (blocking and item.state is ItemState.CAPTURED)


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _either(ways: list[str]) -> str:
    """``a``, ``a or b``, ``a, b, or c``."""
    if len(ways) < 3:
        return " or ".join(ways)
    return f"{', '.join(ways[:-1])}, or {ways[-1]}"
