"""How `wait` ends when something is wrong: the message, the exit status, and that nothing hangs. See docs/wait.md."""

import signal
from datetime import timedelta

import pytest

from lifecycle.clock import deadline_exceeded
from lifecycle.context import ControlChanged
from lifecycle.errors import Forbidden, InputError, MainNotStarted
from lifecycle.outcome import MESSAGE_LIMIT
from lifecycle.ports import ExecutionControl, ExitStatus
from lifecycle.stopping import arm_deadline
from tests.fakes import FakeContainer, Script
from tests.lifecycle.endings import HOUR, ends, make_world, saved


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


# --- main ends ----------------------------------------------------------------------------------------------------


def test_a_main_that_failed_is_mains_own_failure(world):
    world.main.code = 3

    ends(world, 0, "")
    assert saved(world)


def test_a_main_that_passed_its_memory_limit_says_so_and_is_no_error_of_ours(world):
    world.main.code, world.main.reason = 137, "OOMKilled"
    del world.runtime.files["/tmp/a"]

    ends(
        world, 0,
        "main was killed by the kernel: it used more memory than its limit (OOMKilled, exit code 137) — "
        "raise resources.limits.memory",
    )  # fmt: skip
    assert world.control.reports[0].outputs["parameters"][0]["value"] == "value"


def test_a_runtimes_word_for_mains_end_is_passed_on(world):
    world.main.code, world.main.reason = 128, "ContainerCannotRun"

    ends(world, 0, "main ended with exit code 128 (ContainerCannotRun)")


def test_why_mains_command_could_not_be_begun_is_passed_on_and_is_no_error_of_ours(world):
    world.main.end(127)
    world.main.status = ExitStatus(127, "StartError", 'exec: "nosuchcommand": not found')
    world.runtime.files.clear()

    ends(
        world, 0,
        'main could not be started: exec: "nosuchcommand": not found (StartError, exit code 127)',
    )  # fmt: skip


def test_a_main_that_has_ended_before_it_was_found_is_saved_all_the_same(world):
    world.main.runs = 0.0
    world.main.end(0)
    world.runtime.script = Script(find_main=[world.after(7.0)])

    ends(world, 0, "")
    assert saved(world)


def test_a_main_that_never_starts_is_an_error_sidecars_are_killed_and_it_is_reported(world):
    sidecar = world.runtime.containers["sidecar"] = FakeContainer(world.clock)
    world.runtime.script = Script(
        find_main=[MainNotStarted("main cannot be started: ErrImagePull", remedy="correct the image's name")]
    )

    ends(world, 1, "waiting: main: main cannot be started: ErrImagePull — correct the image's name")
    assert sidecar.signals == [signal.SIGTERM]
    assert world.control.reports[0].outputs == {}
    assert world.states["artifact a"] == "abandoned"


# --- deadlines and termination ------------------------------------------------------------------------------------


def test_a_deadline_of_the_environment_stops_main(world):
    world.main.runs = None
    world.pod.deadline = world.clock.now() + timedelta(seconds=60)
    arm_deadline(world.pod)

    ends(world, 0, "Step exceeded its deadline")
    assert saved(world)
    assert world.clock.monotonic() == pytest.approx(60.0)


def test_a_deadline_that_has_passed_already_stops_main_as_soon_as_it_is_found(world):
    world.main.runs = None
    world.pod.deadline = world.clock.now() - timedelta(seconds=60)
    world.runtime.script = Script(find_main=[world.after(20.0)])

    ends(world, 0, "Step exceeded its deadline")
    assert world.clock.monotonic() == pytest.approx(20.0)


def test_a_deadline_that_the_annotation_moves_away_is_not_kept_by_the_one_of_the_environment(world):
    world.main.runs = 100.0
    world.pod.deadline = world.clock.now() + timedelta(seconds=10)
    arm_deadline(world.pod)
    world.control.control = ExecutionControl(deadline=world.clock.now() + timedelta(seconds=HOUR))

    ends(world, 0, "")


def test_the_zero_deadline_that_came_before_waiting_began(world):
    world.main.runs = None
    world.control.control = ExecutionControl(terminate=True)

    ends(world, 0, "terminated")
    assert world.main.signals == [signal.SIGTERM]
    assert saved(world)


def test_a_terminated_pod_whose_main_has_not_started_kills_it_when_it_starts(world):
    """Its image is still being pulled: nobody else would kill it."""
    world.main.runs = None
    world.control.control = ExecutionControl(terminate=True)
    world.runtime.script = Script(find_main=[world.after(50.0)])

    ends(world, 0, "terminated")
    assert world.main.signals == [signal.SIGTERM]
    assert world.clock.monotonic() == pytest.approx(50.0)


def test_a_terminated_pod_whose_main_does_not_start_ends_within_a_minute(world):
    del world.runtime.containers["main"]
    world.control.control = ExecutionControl(terminate=True)

    ends(world, 0, "terminated")
    assert world.clock.monotonic() == pytest.approx(60.0)


