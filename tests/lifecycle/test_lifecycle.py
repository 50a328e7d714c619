"""The pod's table run by the engine, with fake ports on a virtual clock: which way a pod takes, and what it records."""

import json
import signal
from datetime import timedelta

import pytest

from lifecycle.clock import deadline_exceeded, terminated
from lifecycle.context import ControlChanged
from lifecycle.engine import Engine
from lifecycle.errors import Forbidden, MainNotStarted, NotFound, Throttled, Unauthorized, Unavailable
from lifecycle.pod import INIT_TABLE, WAIT_TABLE
from lifecycle.ports import ExecutionControl
from lifecycle.stopping import arm_deadline
from lifecycle.table import Verdict
from tests.fakes import FakeContainer, Script, World

ARCHIVE = {"s3": {"endpoint": "e", "bucket": "b", "key": "wf/pod"}}
WAIT_WAY = ["waiting", "killing sidecars", "capturing", "saving", "annotating", "releasing"]


def template(**more):
    return {
        "name": "t",
        "script": {"image": "i", "command": ["sh"], "source": "echo hi\n"},
        "outputs": {
            "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}, "unknown": [1]}],
            "artifacts": [
                {"name": "a", "path": "/tmp/a.txt", "archive": {"none": {}}},
                {"name": "b", "path": "/tmp/b"},
            ],
        },
        "archiveLocation": ARCHIVE,
    } | more


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, template())
    world.runtime.files = {"/tmp/p": b"value\n", "/tmp/a.txt": b"A", "/tmp/b": b"B"}
    world.runtime.stdout = b"the result\n"
    return world


def wait(world):
    return Engine(WAIT_TABLE, world.pod).run()


def test_a_pod_that_goes_well_takes_the_straight_way_and_reports_everything(world):
    assert wait(world) is Verdict.SUCCEEDED
    assert world.way == WAIT_WAY
    [report] = world.control.reports
    assert report.outputs["parameters"] == [
        {"name": "p", "value": "value", "valueFrom": {"path": "/tmp/p"}, "unknown": [1]}
    ]
    assert [one["name"] for one in report.outputs["artifacts"]] == ["a", "b"]
    assert report.outputs["artifacts"][0]["s3"]["key"] == "wf/pod/a.txt"
    assert report.outputs["artifacts"][1]["s3"]["key"] == "wf/pod/b.tgz"
    assert report.outputs["result"] == "the result"
    assert report.message == ""
    assert world.store.objects["wf/pod/a.txt"] == b"A"
    assert world.store.objects["wf/pod/b.tgz"][:2] == b"\x1f\x8b"


def test_the_journal_has_every_transition_and_every_items_end(world):
    wait(world)

    lines = world.journal.lines
    assert lines[0] | {"t": ""} == {
        "t": "", "s": 0.0, "kind": "pod", "version": 1, "table": "wait", "pod": "pod-1", "template": "t",
    }  # fmt: skip
    left = [(line["phase"], line["event"], line["to"]) for line in lines if line["kind"] == "leave"]
    assert left[0] == ("waiting", "done", "killing sidecars")
    assert left[-1] == ("releasing", "done", "succeeded")
    ends = {(i["kind"], i["name"]): i["state"] for line in lines if line["kind"] == "item" for i in [line["item"]]}
    assert ends["parameter", "p"] == ends["artifact", "a"] == ends["result", ""] == "reported"
    assert lines[-1]["kind"] == "end"


def test_one_item_that_fails_stops_no_other_and_its_error_decides_the_message(world):
    del world.runtime.files["/tmp/a.txt"]

    assert wait(world) is Verdict.FAILED
    [report] = world.control.reports
    assert [one["name"] for one in report.outputs["artifacts"]] == ["b"]
    assert report.outputs["parameters"][0]["value"] == "value"
    remedy = "let main write it, or mark it `optional: true`"
    assert report.message == f"saving: artifact a: /tmp/a.txt is not there — {remedy}"
    assert world.way == WAIT_WAY


