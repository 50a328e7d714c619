"""The annotations file of the downward API, read, watched and written; and the report."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from lifecycle.clock import Cancel, terminated
from lifecycle.errors import InputError, NotFound
from lifecycle.ports import ExecutionControl, Report
from runtimes.downward import (
    EXECUTION,
    NODE_MESSAGE,
    OUTPUTS,
    TEMPLATE,
    DownwardControlPlane,
    unquote,
    write_annotations,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return tmp_path / "annotations"


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ('""', ""),
        (r'"a\"b\\c\/d\n\t\r\b\f"', 'a"b\\c/d\n\t\r\b\f'),
        (r'"\u003ctag\u003e é"', "<tag> é"),
        (r'"\ud83d\ude00"', "\U0001f600"),
        # what only Go writes
        (r'"\U0001F600 \x00\x7f\a\v\' \u2028"', "\U0001f600 \x00\x7f\a\v' \u2028"),
        (r'"\xc3\xa9 \101"', "é A"),
        (r'"\ud83d\ude00 \a"', "\U0001f600 \a"),
        ('"tab\there"', "tab\there"),
    ],
)
def test_json_and_go_literals_are_understood(literal: str, text: str):
    assert unquote(literal) == text


@pytest.mark.parametrize("literal", ["", '"', "text", '"a', 'a"', '"a"b"', r'"\q \a"', r'"\x4"', '"\\"', r'"\xff"'])
def test_what_is_no_literal_is_refused(literal: str):
    with pytest.raises(ValueError):
        unquote(literal)


def test_what_is_written_is_read(annotations: Path):
    template = {"name": 'quote " backslash \\ newline \n é \U0001f600', "script": {"source": "x\n" * 3}}
    write_annotations(annotations, {TEMPLATE: json.dumps(template), "other": "a\nb=c"})

    assert DownwardControlPlane(annotations).template() == template
    assert len(annotations.read_text().splitlines()) == 2


def test_a_line_has_no_longest_length(annotations: Path):
    template = {"script": {"source": 'echo "line"\n' * 300_000}}
    write_annotations(annotations, {TEMPLATE: json.dumps(template)})

    assert DownwardControlPlane(annotations).template() == template


def test_the_first_line_of_a_key_counts_and_keys_are_whole(annotations: Path):
    annotations.write_text(f'{TEMPLATE}-not="[]"\n{TEMPLATE}="{{}}"\n{TEMPLATE}="1"\n')
    assert DownwardControlPlane(annotations).template() == {}


def test_a_missing_annotation_or_file_is_not_found(annotations: Path):
    with pytest.raises(NotFound, match="annotations"):
        DownwardControlPlane(annotations).template()
    annotations.write_text('other="x"\n')
    with pytest.raises(NotFound, match=TEMPLATE):
        DownwardControlPlane(annotations).template()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (r'"{\"a\": }"', r"annotations:2: .*line 1 column 7"),
        ('"[]"', "annotations:2: .*not a JSON object"),
        (r'"unfinished', 'annotations:2: .*begin and end with "'),
        (r'"\q"', r"annotations:2: .*unknown escape \\q"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(annotations: Path, value: str, message: str):
    annotations.write_text(f'other="x"\n{TEMPLATE}={value}\n')
    with pytest.raises(InputError, match=message):
        DownwardControlPlane(annotations).template()


# --- execution control ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ExecutionControl()),
        ("{}", ExecutionControl()),
        ("null", ExecutionControl()),
        ('{"deadline":null,"includeScriptOutput":true}', ExecutionControl(include_script_output=True)),
        ('{"deadline":"2026-05-01T10:00:00Z"}', ExecutionControl(datetime(2026, 5, 1, 10, tzinfo=UTC))),
        (
            '{"deadline":"2026-05-01T12:00:00.123456789+02:00"}',
            ExecutionControl(datetime(2026, 5, 1, 10, 0, 0, 123456, tzinfo=UTC)),
        ),
        ('{"deadline":"0001-01-01T00:00:00Z"}', ExecutionControl(terminate=True)),
    ],
)
def test_execution_control_is_understood(annotations: Path, value: str | None, expected: ExecutionControl):
    write_annotations(annotations, {} if value is None else {EXECUTION: value})
    assert DownwardControlPlane(annotations).execution() == expected


@pytest.mark.parametrize("deadline", ['"tomorrow"', "5", '"2026-05-01T10:00:00"'])
def test_a_deadline_that_is_no_time_is_refused(annotations: Path, deadline: str):
    write_annotations(annotations, {EXECUTION: f'{{"deadline":{deadline}}}'})
    with pytest.raises(InputError, match="deadline"):
        DownwardControlPlane(annotations).execution()


def kubernetes_volume(directory: Path, generation: int, content: dict[str, str]) -> None:
    """As the kubelet's atomic writer does it."""
    version = directory / f"..version-{generation}"
    version.mkdir()
    write_annotations(version / "annotations", content)
    (directory / "..data_tmp").symlink_to(version.name)
    (directory / "..data_tmp").rename(directory / "..data")
    if generation == 1:
        (directory / "annotations").symlink_to("..data/annotations")


