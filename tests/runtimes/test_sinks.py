"""Where a report goes, byte by byte; how much fits; and what the phase makes of a refusal."""

from __future__ import annotations

import json
import logging

import pytest

from lifecycle.engine import Engine
from lifecycle.errors import BadRequest, Forbidden, NotFound, Throttled, Unavailable
from lifecycle.pod import WAIT_TABLE
from lifecycle.ports import Report
from lifecycle.report import encoded, size
from lifecycle.table import Verdict
from runtimes.api import Conflict
from runtimes.downward import ANNOTATIONS, NODE_MESSAGE, OUTPUTS, TEMPLATE
from runtimes.pods import PodState
from runtimes.sinks import RESULT_ROOM, LessRoom
from tests.fakes import World
from tests.runtimes.controller import CONTRACTS, NODE, POD, RESULTS, asked, pod, status
from tests.servers.httpd import Answer

DONE = Answer(body=b"{}")
MADE = Answer(201, b"{}")
FORBIDDEN = Answer(403, status("Forbidden", "it is forbidden"))
EXISTS = Answer(409, status("AlreadyExists", "node-1 already exists"))
INVALID = Answer(422, status("Invalid", "metadata.annotations: Too long: must have at most 262144 bytes"))

REPORT = Report({"parameters": [{"name": "p", "value": "é<&>\n"}], "result": "1"}, "it failed")
AS_TEXT = '{"parameters":[{"name":"p","value":"é\\u003c\\u0026\\u003e\\n"}],"result":"1"}'
LABELS = {
    "workflows.argoproj.io/workflow": "wf",
    "workflows.argoproj.io/report-outputs-completed": "true",
    "workflows.argoproj.io/controller-instanceid": "blue",
}
WORKFLOW = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "wf", "uid": "uid-of-wf"}


def result(**metadata):
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTaskResult",
        "metadata": {"name": "node-1", "labels": LABELS, "ownerReferences": [WORKFLOW]} | metadata,
        "outputs": REPORT.outputs,
    }


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)  # a test of the command line ends it
    return caplog


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_json_is_written_as_go_does_it():
    assert encoded({"a": '<&>\u2028\u2029"\\b\b\f\n\té\x01\x7f'}) == (
        '{"a":"\\u003c\\u0026\\u003e\\u2028\\u2029\\"\\\\b\\u0008\\u000c\\n\\té\\u0001\x7f"}'
    )
    assert size("é<") == 10


@pytest.mark.parametrize(
    ("contract", "annotations"),
    [
        ("v2.3", {OUTPUTS: AS_TEXT, NODE_MESSAGE: "it failed"}),
        ("v3.0", {OUTPUTS: AS_TEXT}),
        ("v3.2", {OUTPUTS: AS_TEXT}),
    ],
)
def test_up_to_v3_2_a_report_is_one_merge_patch_of_the_pods_annotations(api, controller, contract, annotations):
    api.on(POD, DONE)
    controller.pod(contract).report(REPORT)

    [request] = api.requests
    assert (request.method, request.target) == ("PATCH", POD)
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert request.body == compact({"metadata": {"annotations": annotations}})


def test_from_v3_3_a_report_is_a_task_result(api, controller):
    api.on(RESULTS, MADE)
    controller.pod("v3.3").report(REPORT)

    [request] = api.requests
    assert (request.method, request.target) == ("POST", RESULTS)
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == compact(result())


@pytest.mark.parametrize(
    ("environ", "owners"),
    [
        ({"ARGO_WORKFLOW_UID": ""}, [{"apiVersion": "v1", "kind": "Pod", "name": "wf-1", "uid": "uid-of-pod"}]),
        ({"ARGO_WORKFLOW_UID": "", "ARGO_POD_UID": ""}, None),
    ],
)
def test_a_task_result_is_owned_by_the_pod_where_the_workflow_is_not_known(api, controller, environ, owners):
    api.on(RESULTS, MADE)
    controller.pod("v3.3", **environ, ARGO_INSTANCE_ID="").report(REPORT)

    metadata = json.loads(api.requests[0].body)["metadata"]
    assert metadata.get("ownerReferences") == owners
    assert "workflows.argoproj.io/controller-instanceid" not in metadata["labels"]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_nothing_to_say_is_no_request(api, controller, contract):
    plane = controller.pod(contract)
    plane.report(Report())
    if contract != "v2.3":
        plane.report(Report(message="only the termination log tells it"))

    assert asked(api) == []