def test_all_failures_are_in_the_record_and_the_first_leads_the_message(world):
    world.runtime.files = {}

    wait(world)
    assert len(world.pod.record.failures) == 3
    assert "(and 2 more: saving: " in world.control.reports[0].message


def test_an_optional_output_that_is_not_there_is_skipped(tmp_path):
    raw = template(outputs={"artifacts": [{"name": "a", "path": "/tmp/a", "optional": True}]})
    world = World(tmp_path, raw)

    assert wait(world) is Verdict.SUCCEEDED
    assert "artifacts" not in world.control.reports[0].outputs
    assert [i["state"] for line in world.journal.lines if line["kind"] == "item" for i in [line["item"]]].count(
        "skipped"
    ) == 1


def test_a_default_stands_in_for_a_parameter_that_cannot_be_read(tmp_path):
    raw = template(outputs={"parameters": [{"name": "p", "valueFrom": {"path": "/x", "default": "d\n"}}]})
    world = World(tmp_path, raw)

    assert wait(world) is Verdict.SUCCEEDED
    assert world.control.reports[0].outputs["parameters"][0]["value"] == "d"


def test_when_main_failed_a_missing_output_is_no_failure_of_its_own(world):
    world.main.code = 3
    del world.runtime.files["/tmp/b"]

    assert wait(world) is Verdict.SUCCEEDED
    assert world.pod.found.exit.code == 3
    assert [one["name"] for one in world.control.reports[0].outputs["artifacts"]] == ["a"]


def test_a_throttled_save_is_tried_again_and_one_that_is_forbidden_is_not(world):
    world.store.script = Script(
        **{
            "save wf/pod/a.txt": [Throttled("slow down", retry_after=7.0), Unavailable("503")],
            "save wf/pod/b.tgz": [Forbidden("s3:PutObject is not allowed")],
        }
    )
    assert wait(world) is Verdict.FAILED
    [failure] = world.pod.record.failures
    assert (failure.item, failure.attempt, failure.code) == ("artifact b", 1, "ERR_FORBIDDEN")
    assert world.store.script.count["save wf/pod/a.txt"] == 3
    attempts = [line for line in world.journal.lines if line["kind"] == "attempt" and line["item"] == "artifact a"]
    assert attempts[0]["wait"] == 7.0


def test_a_store_that_stays_down_ends_with_the_policy_and_names_the_attempt(world):
    world.store.script = Script(save=[Unavailable("the store is down")] * 99)

    assert wait(world) is Verdict.FAILED
    assert {(one.attempt, one.attempts) for one in world.pod.record.failures} == {(5, 5)}
    assert "(attempt 5 of 5)" in str(world.pod.record.failures[0])


def test_a_report_is_tried_until_its_budget_ends(world):
    world.control.script = Script(report=[Unavailable("down")] * 999)

    assert wait(world) is Verdict.FAILED
    assert world.control.reports == []
    assert 500 < world.clock.monotonic() <= 605 + 5


def test_a_report_that_is_forbidden_fails_at_once(world):
    world.control.script = Script(report=[Forbidden("pods is forbidden", remedy="grant patch on pods")])

    assert wait(world) is Verdict.FAILED
    assert world.control.script.count["report"] == 1
    assert world.pod.record.failures[0].remedy == "grant patch on pods"


def test_sidecars_are_killed_before_saving_and_proxies_after_the_report(world):
    plain = FakeContainer(world.clock, ignores=(signal.SIGTERM,))
    proxy = FakeContainer(world.clock)
    world.runtime.containers |= {"sidecar": plain, "istio-proxy": proxy}

    assert wait(world) is Verdict.SUCCEEDED
    assert plain.signals == [signal.SIGTERM, signal.SIGKILL]
    assert proxy.signals == [signal.SIGTERM]
    ended = [(line["phase"], line["item"]["name"]) for line in world.journal.lines if line["kind"] == "item"]
    assert ("killing sidecars", "sidecar") in ended
    assert ("releasing", "istio-proxy") in ended
    assert world.clock.monotonic() == pytest.approx(5.0 + 30.0)


