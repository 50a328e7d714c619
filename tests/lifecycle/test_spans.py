"""Spans, by the real SDK: the tree they make, and that a collector which is away costs nothing."""

from __future__ import annotations

import gzip
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from lifecycle import spans
from lifecycle.clock import NEVER
from lifecycle.engine import Engine
from lifecycle.observing import observed
from lifecycle.pod import WAIT_TABLE
from tests.fakes import Script
from tests.lifecycle.endings import make_world
from tests.lifecycle.watched import play, tree
from tests.servers.loopback import Loopback, LoopbackHandler

if TYPE_CHECKING:
    from pathlib import Path

ON = {"ARGOEXEC_TRACE": "1"}


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch: pytest.MonkeyPatch):
    """What the machine of the tests has set is none of theirs."""
    for name in [one for one in os.environ if one.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "exporter", lambda: exporter)
    return exporter


def ways(found: Any) -> dict[tuple[str, ...], Any]:
    """Every span by the names of those above it and its own."""
    by_id = {span.context.span_id: span for span in found}

    def way(span: Any) -> tuple[str, ...]:
        above = by_id.get(span.parent.span_id) if span.parent else None
        return (*(way(above) if above else ()), span.name)

    return {way(span): span for span in found}


def test_the_spans_are_the_tree_of_the_path_through_the_table(tmp_path: Path, kept: InMemorySpanExporter):
    _, account = play(tmp_path, ON)
    found = ways(kept.get_finished_spans())

    assert found.keys() == tree(account)
    assert len(kept.get_finished_spans()) == len(found)
    for way, span in found.items():
        if len(way) > 1:
            assert found[way[:-1]].start_time <= span.start_time <= span.end_time <= found[way[:-1]].end_time, way


def test_a_span_tells_what_the_record_tells(tmp_path: Path, kept: InMemorySpanExporter):
    play(tmp_path, ON)
    found = ways(kept.get_finished_spans())
    pod = found["wait",]

    assert pod.attributes == {"k8s.pod.name": "pod-1", "argoexec.template": "t", "argoexec.verdict": "failed"}
    assert pod.resource.attributes["service.name"] == "argoexec"
    assert pod.status.status_code is StatusCode.ERROR
    assert pod.status.description == "annotating: report: patch is forbidden — grant it"
    assert found["wait", "saving"].status.status_code is StatusCode.UNSET
    [failure] = found["wait", "annotating"].events
    assert failure.attributes["argoexec.remedy"] == "grant it"
    saved = found["wait", "saving", "artifact a"]
    assert saved.attributes["argoexec.attempts"] == 3
    assert saved.attributes["argoexec.state"] == "saved"
    first, last = (found["wait", "saving", "artifact a", f"attempt {number}"] for number in (1, 3))
    assert first.attributes["error.type"] == "Unavailable"
    assert first.status.description == "down"
    assert last.status.status_code is StatusCode.UNSET


def test_whoever_began_the_trace_is_above(tmp_path: Path, kept: InMemorySpanExporter):
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    play(tmp_path, ON | {"TRACEPARENT": f"00-{trace}-{parent}-01"})
    pod = next(span for span in kept.get_finished_spans() if span.name == "wait")

    assert {f"{span.context.trace_id:032x}" for span in kept.get_finished_spans()} == {trace}
    assert f"{pod.parent.span_id:016x}" == parent


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "ARGOEXEC_TRACE": "off"}, False),
        ({"ARGOEXEC_TRACE": "true"}, True),
        ({"ARGOEXEC_TRACE": "0"}, False),
    ],
)
def test_spans_are_made_for_whoever_asks(tmp_path: Path, kept: InMemorySpanExporter, environ, wanted):
    play(tmp_path, environ)

    assert bool(kept.get_finished_spans()) is wanted


def test_every_phase_that_was_left_has_been_told_before_the_next_one_ends(tmp_path: Path, kept: InMemorySpanExporter):
    """A pod that is killed later has told of it."""
    told: list[set[str]] = []
    world = make_world(tmp_path)
    world.store.script = Script(save=[world.after(2.0)])
    world.at(6.0, lambda: told.append({span.name for span in kept.get_finished_spans()}))
    with observed(world.pod, ON) as seen:
        Engine(WAIT_TABLE, world.pod, observer=seen).run()

    assert {"waiting", "killing sidecars", "capturing", "result"} < told[0]
    assert not told[0] & {"saving", "wait"}