def test_a_controller_of_v2_3_is_told_a_message_without_outputs(api, controller):
    api.on(POD, DONE)
    controller.pod("v2.3").report(Report(message="it failed"))

    assert json.loads(api.requests[0].body) == {"metadata": {"annotations": {NODE_MESSAGE: "it failed"}}}


# --- twice is as once -----------------------------------------------------------------------------------------------


def test_a_task_result_that_is_there_is_patched_and_from_then_on_at_once(api, controller):
    api.on(RESULTS, EXISTS)
    api.on(NODE, DONE)
    plane = controller.pod("v3.3")
    for _ in range(2):
        plane.report(REPORT)

    assert asked(api) == [("POST", RESULTS), ("PATCH", NODE), ("PATCH", NODE)]
    patches = {one.body for one in api.requests[1:]}
    assert [json.loads(one) for one in patches] == [{"metadata": {"labels": LABELS}, "outputs": REPORT.outputs}]
    assert {one.headers["Content-Type"] for one in api.requests[1:]} == {"application/merge-patch+json"}


def test_a_task_result_that_was_made_is_not_made_again(api, controller):
    api.on(RESULTS, MADE)
    api.on(NODE, DONE)
    plane = controller.pod("v3.3")
    for _ in range(2):
        plane.report(REPORT)

    assert asked(api) == [("POST", RESULTS), ("PATCH", NODE)]


def test_a_task_result_that_was_removed_meanwhile_is_made_again(api, controller):
    api.on(RESULTS, EXISTS, MADE)
    api.on(NODE, Answer(404, status("NotFound", "gone")))
    plane = controller.pod("v3.3")
    with pytest.raises(Unavailable, match="removed meanwhile"):
        plane.report(REPORT)
    plane.report(REPORT)

    assert asked(api)[-1] == ("POST", RESULTS)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [FORBIDDEN, Answer(404, status("NotFound", "no such resource"))])
def test_a_cluster_that_takes_no_task_result_gets_annotations_and_it_is_said_once(api, controller, warnings, answer):
    api.on(RESULTS, answer)
    api.on(POD, DONE)
    plane = controller.pod("v3.3")
    for _ in range(2):
        plane.report(REPORT)

    assert asked(api) == [("POST", RESULTS), ("PATCH", POD), ("PATCH", POD)]
    assert json.loads(api.requests[1].body) == {"metadata": {"annotations": {OUTPUTS: AS_TEXT}}}
    assert warnings.text.count("go into the pod's annotations") == 1


def test_who_may_neither_is_told_what_to_grant(api, controller, warnings):
    api.on(RESULTS, FORBIDDEN)
    api.on(POD, FORBIDDEN)
    with pytest.raises(Forbidden) as caught:
        controller.pod("v3.3").report(REPORT)

    assert "grant `patch` on `pods` to the pod's service account" in caught.value.remedy
    assert "grant `create` on `workflowtaskresults` of the API group 'argoproj.io'" in warnings.text


@pytest.mark.parametrize("contract", ["v2.3", "v3.3"])
@pytest.mark.parametrize(
    ("answer", "error", "after"),
    [
        (Answer(409, status("Conflict", "modified")), Conflict, None),
        (Answer(429, b"", {"Retry-After": "7"}), Throttled, 7.0),
        (Answer(500, b"{}"), Unavailable, None),
        (Answer(503, b"{}"), Unavailable, None),
        (Answer(200, b"", length=10), Unavailable, None),
    ],
)
def test_what_may_pass_is_transient(api, controller, contract, answer, error, after):
    api.on(POD, answer)
    api.on(RESULTS, answer)
    with pytest.raises(error) as caught:
        controller.pod(contract).report(REPORT)

    assert caught.value.retry_after == after
    assert len(api.requests) == 1


def test_an_api_server_that_is_gone_is_unavailable(api, controller):
    plane = controller.pod("v2.3")
    api.__exit__()
    with pytest.raises(Unavailable, match="Connection refused"):
        plane.report(REPORT)


