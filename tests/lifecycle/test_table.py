"""A table in which something cannot work is not constructed, and says why."""

import pytest

from lifecycle.pod import INIT_TABLE, POD, WAIT_TABLE
from lifecycle.policy import RetryPolicy
from lifecycle.table import END, Event, MalformedTable, Phase, Table, Verdict
from lifecycle.tables import TABLES

WORK = "lifecycle.phases.staging:stage"


def phase(state="one", to=None, **fields):
    to = dict.fromkeys(Event, END) if to is None else to
    return Phase(state, does="something", work=fields.pop("work", WORK), to=to, **fields)


def going(to):
    return dict.fromkeys(Event, END) | {Event.DONE: to}


@pytest.mark.parametrize(
    ("phases", "why"),
    [
        ((), "has no phases"),
        ((phase(to=going("nowhere")),), "'nowhere', which is no state"),
        ((phase(to={Event.DONE: END, Event.FAILED: END, Event.DEADLINE: END}),), "'terminated' is not answered"),
        ((phase(to={**going(END), Event.FAILED: "one"}),), "leads back to itself"),
        ((phase(work=":x"),), "does not resolve"),
        ((phase(work="lifecycle.pod:STAGING"),), "does not resolve: STAGING is no function"),
        ((phase("one"), phase("two")), "two: no path from one leads to it"),
        (
            (
                phase("one", to=dict.fromkeys(Event, "two")),
                phase("two", to=dict.fromkeys(Event, "one")),
            ),
            "no path from it leads to an end",
        ),
        ((phase(blocking=True),), "neither a deadline nor an event ends it"),
        ((phase(retry=RetryPolicy(attempts=None)),), "no cap, no budget"),
        ((phase(work="lifecycle.phases.staging:nothing"),), "does not resolve"),
        ((phase(work="lifecycle.phases.nowhere:stage"),), "does not resolve"),
        ((phase("one"), phase("one")), "two phases have the same state"),
        ((phase("succeeded"),), "cannot be a phase"),
    ],
)
def test_a_malformed_table_cannot_be_built_and_says_why(phases, why):
    with pytest.raises(MalformedTable, match=why):
        Table("broken", tuple(phases))


def test_every_reason_is_given_at_once():
    with pytest.raises(MalformedTable) as error:
        Table("broken", (phase(blocking=True, to=going("nowhere")), phase("two")))

    assert len(str(error.value).splitlines()) == 4


def test_a_blocking_phase_may_be_ended_by_an_event():
    Table("good", (phase(blocking=True, ended_by=(Event.TERMINATED,)),))


def test_an_edge_that_leaves_a_segment_ends_it():
    assert INIT_TABLE["loading"].to[Event.DONE] == END
    assert INIT_TABLE["loading"].to[Event.FAILED] == "annotating"
    assert WAIT_TABLE.initial == "waiting"
    assert [one.state for one in WAIT_TABLE.phases] == [
        "waiting", "killing sidecars", "capturing", "saving", "annotating", "releasing",
    ]  # fmt: skip


def test_the_whole_has_every_phase_of_its_segments():
    segments = (INIT_TABLE, WAIT_TABLE)
    assert {one.state for one in POD.phases} >= {one.state for table in segments for one in table.phases}


def test_every_state_of_every_table_answers_every_event_in_the_machine():
    for table in TABLES.values():
        triggers = {(row["source"], row["trigger"]) for row in table.machine()["transitions"]}
        for one in table.phases:
            for event in one.meets:
                assert (one.state, event.value) in triggers, f"{table.name}: {one.state} {event}"


def test_a_final_state_answers_nothing():
    for table in TABLES.values():
        sources = {row["source"] for row in table.machine()["transitions"]}
        assert not sources & {verdict.value for verdict in Verdict}