def test_a_sidecar_that_survives_is_recorded_and_the_outputs_are_saved_all_the_same(world):
    world.runtime.containers["zombie"] = FakeContainer(world.clock, ignores=(signal.SIGTERM,))
    world.runtime.containers["zombie"].signal = lambda number: None

    assert wait(world) is Verdict.FAILED
    assert world.pod.record.failures[0].item == "container zombie"
    assert world.control.reports[0].outputs["result"] == "the result"


def test_sigterm_gives_main_its_grace_then_saves_what_is_there(world):
    world.main.runs = None
    world.at(2.0, lambda: world.pod.stop(terminated("terminated by SIGTERM")))

    assert wait(world) is Verdict.TERMINATED
    assert world.main.signals == [signal.SIGTERM]
    assert world.pod.found.exit.code == 143
    assert world.control.reports[0].outputs["parameters"][0]["value"] == "value"
    assert world.control.reports[0].message == "terminated by SIGTERM"
    assert world.way == WAIT_WAY


def test_a_main_that_ignores_sigterm_is_killed_when_its_grace_is_over(world):
    world.main.runs, world.main.ignores = None, (signal.SIGTERM,)
    world.at(2.0, lambda: world.pod.stop(terminated()))

    wait(world)
    assert world.main.signals == [signal.SIGTERM, signal.SIGKILL]
    assert world.clock.monotonic() == pytest.approx(32.0)


def test_a_second_wish_to_stop_takes_the_grace_away(world):
    world.main.runs, world.main.ignores = None, (signal.SIGTERM,)
    world.at(2.0, lambda: world.pod.stop(terminated()))
    world.at(3.0, lambda: world.pod.stop(terminated()))

    wait(world)
    assert world.clock.monotonic() == pytest.approx(3.0)


def test_a_third_wish_abandons_what_is_not_saved_and_still_reports(world):
    world.main.runs = None
    world.store.script = Script(save=[Unavailable("down")] * 99)
    world.at(2.0, lambda: world.pod.stop(terminated()))
    world.at(2.1, lambda: world.pod.stop(terminated()))

    assert wait(world) is Verdict.FAILED
    states = [line["item"]["state"] for line in world.journal.lines if line["kind"] == "item"]
    assert "abandoned" in states
    assert world.clock.monotonic() < 10


def test_the_controllers_deadline_stops_main_with_its_message(world):
    world.main.runs = None
    world.control.control = ExecutionControl(deadline=world.clock.now() + timedelta(seconds=60))

    assert wait(world) is Verdict.TERMINATED
    assert world.clock.monotonic() == pytest.approx(60.0)
    assert world.control.reports[0].message == "Step exceeded its deadline"
    left = [line["event"] for line in world.journal.lines if line["kind"] == "leave"]
    assert left[0] == "deadline"


def test_a_deadline_that_is_moved_while_waiting_counts_as_it_is_then(world):
    world.main.runs = None
    world.control.control = ExecutionControl(deadline=world.clock.now() + timedelta(seconds=600))

    def sooner():
        world.control.control = ExecutionControl(deadline=world.clock.now() + timedelta(seconds=5))
        world.pod.inbox.put(ControlChanged())

    world.at(10.0, sooner)
    wait(world)
    assert world.clock.monotonic() == pytest.approx(15.0)


def test_the_zero_deadline_terminates(world):
    world.main.runs = None

    def terminate():
        world.control.control = ExecutionControl(terminate=True)
        world.pod.inbox.put(ControlChanged())

    world.at(10.0, terminate)
    assert wait(world) is Verdict.TERMINATED
    assert world.control.reports[0].message == "terminated"


def test_a_control_plane_that_does_not_answer_leaves_the_last_control_in_force(world):
    world.control.script = Script(execution=[Unavailable("down")])

    assert wait(world) is Verdict.SUCCEEDED


def test_a_broken_connection_to_the_runtime_is_attached_again(world):
    world.runtime.script = Script(wait=[Unavailable("connection reset")] * 20)

    assert wait(world) is Verdict.SUCCEEDED
    assert world.pod.found.exit.code == 0


