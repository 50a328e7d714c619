"""The journal is read back as it was written, torn ends included."""

import json
import logging

import pytest

from lifecycle.clock import NEVER, SystemClock, VirtualClock
from lifecycle.errors import InputError
from lifecycle.journal import FileJournal, Followed, MemoryJournal, read


def write(path, *kinds):
    journal = FileJournal(path, VirtualClock())
    journal.write("pod", version=1, table="pod", pod="p", template="t")
    for kind in kinds:
        journal.write(kind, phase="staging")
    journal.close()


def test_lines_come_back_in_order_with_their_times(tmp_path):
    write(tmp_path / "j", "enter", "leave")

    assert [line["kind"] for line in read(tmp_path / "j")] == ["pod", "enter", "leave"]
    assert read(tmp_path / "j")[0]["t"] == "2026-01-01T00:00:00.000Z"


def test_each_line_is_on_the_disk_when_write_returns(tmp_path):
    journal = FileJournal(tmp_path / "j", VirtualClock())
    journal.write("pod", version=1)

    assert json.loads((tmp_path / "j").read_text())["kind"] == "pod"
    journal.close()


def test_a_torn_last_line_is_left_out(tmp_path):
    write(tmp_path / "j", "enter")
    with (tmp_path / "j").open("a") as file:
        file.write('{"kind":"leave","pha')

    assert [line["kind"] for line in read(tmp_path / "j")] == ["pod", "enter"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("no journal", "not a journal"),
        ("no journal\n", ":1: this is not a line of a journal"),
        ('{"kind":"enter"}\n', ":1: this is not a journal of version 1"),
        ('{"kind":"pod","version":1}\n[]\n', ":2: this is not a line"),
    ],
)
def test_what_is_no_journal_is_named_by_file_and_line(tmp_path, text, why):
    path = tmp_path / "j"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        read(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: cannot be read"):
        read(tmp_path / "nowhere")


def test_a_full_disk_stops_the_journal_and_not_the_pod():
    from pathlib import Path

    journal = FileJournal(Path("/dev/full"), VirtualClock())
    journal.write("pod", version=1)
    journal.write("enter", phase="staging")

    assert journal.error is not None
    assert journal.error.errno == 28


def test_bytes_that_are_no_text_are_escaped(tmp_path):
    journal = FileJournal(tmp_path / "j", VirtualClock())
    journal.write("pod", version=1, name="f\udcff")
    journal.close()

    assert read(tmp_path / "j")[0]["name"] == "f\udcff"


def test_a_restart_after_a_torn_line_begins_on_its_own_line(tmp_path):
    write(tmp_path / "j", "enter")
    with (tmp_path / "j").open("a") as file:
        file.write('{"kind":"leave","pha')
    write(tmp_path / "j", "enter")

    assert [line["kind"] for line in read(tmp_path / "j")] == ["pod", "enter", "pod", "enter"]


def test_a_reader_gets_the_lines_that_the_journal_has():
    clock = VirtualClock()
    journal, seen = MemoryJournal(clock), []
    followed = Followed(journal, clock, seen.append)

    followed.write("pod", pod="p")
    clock.sleep(1.5, NEVER)
    followed.write("end", verdict="succeeded")

    assert seen == journal.lines
    assert [line["s"] for line in seen] == [0.0, 1.5]


def test_a_reader_is_told_although_the_disk_is_full_and_one_that_fails_is_told_no_more(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)
    journal = FileJournal(tmp_path / "journal", SystemClock())
    journal.close()
    seen, broken = [], []

    def fails(line):
        broken.append(line)
        raise KeyError("phase")

    followed = Followed(journal, SystemClock(), fails, seen.append)
    followed.write("note", text="one")
    followed.write("note", text="two")

    assert [line["text"] for line in seen] == ["one", "two"]
    assert [line["text"] for line in broken] == ["one"]
    assert "fails follows the pod no longer: 'phase'" in caplog.text
