"""How `wait` ends when something is wrong: the message, the exit status, and that nothing hangs. See docs/wait.md."""

import signal
from datetime import timedelta

import pytest

from lifecycle.clock import deadline_exceeded
from lifecycle.context import ControlChanged
from lifecycle.errors import Forbidden, InputError, MainNotStarted, Unavailable
from lifecycle.outcome import MESSAGE_LIMIT
from lifecycle.ports import ExecutionControl
from lifecycle.stopping import arm_deadline
from tests.fakes import FakeContainer, Script, World

ARCHIVE = {"s3": {"endpoint": "e", "bucket": "b", "key": "wf/pod"}}
HOUR = 3600.0
EXEC = Forbidden('pods "pod-1" is forbidden: create pods/exec', remedy="grant the verb create on pods/exec")


@pytest.fixture
def world(tmp_path):
    outputs = {
        "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
        "artifacts": [{"name": "a", "path": "/tmp/a"}],
    }
    script = {"image": "i", "command": ["sh"], "source": ""}
    world = World(tmp_path, {"name": "t", "script": script, "outputs": outputs, "archiveLocation": ARCHIVE})
    world.runtime.files = {"/tmp/p": b"value\n", "/tmp/a": b"A"}
    world.runtime.stdout = b"the result\n"
    return world


def ends(world, status, message):
    """Run `wait`, and see that the report and the termination message say the same."""
    assert world.wait() == status
    assert world.message == message
    assert world.messages[-1] == message


def saved(world):
    """Whether everything that main made has been reported."""
    [report] = world.control.reports
    names = [one["name"] for one in report.outputs.get("artifacts", [])]
    values = [one.get("value") for one in report.outputs.get("parameters", [])]
    return (values, report.outputs.get("result"), names) == (["value"], "the result", ["a"])


def away(times):
    return [Unavailable("the node does not answer")] * times


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


def test_a_sigterm_shortens_that(world):
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


# --- the runtime is away, or refuses ------------------------------------------------------------------------------


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
