"""Logs in two shapes: what a line says beside its message."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest

from lifecycle import logs
from lifecycle.engine import Engine
from lifecycle.errors import Forbidden, Unavailable
from lifecycle.observing import observed
from lifecycle.pod import WAIT_TABLE
from tests.fakes import Script
from tests.lifecycle.endings import make_world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a `wait` of which two things fail; the lines that were logged in a shape."""
    logger = logging.getLogger("argoexec")
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    before = list(logger.handlers), logger.level

    def made(shape: str) -> list[str]:
        logs.set_up("info", shape)
        stream = io.StringIO()
        logger.handlers[0].setStream(stream)
        world = make_world(tmp_path)
        world.store.script = Script(save=[Unavailable("down")])
        world.control.script = Script(report=[Forbidden('no "way"', remedy="grant it")])
        with observed(world.pod, {}) as seen:
            Engine(WAIT_TABLE, world.pod, observer=seen).run()
        logging.getLogger("argoexec").info("after the pod")
        return stream.getvalue().splitlines()

    yield made
    logger.handlers[:], logger.level = before


def test_json_has_one_object_a_line_with_what_is_known(run):
    retried, failed, record, summary, after = map(json.loads, run("json"))
    pod = {"pod": "pod-1", "template": "t"}

    assert {key: retried[key] for key in ("level", "phase", "item", "attempt")} == {
        "level": "warning", "phase": "saving", "item": "artifact a", "attempt": 1,
    }  # fmt: skip
    assert {key: failed[key] for key in ("level", "msg", "phase", "item", "attempt")} == {
        "level": "error", "msg": 'annotating: report: no "way" — grant it', "phase": "annotating", "item": "report",
        "attempt": 1,
    }  # fmt: skip
    assert record["record"]["failures"][0]["message"] == 'no "way"'
    assert record["record"]["failures"][0]["remedy"] == "grant it"
    assert summary["msg"].startswith("wait failed in ")
    assert "phase" not in summary
    for line in (retried, failed, record, summary):
        assert pod.items() <= line.items()
        assert line["time"].endswith("Z")
    assert after.keys() == {"time", "level", "msg"}


def test_text_has_the_originals_shape_and_the_record_as_a_field(run):
    retried, failed, record, summary, _ = run("text")

    assert 'level=warning msg="saving: artifact a: attempt 1: down; again in ' in retried
    assert failed.endswith(r'level=error msg="annotating: report: no \"way\" — grant it"')
    assert r'level=info msg="all that went wrong" record="{\"failures\": [{\"phase\": \"annotating\"' in record
    assert 'level=info msg="wait failed in ' in summary
