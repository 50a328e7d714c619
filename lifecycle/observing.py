"""Everybody who watches a pod: the account of it, its signs of life, the log's fields, spans and metrics.

Spans and metrics are made of the same lines that the journal has, by the same reader; what they need is imported when
the environment asks for them (docs/observing.md).
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lifecycle.account import Account
from lifecycle.heartbeat import Heartbeat
from lifecycle.journal import Followed
from lifecycle.logs import About

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lifecycle.context import Pod
    from lifecycle.engine import Observer
    from lifecycle.stay import Stay
    from lifecycle.table import Event

log = logging.getLogger("argoexec")

_OFF: Final = frozenset({"0", "false", "no", "off"})


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def entered(self, stay: Stay) -> None:
        """A phase begins."""
        for observer in self._observers:
            observer.entered(stay)

    def left(self, stay: Stay, event: Event, to: str) -> None:
        """A phase has ended."""
        for observer in self._observers:
            observer.left(stay, event, to)


class Observed(Observers):
    """A pod that is watched.

    Attributes:
        account: what has happened so far.
        ask: says now where the pod is; for SIGUSR1.
    """

    def __init__(self, account: Account, heartbeat: Heartbeat, *others: Observer) -> None:
        super().__init__(heartbeat, *others)
        self.account = account
        self.ask = heartbeat.ask


@contextmanager
def observed(
    pod: Pod, environ: Mapping[str, str], *also: Observer, say: Callable[[str], None] | None = None
) -> Iterator[Observed]:
    """Watch a pod in the block; at its end the log has the whole record of what went wrong, and the summary.

    Args:
        pod: its journal is read along.
        environ: whether there are spans and metrics.
        also: more observers of the engine.
        say: where signs of life go; to the log unless given.
    """
    account, heartbeat, about = Account(), Heartbeat(pod, say), About(pod.name, pod.template.name)
    followers = list(_followers(pod, environ, account))
    pod.journal = Followed(pod.journal, pod.clock, account.read, *(one.read for one in followers))
    handlers = list(logging.getLogger("argoexec").handlers)
    for handler in handlers:
        handler.addFilter(about)
    heartbeat.start()
    try:
        yield Observed(account, heartbeat, about, *also)
    finally:
        heartbeat.stop()
        for follower in followers:
            follower.close()
        if account.record:
            log.info("all that went wrong", extra={"record": dict(account.record)})
        if account.table:
            log.info("%s", account.summary())
        for handler in handlers:
            handler.removeFilter(about)


def _followers(pod: Pod, environ: Mapping[str, str], account: Account) -> Iterator[Any]:
    """Spans and metrics, where they are asked for; without their package they are missed by a warning only."""
    if _traced(environ):
        try:
            from lifecycle import spans  # noqa: PLC0415 - who does not ask does not pay

            yield spans.Spans(account, spans.exporter(), pod.clock, environ, pod.known.journal)
        except Exception as error:  # noqa: BLE001 - whoever watches a pod must not fail it
            _missed("spans", "otel", error)
    if path := environ.get("ARGOEXEC_METRICS"):
        try:
            from lifecycle.metrics import Metrics  # noqa: PLC0415 - as above

            yield Metrics(account, Path(path))
        except Exception as error:  # noqa: BLE001 - as above
            _missed("metrics", "metrics", error)


def _traced(environ: Mapping[str, str]) -> bool:
    """Whether spans are wanted: ``ARGOEXEC_TRACE`` counts more than an endpoint that every container is given."""
    chosen = environ.get("ARGOEXEC_TRACE", "")
    if chosen:
        return chosen.lower() not in _OFF
    return bool(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def _missed(what: str, extra: str, error: Exception) -> None:
    if isinstance(error, ImportError):
        log.warning("there will be no %s: %s; install argoexec[%s]", what, error, extra)
    else:
        log.warning("there will be no %s: %s: %s", what, type(error).__name__, error)
