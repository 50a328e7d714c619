"""The failure record of a pod: one line for the controller, all of it for the journal."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import Forbidden, NotFound, Throttled
from lifecycle.outcome import MESSAGE_LIMIT, Failure, Record
from lifecycle.wording import harmless

TEXT = st.text(st.characters(exclude_categories=()), max_size=60) | st.sampled_from(["語" * 3000, "\n\r\x1b[2J", ""])


def failure(message="it was refused", *, phase="saving", item="artifact a", cause=None, remedy="", **more):
    error = Forbidden(message, remedy=remedy)
    error.__cause__ = cause
    return Failure.of(error, phase=phase, item=item, **more)


def record(*failures):
    return Record(failures=list(failures))


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), min_size=1, max_size=12), st.none() | TEXT)
def test_whatever_happened_the_message_is_one_line_that_the_kubelet_keeps(failures, ended):
    made = record(
        *(failure(text, item=item, cause=OSError(why), remedy=remedy) for text, item, why, remedy in failures)
    )
    made.ended = ended or ""

    message = made.message()

    assert len(message.encode()) <= MESSAGE_LIMIT
    assert all(unicodedata.category(char) not in ("Cc", "Zl", "Zp") for char in message)
    assert message == harmless(message)
    assert json.loads(json.dumps(made.record()))["failures"][0]["phase"] == "saving"
    if len(failures) > 1:
        assert f"(and {len(failures) - 1} more: " in message


@pytest.mark.parametrize("number", [0xD800, 0xDC80], ids=["of a pair", "as a byte is read"])
def test_half_a_surrogate_pair_is_shown_by_its_number(number):
    """Whatever it is in: the termination message is a file, which takes none."""
    half = chr(number)
    made = record(failure(half, item=half, cause=OSError(f"because {half}"), remedy=half), failure(item=half))
    made.ended = half

    message = made.message()

    assert message.count(f"\\u{number:x}") == 6
    assert message.isprintable()


def test_the_first_failure_is_told_whole():
    error = failure(cause=ConnectionResetError(104, "Connection reset by peer"), remedy="ask", attempt=2, attempts=5)

    assert record(error).message() == (
        "saving: artifact a: it was refused, caused by ConnectionResetError: Connection reset by peer "
        "(attempt 2 of 5) — ask"
    )


@pytest.mark.parametrize("cause", [OSError(2, "No such file or directory", "/x"), ValueError("nothing there")])
def test_a_cause_that_adds_nothing_is_not_told(cause):
    error = NotFound("No such file or directory: /x: nothing there")
    error.__cause__ = cause

    assert Failure.of(error, phase="loading").causes == ()


def test_a_chain_of_causes_is_told_from_the_outside_in():
    inner, outer = OSError(113, "No route to host"), RuntimeError("the client gave up")
    outer.__cause__ = inner

    assert "refused, caused by RuntimeError: the client gave up, caused by OSError: No route to host" in str(
        failure(cause=outer)
    )


def test_of_a_message_that_is_too_long_the_remedy_is_kept():
    made = record(failure("語" * 5000, remedy="ask whoever runs it"), failure(item="artifact b"))

    message = made.message()

    assert "… — ask whoever runs it (and 1 more: saving: artifact b)" in message
    assert len(message.encode()) > MESSAGE_LIMIT - 64


def test_the_others_are_named_by_phase_as_far_as_there_is_room():
    more = [failure(item="artifact b"), failure(item="parameter p"), failure(phase="annotating", item="report")]
    few = record(failure(), *more).message()
    many = record(failure(), *(failure(item=f"artifact {number:04d}") for number in range(900))).message()

    assert few.endswith(" (and 3 more: saving: artifact b, parameter p; annotating: report)")
    assert "(and 900 more: saving: artifact 0000, artifact 0001, " in many
    assert many.endswith(", …)")
    assert MESSAGE_LIMIT - 32 < len(many.encode()) <= MESSAGE_LIMIT


def test_why_main_was_stopped_comes_first_however_long_the_failure():
    made = record(failure("x" * 9000))
    made.cancelled = Throttled("terminated by SIGTERM")
    made.ended = "main ended with exit code 143"

    message = made.message()

    assert message.startswith("terminated by SIGTERM; main ended with exit code 143; saving: artifact a: xxx")
    assert len(message.encode()) == MESSAGE_LIMIT


def test_without_a_failure_there_is_nothing_to_record():
    assert Record().message() == ""
    assert Record().record() == {}
