"""Resource templates on the virtual clock: what becomes of lost answers, refusals and waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.commands import in_pod
from lifecycle.engine import Engine
from lifecycle.errors import AlreadyExists, Forbidden, NotFound, Throttled, Unavailable
from lifecycle.resource import RESOURCE
from tests.fakes import FakeObjects, Script, World

if TYPE_CHECKING:
    from pathlib import Path


JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: job-}\nspec: {}\n"


class Step(World):
    """A pod of a resource template."""

    def __init__(self, root: Path, script: Script, states: list[dict[str, Any]], **template: Any) -> None:
        resource = {"action": "create", "manifest": JOB} | template.pop("resource", {})
        super().__init__(root, {"name": "t", "resource": resource} | template)
        self.objects = FakeObjects(self.clock, script, states)
        self.pod.objects = lambda: self.objects

    def run(self) -> int:
        return in_pod.status(RESOURCE, Engine(RESOURCE, self.pod).run(), self.pod)


@pytest.fixture
def step(tmp_path: Path):
    def made(*states: dict[str, Any], template: dict[str, Any] | None = None, **calls: list[Any]) -> Step:
        return Step(tmp_path, Script(**calls), list(states), **(template or {}))

    return made


def test_a_create_whose_answer_was_lost_is_sent_again_under_the_same_name(step):
    made = step(create=[Unavailable("cut"), AlreadyExists("it is there")])

    assert made.run() == 0
    assert [one.action for one in made.objects.asked] == ["create", "create", "get"]
    assert len({one.name for one in made.objects.asked}) == 1
    assert made.objects.asked[0].name.startswith("job-")
    assert made.objects.asked[0].body["metadata"]["name"] == made.objects.asked[0].name


def test_an_object_that_was_there_before_is_a_failure_at_once(step):
    made = step(create=[AlreadyExists("there is one")])

    assert made.run() == 1
    assert made.control.reports[0].message == f"applying: object Job/{made.objects.asked[0].name}: there is one"


def test_a_server_that_asks_for_less_is_waited_for_as_long_as_it_says(step):
    made = step(create=[Throttled("slow down", retry_after=9.0)])

    assert made.run() == 0
    assert made.clock.monotonic() >= 9.0


def test_a_refusal_is_no_matter_of_time(step):
    made = step(create=[Forbidden("no", remedy="grant `create` on `jobs`")])

    assert made.run() == 1
    assert len(made.objects.asked) == 1
    assert "grant `create` on `jobs`" in made.control.reports[0].message


def test_the_first_document_that_fails_ends_it(step):
    resource = {"manifest": f"{JOB}---\n{JOB}---\n{JOB}"}
    made = step(template={"resource": resource}, create=[None, Forbidden("no")])

    assert made.run() == 1
    assert len(made.objects.asked) == 2


def test_a_condition_that_is_met_later_ends_the_wait(step):
    resource = {"successCondition": "status.n > 1"}
    made = step({"status": {"n": 1}}, {"status": {"n": 2}}, template={"resource": resource})

    assert made.run() == 0
    assert made.clock.monotonic() == pytest.approx(20.0)


def test_a_failure_condition_is_looked_at_first(step):
    both = {"successCondition": "status.n > 1", "failureCondition": "status.n in (2,3)"}
    made = step({"status": {"n": 2}}, template={"resource": both})

    assert made.run() == 1
    assert "failure condition 'status.n in (2,3)' evaluated true" in made.control.reports[0].message
    assert made.control.reports[0].outputs == {}


def test_a_deadline_ends_the_wait(step):
    made = step(template={"resource": {"successCondition": "status.n > 1"}})
    made.at(30.0, made.stop)

    assert made.run() == 1
    assert made.clock.monotonic() == pytest.approx(30.0)


def test_outputs_are_read_from_the_object_as_it_is_at_the_end(step):
    outputs = {
        "parameters": [
            {"name": "n", "valueFrom": {"jsonPath": " {.status.n}\n"}},
            {"name": "none", "valueFrom": {"jsonPath": "{.missing}"}},
            {"name": "given", "value": "v"},
        ]
    }
    made = step(template={"outputs": outputs})

    assert made.run() == 0
    assert [one.get("value") for one in made.control.reports[0].outputs["parameters"]] == ["7", "", "v"]


def test_an_object_that_is_gone_before_its_outputs_are_read_is_a_failure(step):
    outputs = {"parameters": [{"name": "n", "valueFrom": {"jsonPath": "{.status.n}"}}]}
    made = step(template={"outputs": outputs}, get=[NotFound("it is gone")])

    assert made.run() == 1
    assert "extracting: object: it is gone" in made.control.reports[0].message


def test_a_manifest_is_only_its_owner_s_to_read(step, tmp_path: Path):
    step().run()

    assert (tmp_path / "tmp/manifest.yaml").stat().st_mode & 0o777 == 0o600
