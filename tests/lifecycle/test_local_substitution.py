"""``{{…}}``: what is replaced, what is left alone, what is refused."""

import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import InputError
from lifecycle.local.identity import Identity, fnv32a, generate, pod_name
from lifecycle.local.substitution import substitute, template_variables, workflow_variables

WHO = Identity(
    workflow="wf-abc",
    pod="wf-abc-t-1",
    node="wf-abc.t",
    namespace="default",
    uid="u-1",
    service_account="default",
    created=datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
    metadata={"labels": {"team": "x"}, "annotations": {"a/b": 1}},
)
SPEC = {"entrypoint": "main", "priority": 7}
KNOWN = workflow_variables(WHO, SPEC, {"p": "value"})
RAW = {
    "inputs": {
        "parameters": [{"name": "n", "value": 3}, {"name": "unset"}],
        "artifacts": [{"name": "in", "path": "/in/{{inputs.parameters.n}}"}],
    },
    "outputs": {
        "artifacts": [{"name": "out", "path": "/out"}],
        "parameters": [{"name": "count", "valueFrom": {"path": "/count"}}],
    },
}
VARIABLES = template_variables(RAW, KNOWN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{inputs.parameters.n}}", "3"),
        ("{{ inputs.parameters.n }}", "3"),
        ("a{{inputs.parameters.n}}b{{inputs.parameters.n}}", "a3b3"),
        ("{{inputs.artifacts.in.path}}", "/in/3"),
        ("{{outputs.artifacts.out.path}}", "/out"),
        ("{{outputs.parameters.count.path}}", "/count"),
        ("{{inputs.parameters}}", '[{"name":"n","value":"3"}]'),
        ("{{workflow.name}} {{workflow.namespace}} {{workflow.uid}}", "wf-abc default u-1"),
        ("{{workflow.serviceAccountName}} {{workflow.priority}}", "default 7"),
        ("{{workflow.creationTimestamp}}", "2026-02-03T04:05:06Z"),
        ("{{workflow.creationTimestamp.Y}}-{{workflow.creationTimestamp.m}}", "2026-02"),
        ("{{workflow.creationTimestamp.s}}", str(int(WHO.created.timestamp()))),
        ("{{workflow.creationTimestamp.RFC3339}}", "2026-02-03T04:05:06Z"),
        ("{{workflow.parameters.p}} {{workflow.parameters}}", 'value [{"name":"p","value":"value"}]'),
        ("{{workflow.labels.team}} {{workflow.annotations.a/b}}", "x 1"),
        ("{{pod.name}} {{node.name}} {{retries}}", "wf-abc-t-1 wf-abc.t 0"),
        ("{{ .Values.x }} {{range}} {{foo.bar}} {{}} {{", "{{ .Values.x }} {{range}} {{foo.bar}} {{}} {{"),
        ("awk '{{print $1}}'", "awk '{{print $1}}'"),
        ("{{inputsx}} {{podname}}", "{{inputsx}} {{podname}}"),
    ],
)
def test_what_a_text_becomes(text, expected):
    assert substitute(text, VARIABLES, place="$") == expected


def test_every_string_is_looked_at_and_nothing_else():
    raw = {"a": ["{{pod.name}}", {"b": "{{pod.name}}"}], "n": 1, "t": True, "z": None, "{{pod.name}}": ""}

    assert substitute(raw, VARIABLES, place="$") == {
        "a": ["wf-abc-t-1", {"b": "wf-abc-t-1"}], "n": 1, "t": True, "z": None, "{{pod.name}}": "",
    }  # fmt: skip


def test_all_that_is_unresolved_is_said_at_once_with_its_place():
    raw = {"args": ["{{inputs.parameters.m}}", "{{steps.a.outputs.result}}"], "env": {"x": "{{item}}"}}

    with pytest.raises(InputError) as caught:
        substitute(raw, VARIABLES, place="f: $.t")

    text = str(caught.value)
    assert "{{inputs.parameters.m}} at f: $.t.args[0]; did you mean 'inputs.parameters.n'?" in text
    assert "{{steps.a.outputs.result}} at f: $.t.args[1]" in text
    assert "{{item}} at f: $.t.env.x" in text
    assert "-p" in caught.value.remedy


@pytest.mark.parametrize(
    "tag", ["inputs.artifacts.in", "tasks.a.ip", "lastRetry.exitCode", "item.x", "workflow.status"]
)
def test_what_only_a_controller_knows_is_refused(tag):
    with pytest.raises(InputError, match="not known here"):
        substitute("{{" + tag + "}}", VARIABLES, place="$")


def test_an_expression_is_refused_with_its_place():
    with pytest.raises(InputError, match=r"^f: \$\.args\[0\]: the expression"):
        substitute({"args": ["{{=asInt(inputs.parameters.n) + 1}}"]}, VARIABLES, place="f: $")


@given(st.text())
def test_a_value_is_never_expanded_again(value):
    hostile = "{{pod.name}}" + value + "{{=1}}{{workflow.name}}"

    assert substitute("<{{inputs.parameters.x}}>", {"inputs.parameters.x": hostile}, place="$") == f"<{hostile}>"


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_tags_stays(text):
    assert substitute([text], VARIABLES, place="$") == [text]


@given(st.lists(st.one_of(st.text(alphabet="ab {}"), st.sampled_from(["{{pod.name}}", "{{ pod.name }}"]))))
def test_it_never_fails_otherwise_and_what_is_left_has_no_known_tag(parts):
    result = substitute(parts, VARIABLES, place="$")

    assert all("{{pod.name}}" not in text for text in result)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text("ab{}.", max_size=9),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab{}"), inner)))  # fmt: skip
def test_the_shape_stays(value):
    assert json.dumps(substitute(value, {}, place="$")) == json.dumps(value)


def test_wrong_shapes_are_left_to_the_typed_view():
    assert template_variables({"inputs": [], "outputs": {"artifacts": {}, "parameters": [1, {"name": 2}]}}, {}) == {
        "inputs.parameters": "[]"
    }


def test_pods_are_named_as_the_controller_names_them():
    assert fnv32a("") == 2166136261
    assert fnv32a("foobar") == 0xBF9CF968
    assert (
        pod_name("wf-abc", "My_Template", "wf-abc.My_Template") == f"wf-abc-my-template-{fnv32a('wf-abc.My_Template')}"
    )
    assert len(pod_name("w" * 60, "t" * 60, "n")) <= 63


def test_generated_names_fit_and_have_five_random_characters():
    assert len(generate("x" * 80, random.Random(1))) == 63
    assert generate("hello-", random.Random(1)).startswith("hello-")
    assert len(generate("hello-", random.Random(1))) == len("hello-") + 5
