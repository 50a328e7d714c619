"""The control plane of a pod in a cluster: what it reads, where, and with how many requests."""

from __future__ import annotations

import json
import logging
import queue
import threading
from datetime import UTC, datetime

import pytest

from lifecycle.clock import Cancel, terminated
from lifecycle.errors import InputError, NotFound
from lifecycle.ports import ExecutionControl
from runtimes import controlplane
from runtimes.downward import EXECUTION, TEMPLATE, write_annotations
from runtimes.pods import PodState
from tests.runtimes.controller import BY_FILE, CONTRACTS, POD, asked, pod, status
from tests.servers.httpd import Answer

LATER = '{"deadline":"2026-05-01T10:00:00Z"}'
AT_TEN = ExecutionControl(datetime(2026, 5, 1, 10, tzinfo=UTC))
TERMINATE = '{"deadline":"0001-01-01T00:00:00Z"}'
FORBIDDEN = Answer(403, status("Forbidden", "pods is forbidden"))


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("argoexec"), "propagate", True)  # a test of the command line ends it
    return caplog


# --- the template ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_template_is_the_same_by_every_contract_and_asks_nobody(api, controller, contract):
    template = {"name": 'quote " é <tag>', "script": {"source": "a\nb\n"}, "unknown": [1]}

    assert controller.pod(contract, template).template() == template
    assert asked(api) == []


def test_a_template_in_the_environment_may_be_the_json_of_a_string(controller):
    assert controller.bare(ARGO_TEMPLATE=json.dumps('{"name":"t"}')).template() == {"name": "t"}


def test_an_offloaded_template_is_read_from_its_file(controller, tmp_path, monkeypatch):
    monkeypatch.setattr(controlplane, "OFFLOADED", tmp_path / "ARGO_TEMPLATE")
    plane = controller.bare(ARGO_TEMPLATE="offloaded")
    with pytest.raises(NotFound, match="offloaded") as caught:
        plane.template()
    assert "config map" in caught.value.remedy

    (tmp_path / "ARGO_TEMPLATE").write_text('{"name":"large"}')
    assert plane.template() == {"name": "large"}


@pytest.mark.parametrize(("text", "says"), [("{", "no JSON"), ("[]", "not a JSON object"), ('"x"', "no JSON")])
def test_a_template_that_is_no_object_names_its_variable(controller, text, says):
    with pytest.raises(InputError, match=f"ARGO_TEMPLATE: .*{says}"):
        controller.bare(ARGO_TEMPLATE=text).template()


def test_without_the_mount_the_annotations_of_the_pod_are_read_once(api, controller, warnings):
    """A v2.3 controller forgets it beside a kubeconfig secret."""
    api.on(POD, Answer(body=pod({TEMPLATE: '{"name":"t"}', EXECUTION: LATER})))
    plane = controller.bare()

    assert plane.template() == {"name": "t"}
    assert plane.execution() == AT_TEN
    assert asked(api) == [("GET", POD)]
    assert f"{controller.annotations} is not mounted" in warnings.text


@pytest.mark.parametrize(
    ("answer", "says", "remedy"),
    [
        (FORBIDDEN, "cannot be read: .*403", "grant `get` on `pods`"),
        (Answer(503, b"{}"), "cannot be read: .*503", "volume podmetadata"),
        (Answer(body=pod()), "the pod flows/wf-1 has none either", "a pod of a workflow"),
    ],
)
def test_who_was_asked_for_a_template_in_vain_is_said(api, controller, answer, says, remedy):
    api.on(POD, answer)
    with pytest.raises(NotFound, match=f"ARGO_TEMPLATE is not set, .*annotations is not mounted.*{says}") as caught:
        controller.bare().template()

    assert remedy in caught.value.remedy