def test_a_main_that_never_starts_is_one_failure_and_nothing_hangs(world):
    world.runtime.script = Script(find_main=[MainNotStarted("the image cannot be pulled", remedy="check the image")])

    assert wait(world) is Verdict.FAILED
    [failure] = world.pod.record.failures
    assert (failure.phase, failure.item, failure.error) == ("waiting", "main", "MainNotStarted")
    assert world.way == WAIT_WAY


def test_a_pod_that_is_stopped_before_main_was_found_ends_soon(world):
    del world.runtime.containers["main"]
    world.at(1.0, lambda: world.pod.stop(terminated()))

    assert wait(world) is Verdict.TERMINATED
    assert world.clock.monotonic() == pytest.approx(3.0)


def test_outputs_that_do_not_fit_are_named_and_the_rest_is_reported(tmp_path):
    parameters = [{"name": n, "valueFrom": {"path": f"/tmp/{n}"}} for n in ("small", "large")]
    world = World(tmp_path, template(outputs={"parameters": parameters}))
    world.runtime.files = {"/tmp/small": b"s" * 100_000, "/tmp/large": b"x" * 200_000}

    assert wait(world) is Verdict.FAILED
    [report] = world.control.reports
    assert report.outputs["parameters"][0]["value"] == "s" * 100_000
    assert "value" not in report.outputs["parameters"][1]
    assert "parameter large: its 200000 bytes do not fit" in report.message


def test_main_logs_are_an_artifact_of_their_own(tmp_path):
    world = World(tmp_path, template(archiveLocation=ARCHIVE | {"archiveLogs": True}, outputs={}))
    world.runtime.stdout = b"out\nerr\n"

    wait(world)
    assert world.store.objects["wf/pod/main.log"] == b"out\nerr\n"
    [logs] = world.control.reports[0].outputs["artifacts"]
    assert list(logs) == ["name", "archiveLogs", "s3"]
    assert json.dumps(logs["s3"]) == (
        '{"endpoint": "e", "bucket": "b", "accessKeySecret": {"key": ""}, "secretKeySecret": {"key": ""}, '
        '"key": "wf/pod/main.log"}'
    )


def test_a_controller_that_knows_the_store_is_told_the_keys_alone(tmp_path):
    artifact = {"name": "a", "path": "/tmp/a", "archive": {"none": {}}}
    logs = ARCHIVE | {"archiveLogs": True}
    world = World(tmp_path, template(archiveLocation=logs, outputs={"artifacts": [artifact]}))
    world.runtime.files = {"/tmp/a": b"x"}
    world.control.key_only = True
    wait(world)
    artifact, logs = world.control.reports[0].outputs["artifacts"]
    assert artifact["s3"] == {"key": "wf/pod/a"}
    assert logs == {"name": "main-logs", "archiveLogs": True, "s3": {"key": "wf/pod/main.log"}}


# --- init -----------------------------------------------------------------------------------------------------------


def init(world):
    return Engine(INIT_TABLE, world.pod).run()


def inputs(*artifacts):
    return template(inputs={"artifacts": list(artifacts)})


def s3(name, **more):
    return {"name": name, "path": f"/in/{name}", "s3": {"bucket": "b", "key": name}} | more


def test_init_stages_the_script_and_loads_the_artifacts_and_reports_nothing(tmp_path):
    world = World(tmp_path, inputs(s3("one"), s3("two")))
    world.store.objects = {"one": b"1", "two": b"2"}

    assert init(world) is Verdict.SUCCEEDED
    assert world.way == ["staging", "loading"]
    assert world.files.script.read_text() == "echo hi\n"
    assert world.files.script.stat().st_mode & 0o777 == 0o755
    assert world.files.input_artifact("one").read_bytes() == b"1"
    assert world.control.reports == []


def test_a_required_artifact_that_is_not_there_fails_init_and_the_others_are_loaded(tmp_path):
    world = World(tmp_path, inputs(s3("gone"), s3("here")))
    world.store.objects = {"here": b"1"}

    assert init(world) is Verdict.FAILED
    assert world.way == ["staging", "loading", "annotating"]
    assert world.files.input_artifact("here").exists()
    assert world.control.reports[0].message == "loading: input gone: there is no gone"


