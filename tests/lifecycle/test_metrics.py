"""Metrics: the text format as Prometheus' own parser reads it, and the tree that it tells."""

from __future__ import annotations

import builtins
import logging
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

from lifecycle.account import Account
from lifecycle.metrics import Metrics
from tests.lifecycle.watched import play, tree

if TYPE_CHECKING:
    from pathlib import Path

POD = {"pod": "pod-1", "template": "t", "table": "wait"}


def samples(path: Path) -> dict[str, list[tuple[dict[str, str], float]]]:
    """By the family's name: labels and value of every sample."""
    families = text_string_to_metric_families(path.read_text())
    return {family.name: [(sample.labels, sample.value) for sample in family.samples] for family in families}


def test_the_metrics_are_the_tree_of_the_path_through_the_table(tmp_path: Path):
    path = tmp_path / "metrics" / "argoexec.prom"
    _, account = play(tmp_path, {"ARGOEXEC_METRICS": str(path)})
    found = samples(path)

    nodes = {("wait",)}
    for level, names in (("phase", ("phase",)), ("item", ("phase", "item")), ("attempt", ("phase", "item", "attempt"))):
        for labels, _ in found[f"argoexec_{level}_seconds"]:
            assert POD.items() <= labels.items()
            *above, last = (labels[name] for name in names)
            nodes.add(("wait", *above, f"attempt {last}" if level == "attempt" else last))
    assert nodes == tree(account)
    assert found["argoexec_pod_seconds"] == [
        (POD | {"verdict": "failed"}, pytest.approx(account.ended - account.began))
    ]
    assert found["argoexec_failures"] == [
        (POD | {"phase": "annotating", "code": "ERR_FORBIDDEN", "error": "Forbidden"}, 1.0)
    ]
    assert (POD | {"phase": "saving", "item": "parameter p"}, 6.0) in found["argoexec_item_bytes"]
    errors = {labels["attempt"]: labels["error"] for labels, _ in found["argoexec_attempt_seconds"]
              if labels["item"] == "artifact a"}  # fmt: skip
    assert errors == {"1": "Unavailable", "2": "Unavailable", "3": ""}


def test_the_file_tells_after_each_phase_what_has_been_and_nothing_else_is_left(tmp_path: Path):
    path = tmp_path / "metrics" / "argoexec.prom"
    seen: list[set[str]] = []
    look = lambda: seen.append({labels["phase"] for labels, _ in samples(path)["argoexec_phase_seconds"]})

    play(tmp_path, {"ARGOEXEC_METRICS": str(path)}, report=[look])

    assert seen == [{"waiting", "killing sidecars", "capturing", "saving"}]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_names_with_quotes_and_line_ends_are_labels_like_any_other(tmp_path: Path):
    name = 'artifact "a\\b"\n語'
    account = Account()
    metrics = Metrics(account, tmp_path / "m.prom")
    for line in (
        {"s": 0.0, "kind": "pod", "table": "wait", "pod": "p", "template": name},
        {"s": 0.0, "kind": "enter", "phase": "saving"},
        {"s": 1.0, "kind": "leave", "phase": "saving", "event": "done", "to": "end", "seconds": 1.0},
    ):
        account.read({"t": "2026-01-01T00:00:00Z"} | line)
        metrics.read(line)

    assert samples(tmp_path / "m.prom")["argoexec_phase_seconds"][0][0]["template"] == name


def test_a_file_that_cannot_be_written_is_said_once_and_fails_nothing(tmp_path: Path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)
    (tmp_path / "file").touch()
    _, account = play(tmp_path, {"ARGOEXEC_METRICS": str(tmp_path / "file/below")})

    assert len(account.visits) == 6
    assert [record.getMessage() for record in caplog.records if "metrics" in record.getMessage()] == [
        f"the metrics cannot be written to {tmp_path}/file/below: File exists"
    ]


def test_without_its_package_one_warning_names_the_extra(tmp_path: Path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)
    real = builtins.__import__

    def missing(name, *args, **more):
        if name.startswith(("opentelemetry", "lifecycle.metrics")) or (name == "lifecycle" and "spans" in args[2]):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    _, account = play(tmp_path, {"ARGOEXEC_METRICS": str(tmp_path / "m"), "ARGOEXEC_TRACE": "1"})

    said = [record.getMessage() for record in caplog.records if "there will be no" in record.getMessage()]
    assert len(said) == 2
    assert said[0].startswith("there will be no spans: No module named")
    assert said[0].endswith("; install argoexec[otel]")
    assert said[1].endswith("; install argoexec[metrics]")
    assert len(account.visits) == 6