def test_a_sigterm_shortens_the_wait_for_a_main_that_does_not_start(world):
    del world.runtime.containers["main"]
    world.control.control = ExecutionControl(terminate=True)
    world.at(10.0, world.stop)

    ends(world, 0, "terminated")
    assert world.clock.monotonic() == pytest.approx(12.0)


def test_a_zero_deadline_while_saving_changes_nothing(world):
    world.store.script = Script(save=[world.after(20.0)])

    def terminate():
        world.control.control = ExecutionControl(terminate=True)
        world.pod.inbox.put(ControlChanged())

    world.at(10.0, terminate)
    world.at(11.0, terminate)
    ends(world, 0, "")
    assert saved(world)


def test_an_execution_control_that_cannot_be_read_leaves_the_deadline_in_hand(world):
    world.main.runs = None
    deadline = ExecutionControl(deadline=world.clock.now() + timedelta(seconds=60))
    world.control.control = deadline
    world.control.script = Script(execution=[None, InputError("it is not JSON", place="annotations:3")])
    world.at(10.0, lambda: world.pod.inbox.put(ControlChanged()))

    ends(world, 0, "Step exceeded its deadline")
    assert world.clock.monotonic() == pytest.approx(60.0)
    assert "the execution control cannot be read: annotations:3: it is not JSON" in world.notes


def test_an_execution_control_that_is_slow_to_read_hides_no_sigterm_and_is_read_again_if_it_changed_meanwhile(world):
    world.main.runs, world.main.ignores = None, (signal.SIGTERM,)
    world.control.script = Script(execution=[None, world.after(300.0), None])
    for moment in (10.0, 11.0, 12.0):
        world.at(moment, lambda: world.pod.inbox.put(ControlChanged()))
    world.at(20.0, lambda: setattr(world.control, "control", ExecutionControl(terminate=True)))
    world.at(290.0, world.stop)

    ends(world, 0, "terminated by SIGTERM")
    assert world.clock.monotonic() == pytest.approx(320.0)
    assert world.control.script.count["execution"] == 3


# --- SIGTERM ------------------------------------------------------------------------------------------------------


def test_a_sigterm_before_main_was_found(world):
    del world.runtime.containers["main"]
    world.at(10.0, world.stop)

    ends(world, 0, "terminated by SIGTERM")
    assert world.clock.monotonic() == pytest.approx(12.0)
    assert world.control.reports[0].outputs == {}


@pytest.mark.parametrize("moment", [6.0, 36.0, 70.0])
def test_a_sigterm_after_mains_end_loses_nothing(world, moment):
    """While sidecars have their grace (until 35), while saving (until 65), while reporting: nobody says when we die."""
    world.runtime.containers["sidecar"] = FakeContainer(world.clock, ignores=(signal.SIGTERM,))
    world.store.script = Script(save=[world.after(30.0)])
    world.control.script = Script(report=[world.after(30.0)])
    world.at(moment, world.stop)

    ends(world, 0, "")
    assert saved(world)


def test_a_second_sigterm_takes_the_sidecars_grace_away(world):
    world.main.runs = 5.0
    stubborn = world.runtime.containers["sidecar"] = FakeContainer(world.clock, ignores=(signal.SIGTERM,))
    world.at(6.0, world.stop)
    world.at(7.0, world.stop)

    world.wait()
    assert stubborn.signals == [signal.SIGTERM, signal.SIGKILL]
    assert world.clock.monotonic() == pytest.approx(7.0)


# --- the report ---------------------------------------------------------------------------------------------------


def test_a_report_that_is_refused_leaves_the_message_for_the_kubelet(world):
    world.main.runs = None
    world.at(1.0, world.stop)
    world.control.script = Script(report=[Forbidden("patch pods is forbidden", remedy="grant patch on pods")])

    assert world.wait() == 1
    assert world.messages[-1] == "terminated by SIGTERM"
    assert world.pod.record.message() == (
        "terminated by SIGTERM; annotating: report: patch pods is forbidden — grant patch on pods"
    )


def test_no_message_is_longer_than_what_the_kubelet_keeps(world):
    world.runtime.script = Script(find_main=[MainNotStarted("語" * 5000)])

    assert world.wait() == 1
    assert len(world.message.encode()) <= MESSAGE_LIMIT
    assert world.message.endswith("…")


# --- idle ---------------------------------------------------------------------------------------------------------


def test_a_wait_of_a_week_wakes_up_for_nothing(world):
    world.main.runs = 7 * 24 * HOUR
    world.pod.deadline = world.clock.now() + timedelta(days=8)
    woken = []
    get = world.pod.inbox.get
    world.pod.inbox.get = lambda timeout: woken.append(timeout) or get(timeout)

    ends(world, 0, "")
    assert len(woken) == 2  # main was found; main has ended
    assert world.runtime.script.count["find_main"] == world.runtime.script.count["wait"] == 1
    assert world.control.script.count["execution"] == 1


def test_a_deadline_before_main_starts_does_not_hang(world):
    del world.runtime.containers["main"]
    world.pod.deadline = world.clock.now() + timedelta(seconds=5)

    ends(world, 0, str(deadline_exceeded()))
    assert world.clock.monotonic() == pytest.approx(65.0)
