"""What must begin before anything else is imported: `wait` imports 200 ms of modules before it asks a runtime anything.

Called by the launcher of the image and by the command line, whoever comes first. It imports next to nothing.
"""

from __future__ import annotations

import os
import sys

EARLY = {"pns": "runtimes.scan:begin"}
"""By the runtime's name; its main may live for 5 ms."""

_begun: set[str] = set()


def begin() -> None:
    """Let a runtime that must see main begin do so, once."""
    target = EARLY.get(os.environ.get("ARGO_CONTAINER_RUNTIME_EXECUTOR", "")) if "wait" in sys.argv else None
    if target and target not in _begun:
        _begun.add(target)
        module, _, attr = target.partition(":")
        __import__(module)
        getattr(sys.modules[module], attr)()


def release() -> None:
    """Let the signals come that the launcher or :func:`lifecycle.stopping.held_back` keeps for later."""
    import signal  # noqa: PLC0415 - after the first look

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
