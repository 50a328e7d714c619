"""What a person sees: nothing of a container's output can act on the terminal, and nothing ends the run."""

import io
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.local import summary
from lifecycle.local.display import Display, _Console, _LiveLine
from lifecycle.pod import INIT_TABLE
from lifecycle.wording import harmless


def console(file, **more):
    return _Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True, **more)


@given(st.one_of(st.text(), st.binary()))
def test_no_control_character_gets_through(data):
    assert all(char == "\t" or unicodedata.category(char) not in ("Cc", "Zl", "Zp") for char in harmless(data))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain \xc3\xa9\t.", "plain é\t."),
        (b"\x1b]0;title\x07", "␛]0;title␇"),
        (b"50%\r100%", "50%␍100%"),
        ("\u202eevil", "�evil"),
        (b"\xff", "�"),
        ("\x9b31m", "�31m"),
    ],
)
def test_what_a_control_character_becomes(data, expected):
    assert harmless(data) == expected


def test_a_pipe_gets_no_colour_and_no_markup_is_read():
    out = io.StringIO()

    Display(console(out)).wrote("main", b"[bold red]x[/] :smile: " + b"y" * 500)

    assert out.getvalue() == f"main │ [bold red]x[/] :smile: {'y' * 500}\n"


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()

    Display(console(out, force_terminal=True)).told("failure", {"failure": {"item": "x", "message": "m"}})

    assert "\x1b[31m" not in out.getvalue()
    assert "✗ x: m" in out.getvalue()


@pytest.mark.parametrize("error", [BrokenPipeError, OSError, ValueError])
def test_a_terminal_that_fails_is_given_up_on(error):
    class Gone(io.StringIO):
        def write(self, _):
            raise error("gone")

    display = Display(console(Gone()))

    display.wrote("main", b"one")
    display.wrote("main", b"two")
    display.close()


def test_failed_attempts_and_notes_are_said_at_once_and_other_lines_are_not():
    out = io.StringIO()
    display = Display(console(out))

    display.told("attempt", {"item": "input a", "attempt": 1, "message": "down", "wait": 1.5})
    display.told("attempt", {"item": "input a", "attempt": 2, "message": "down", "wait": None})
    display.told("note", {"phase": "waiting", "text": "so it is"})
    display.told("enter", {"phase": "waiting"})

    assert out.getvalue() == "  ! input a: attempt 1: down; again in 1.5 s\n  · so it is\n"


def test_the_line_at_the_bottom_tells_how_far_and_how_fast_transfers_are():
    class Loading:
        phase = INIT_TABLE["loading"]
        seconds = 3.0

    line, stay = _LiveLine(), Loading()
    line.begin(stay)
    line.moved("input model", 0, 8 << 20)
    line.moved("input list", 10, None)
    stay.seconds = 5.0
    line.moved("input model", 2 << 20, 8 << 20)

    assert line.__rich__().plain.endswith(
        "loading · 5 s · input model 2.0 MiB of 8.0 MiB at 1.0 MiB/s · input list 10 B at 5 B/s"
    )


def test_the_notes_tell_what_is_to_be_known_and_a_state_only_where_it_is_not_good():
    states = [
        ("saved", "hard links stored as files of their own: 1"), ("saved", ""), ("skipped", "optional, and not there"),
        ("abandoned", ""),
    ]  # fmt: skip
    items = [
        {"kind": "artifact", "name": f"a{number}", "state": state, "note": note, "attempts": 1}
        for number, (state, note) in enumerate(states)
    ]
    main = {"kind": "container", "name": "main", "state": "reported", "note": "exit code 0", "attempts": 1}
    result = SimpleNamespace(
        phase="Succeeded", message="", remedy="", outputs={}, exit_code=None, notes=["without effect here: x"],
        lifecycle=[{"phase": "saving", "seconds": 1.0, "items": [*items, main]}], journal=Path("j"),
        prepared=SimpleNamespace(workdir=Path("w")),
    )  # fmt: skip

    text = ["".join(piece for piece, _ in line) for line in summary.lines(result)]

    assert text[text.index("notes") + 1 : text.index("time") - 1] == [
        "  artifact   a0: hard links stored as files of their own: 1",
        "  artifact   a2: skipped — optional, and not there",
        "  artifact   a3: abandoned",
        "  without effect here: x",
    ]
