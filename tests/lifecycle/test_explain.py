"""What `explain` makes of journals that are whole, that lie, and that want to act on the terminal."""

import argparse
import json
from pathlib import Path

import pytest

from lifecycle.commands import explain
from lifecycle.errors import InputError

HEADER = {"t": "2026-01-01T00:00:00.000Z", "s": 0.0, "kind": "pod", "version": 1, "table": "pod", "pod": "p",
          "template": "t"}  # fmt: skip
ENTER = {"t": "2026-01-01T00:00:00.000Z", "s": 0.5, "kind": "enter", "phase": "staging"}


@pytest.fixture
def shown(tmp_path, capsys):
    def run(*lines):
        (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert explain.main(argparse.Namespace(journal=tmp_path)) == 0
        return capsys.readouterr().out

    return run


def test_a_journal_without_an_end_says_where_it_stopped(shown):
    assert "INTERRUPTED after 500 ms: the journal ends in staging" in shown(HEADER, ENTER)


@pytest.mark.parametrize(
    "line",
    [
        ENTER | {"s": "bad"},
        ENTER | {"s": None},
        ENTER | {"s": 10**400},
        {"t": "", "s": 1, "kind": "end", "verdict": 3},
        {"t": "", "s": float("inf"), "kind": "end", "verdict": "failed"},
        {"t": "", "s": 1, "kind": "leave", "phase": "x", "event": [], "seconds": 1, "to": "y"},
        {"t": "", "s": 1, "kind": "item", "item": "none"},
        {"t": "", "s": 1, "kind": "failure", "failure": {}},
    ],
)
def test_a_line_that_lies_is_said_with_the_file(shown, line, tmp_path):
    with pytest.raises(InputError) as caught:
        shown(HEADER, line)

    assert caught.value.place == str(tmp_path / "journal.jsonl")


def test_the_size_the_time_and_the_note_of_an_item_are_told_once(shown):
    item = {"kind": "artifact", "name": "a", "attempts": 1, "seconds": 2.0, "bytes": 2048, "note": "not stored: 'x'"}
    lines = [{"t": "", "s": 1, "kind": "item", "item": item | {"state": state}} for state in ("saved", "reported")]

    saved, reported = shown(HEADER, *lines).splitlines()[2:4]

    assert saved.endswith("✓ artifact a: saved, 2.0 KiB, 2.0 s, 1.0 KiB/s — not stored: 'x'")
    assert reported.endswith("✓ artifact a: reported")


def test_nothing_in_a_journal_acts_on_the_terminal(shown):
    note = {"t": "", "s": 1, "kind": "note", "phase": "x", "text": "\x1b[2Jgone\r\u202e"}

    text = shown(HEADER | {"pod": "\x1b]0;title\x07"}, note)

    assert not set(text) & set("\x1b\x07\r\u202e")
    assert "␛[2Jgone␍" in text


def test_a_place_that_is_closed_to_us_is_said(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match=r"/root/x: .*Permission denied"):
        explain.main(argparse.Namespace(journal=Path("/root/x")))


def test_a_restart_says_where_it_was_interrupted_and_where_it_goes_on(shown):
    left = {"t": "", "s": 0.7, "kind": "leave", "phase": "staging", "event": "done", "to": "loading", "seconds": 0.2}
    entered = ENTER | {"s": 0.8, "phase": "loading"}
    again = HEADER | {"t": "2026-01-01T01:00:00.000Z", "restart": 1, "resumes": "loading"}
    anew = HEADER | {"t": "2026-01-01T02:00:00.000Z", "restart": 2}
    end = {"t": "", "s": 2.0, "kind": "end", "verdict": "succeeded", "message": ""}

    told = shown(HEADER, ENTER, left, entered, again, entered, anew, end)

    assert "RESTARTED 2026-01-01T01:00:00.000Z: it had been interrupted in loading, which it entered at 0.800 s" in told
    assert "it goes on with loading" in told
    assert "RESTARTED 2026-01-01T02:00:00.000Z" in told
    assert "it begins from the first phase" in told
    assert "SUCCEEDED after 2.0 s since it was restarted (2 in all)" in told
    assert "INTERRUPTED" not in told


def test_where_a_killed_pod_was_is_told_of_its_own_life_not_of_an_earlier_one(shown):
    again = HEADER | {"restart": 1, "resumes": "loading"}

    assert "the journal ends before the first phase" in shown(HEADER, ENTER, again)