def test_who_is_restarted_tells_of_the_phase_in_which_the_last_one_was_killed(tmp_path: Path, kept):
    whole, _ = play(tmp_path / "first", {})
    lines = whole.journal.lines
    retried = next(n for n, line in enumerate(lines) if line["kind"] == "attempt" and line["phase"] == "saving")
    world = make_world(tmp_path / "second")
    world.pod.known.journal = lines[: retried + 1]
    with observed(world.pod, ON) as seen:
        Engine(WAIT_TABLE, world.pod, observer=seen).run()

    found = kept.get_finished_spans()
    killed = min((span for span in found if span.name == "saving"), key=lambda span: span.start_time)
    [root] = [span for span in found if span.name == "wait"]
    assert [span.name for span in found].count("saving") == 2
    assert (killed.status.status_code, killed.status.description) == (StatusCode.ERROR, "the executor was killed")
    assert killed.attributes["argoexec.event"] == "interrupted"
    assert root.start_time <= killed.start_time
    below = {span.name: span for span in found if span.parent and span.parent.span_id == killed.context.span_id}
    item = below[lines[retried]["item"]]
    [attempt] = [span for span in found if span.parent and span.parent.span_id == item.context.span_id]
    assert attempt.attributes["error.type"] == "Unavailable"


@pytest.mark.parametrize("lines", [[], [{"kind": "enter"}], [{"kind": "pod", "t": "never"}]])
def test_a_journal_that_tells_of_no_phase_adds_no_span(tmp_path: Path, kept, lines):
    world = make_world(tmp_path)
    world.pod.known.journal = lines
    with observed(world.pod, ON) as seen:
        Engine(WAIT_TABLE, world.pod, observer=seen).run()

    assert len([span for span in kept.get_finished_spans() if span.name == "saving"]) == 1


class Collector(LoopbackHandler):
    """Takes spans by OTLP over HTTP."""

    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:  # noqa: N802 - the base class calls it
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.owner.taken.append((self.path, self.headers["Authorization"], body))
        self.send_response(self.server.owner.status)
        self.end_headers()


def collector(status: int = 200) -> Loopback:
    made = Loopback(Collector, joined=True)
    made.taken, made.status = [], status
    return made


def test_a_collector_gets_them_by_otlp_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with collector() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.origin)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "steps")
        _, account = play(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": server.origin})
        taken = server.taken

    names, services = [], set()
    for path, authorization, body in taken:
        assert (path, authorization) == ("/v1/traces", "Bearer t0ken")
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            services |= {one.value.string_value for one in resource.resource.attributes if one.key == "service.name"}
            names += [span.name for scope in resource.scope_spans for span in scope.spans]
    assert sorted(names) == sorted(way[-1] for way in tree(account))
    assert services == {"steps"}


def test_a_collector_that_refuses_is_said_once_and_its_secrets_are_not(tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)
    with collector(401) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.origin)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken")
        _, account = play(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": server.origin})

    said = [one.getMessage() for one in caplog.records if one.name == "argoexec" and "spans" in one.getMessage()]
    assert said == ["spans were not delivered: the collector did not take them"]
    assert "t0ken" not in caplog.text
    assert len(account.visits) == 6


class Silent(SpanExporter):
    """A collector that says nothing for a virtual hour."""

    def __init__(self) -> None:
        self.world: Any = None

    def export(self, _: Any) -> SpanExportResult:
        self.world.clock.sleep(3600.0, NEVER)
        return SpanExportResult.SUCCESS


def test_a_collector_that_is_silent_holds_a_pod_up_for_seconds_only(tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)
    silent = Silent()
    monkeypatch.setattr(spans, "exporter", lambda: silent)
    silent.world = world = make_world(tmp_path)
    with observed(world.pod, ON) as seen:
        Engine(WAIT_TABLE, world.pod, observer=seen).run()

    assert world.journal.lines[-1]["s"] == pytest.approx(5.0)
    assert world.clock.monotonic() == pytest.approx(5.0 + spans.TO_DELIVER)
    assert "not all spans were delivered: the collector did not take them in 5 s" in caplog.text
