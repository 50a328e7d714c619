"""What happened as OpenTelemetry spans: pod → phase → item → attempt, the tree of the account.

Of the extra ``otel``: 95 ms and 11 MiB, only where the environment asks for it. The SDK's own batches are sent by a
thread that wakes up every five seconds; ours is woken by the end of a phase, so that an idle ``wait`` stays idle, and
a pod that is killed has told of every phase that it left.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lifecycle.account import BAD, of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from lifecycle.account import Account, Attempt, Thing, Visit
    from lifecycle.clock import Clock

log = logging.getLogger("argoexec")

TO_DELIVER: Final = 5.0
"""Seconds that a finished pod waits for its spans to be taken: a collector that is away costs no more."""


def exporter() -> SpanExporter:
    """The exporter to a collector, by OTLP over HTTP; ``OTEL_EXPORTER_OTLP_*`` say where and how."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - 45 ms more

    return OTLPSpanExporter()


class Spans:
    """Of one pod: makes a span of each node of the account when it has ended."""

    def __init__(
        self,
        account: Account,
        exporter: SpanExporter,
        clock: Clock,
        environ: Mapping[str, str],
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Take an account that is kept by somebody else, who reads each line before this does.

        ``TRACEPARENT`` of the environment is the parent of the pod's span, where somebody has set it. ``earlier`` are
        lines of a process that was killed: of the phase it died in it could not tell.
        """
        self._account = account
        self._killed = _killed(earlier)
        self._courier = _Courier(exporter, clock)
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(self._courier)
        self._tracer = self._provider.get_tracer("argoexec", version("argoexec"))
        parent = {key: environ[key.upper()] for key in ("traceparent", "tracestate") if environ.get(key.upper())}
        self._above: Context | None = TraceContextTextMapPropagator().extract(parent) if parent else None
        self._root: Span | None = None
        self._phase: Span | None = None

    def read(self, line: Mapping[str, Any]) -> None:
        """Take a line that the account has taken."""
        account = self._account
        match line["kind"]:
            case "pod" if self._root is None:
                known = {"k8s.pod.name": account.pod, "argoexec.template": account.template}
                began = min(account.began, self._killed.began) if self._killed else account.began
                self._root = self._begin(account.table, began, self._above, known)
                if self._killed:
                    self._tell_killed(self._killed, set_span_in_context(self._root))
            case "enter" if self._root is not None:
                visit = account.visits[-1]
                known = {"argoexec.phase": visit.phase}
                self._phase = self._begin(visit.phase, visit.began, set_span_in_context(self._root), known)
            case "leave" if self._phase is not None:
                self._leave(self._phase, account.visits[-1])
                self._phase = None
                self._courier.deliver()
            case "end":
                self._end()

    def close(self) -> None:
        """Send what is left, for so long and no longer."""
        self._end()
        self._courier.close()
        self._provider.shutdown()

    def _begin(self, name: str, began: float, above: Context | None, known: Mapping[str, Any]) -> Span:
        return self._tracer.start_span(name, above, attributes=known, start_time=_nanoseconds(began))

    def _leave(self, span: Span, visit: Visit) -> None:
        inside = set_span_in_context(span)
        for thing in visit.things.values():
            self._tell_item(thing, inside)
        span.set_attribute("argoexec.event", visit.event or "interrupted")
        for failure in visit.failures:
            span.add_event("failure", _flat(failure), _nanoseconds(visit.ended))
        if visit.failures:
            span.set_status(Status(StatusCode.ERROR, visit.failures[0]["message"]))
        span.end(_nanoseconds(visit.ended))

    def _tell_killed(self, visit: Visit, above: Context) -> None:
        span = self._begin(visit.phase, visit.began, above, {"argoexec.phase": visit.phase})
        span.set_status(Status(StatusCode.ERROR, "the executor was killed"))
        self._leave(span, visit)
        self._courier.deliver()

    def _tell_item(self, thing: Thing, above: Context) -> None:
        known: dict[str, Any] = {"argoexec.item": thing.name, "argoexec.attempts": len(thing.attempts)}
        known |= {"argoexec.state": thing.state} if thing.state else {}
        known |= {"argoexec.bytes": thing.size} if thing.size is not None else {}
        span = self._begin(thing.name, thing.began, above, known)
        inside = set_span_in_context(span)
        for one in thing.attempts:
            self._tell_attempt(one, inside)
        if thing.state in BAD:
            span.set_status(Status(StatusCode.ERROR, thing.attempts[-1].message if thing.attempts else thing.state))
        span.end(_nanoseconds(thing.ended))

    def _tell_attempt(self, attempt: Attempt, above: Context) -> None:
        known = {"argoexec.attempt": attempt.number}
        span = self._begin(f"attempt {attempt.number}", attempt.began, above, known)
        if attempt.error:
            span.set_attribute("error.type", attempt.error)
            span.set_status(Status(StatusCode.ERROR, attempt.message))
        span.end(_nanoseconds(attempt.ended))

    def _end(self) -> None:
        if self._root is None or not self._root.is_recording():
            return
        account = self._account
        if self._phase is not None:
            self._leave(self._phase, account.visits[-1])
            self._phase = None
        self._root.set_attribute("argoexec.verdict", account.verdict or "interrupted")
        if account.verdict != "succeeded":
            self._root.set_status(Status(StatusCode.ERROR, account.message))
        self._root.end(_nanoseconds(account.ended))


def _killed(lines: Sequence[Mapping[str, Any]]) -> Visit | None:
    """The stay that was not left; ``None`` of a journal that tells of none, or that cannot be understood."""
    try:
        before = of(lines)
    except (KeyError, TypeError, ValueError):
        return None
    return before.visits[-1] if before.visits and not before.visits[-1].event else None


class _Courier(SpanProcessor):
    """Takes spans to an exporter, in a thread that sleeps until there is something to take."""

    def __init__(self, exporter: SpanExporter, clock: Clock) -> None:
        self._exporter = exporter
        self._ended: list[ReadableSpan] = []
        self._parcels = clock.inbox()
        self._done = clock.inbox()
        self._lost = False
        clock.start(self._carry, "spans")

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it for the next parcel."""
        self._ended.append(span)

    def deliver(self) -> None:
        """What has ended so far is a parcel."""
        ended, self._ended = self._ended, []
        if ended:
            self._parcels.put(ended)

    def close(self) -> None:
        """Deliver the last parcel, and wait until it has arrived."""
        self.deliver()
        self._parcels.put(None)
        if self._done.get(TO_DELIVER) is None:
            log.warning("not all spans were delivered: the collector did not take them in %g s", TO_DELIVER)

    def _carry(self) -> None:
        while (parcel := self._parcels.get(None)) is not None:
            try:
                arrived = self._exporter.export(parcel) is SpanExportResult.SUCCESS
                why = ""
            except Exception as error:  # noqa: BLE001 - whoever watches a pod must not fail it
                arrived, why = False, f": {type(error).__name__}"
            if not arrived and not self._lost:
                self._lost = True
                log.warning("spans were not delivered: the collector did not take them%s", why)
        self._exporter.shutdown()
        self._done.put(True)


def _resource() -> Resource:
    """The SDK's, by the environment's ``OTEL_RESOURCE_ATTRIBUTES``; without a service's name it is ours."""
    found = Resource.create()
    named = not str(found.attributes.get("service.name", "unknown_service")).startswith("unknown_service")
    return found if named else found.merge(Resource({"service.name": "argoexec"}))


def _flat(failure: Mapping[str, Any]) -> dict[str, Any]:
    """A failure's record as the attributes of an event, whose values are no objects."""
    return {f"argoexec.{name}": value for name, value in failure.items() if value not in (None, "", [])}


def _nanoseconds(moment: float) -> int:
    return round(moment * 1e6) * 1000
