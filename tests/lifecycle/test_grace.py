"""A pod that is being deleted: who gets how much of the time until SIGKILL, and what is lost (ADR 0031)."""

import signal
from datetime import timedelta

import pytest

from lifecycle.errors import Unavailable
from lifecycle.grace import Grace
from lifecycle.ports import ExecutionControl
from tests.fakes import FakeContainer, Script, World

ARCHIVE = {"s3": {"endpoint": "e", "bucket": "b", "key": "wf/pod"}, "archiveLogs": True}
MOUNT = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
SIZES = {"large": 300_000, "small": 3, "middle": 4_000}


def template():
    artifacts = [{"name": "base", "path": "/tmp/base", "archive": {"none": {}}}]
    artifacts += [{"name": name, "path": f"/v/{name}", "archive": {"none": {}}} for name in SIZES]
    return {
        "name": "t",
        "script": {"image": "i", "command": ["sh"], "source": ""} | MOUNT,
        "outputs": {"parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}], "artifacts": artifacts},
        "archiveLocation": ARCHIVE,
    }


@pytest.fixture
def world(tmp_path):
    """Main runs for ever; one item at a time, so that the order can be seen."""
    world = World(tmp_path, template(), parallelism=1)
    world.main.runs = None
    world.runtime.files = {"/tmp/p": b"value\n", "/tmp/base": b"B"}
    world.runtime.stdout = b"the result\n"
    (tmp_path / "mainctrfs/v").mkdir(parents=True)
    for name, size in SIZES.items():
        (tmp_path / f"mainctrfs/v/{name}").write_bytes(b"x" * size)
    return world


def deleted(world, grace, *, at=2.0):
    """The kubelet tells the pod to stop; the control plane knows when it kills it."""
    world.control.script = Script(time_left=[grace])
    world.at(at, world.stop)


@pytest.mark.parametrize(
    ("seconds", "main", "gone", "saved"),
    [(30.0, 15.0, 19.5, 25.0), (1.0, 0.5, 0.65, 0.8), (600.0, 300.0, 390.0, 595.0)],
)
def test_main_saving_and_the_report_have_their_shares_of_the_time(seconds, main, gone, saved):
    grace = Grace(100.0, seconds)

    assert grace.main_until == pytest.approx(100.0 + main)
    assert grace.gone_until == pytest.approx(100.0 + gone)
    assert grace.saved_until == pytest.approx(100.0 + saved)
    assert grace.ends == pytest.approx(100.0 + seconds)


def test_a_main_that_makes_nothing_to_save_has_nearly_all_of_the_grace(tmp_path):
    world = World(tmp_path, {"name": "t", "container": {"image": "i"}})
    world.main.runs = None
    world.main.ignores = (signal.SIGTERM,)
    deleted(world, 30.0)

    assert world.wait() == 0
    assert world.main.signals == [signal.SIGTERM, signal.SIGKILL]
    assert world.clock.monotonic() == pytest.approx(2.0 + 27.0)


def test_everything_is_saved_and_reported_when_there_is_time(world):
    deleted(world, 30.0)

    assert world.wait() == 0
    assert world.message == "terminated by SIGTERM"
    [report] = world.control.reports
    assert report.outputs["result"] == "the result"
    assert [one["name"] for one in report.outputs["artifacts"]] == ["base", "large", "small", "middle", "main-logs"]
    assert world.clock.monotonic() == pytest.approx(2.0)


def test_the_order_is_parameters_result_logs_small_artifacts_large_ones_and_those_nobody_knows_the_size_of(world):
    deleted(world, 30.0)

    world.wait()
    items = [line["item"] for line in world.journal.lines if line["kind"] == "item" and line["phase"] == "saving"]
    assert [f"{one['kind']} {one['name']}".strip() for one in items] == [
        "parameter p", "result", "log main-logs",
        "artifact small", "artifact middle", "artifact large", "artifact base",
    ]  # fmt: skip


@pytest.mark.parametrize(("grace", "killed"), [(30.0, 17.0), (1.0, 2.5)])
def test_main_that_ignores_term_is_killed_at_half_of_the_time(world, grace, killed):
    world.main.ignores = (signal.SIGTERM,)
    deleted(world, grace)

    assert world.wait() == 0
    assert world.main.signals == [signal.SIGTERM, signal.SIGKILL]
    assert world.clock.monotonic() == pytest.approx(killed)
    assert world.states["artifact large"] == "reported"


def test_a_long_grace_is_mains_too_whatever_the_settings_say(world):
    world.main.ignores = (signal.SIGTERM,)
    deleted(world, 600.0)

    world.wait()
    assert world.clock.monotonic() == pytest.approx(302.0)


def test_what_is_not_saved_in_time_is_abandoned_and_named_and_the_rest_is_reported_in_time(world):
    deleted(world, 30.0)
    world.store.script = Script(**{"save wf/pod/large": [world.after(1e6)]})

    assert world.wait() == 1
    assert world.moment("enter", phase="annotating") == pytest.approx(2.0 + 25.0 + 1.25)
    [report] = world.control.reports
    assert [one["name"] for one in report.outputs["artifacts"]] == ["small", "middle", "main-logs"]
    assert (report.outputs["result"], report.outputs["parameters"][0]["value"]) == ("the result", "value")
    lost = "not done in 25 of the 30 s that the pod has after SIGTERM"
    remedy = "raise terminationGracePeriodSeconds, or save less"
    assert report.message == (
        f"terminated by SIGTERM; saving: artifact large: {lost} — {remedy} (and 1 more: saving: artifact base)"
    )
    assert (world.states["artifact large"], world.states["artifact base"]) == ("abandoned", "abandoned")


def test_in_one_second_the_report_goes_out_before_the_pod_is_killed(world):
    deleted(world, 1.0)
    world.store.script = Script(**{"save wf/pod/small": [world.after(1e6)]})

    assert world.wait() == 1
    assert 2.8 <= world.moment("enter", phase="annotating") <= 2.85
    assert world.control.reports[0].outputs["result"] == "the result"


def test_a_log_that_never_ends_costs_only_itself(world):
    world.pod.settings = type(world.pod.settings)(parallelism=3)
    deleted(world, 30.0)
    opened = world.runtime.open_output

    def open_output(container, *, combined):
        return world.after(1e6)() if combined else opened(container, combined=combined)

    world.runtime.open_output = open_output

    assert world.wait() == 1
    [report] = world.control.reports
    assert [one["name"] for one in report.outputs["artifacts"]] == ["base", "large", "small", "middle"]
    assert [one.item for one in world.pod.record.failures] == ["log main-logs"]


def test_a_volume_that_hangs_when_it_is_measured_delays_saving_by_a_twentieth(world, monkeypatch):
    monkeypatch.setattr("lifecycle.source.measure", lambda *_: world.after(1e6)())
    world.main.ignores = (signal.SIGTERM,)  # else it may have ended before anybody has said how much time is left
    deleted(world, 20.0)

    world.wait()
    assert world.moment("item", phase="saving") == pytest.approx(2.0 + 10.0 + 1.0)
    assert world.control.reports[0].outputs["result"] == "the result"


def test_also_when_it_is_told_late_how_much_time_is_left(world, monkeypatch):
    """Main has ended of SIGTERM, and artifacts are looked at already."""
    monkeypatch.setattr("lifecycle.source.measure", lambda *_: world.after(1e6)())
    deleted(world, world.after(0.5, 15.5))

    world.wait()
    assert world.moment("item", phase="saving") == pytest.approx(2.0 + 0.8)


def test_sidecars_are_left_to_the_kubelet(world):
    stubborn = FakeContainer(world.clock, ignores=(signal.SIGTERM,))
    world.runtime.containers |= {"sidecar": stubborn, "istio-proxy": FakeContainer(world.clock)}
    world.main.ignores = (signal.SIGTERM,)  # else it may have ended before anybody has said how much time is left
    deleted(world, 30.0)

    assert world.wait() == 0
    assert stubborn.signals == []
    assert world.clock.monotonic() == pytest.approx(2.0 + 15.0)
    assert sum("the kubelet" in note for note in world.notes) == 2


def test_a_sigterm_while_sidecars_have_their_grace_ends_that_and_everything_is_saved(world):
    world.main.runs = 5.0
    stubborn = world.runtime.containers["sidecar"] = FakeContainer(world.clock, ignores=(signal.SIGTERM,))
    deleted(world, 10.0, at=6.0)

    assert world.wait() == 0
    assert stubborn.signals == [signal.SIGTERM]
    assert world.clock.monotonic() == pytest.approx(6.0)
    assert world.states["container sidecar"] == "done"
    assert world.message == ""


def test_a_sigterm_while_saving_bounds_what_is_left_of_it(world):
    world.main.runs = 5.0
    world.store.script = Script(**{"save wf/pod/large": [world.after(1e6)]})
    deleted(world, 10.0, at=6.0)

    assert world.wait() == 1
    assert world.moment("enter", phase="annotating") == pytest.approx(6.0 + 8.0 + 0.5)
    [report] = world.control.reports
    assert "artifact large: not done in 8 of the 10 s that the pod has after SIGTERM" in report.message
    assert report.outputs["result"] == "the result"


def test_a_sigterm_while_reporting_lets_the_report_be_tried_to_the_end(world):
    world.main.runs = 5.0
    deleted(world, 10.0, at=6.0)
    world.control.script.calls["report"] = [Unavailable("away")] * 6

    assert world.wait() == 0
    assert world.clock.monotonic() > 6.0 + 8.0
    assert len(world.control.reports) == 1


def test_the_message_is_left_for_the_kubelet_before_everything_that_may_be_the_last(world):
    deleted(world, 30.0)
    world.control.script.calls["report"] = [world.after(1e6)]
    seen = []
    world.at(1000.0, lambda: seen.extend(world.messages))

    world.wait()
    lost = "killed before everything was saved: raise terminationGracePeriodSeconds"
    assert seen == [f"terminated by SIGTERM; {lost}", "terminated by SIGTERM"]


def test_a_main_whose_end_is_not_told_is_not_waited_for_and_what_it_wrote_is_saved(world):
    """A kubelet tells of no container's end before all of a deleted pod have ended."""
    world.main.signal = world.main.signals.append
    deleted(world, 30.0)

    assert world.wait() == 0
    assert world.main.signals == [signal.SIGTERM, signal.SIGKILL]
    assert world.clock.monotonic() == pytest.approx(2.0 + 19.5)
    assert world.message == "terminated by SIGTERM"
    assert world.states["container main"] == "reported"
    assert world.states["artifact large"] == "reported"


def test_a_deadline_and_the_kubelets_sigterm_after_it_share_one_grace(world):
    world.main.ignores = (signal.SIGTERM,)
    world.control.control = ExecutionControl(deadline=world.clock.now() + timedelta(seconds=3))
    deleted(world, 30.0, at=4.0)

    assert world.wait() == 0
    assert world.clock.monotonic() == pytest.approx(4.0 + 15.0)
    assert world.message == "Step exceeded its deadline"


def test_a_second_sigterm_still_kills_main_at_once(world):
    world.main.ignores = (signal.SIGTERM,)
    deleted(world, 30.0)
    world.at(3.0, world.stop)

    assert world.wait() == 0
    assert world.clock.monotonic() == pytest.approx(3.0)


# --- how much time is left ----------------------------------------------------------------------------------------


def test_a_control_plane_that_does_not_know_means_the_settings_grace(world):
    world.main.ignores = (signal.SIGTERM,)
    deleted(world, Unavailable("the API server is away"))

    assert world.wait() == 0
    assert world.clock.monotonic() == pytest.approx(2.0 + 15.0)
    assert "nobody says how much time is left: the API server is away" in world.notes


def test_a_control_plane_that_does_not_answer_means_the_settings_grace_until_it_does(world):
    world.main.ignores = (signal.SIGTERM,)
    deleted(world, world.after(5.0, 15.0))

    assert world.wait() == 0
    assert world.clock.monotonic() == pytest.approx(2.0 + 10.0)


def test_a_control_plane_that_never_answers_does_not_hang(world):
    world.main.ignores = (signal.SIGTERM,)
    deleted(world, world.after(1e9))

    assert world.wait() == 0
    assert world.clock.monotonic() == pytest.approx(2.0 + 15.0)


def test_no_time_at_all_still_reports(world):
    deleted(world, -3.0)

    world.wait()
    assert len(world.control.reports) == 1
    assert world.clock.monotonic() == pytest.approx(2.0)


def test_how_much_time_is_left_is_asked_once(world):
    deleted(world, 30.0)
    world.at(2.1, world.stop)
    world.main.ignores = (signal.SIGTERM,)

    world.wait()
    assert world.control.script.count["time_left"] == 1


def test_a_controllers_terminate_is_no_sigterm_and_nothing_is_asked(world):
    world.control.control = ExecutionControl(terminate=True)

    assert world.wait() == 0
    assert world.control.script.count["time_left"] == 0
