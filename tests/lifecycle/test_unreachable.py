"""Outputs that a runtime can never read: known before main has run, or first thing (ADR 0030)."""

import signal

import pytest

from lifecycle.clock import terminated
from lifecycle.errors import MainNotStarted
from tests.fakes import Script, World

ARCHIVE = {"s3": {"endpoint": "e", "bucket": "b", "key": "wf/pod"}}


def template(*, parameters=(), artifacts=(), **more):
    return {
        "name": "t",
        "container": {"image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        "outputs": {"parameters": list(parameters), "artifacts": list(artifacts)},
        "archiveLocation": ARCHIVE,
    } | more


def parameter(name, path, **more):
    return {"name": name, "valueFrom": {"path": path} | more}


PARAMETER = parameter("p", "/tmp/p")
ARTIFACT = {"name": "a", "path": "/opt/made/a"}
SAID = (
    "outputs: the runtime 'k8sapi' reads only what main writes to a volume, and these outputs are on none: "
    "parameter p (/tmp/p), artifact a (/opt/made/a) — mount an emptyDir at /opt/made and /tmp, "
    "or choose a runtime that reads main's own layer: docker, pns"
)


@pytest.fixture
def pod(tmp_path):
    def make(**raw):
        world = World(tmp_path, template(**raw))
        world.pod.reads_base_layer, world.pod.runtime_name = False, "k8sapi"
        (tmp_path / "mainctrfs/v").mkdir(parents=True)
        (tmp_path / "mainctrfs/v/out").write_text("out")
        return world

    return make


def test_init_names_every_output_that_can_never_be_read_before_it_loads_anything(pod):
    inputs = {"artifacts": [{"name": "in", "path": "/in", "s3": {"key": "in"}}]}
    world = pod(parameters=[PARAMETER], artifacts=[ARTIFACT, {"name": "b", "path": "/v/out"}], inputs=inputs)

    assert world.init() == 1
    assert world.message == f"staging: {SAID}"
    assert world.pod.record.failures[0].code == "ERR_NOT_IMPLEMENTED"
    assert world.store.script.count["open"] == 0
    assert world.way == ["staging", "annotating"]


def test_an_output_at_the_root_needs_a_directory_first(pod):
    world = pod(artifacts=[{"name": "a", "path": "/a.txt"}])

    assert world.init() == 1
    assert "let main write below a directory of its own, and mount an emptyDir there" in world.message


def test_a_runtime_that_reads_the_base_layer_has_no_such_outputs(pod):
    world = pod(parameters=[PARAMETER], artifacts=[ARTIFACT])
    world.pod.reads_base_layer = True

    assert world.init() == 0


def test_outputs_on_a_volume_or_below_an_input_artifact_can_be_read(pod):
    inputs = {"artifacts": [{"name": "in", "path": "/in", "s3": {"key": "in"}}]}
    world = pod(parameters=[parameter("p", "/in/p")], artifacts=[{"name": "a", "path": "/v/out"}], inputs=inputs)
    world.store.objects["in"] = b"x"

    assert world.init() == 0


def test_optional_ones_and_those_with_a_default_are_notes(pod):
    world = pod(parameters=[parameter("p", "/tmp/p", default="d")], artifacts=[ARTIFACT | {"optional": True}])

    assert world.init() == 0
    assert world.notes == [
        "parameter p (/tmp/p) cannot be read by the runtime 'k8sapi'; it has a default",
        "artifact a (/opt/made/a) cannot be read by the runtime 'k8sapi'; it is optional",
    ]


def test_wait_skips_the_optional_ones_and_takes_the_defaults(pod):
    world = pod(parameters=[parameter("p", "/tmp/p", default="d")], artifacts=[ARTIFACT | {"optional": True}])
    world.runtime.reads_base_layer = False

    assert world.wait() == 0
    assert world.main.signals == []
    [report] = world.control.reports
    assert report.outputs["parameters"][0]["value"] == "d"
    assert "artifacts" not in report.outputs
    assert report.message == ""


def test_a_path_that_is_wrong_is_named_by_its_place_and_not_as_unreachable(pod):
    world = pod(artifacts=[{"name": "a", "path": "../a"}])
    world.pod.record.failures.clear()

    assert world.wait() == 1
    assert "$.outputs.artifacts[0].path" in world.message
    assert world.main.signals == []


# --- without an init ----------------------------------------------------------------------------------------------


def lost(pod, **raw):
    world = pod(parameters=[PARAMETER], artifacts=[ARTIFACT, {"name": "b", "path": "/v/out"}], **raw)
    world.runtime.reads_base_layer = False
    world.main.runs = None
    return world


def test_wait_stops_main_first_thing_and_saves_what_can_be_saved(pod):
    world = lost(pod, archiveLocation=ARCHIVE | {"archiveLogs": True})
    world.runtime.stdout = b"line\n"

    assert world.wait() == 1
    assert world.main.signals == [signal.SIGTERM]
    assert world.clock.monotonic() == 0.0
    assert world.message == f"waiting: {SAID}"
    assert world.store.objects["wf/pod/main.log"] == b"line\n"
    assert [one["name"] for one in world.control.reports[0].outputs["artifacts"]] == ["b", "main-logs"]
    assert (world.states["parameter p"], world.states["artifact a"]) == ("failed", "failed")


def test_such_a_main_has_its_grace_and_is_killed_then(pod):
    world = lost(pod)
    world.main.ignores = (signal.SIGTERM,)

    assert world.wait() == 1
    assert world.main.signals == [signal.SIGTERM, signal.SIGKILL]
    assert world.clock.monotonic() == 30.0


def test_a_sigterm_meanwhile_does_not_begin_the_grace_anew(pod):
    world = lost(pod)
    world.main.ignores = (signal.SIGTERM,)
    world.at(10.0, world.stop)

    assert world.wait() == 1
    assert world.main.signals == [signal.SIGTERM, signal.SIGKILL]
    assert world.clock.monotonic() == 30.0
    assert world.message == f"terminated by SIGTERM; waiting: {SAID}"


def test_a_second_wish_kills_such_a_main_at_once(pod):
    world = lost(pod)
    world.main.ignores = (signal.SIGTERM,)
    world.at(1.0, lambda: world.pod.stop(terminated()))
    world.at(2.0, lambda: world.pod.stop(terminated()))

    assert world.wait() == 1
    assert world.clock.monotonic() == 2.0


def test_such_a_main_that_never_starts_is_told_of_as_well(pod):
    world = lost(pod)
    world.runtime.script = Script(find_main=[MainNotStarted("the image cannot be pulled")])

    assert world.wait() == 1
    assert world.message == f"waiting: {SAID} (and 1 more: waiting: main)"
