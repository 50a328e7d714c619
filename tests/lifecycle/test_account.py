"""The account of a journal: the tree that the summary, spans and metrics are made of."""

import pytest

from lifecycle import account
from lifecycle.errors import Forbidden, Unavailable
from tests.fakes import FakeContainer, Script
from tests.lifecycle.endings import make_world

MIB = 1024 * 1024


def line(second, kind, **fields):
    return {"t": "2026-01-01T00:00:00.000Z", "s": second, "kind": kind} | fields


def item(second, phase, kind, name, state, **more):
    shown = {"kind": kind, "name": name, "state": state, "attempts": 1, "seconds": 0.0} | more
    return line(second, "item", phase=phase, item=shown)


def leave(second, phase, seconds, event="done", to="end"):
    return line(second, "leave", phase=phase, event=event, to=to, seconds=seconds)


HEADER = line(0.0, "pod", version=1, table="wait", pod="p", template="t")
JOURNAL = [
    HEADER,
    line(0.0, "enter", phase="waiting"),
    item(0.5, "waiting", "container", "main", "captured", seconds=0.5),
    item(61.0, "waiting", "container", "main", "reported", seconds=60.5),
    leave(61.0, "waiting", 61.0),
    line(61.0, "enter", phase="saving"),
    line(61.2, "attempt", phase="saving", item="artifact b", attempt=1, error="Unavailable", message="down", wait=1.0),
    item(62.0, "saving", "artifact", "a", "saved", seconds=1.0, bytes=400 * MIB),
    item(62.5, "saving", "log", "main-logs", "saved", seconds=0.1, bytes=MIB),
    item(63.1, "saving", "artifact", "b", "saved", seconds=2.1, bytes=11 * MIB, attempts=2),
    leave(63.1, "saving", 2.1),
    line(63.1, "enter", phase="annotating"),
    item(63.15, "annotating", "artifact", "b", "reported", seconds=2.1, bytes=11 * MIB, attempts=2),
    line(63.15, "something a later release writes", phase="annotating"),
    leave(63.158, "annotating", 0.008),
    line(63.2, "end", verdict="succeeded", message=""),
]


def test_the_summary_tells_time_items_bytes_rate_and_attempts_of_each_phase():
    assert account.of(JOURNAL).summary() == (
        "wait succeeded in 1 min 3 s: waiting 1 min 1 s · "
        "saving 2.1 s (3 items, 412.0 MiB, 196.2 MiB/s, 4 attempts) · annotating 8 ms"
    )


def test_the_attempts_of_an_item_lie_one_after_the_other():
    saving = account.of(JOURNAL).visits[1]
    first, second = saving.things["artifact b"].attempts
    began = account.of(JOURNAL).began

    assert (first.error, second.error) == ("Unavailable", "")
    assert [round(moment - began, 3) for moment in (first.began, first.ended, second.began, second.ended)] == [
        61.0, 61.2, 62.2, 63.1,
    ]  # fmt: skip


def test_no_attempt_ends_before_it_began_although_waits_are_rounded():
    attempt = {"phase": "saving", "item": "artifact a", "error": "Unavailable", "message": "down", "wait": 1.001}
    lines = [HEADER, line(0.0, "enter", phase="saving"), line(1.0, "attempt", attempt=1, **attempt)]
    lines += [line(2.0009, "attempt", attempt=2, **attempt)]
    lines += [item(3.0016, "saving", "artifact", "a", "saved", seconds=3.0, attempts=3)]

    attempts = account.of(lines).visits[0].things["artifact a"].attempts

    assert len(attempts) == 3
    assert all(one.began <= one.ended for one in attempts)


def test_what_is_found_and_then_waited_for_has_an_attempt_for_each():
    main = account.of(JOURNAL).visits[0].things["container main"]

    assert [one.number for one in main.attempts] == [1, 2]
    assert main.state == "reported"


def test_what_was_saved_and_then_reported_is_an_item_of_saving_alone():
    _, saving, annotating = account.of(JOURNAL).visits

    assert saving.things["artifact b"].state == "reported"
    assert annotating.things == {}


@pytest.mark.parametrize(
    ("event", "says"),
    [("failed", "failed after 3.0 s"), ("terminated", "terminated after 3.0 s"), ("deadline", "its deadline after 3")],
)
def test_how_a_phase_ended_is_said_when_it_was_not_done(event, says):
    lines = [HEADER, line(0.0, "enter", phase="waiting"), leave(3.0, "waiting", 3.0, event)]

    assert says in account.of(lines).summary()
    assert account.of(lines).summary().startswith("wait interrupted after 3.0 s: waiting ")


def test_a_restart_goes_on_where_the_first_run_was_cut_off():
    later = {"t": "2026-01-01T00:10:00.000Z"}
    lines = [HEADER, line(0.0, "enter", phase="waiting"), line(5.0, "note", phase="waiting", text="x")]
    lines += [HEADER | later, line(0.0, "enter", phase="waiting"), leave(2.0, "waiting", 2.0)]
    made = account.of([*lines, line(2.0, "end", verdict="succeeded", message="")])

    assert made.ended - made.began == pytest.approx(602.0)
    assert [visit.event for visit in made.visits] == ["", "done"]
    assert made.phases() == "waiting interrupted after 5.0 s · waiting 2.0 s"
    assert made.visits[1].ended - made.visits[1].began == pytest.approx(2.0)


def test_of_a_real_pod_the_account_has_every_item_and_attempt_that_its_phases_had(tmp_path):
    from lifecycle.engine import Engine
    from lifecycle.observing import observed
    from lifecycle.pod import WAIT_TABLE

    world = make_world(tmp_path)
    world.runtime.containers["side"] = FakeContainer(world.clock)
    world.store.script = Script(save=[Unavailable("down"), Unavailable("down")])
    world.control.script = Script(report=[Forbidden("no")])
    with observed(world.pod, {}) as seen:
        engine = Engine(WAIT_TABLE, world.pod, observer=seen)
        engine.run()

    assert [visit.phase for visit in seen.account.visits] == [stay.phase.state for stay in engine.stays]
    for visit, stay in zip(seen.account.visits, engine.stays, strict=True):
        assert {name: thing.state for name, thing in visit.things.items()} == {
            str(one): one.state.value for one in stay.items
        }
        if not stay.phase.blocking:
            assert {name: len(thing.attempts) for name, thing in visit.things.items()} == {
                str(one): one.attempts for one in stay.items
            }
        assert visit.seconds == pytest.approx(stay.seconds, abs=1e-3)
    assert seen.account.record == world.pod.record.record()
    assert account.of(world.journal.lines).summary() == seen.account.summary()
