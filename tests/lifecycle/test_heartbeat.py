"""Signs of life: what they say, when, and that nothing wakes up between two of them."""

from __future__ import annotations

import logging
import signal
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lifecycle.engine import Engine
from lifecycle.errors import Unavailable
from lifecycle.grace import Grace
from lifecycle.heartbeat import Heartbeat
from lifecycle.observing import observed
from lifecycle.pod import INIT_TABLE, SAVING, WAIT_TABLE
from lifecycle.ports import ExecutionControl
from lifecycle.progress import Progress
from lifecycle.stay import Stay
from lifecycle.stopping import handle_signals
from tests.fakes import Script, World
from tests.lifecycle.endings import HOUR, make_world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def run(world: World, *moments: float) -> list[str]:
    """Run `wait`, asking at these moments; what was said."""
    said: list[str] = []
    with observed(world.pod, {}, say=said.append) as seen:
        for moment in moments:
            world.at(moment, seen.ask)
        Engine(WAIT_TABLE, world.pod, observer=seen).run()
    return said


def test_a_wait_says_since_when_and_what_ends_it(world: World):
    world.main.runs = 700.0
    world.pod.deadline = world.clock.now() + timedelta(hours=1)

    assert run(world) == [
        f"waiting for main (since 00:00:00Z, {lasted}): ends with main, the deadline at 01:00:00Z, or SIGTERM"
        for lasted in ("5 min 0 s", "10 min 0 s")
    ]


def test_a_deadline_of_another_day_is_told_with_it_and_one_that_was_moved_as_it_is_now(world: World):
    world.main.runs = 400.0
    world.pod.deadline = world.clock.now() + timedelta(hours=1)
    world.control.control = ExecutionControl(deadline=world.clock.now() + timedelta(days=2))

    assert run(world)[0].endswith("ends with main, the deadline at 2026-01-03T00:00:00Z, or SIGTERM")


def test_a_main_that_is_being_stopped_is_said_to_be(world: World):
    world.main.runs, world.main.ignores = None, (signal.SIGTERM,)
    world.control.script = Script(time_left=[100.0])
    world.at(10.0, world.stop)

    assert run(world, 20.0)[0] == (
        "waiting for main, which is being stopped: terminated by SIGTERM, (since 00:00:00Z, 20.0 s): "
        "ends with main, the pod's grace at 00:01:50Z, or another SIGTERM"
        " · under way: container main (main runs, its root is held)"
    )


def test_any_phase_that_lasts_says_what_it_still_has_in_hand(world: World):
    world.store.script = Script(save=[world.after(400.0)])

    [said] = run(world)

    assert said == "saving (since 00:00:05Z, 4 min 55 s, 1 of 2 items done): ends with a or a second SIGTERM"


def test_whoever_asks_hears_of_the_items_under_way_and_their_bytes(world: World):
    world.store.script = Script(save=[Unavailable("down"), world.after(400.0)])
    with observed(world.pod, {}) as seen:
        heartbeat = Heartbeat(world.pod)
        stay = Stay(world.pod, WAIT_TABLE[SAVING], WAIT_TABLE[SAVING].retry)
        heartbeat.entered(stay)
        large, small = stay.item("artifact", "large"), stay.item("artifact", "small")
        stay.item("artifact", "next")
        Progress(world.pod, large)(300 << 20, 1 << 30)
        Progress(world.pod, small)(512, None)
        small.attempts = 1
        said = heartbeat.line(whole=True)
        seen.account.read({"t": "2026-01-01T00:00:00Z", "s": 0, "kind": "note"})

    assert said.partition(" · ")[2] == (
        "under way: artifact large 300.0 MiB of 1.0 GiB, artifact small 512 B after 1 failed attempt, artifact next"
    )


def test_of_many_items_some_are_named(world: World):
    heartbeat = Heartbeat(world.pod)
    stay = Stay(world.pod, WAIT_TABLE[SAVING], WAIT_TABLE[SAVING].retry)
    heartbeat.entered(stay)
    for number in range(9):
        stay.item("artifact", f"a{number}")

    assert "0 of 9 items done): ends with a0, a1, a2, a3 and 5 more or a second SIGTERM" in heartbeat.line()


def test_before_the_first_phase_it_says_so(world: World):
    assert Heartbeat(world.pod).line(whole=True) == "no phase has begun"


def test_a_grace_that_is_shared_out_is_told_in_a_phase_that_tidies_up(world: World):
    world.pod.grace = Grace(0.0, 90.0)
    world.pod.stops = 1
    heartbeat = Heartbeat(world.pod)
    heartbeat.entered(Stay(world.pod, WAIT_TABLE[SAVING], WAIT_TABLE[SAVING].retry))

    assert heartbeat.line().endswith("ends with what it does, the pod's grace at 00:01:30Z, or another SIGTERM")


@pytest.mark.parametrize(("every", "beats"), [(0.0, 0), (HOUR, 23), (300.0, 287)])
def test_it_wakes_up_for_its_beats_and_for_nothing_else(tmp_path: Path, every: float, beats: int):
    world = make_world(tmp_path)
    world.main.runs = 24 * HOUR
    world.pod.deadline = world.clock.now() + timedelta(days=2)
    world.pod.settings = type(world.pod.settings)(heartbeat=every)
    woken: list[float | None] = []
    said: list[str] = []
    with observed(world.pod, {}, say=said.append) as seen:
        inbox = seen.ask.__self__._inbox

        def count() -> None:
            get = inbox.get
            inbox.get = lambda timeout: woken.append(timeout) or get(timeout)

        world.at(0.5, count)  # the first wait has begun by then, and is not counted
        world.at(1.0, seen.ask)
        Engine(WAIT_TABLE, world.pod, observer=seen).run()

    assert len(said) == beats + 1
    assert set(woken) == {every or None}
    assert len(woken) == len(said)


def test_sigusr1_asks_and_stops_nothing(tmp_path: Path):
    pod = World(tmp_path, {"name": "t", "container": {}}).pod
    asked = threading.Event()
    with handle_signals(pod, asked.set):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        assert asked.wait(10.0)

    assert pod.stops == 0
    assert pod.cancel.reason is None


def test_whoever_asks_is_answered_whatever_the_level(world: World, monkeypatch: pytest.MonkeyPatch):
    logger = logging.getLogger("argoexec")
    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = told.append
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.ERROR)
    world.main.runs = 700.0
    with observed(world.pod, {}) as seen:
        world.at(310.0, seen.ask)
        Engine(WAIT_TABLE, world.pod, observer=seen).run()

    assert [record.getMessage()[:16] for record in told] == ["waiting for main"]
    assert told[0].levelno == logging.INFO
    assert told[0].phase == "waiting"


def test_a_short_pod_says_nothing(tmp_path: Path):
    world = World(tmp_path, {"name": "t", "container": {}})
    said: list[str] = []
    with observed(world.pod, {}, say=said.append) as seen:
        Engine(INIT_TABLE, world.pod, observer=seen).run()

    assert said == []
