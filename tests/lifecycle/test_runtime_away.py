"""A runtime that is away, or refuses: what `wait` says, and that nothing hangs. See docs/wait.md."""

import signal
from datetime import timedelta

import pytest

from lifecycle.errors import Forbidden, NotFound, Unsupported
from tests.fakes import FakeContainer, Script
from tests.lifecycle.endings import HOUR, away, ends, make_world, saved

EXEC = Forbidden('pods "pod-1" is forbidden: create pods/exec', remedy="grant the verb create on pods/exec")


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


def test_a_node_that_is_away_for_minutes_is_waited_for(world):
    world.main.runs = HOUR
    world.runtime.script = Script(find_main=away(10), wait=away(20))

    ends(world, 0, "")
    assert saved(world)


def test_the_deadline_works_meanwhile_and_the_signal_is_sent_when_the_node_is_back(world):
    world.main.runs = None
    world.pod.deadline = world.clock.now() + timedelta(seconds=60)
    world.runtime.script = Script(wait=away(12), signal=away(4))

    ends(world, 0, "Step exceeded its deadline")
    assert world.main.signals == [signal.SIGTERM]
    assert 60 < world.clock.monotonic() < 60 + 30
    assert saved(world)


def test_kill_is_tried_again_until_the_node_is_back(world):
    world.main.runs = None
    world.pod.deadline = world.clock.now() + timedelta(seconds=60)
    world.runtime.script = Script(signal=away(14))

    ends(world, 0, "Step exceeded its deadline")
    assert world.main.signals == [signal.SIGKILL]
    assert 60 + 30 < world.clock.monotonic() < 60 + 600


def test_kill_is_not_tried_for_ever(world):
    world.main.runs = None
    world.pod.deadline = world.clock.now() + timedelta(seconds=60)
    world.runtime.script = Script(signal=away(999))

    assert world.wait() == 1
    assert world.message.startswith(
        "Step exceeded its deadline; waiting: main: SIGKILL could not be sent to main: the node does not answer"
    )
    assert world.clock.monotonic() == pytest.approx(60 + 30 + 600)
    assert saved(world)


def test_a_second_sigterm_ends_trying_to_kill_soon(world):
    world.main.runs = None
    world.runtime.script = Script(signal=away(999))
    for moment in (10.0, 11.0, 12.0):
        world.at(moment, world.stop)

    assert world.wait() == 1
    assert world.clock.monotonic() <= 12.0 + 10.0


def test_a_signal_that_hangs_keeps_nothing_else_from_happening(world):
    world.main.runs = None
    world.runtime.script = Script(signal=[world.after(1e9), None])
    world.at(10.0, world.stop)

    ends(world, 0, "terminated by SIGTERM")
    assert world.main.signals == [signal.SIGKILL]
    assert world.clock.monotonic() == pytest.approx(40.0)


def test_a_main_that_may_not_be_signalled_names_the_permission_and_what_there_is_is_saved(world):
    world.main.runs = None
    world.pod.deadline = world.clock.now() + timedelta(seconds=60)
    world.runtime.script = Script(signal=[EXEC] * 9)

    ends(
        world, 1,
        'Step exceeded its deadline; waiting: main: pods "pod-1" is forbidden: create pods/exec — '
        "grant the verb create on pods/exec",
    )  # fmt: skip
    assert saved(world)


def test_a_wait_that_is_forbidden_names_the_permission_and_what_there_is_is_saved(world):
    world.main.runs = None
    world.runtime.script = Script(wait=[Forbidden("watch pods is forbidden", remedy="grant watch on pods")])

    ends(world, 1, "waiting: main: watch pods is forbidden — grant watch on pods")
    assert saved(world)


def test_a_main_that_survives_kill_tells_why_it_could_not_be_told_to_stop(world):
    world.main.runs = None
    world.main.signal = world.main.signals.append
    world.pod.deadline = world.clock.now() + timedelta(seconds=60)
    world.runtime.script = Script(signal=[Unsupported("there is no shell in its image", remedy="add one")])

    ends(
        world, 1,
        "Step exceeded its deadline; waiting: main: main still runs after SIGKILL: there is no shell in its image — "
        "add one",
    )  # fmt: skip
    assert world.main.signals == [signal.SIGKILL]


def test_a_sidecar_that_is_removed_between_signal_and_wait_is_gone(world):
    world.runtime.containers["proxy"] = FakeContainer(world.clock, ignores=(signal.SIGTERM,))
    world.runtime.script = Script(wait=[None, NotFound("the container proxy has been removed")])

    ends(world, 0, "")
    assert world.states["container proxy"] == "done"


def test_sidecars_that_may_not_be_listed_are_an_error_after_everything_was_saved(world):
    world.runtime.script = Script(others=[Forbidden("get pods is forbidden", remedy="grant get on pods")] * 9)

    assert world.wait() == 1
    assert world.message == "killing sidecars: containers: get pods is forbidden — grant get on pods"
    assert saved(world)


def test_a_sidecar_that_cannot_be_killed_is_an_error_after_everything_was_saved(world):
    zombie = world.runtime.containers["zombie"] = FakeContainer(world.clock)
    zombie.signal = zombie.signals.append

    assert world.wait() == 1
    assert "container zombie: the container 'zombie' still runs 10 s after SIGKILL" in world.message
    assert zombie.signals == [signal.SIGTERM, *[signal.SIGKILL] * 3] * 2  # one grace each time: releasing tries, too
    assert saved(world)


def no_runtime(world, *errors):
    errors = list(errors)

    def make():
        if errors:
            raise errors.pop(0)
        return world.runtime

    world.pod._runtime = make


def test_a_runtime_that_cannot_be_made_is_one_failure_and_is_reported(world):
    gone = [Forbidden("/var/run/docker.sock: permission denied", remedy="run `wait` as root")] * 9
    no_runtime(world, *gone)

    ends(world, 1, "waiting: main: /var/run/docker.sock: permission denied — run `wait` as root")
    assert world.control.reports[0].outputs == {}


def test_a_runtime_that_cannot_be_reached_yet_is_tried_again(world):
    no_runtime(world, *away(5))

    ends(world, 0, "")
    assert saved(world)


def test_a_sigterm_while_the_runtime_cannot_be_reached_is_an_error_as_main_may_have_run(world):
    no_runtime(world, *away(999))
    world.at(100.0, world.stop)

    assert world.wait() == 1
    assert world.message.startswith(
        "terminated by SIGTERM; waiting: main: main was not found: the node does not answer"
    )
    assert world.clock.monotonic() == pytest.approx(102.0)