def test_a_pod_that_is_gone_is_not_found(api, controller):
    api.on(POD, Answer(404, status("NotFound", 'pods "wf-1" not found')))
    with pytest.raises(NotFound, match="wf-1"):
        controller.pod("v3.0").report(REPORT)


# --- room -----------------------------------------------------------------------------------------------------------


def test_the_room_is_what_the_other_annotations_leave(controller):
    text = json.dumps({"name": "t"})
    others = len(TEMPLATE) + len(text) + len("é=") + len("k") + 1
    annotations = {"k": "é=", OUTPUTS: "replaced", NODE_MESSAGE: "replaced"}

    assert controller.pod("v3.0", annotations=annotations).room == ANNOTATIONS - others - len(OUTPUTS)
    with_message = controller.pod("v2.3", annotations=annotations).room
    assert with_message == ANNOTATIONS - others - len(OUTPUTS) - len(NODE_MESSAGE) - 4096


def test_the_room_is_by_the_pod_where_it_was_seen_and_a_guess_where_nothing_was(controller):
    plane = controller.pod("v3.2")
    assert plane.room == ANNOTATIONS - 8192 - len(OUTPUTS)
    plane._pod.got = PodState(json.loads(pod({"k": "x" * 99})))
    assert plane.room == ANNOTATIONS - 100 - len(OUTPUTS)
    watched = {"type": "ADDED", "object": json.loads(pod({"k": "x" * 199}))}
    plane._pod.follow()._take(watched)
    assert plane.room == ANNOTATIONS - 200 - len(OUTPUTS)


def test_a_task_result_has_more_room(controller):
    assert controller.pod("v3.3").room == RESULT_ROOM


def test_what_no_task_result_takes_is_not_sent(api, controller):
    with pytest.raises(BadRequest, match="1048577 bytes, and a task result takes 1048576"):
        controller.pod("v3.3").report(Report({"result": "r" * (RESULT_ROOM - 12)}))
    assert asked(api) == []


def test_a_pod_whose_annotations_are_full_has_no_room(controller):
    assert controller.pod("v2.3", annotations={"k": "x" * ANNOTATIONS}).room == 0


def test_a_refusal_for_too_much_is_told_by_the_pod_itself(api, controller):
    api.on(POD, INVALID, Answer(body=pod({"k": "x" * 200_000})), INVALID, Answer(body=pod({"k": "x" * 200_000})))
    plane = controller.pod("v3.2")
    large = Report({"result": "r" * 100_000})
    assert plane.room > 100_000
    with pytest.raises(LessRoom, match="100013 bytes"):
        plane.report(large)

    assert plane.room == ANNOTATIONS - 200_001 - len(OUTPUTS)
    with pytest.raises(BadRequest, match="leave 62114") as caught:  # what was offered was true
        plane.report(large)
    assert "artifacts" in caught.value.remedy


@pytest.mark.parametrize("answer", [Answer(body=pod()), FORBIDDEN])
def test_another_refusal_stays_what_it_is(api, controller, answer):
    api.on(POD, INVALID, answer)
    with pytest.raises(BadRequest, match="422"):
        controller.pod("v3.2").report(REPORT)


# --- with the phase -------------------------------------------------------------------------------------------------


TEMPLATE_OF_TWO = {
    "name": "t",
    "script": {"image": "i", "command": ["sh"], "source": ""},
    "outputs": {
        "parameters": [
            {"name": "large", "valueFrom": {"path": "/tmp/large"}},
            {"name": "small", "valueFrom": {"path": "/tmp/small"}},
        ],
        "artifacts": [{"name": "a", "path": "/tmp/a", "archive": {"none": {}}, "s3": {"key": "wf/a"}}],
    },
    "archiveLocation": {"s3": {"endpoint": "e", "bucket": "b", "key": "wf/pod"}},
}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "world", TEMPLATE_OF_TWO)
    world.runtime.files = {"/tmp/large": b"l" * 200_000, "/tmp/small": b"small\n", "/tmp/a": b"A"}
    world.runtime.stdout = b"the result\n"
    return world


class Reported:
    """A control plane whose watch blocks on the virtual clock; inotify would stop that."""

    def __init__(self, plane, watch_execution):
        self.execution, self.report, self.watch_execution = plane.execution, plane.report, watch_execution
        self._plane = plane

    @property
    def room(self):
        return self._plane.room