def test_without_an_api_server_as_well_it_is_said(controller, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    controller.environ = {}
    with pytest.raises(NotFound, match="no API server to ask"):
        controller.bare().template()


def test_annotations_that_lack_the_template_are_asked_for_too(api, controller):
    write_annotations(controller.annotations, {"other": "x"})
    api.on(POD, Answer(body=pod({TEMPLATE: '{"name":"t"}'})))

    assert controller.bare().template() == {"name": "t"}


# --- the execution control ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contract", BY_FILE)
def test_the_first_look_is_at_the_file_and_asks_nobody(api, controller, contract):
    assert controller.pod(contract, annotations={EXECUTION: LATER}).execution() == AT_TEN
    assert asked(api) == []


def test_after_a_signal_the_api_server_is_asked_because_the_file_is_late(api, controller):
    api.on(POD, Answer(body=pod({EXECUTION: TERMINATE})))
    plane = controller.pod("v2.3", annotations={EXECUTION: LATER})

    assert plane.execution() == AT_TEN
    assert plane.execution() == ExecutionControl(terminate=True)
    assert asked(api) == [("GET", POD)]


@pytest.mark.parametrize("answer", [FORBIDDEN, Answer(503, b"{}")])
def test_when_the_pod_cannot_be_asked_for_the_file_is_read(api, controller, warnings, answer):
    api.on(POD, answer)
    plane = controller.pod("v2.3", annotations={EXECUTION: LATER})

    assert [plane.execution() for _ in range(2)] == [AT_TEN] * 2
    assert "may be a minute old" in warnings.text


def test_an_execution_control_that_was_removed_is_none(api, controller):
    api.on(POD, Answer(body=pod()))
    plane = controller.pod("v2.3", annotations={EXECUTION: LATER})
    plane.execution()

    assert plane.execution() == ExecutionControl()


@pytest.mark.parametrize("contract", [one for one in CONTRACTS if one not in BY_FILE])
def test_with_the_template_in_the_environment_no_annotation_counts(api, controller, contract):
    write_annotations(controller.annotations, {EXECUTION: TERMINATE})
    plane = controller.pod(contract)

    assert [plane.execution() for _ in range(2)] == [ExecutionControl()] * 2
    assert asked(api) == []


class Watching:
    """A plane that is watched in a thread, as the phase does it: each change is looked at."""

    def __init__(self, plane):
        self.plane, self.cancel, self.seen = plane, Cancel(), queue.SimpleQueue()
        self.thread = threading.Thread(target=plane.watch_execution, args=(self._look, self.cancel))

    def _look(self):
        self.seen.put(self.plane.execution())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.cancel.set(terminated())
        self.thread.join(60)
        assert not self.thread.is_alive()

    def until(self, wanted):
        while self.seen.get(timeout=60) != wanted:
            pass


def test_a_change_of_the_file_is_read_from_the_file(api, controller):
    plane = controller.pod("v2.3", annotations={EXECUTION: LATER})
    with Watching(plane) as watching:
        watching.until(AT_TEN)
        write_annotations(controller.annotations, {EXECUTION: TERMINATE})
        watching.until(ExecutionControl(terminate=True))

    assert asked(api) == []


def test_once_the_api_server_has_been_asked_an_older_file_is_not_believed(api, controller):
    api.on(POD, Answer(body=pod({EXECUTION: LATER})))
    plane = controller.pod("v2.3")
    plane.execution()
    plane.execution()  # SIGUSR2
    with Watching(plane) as watching:
        assert watching.seen.get(timeout=60) == AT_TEN
        write_annotations(controller.annotations, {EXECUTION: '{"deadline":"2026-05-01T09:00:00Z"}'})
        assert watching.seen.get(timeout=60) == AT_TEN


def test_beside_a_runtime_that_watches_the_pod_its_annotations_are_heard_of_without_a_request(api, controller):
    plane = controller.pod("v2.3")
    plane.execution()
    with Watching(plane) as watching:
        watching.until(ExecutionControl())
        watch = plane._pod.follow()
        for text in (LATER, LATER, TERMINATE):
            found = json.loads(pod({EXECUTION: text}))
            watch._take({"type": "MODIFIED", "object": found})
        watching.until(AT_TEN)
        watching.until(ExecutionControl(terminate=True))

    assert asked(api) == []


@pytest.mark.parametrize("contract", ["v2.3", "v3.2"])
def test_what_is_not_there_to_be_watched_blocks_until_the_end(controller, contract):
    plane = controller.pod("v3.2") if contract == "v3.2" else controller.bare()
    plane._file.path = controller.directory / "no/annotations"
    with Watching(plane) as watching:
        pass
    assert watching.seen.empty()


# --- how long the pod lives -----------------------------------------------------------------------------------------


DELETED = {"deletionTimestamp": "2026-05-01T10:00:00Z"}
LONG_AGO, TO_COME = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("answer", "grace"),
    [
        (pod(**DELETED, deletionGracePeriodSeconds=5, spec={"terminationGracePeriodSeconds": 90}), 5),
        (pod(**DELETED, spec={"terminationGracePeriodSeconds": 90}), 90),
        (pod(spec={"terminationGracePeriodSeconds": 90}), None),
        (pod(spec={"terminationGracePeriodSeconds": 90}, status={"phase": "Failed", "reason": "Evicted"}), 90),
        (pod(spec={"terminationGracePeriodSeconds": 90, "activeDeadlineSeconds": 9},
             status={"phase": "Running", "startTime": LONG_AGO}), 90),
        (pod(spec={"terminationGracePeriodSeconds": 90, "activeDeadlineSeconds": 9},
             status={"phase": "Running", "startTime": TO_COME}), None),
    ],
    ids=["deleted", "deleted, of itself", "killed by somebody", "evicted", "over its deadline", "within its deadline"],
)  # fmt: skip
def test_a_pod_lives_as_long_as_the_kubelet_lets_it(api, controller, answer, grace):
    api.on(POD, Answer(body=answer))
    left = controller.pod("v3.2").time_left()

    assert (left is None) if grace is None else (grace - 1.5 < left <= grace)
    assert asked(api) == [("GET", POD)]


@pytest.mark.parametrize(("environ", "left"), [({}, None), ({"ARGO_TERMINATION_GRACE_PERIOD_SECONDS": "45"}, 45.0)])
def test_when_nobody_can_be_asked_the_environment_says(api, controller, environ, left):
    api.on(POD, FORBIDDEN)
    assert controller.pod("v3.2", **environ).time_left() == left


def test_a_silent_api_server_is_not_waited_for(api, controller):
    api.on(POD, Answer(body=b"", length=100, hangs=True))
    plane = controller.pod("v3.2", ARGO_TERMINATION_GRACE_PERIOD_SECONDS="45")
    ended = queue.SimpleQueue()
    threading.Thread(target=lambda: ended.put(plane.time_left()), daemon=True).start()

    assert ended.get(timeout=15) == 45.0  # the server hangs for 60


def test_a_deletion_that_the_watch_has_seen_is_not_asked_for(api, controller):
    plane = controller.pod("v3.2")
    plane._pod.got = PodState(json.loads(pod(**DELETED, deletionGracePeriodSeconds=5)))

    assert 3 < plane.time_left() <= 5
    assert asked(api) == []