def test_optional_inputs_are_skipped_without_a_location_and_when_the_store_has_none(tmp_path):
    world = World(tmp_path, inputs(s3("gone", optional=True), {"name": "none", "path": "/n", "optional": True}))

    assert init(world) is Verdict.SUCCEEDED


def test_a_required_artifact_without_a_location_says_so(tmp_path):
    world = World(tmp_path, inputs({"name": "none", "path": "/n"}))

    assert init(world) is Verdict.FAILED
    assert "the required artifact 'none' was not supplied" in world.pod.record.message()


def test_a_wrong_secret_fails_at_the_first_attempt(tmp_path):
    world = World(tmp_path, inputs(s3("one")))
    world.store.script = Script(open=[Unauthorized("signature does not match")])

    assert init(world) is Verdict.FAILED
    assert world.store.script.count["open"] == 1


def test_a_path_that_is_not_absolute_is_named_by_its_place(tmp_path):
    world = World(tmp_path, inputs(s3("one", path="../x")))

    init(world)
    assert "$.inputs.artifacts[0].path" in world.pod.record.message()


def test_an_artifact_below_a_volume_of_mains_goes_into_the_volume(tmp_path):
    raw = inputs(s3("one", path="/vol/deep/one"))
    raw["script"]["volumeMounts"] = [{"name": "v", "mountPath": "/vol"}]
    world = World(tmp_path, raw)
    world.store.objects = {"one": b"1"}

    assert init(world) is Verdict.SUCCEEDED
    assert (tmp_path / "mainctrfs/vol/deep/one").read_bytes() == b"1"


def test_objects_below_a_key_become_a_directory(tmp_path):
    world = World(tmp_path, inputs(s3("dir", mode=0o750, recurseMode=True)))
    world.store.objects = {"dir/a": b"1", "dir/sub/b": b"2", "dirty": b"3"}

    assert init(world) is Verdict.SUCCEEDED
    root = world.files.input_artifact("dir")
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*")) == ["a", "sub", "sub/b"]
    assert {p.stat().st_mode & 0o777 for p in (root, *root.rglob("*"))} == {0o750}


def test_a_deadline_ends_loading_in_mid_retry(tmp_path):
    world = World(tmp_path, inputs(s3("one")))
    world.store.script = Script(open=[Unavailable("down")] * 99)
    world.pod.deadline = world.clock.now() + timedelta(seconds=3)
    arm_deadline(world.pod)

    assert init(world) is Verdict.TERMINATED
    assert world.clock.monotonic() == pytest.approx(3.0)
    assert world.pod.record.message() == str(deadline_exceeded())


# --- stopping, in all its orders --


def test_the_kubelets_sigterm_at_the_deadline_is_the_first_wish_and_leaves_main_its_grace(world):
    world.main.runs, world.main.ignores = None, (signal.SIGTERM,)
    world.control.control = ExecutionControl(deadline=world.clock.now() + timedelta(seconds=3))
    world.at(4.0, lambda: world.pod.stop(terminated("terminated by SIGTERM")))

    wait(world)
    assert world.clock.monotonic() == pytest.approx(33.0)
    assert world.control.reports[0].message == "Step exceeded its deadline"


def test_a_terminate_that_is_read_twice_is_one_wish(world):
    world.main.runs, world.main.ignores = None, (signal.SIGTERM,)
    world.at(1.0, lambda: setattr(world.control, "control", ExecutionControl(terminate=True)))
    world.at(1.1, lambda: world.pod.inbox.put(ControlChanged()))
    world.at(2.0, lambda: world.pod.inbox.put(ControlChanged()))

    wait(world)
    assert world.clock.monotonic() == pytest.approx(31.1)


def test_what_was_saved_is_reported_even_when_everything_else_is_abandoned(world):
    world.main.runs = None
    world.store.script = Script(save=[Unavailable("down")] * 99)
    proxy = world.runtime.containers["istio-proxy"] = FakeContainer(world.clock)
    for moment in (2.0, 2.1, 2.2):
        world.at(moment, lambda: world.pod.stop(terminated()))

    wait(world)
    [report] = world.control.reports
    assert report.outputs["parameters"][0]["value"] == "value"
    assert proxy.signals