def rewrite(path: Path, content: dict[str, str]) -> None:
    """In place, as a shell's redirection does it."""
    path.write_text("".join(f"{key}={json.dumps(value)}\n" for key, value in content.items()))


@pytest.mark.parametrize("how", ["kubernetes", "replaced", "rewritten"])
def test_changes_are_told(tmp_path: Path, annotations: Path, how: str):
    def change(generation: int, value: str) -> None:
        if how == "kubernetes":
            kubernetes_volume(tmp_path, generation, {EXECUTION: value})
        elif how == "replaced":
            write_annotations(annotations, {EXECUTION: value})
        else:
            rewrite(annotations, {EXECUTION: value})

    change(1, "{}")
    plane, cancel, seen = DownwardControlPlane(annotations), Cancel(), queue.SimpleQueue()
    watching = threading.Thread(target=lambda: plane.watch_execution(lambda: seen.put(plane.execution()), cancel))
    watching.start()

    assert seen.get(timeout=60) == ExecutionControl()
    change(2, '{"deadline":"0001-01-01T00:00:00Z"}')
    while not seen.get(timeout=60).terminate:
        pass
    cancel.set(terminated())
    watching.join(60)
    assert not watching.is_alive()


def test_watching_ends_when_it_was_cancelled_before(annotations: Path):
    write_annotations(annotations, {})
    cancel = Cancel()
    cancel.set(terminated())
    DownwardControlPlane(annotations).watch_execution(lambda: None, cancel)


def test_watching_what_is_not_mounted_is_not_found(tmp_path: Path):
    with pytest.raises(NotFound):
        DownwardControlPlane(tmp_path / "nothing/annotations").watch_execution(lambda: None, Cancel())


# --- reporting --------------------------------------------------------------------------------------------------


def test_the_report_is_the_patch_a_cluster_would_get(annotations: Path, tmp_path: Path):
    plane = DownwardControlPlane(annotations, tmp_path / "reported.json", tmp_path / "termination-log")
    for _ in range(2):
        plane.report(Report({"result": "é", "parameters": [{"name": "p", "value": "x"}]}, "a message"))

    assert json.loads((tmp_path / "reported.json").read_text()) == {
        "metadata": {
            "annotations": {
                OUTPUTS: '{"result":"é","parameters":[{"name":"p","value":"x"}]}',
                NODE_MESSAGE: "a message",
            }
        }
    }
    assert (tmp_path / "termination-log").read_text() == "a message"


def test_what_is_empty_is_left_out(annotations: Path, tmp_path: Path):
    DownwardControlPlane(annotations, tmp_path / "reported.json", tmp_path / "log").report(Report())

    assert json.loads((tmp_path / "reported.json").read_text()) == {"metadata": {"annotations": {}}}
    assert not (tmp_path / "log").exists()


def test_a_termination_message_is_cut_between_characters(annotations: Path, tmp_path: Path):
    DownwardControlPlane(annotations, None, tmp_path / "log").report(Report(message="x" + "é" * 4096))

    assert (tmp_path / "log").read_bytes() == b"x" + "é".encode() * 2047


def test_a_termination_log_that_cannot_be_written_is_only_logged(
    annotations: Path, tmp_path: Path, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)  # a test of the command line ends it
    DownwardControlPlane(annotations, tmp_path / "reported.json", tmp_path / "no/log").report(Report(message="text"))

    assert "no/log" in caplog.text
    assert (tmp_path / "reported.json").exists()


def test_nothing_half_written_is_left(annotations: Path, tmp_path: Path):
    write_annotations(annotations, {"a": "b"})
    DownwardControlPlane(annotations, tmp_path / "reported.json").report(Report(message="x"))

    assert sorted(os.listdir(tmp_path)) == ["annotations", "reported.json"]