def run(world, plane):
    world.pod.control = Reported(plane, world.control.watch_execution)
    return Engine(WAIT_TABLE, world.pod).run()


def test_one_template_gives_the_same_outputs_by_every_contract(api, controller, tmp_path):
    api.on(POD, DONE)
    api.on(RESULTS, MADE)
    outputs = []
    for contract in CONTRACTS:
        world = World(tmp_path / contract, TEMPLATE_OF_TWO)
        world.runtime.files = {"/tmp/large": b"<l>", "/tmp/small": b"small\n", "/tmp/a": b"A"}
        world.runtime.stdout = b"the result\n"
        assert run(world, controller.pod(contract, TEMPLATE_OF_TWO)) is Verdict.SUCCEEDED
        body = json.loads(api.requests[-1].body)
        text = body["metadata"].get("annotations", {}).get(OUTPUTS)
        outputs.append(json.loads(text) if text else body["outputs"])

    assert len(api.requests) == 4
    assert outputs[0] == {
        "parameters": [
            {"name": "large", "value": "<l>", "valueFrom": {"path": "/tmp/large"}},
            {"name": "small", "value": "small", "valueFrom": {"path": "/tmp/small"}},
        ],
        "artifacts": [{"name": "a", "path": "/tmp/a", "s3": {"key": "wf/a"}, "archive": {"none": {}}}],
        "result": "the result",
    }
    assert [list(one) for one in outputs] == [["parameters", "artifacts", "result"]] * 4
    assert outputs[1:] == outputs[:1] * 3


def test_what_has_to_be_tried_again_is_within_the_budget_of_the_phase(api, controller, world):
    busy = Answer(429, b"{}", {"Retry-After": "20"})
    api.on(POD, busy, Answer(503, b"{}"), Answer(409, status("Conflict", "")), Answer(200, b"", length=9), DONE)
    assert run(world, controller.pod("v2.3")) is Verdict.SUCCEEDED

    waits = [line["wait"] for line in world.journal.lines if line["kind"] == "attempt"]
    assert len(waits) == 4
    assert waits[0] == 20.0


def test_an_api_server_that_stays_away_ends_the_budget_and_is_a_failure(api, controller, world):
    plane = controller.pod("v2.3")
    api.__exit__()
    assert run(world, plane) is Verdict.FAILED

    [failure] = world.pod.record.failures
    assert failure.error == "Unavailable"
    assert 560 < world.clock.monotonic() < 620


def test_a_fall_back_reports_what_fits_there_and_names_what_does_not(api, controller, world):
    world.runtime.files["/tmp/large"] = b"l" * 300_000
    api.on(RESULTS, FORBIDDEN)
    api.on(POD, DONE)
    assert run(world, controller.pod("v3.3")) is Verdict.FAILED

    assert asked(api) == [("POST", RESULTS), ("PATCH", POD)]
    outputs = json.loads(json.loads(api.requests[1].body)["metadata"]["annotations"][OUTPUTS])
    assert [one.get("value") for one in outputs["parameters"]] == [None, "small"]
    [failure] = world.pod.record.failures
    assert failure.item == "parameter large"
    assert "its 300000 bytes do not fit" in failure.message


def test_annotations_that_nobody_knew_of_cost_one_more_attempt(api, controller, world):
    api.on(POD, INVALID, Answer(body=pod({"k": "x" * 100_000})), DONE)
    assert run(world, controller.pod("v3.2")) is Verdict.FAILED

    assert [method for method, _ in asked(api)] == ["PATCH", "GET", "PATCH"]
    assert [one.item for one in world.pod.record.failures] == ["parameter large"]


def test_outputs_of_which_nothing_can_be_left_out_fail_with_their_size(api, controller, world):
    full = pod({"k": "x" * 262_000})
    api.on(POD, INVALID, Answer(body=full), INVALID, Answer(body=full))
    assert run(world, controller.pod("v3.2")) is Verdict.FAILED

    failure = world.pod.record.failures[-1]
    assert failure.item == "report"
    assert "the pod's annotations leave 114 for them" in failure.message
    assert len(api.requests) == 4