def test_a_control_plane_that_raises_anything_does_not_end_the_wait(world):
    world.control.script = Script(execution=[ValueError("a defect")])

    assert wait(world) is Verdict.SUCCEEDED
    assert world.pod.found.exit.code == 0


def test_a_store_that_says_not_found_while_saving_is_not_forgiven_by_optional(tmp_path):
    world = World(tmp_path, template(outputs={"artifacts": [{"name": "a", "path": "/tmp/a", "optional": True}]}))
    world.runtime.files = {"/tmp/a": b"A"}
    world.store.script = Script(save=[NotFound("the upload is gone")])

    assert wait(world) is Verdict.FAILED
    assert "the store does not take it: the upload is gone" in world.pod.record.message()


def test_containers_that_cannot_be_listed_are_a_failure_with_its_attempts(world):
    world.runtime.script = Script(others=[Unavailable("down")] * 99)

    assert wait(world) is Verdict.FAILED
    first = world.pod.record.failures[0]
    assert (first.phase, first.item, first.attempt, first.attempts) == ("killing sidecars", "containers", 3, 3)


def test_a_result_that_does_not_fit_keeps_its_end_and_is_no_failure(world):
    world.runtime.stdout = b"x" * 400_000 + b"the end\n"

    assert wait(world) is Verdict.SUCCEEDED
    result = world.control.reports[0].outputs["result"]
    assert result.endswith("the end")
    assert 200_000 < len(result) < 262_144


def test_a_result_that_is_no_ascii_is_measured_as_it_is_sent(world):
    world.runtime.stdout = "語".encode() * 50_000

    assert wait(world) is Verdict.SUCCEEDED
    assert len(world.control.reports[0].outputs["result"]) == 50_000


def test_a_failed_init_reports_its_message_and_no_outputs(tmp_path):
    world = World(tmp_path, inputs(s3("gone")))
    init(world)

    assert world.control.reports[0].outputs == {}


def test_an_artifact_without_a_key_of_its_own_goes_below_the_archive_by_its_name(tmp_path):
    artifacts = [{"name": n, "path": f"/tmp/{n}", "s3": s} for n, s in (("a", {}), ("b", {"region": "r"}))]
    world = World(tmp_path, template(outputs={"artifacts": artifacts}))
    world.runtime.files = {"/tmp/a": b"A", "/tmp/b": b"B"}

    assert wait(world) is Verdict.SUCCEEDED
    assert set(world.store.objects) == {"wf/pod/a.tgz", "wf/pod/b.tgz"}
    assert world.control.reports[0].outputs["artifacts"][1]["s3"]["region"] == "r"


def test_a_name_that_is_no_text_does_not_break_the_record(world):
    world.store.script = Script(save=[Forbidden("cannot store 'd/f\udcff'")] * 2)

    wait(world)
    assert "cannot store" in world.control.reports[0].message


# --- drivers ----------------------------------------------------------------------------------------------------------


def made_for(tmp_path, script, *artifacts):
    """How many drivers a loading phase makes for these artifacts."""
    world = World(tmp_path, inputs(*artifacts))
    world.store.script = script
    world.store.objects = {"one": b"1", "two": b"2", "three": b"3"}
    assert init(world) is Verdict.SUCCEEDED
    return script.count["driver"]


def test_the_items_of_one_store_share_its_driver(tmp_path):
    assert made_for(tmp_path, Script(), s3("one"), s3("two"), s3("three")) == 1


def test_another_store_has_another_driver(tmp_path):
    elsewhere = s3("three")
    elsewhere["s3"] = elsewhere["s3"] | {"endpoint": "elsewhere"}

    assert made_for(tmp_path, Script(), s3("one"), s3("two"), elsewhere) == 2


def test_an_attempt_that_follows_a_failed_one_has_a_new_driver(tmp_path):
    """Its credentials may have been rotated meanwhile."""
    assert made_for(tmp_path, Script(open=[Unavailable("away"), None]), s3("one")) == 2
