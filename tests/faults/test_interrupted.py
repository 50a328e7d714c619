"""What a restart makes of journals that are torn, empty, a stranger's, damaged, or that the disk did not take."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle import findings, resume
from lifecycle.clock import VirtualClock
from lifecycle.errors import InputError
from lifecycle.journal import FileJournal, read
from lifecycle.pod import WAIT_TABLE
from lifecycle.resume import Whose, begin, pod_uid
from lifecycle.template import Template
from tests.faults.lives import SECRET_VALUE, MortalJournal, init, wait

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.lives import Lives

TEMPLATE = Template({"name": "t", "container": {"image": "i"}})
MINE = Whose.of("pod-1", WAIT_TABLE, TEMPLATE)


def beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.findings")


def kill_in(lives: Lives, model: Lives, phase: str) -> None:
    """Kill it when it has entered a phase; a model that nobody kills tells at which line that is."""
    [at] = [n for n, line in enumerate(model.lines, 1) if line["kind"] == "enter" and line["phase"] == phase]
    assert lives.live(at) is None
    assert lives.lines[-1]["phase"] == phase


def notes(lives: Lives) -> list[str]:
    return [line["text"] for line in lives.lines if line["kind"] == "note"]


# --- whose journal it is ----------------------------------------------------------------------------------------------


def header(path: Path, **fields: Any) -> bytes:
    line = {"t": "", "s": 0, "kind": "pod", "version": 1, "table": "wait", "pod": "pod-1", "template": "t"} | fields
    text = json.dumps(line).encode() + b"\n"
    path.write_bytes(text)
    return text


def begun(path: Path, whose: Whose = MINE) -> list[str]:
    kept = begin(path, VirtualClock(), WAIT_TABLE, whose)
    kept.close()
    assert kept.known.state == ""
    return kept.known.notes


@pytest.mark.parametrize(
    ("fields", "name", "why"),
    [
        ({"pod": "pod-2"}, "j.of-pod-2", "of the pod pod-2"),
        ({"pod": "../../etc/x"}, "j.of-..-..-etc-x", "of the pod ../../etc/x"),
        ({"version": 99}, "j.of-pod-1", "of another version than 1"),
        ({"table": "init"}, "j.of-pod-1", "of init"),
    ],
)
def test_a_stranger_s_journal_is_moved_aside_and_not_changed(tmp_path, fields, name, why):
    text = header(tmp_path / "j", **fields)

    [note] = begun(tmp_path / "j")

    assert (tmp_path / name).read_bytes() == text
    assert why in note
    assert str(tmp_path / name) in note
    assert (tmp_path / "j").read_bytes() == b""


def test_a_second_stranger_does_not_take_the_place_of_the_first(tmp_path):
    first = header(tmp_path / "j", pod="other", t="1")
    begun(tmp_path / "j")
    second = header(tmp_path / "j", pod="other", t="2")
    begun(tmp_path / "j")

    assert (tmp_path / "j.of-other").read_bytes() == first
    assert (tmp_path / "j.of-other.2").read_bytes() == second


@pytest.mark.parametrize(
    ("whose", "why"),
    [
        (Whose.of("pod-1", WAIT_TABLE, Template({"name": "t", "container": {"image": "j"}})), "of another template"),
        (Whose.of("pod-1", WAIT_TABLE, TEMPLATE, "another uid"), "of an earlier pod of this name"),
    ],
)
def test_another_template_or_another_pod_of_the_same_name_begins_anew(tmp_path, whose, why):
    begun(tmp_path / "j")
    text = header(tmp_path / "j")

    [note] = begun(tmp_path / "j", whose)

    assert why in note
    assert (tmp_path / "j.of-pod-1").read_bytes() == text
    assert findings.read(tmp_path / "j.of-pod-1.findings") == [MINE.line()]
    assert findings.read(tmp_path / "j.findings") == [whose.line()]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"no journal at all\nneither\n", "not a journal"),
        (
            b'{"kind":"pod","version":1,"pod":"pod-1","table":"wait"}\nno\n{"kind":"enter","phase":"waiting"}\n',
            "damaged",
        ),
    ],
)
def test_what_is_no_journal_is_moved_aside(tmp_path, text, why):
    (tmp_path / "j").write_bytes(text)

    [note] = begun(tmp_path / "j")

    assert why in note
    assert text in [path.read_bytes() for path in tmp_path.iterdir()]


def test_an_empty_journal_is_said(tmp_path):
    (tmp_path / "j").touch()

    assert begun(tmp_path / "j") == ["the journal was empty: nothing is known of what was done before"]


def test_a_torn_header_is_cut_off_and_said(tmp_path):
    (tmp_path / "j").write_bytes(b'{"kind":"pod","versi')

    assert begun(tmp_path / "j") == ["the last line of the journal was torn by a crash, and is cut off"]
    assert (tmp_path / "j").read_bytes() == b""


def test_two_processes_do_not_write_one_journal(tmp_path):
    kept = begin(tmp_path / "j", VirtualClock(), WAIT_TABLE, MINE)
    with pytest.raises(BlockingIOError):
        begin(tmp_path / "j", VirtualClock(), WAIT_TABLE, MINE)
    kept.close()

    begun(tmp_path / "j")


def test_where_a_person_asks_nothing_is_moved_aside(tmp_path):
    text = header(tmp_path / "j", pod="other")

    with pytest.raises(InputError, match="of the pod other"):
        begin(tmp_path / "j", VirtualClock(), WAIT_TABLE, MINE, strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["j"]
    assert (tmp_path / "j").read_bytes() == text


@pytest.mark.parametrize(
    ("environ", "mounts", "uid"),
    [
        ({"ARGO_POD_UID": "told"}, "", "told"),
        (
            {},
            "36 35 9:0 /var/lib/kubelet/pods/0a1b2c3d-1111-2222-3333-0123456789ab/etc-hosts /etc/hosts rw - ext4 x rw",
            "0a1b2c3d-1111-2222-3333-0123456789ab",
        ),
        ({}, "36 35 98:0 /home/pods/x /etc/hosts rw - ext4 /dev/x rw", ""),
    ],
)
def test_the_uid_of_a_pod_is_told_by_the_controller_or_by_what_the_kubelet_mounts(tmp_path, environ, mounts, uid):
    (tmp_path / "mountinfo").write_text(mounts)

    assert pod_uid(environ, tmp_path / "mountinfo") == uid
    assert pod_uid({}, tmp_path / "nowhere") == ""


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_values_are_kept_for_their_owner_only_and_the_journal_has_none(tmp_path):
    lives = wait(tmp_path)
    lives.live()

    assert SECRET_VALUE not in lives.journal.read_text()
    assert SECRET_VALUE in beside(lives.journal).read_text()
    assert stat.S_IMODE(beside(lives.journal).stat().st_mode) == 0o600


def test_findings_that_others_could_read_are_closed_to_them(tmp_path):
    (tmp_path / "j.findings").touch(0o644)

    begun(tmp_path / "j")

    assert stat.S_IMODE((tmp_path / "j.findings").stat().st_mode) == 0o600


def test_a_link_in_the_place_of_the_findings_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "j.findings").symlink_to(tmp_path / "victim")

    kept = begin(tmp_path / "j", VirtualClock(), WAIT_TABLE, MINE)
    kept.close()

    assert kept.findings is None
    assert (tmp_path / "victim").read_text() == "kept"


@pytest.mark.parametrize("phase", ["killing sidecars", "capturing", "saving", "annotating", "releasing"])
@pytest.mark.parametrize("how", ["gone", "empty", "cut"])
def test_what_the_findings_do_not_confirm_is_done_again(tmp_path, phase, how):
    """Lost findings never become lost outputs: the journal alone is not believed."""
    model = wait(tmp_path / "model")
    model.live()
    lives = wait(tmp_path / "lives")
    kill_in(lives, model, phase)
    file = beside(lives.journal)
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(b"" if how == "empty" else file.read_bytes()[: file.stat().st_size // 2])

    assert lives.live() == 0
    assert lives.world.control.reports[-1] == model.world.control.reports[-1]
    assert lives.lines[-1]["verdict"] == "succeeded"
    if how != "cut":
        assert "what was found out before the restart has not been kept: everything is done again" in notes(lives)


def test_an_input_that_is_no_longer_there_is_loaded_again(tmp_path):
    lives = init(tmp_path)
    at = 1
    while lives.live(at) is None and lives.loaded["in/two"] * lives.loaded["in/one"] == 0:
        at += 1
    one = lives.world.files.input_artifact("one")
    assert one.read_bytes() == b"1"
    before = lives.loaded.copy()
    one.unlink()

    assert lives.live() == 0
    assert one.read_bytes() == b"1"
    assert lives.loaded["in/one"] == before["in/one"] + 1


# --- a full disk ------------------------------------------------------------------------------------------------------


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk(MortalJournal):
    """Takes so many lines, and of the next one a part."""

    room = 0

    def _append(self, fd: int, data: bytes) -> None:
        if self.count >= self.room:
            os.write(fd, data[:5])
            raise full()
        super()._append(fd, data)


@pytest.mark.parametrize("room", range(0, 24, 3))
def test_a_full_disk_does_not_fail_the_pod_and_a_restart_does_it_again(tmp_path, monkeypatch, caplog, room):
    model = wait(tmp_path / "model")
    model.live()
    lives = wait(tmp_path / "lives")
    with monkeypatch.context() as patch:
        patch.setattr(FullDisk, "room", room)
        patch.setattr("tests.faults.lives.MortalJournal", FullDisk)
        patch.setattr(resume.log, "propagate", True)
        assert lives.live() == 0

    assert "the journal is incomplete" in caplog.text
    assert lives.world.control.reports == model.world.control.reports
    assert lives.journal.read_bytes().count(b"\n") == room
    assert lives.journal.read_bytes()[-1:] in (b"", b"\n")

    assert lives.live() == 0
    assert lives.world.control.reports[-1] == model.world.control.reports[-1]
    assert lives.lines[-1]["verdict"] == "succeeded"


def test_findings_that_the_disk_does_not_take_are_not_believed_later(tmp_path, monkeypatch):
    model = wait(tmp_path / "model")
    model.live()
    for room in range(0, 20, 3):
        lives, taken = wait(tmp_path / str(room)), []

        def write(fd: int, data: bytes, taken: list[bytes] = taken, room: int = room) -> None:
            taken.append(data)
            if len(taken) > room:
                raise full()
            os.write(fd, data)

        with monkeypatch.context() as patch:
            patch.setattr(findings, "write_all", write)
            kill_in(lives, model, "releasing")

        assert lives.live() == 0
        assert lives.world.control.reports[-1] == model.world.control.reports[-1]


def test_a_line_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """A disk that fills up takes a part of what is written without an error, and says so the next time."""
    journal = FileJournal(tmp_path / "j", VirtualClock())
    journal.write("pod", version=1)
    size = (tmp_path / "j").stat().st_size
    real, calls = os.write, []

    def short(fd: int, data: Any) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise full()
        return real(fd, data[:7])

    monkeypatch.setattr(os, "write", short)
    journal.write("enter", phase="staging")
    journal.write("enter", phase="loading")
    monkeypatch.undo()
    journal.close()

    assert journal.error is not None
    assert journal.error.errno == errno.ENOSPC
    assert (tmp_path / "j").stat().st_size == size
    assert [line["kind"] for line in read(tmp_path / "j")] == ["pod"]
