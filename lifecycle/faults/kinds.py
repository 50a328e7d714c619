"""What can go wrong: errors instead of a call, damage to its bytes, and what happens beside it."""

from __future__ import annotations

from typing import Final

ERRORS: Final = {
    "unavailable": "Unavailable",
    "throttled": "Throttled",
    "timed-out": "TimedOut",
    "not-found": "NotFound",
    "unauthorized": "Unauthorized",
    "forbidden": "Forbidden",
    "bad-request": "BadRequest",
    "already-exists": "AlreadyExists",
    "bad-input": "InputError",
    "unsafe-archive": "UnsafeArchive",
    "corrupt-data": "CorruptData",
    "storage-full": "StorageFull",
    "not-started": "MainNotStarted",
    "unsupported": "Unsupported",
    "disk-full": "OSError",
    "defect": "Injected",
}
"""Faults that are raised instead of the call, and the class of each: every class that an adapter may raise, the
kernel's own ENOSPC, and what nobody should raise. With a share as its argument ``disk-full`` comes in the stream."""

STREAMS: Final = {
    "truncated": "ends early, and does not say so",
    "broken": "breaks off as a connection does",
    "wrong": "one byte is another",
    "short": "every read gives less than was asked for, which is its right",
}
"""Faults of the bytes that a call gives or takes: half-way unless their argument says after which share of them."""

OTHERS: Final = {
    "delay": "the call waits before it is made: for 1 s unless its argument says how many",
    "hang": "the call waits until somebody wants an end",
    "lost": "the call is made, and instead of its answer the connection breaks",
    "kill": "this process is killed",
    "clock": "the wall clock jumps: by 3600 s unless its argument says how many",
}
"""Faults beside the call, which is made all the same unless somebody wants an end."""

KINDS: Final = {**ERRORS, **STREAMS, **OTHERS}

GIVES: Final = frozenset({"open_file", "open_tar", "open_output", "open", "open_rest"})
TAKES: Final = frozenset({"save"})
LISTS: Final = frozenset({"list"})
OF_LISTS: Final = frozenset({"truncated", "broken"})
