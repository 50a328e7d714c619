"""From a file to the template that is run, and what is said of files that do not lead to one."""

import io

import pytest

from lifecycle.errors import InputError
from lifecycle.local import workflow
from lifecycle.local.yamlfile import read_documents

HELLO = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: hello-}
spec:
  entrypoint: hello
  templates:
  - name: hello
    container: {image: alpine, command: [echo], args: [hi]}
  - name: other
    script: {image: alpine, command: [sh], source: echo}
  - name: flow
    steps: [[{name: a, template: hello}]]
  - name: set
    containerSet: {containers: []}
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "wf.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def choose(path, name=None):
    return workflow.choose(workflow.load(path), name)


def test_the_entrypoint_is_taken_unless_a_name_is_given(file):
    path = file(HELLO)

    assert choose(path).raw["name"] == "hello"
    assert choose(path).is_entrypoint
    assert choose(path, "other").raw["name"] == "other"
    assert not choose(path, "other").is_entrypoint
    assert choose(path, "hello").is_entrypoint


def test_standard_input_is_a_dash(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(HELLO.encode())))

    (found,) = workflow.load("-")

    assert found.source == "<stdin>"


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Workflow", "spec: {entrypoint: a, templates: T}"),
        ("WorkflowTemplate", "spec: {entrypoint: a, templates: T}"),
        ("ClusterWorkflowTemplate", "spec: {templates: T}"),
        ("CronWorkflow", "spec: {schedule: '* * * * *', workflowSpec: {entrypoint: a, templates: T}}"),
    ],
)
def test_every_kind_that_holds_templates_is_read(file, kind, spec):
    templates = "[{name: a, container: {command: [x]}}]"
    path = file(
        f"apiVersion: argoproj.io/v1alpha1\nkind: {kind}\nmetadata: {{name: n}}\n{spec.replace('T', templates)}"
    )

    assert choose(path).raw["name"] == "a"


def test_of_several_documents_the_first_with_templates_is_taken_unless_a_name_picks_another(file):
    secret = "apiVersion: v1\nkind: Secret\n"
    second = HELLO.replace("name: hello\n", "name: second\n").replace("entrypoint: hello", "entrypoint: second")
    path = file(f"{secret}---\n{HELLO}---\n---\n{second}")

    assert choose(path).raw["name"] == "hello"
    assert "2 manifests" in " ".join(choose(path).notes)
    assert choose(path, "second").raw["name"] == "second"
    assert choose(path).place.endswith("document 2: $.spec.templates[0]")


def test_json_with_its_own_escapes_is_read(file):
    text = (
        r'{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "a\/b \ud83d\ude00"},'
        '\n\t"spec": {"templates": [{"name": "a", "container": {"command": ["x"]}}]}}'
    )
    path = file(text)

    assert workflow.load(path)[0].metadata["name"] == "a/b 😀"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("1:30.5", "1:30.5"),
        ("=", "="),
        ("0755", 0o755),
        ("yes", True),
        ("1.5", 1.5),
        ("~", None),
    ],
)
def test_scalars_are_what_kubernetes_makes_of_them(file, text, expected):
    assert read_documents(file(f"a: {text}")) == [{"a": expected}]


def test_keys_become_text(file):
    assert read_documents(file("{1: a, true: b}")) == [{"1": "a", "true": "b"}]


def test_merge_keys_work(file):
    assert read_documents(file("base: &b {x: 1, y: 2}\nother: {<<: *b, x: 3}"))[0]["other"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("", "", "empty"),
        ("---\n---\n", "", "empty"),
        ("a: [1, 2", ":2:1", "not YAML"),
        ("a: b\n\tc: d", ":2:1", "not YAML"),
        ("a: *nowhere", ":1:4", "undefined alias"),
        ("a: 1\nb: 2\na: 3", ":3:1", "'a' stands twice"),
        (b"a: \x00", ":1:4", "not YAML"),
        (b"a: \xff\xfe", ":1:4", "not YAML"),
        ("a: !!python/object:os.system x", ":1:4", "not YAML"),
        ("a: .nan", "$.a", "cannot stand in a manifest"),
        ("a: !!binary aGk=", "$.a", "cannot stand in a manifest"),
        ("a: &a [*a]", "$", "nested too deep"),
        ("a: " + "[" * 5000 + "]" * 5000, "", "nested too deep"),
        ('{"a": "\\ud800"}', "$.a", "surrogate"),
        ("just text", "", "it is a str"),
        ("- a", "", "it is a list"),
        ("a: b", "", "neither apiVersion nor kind"),
        ("apiVersion: v1\nkind: Pod", "", "it is a Pod of v1"),
    ],
)
def test_a_file_that_is_no_manifest_is_named_with_its_place(file, text, place, says):
    path = file(text)

    with pytest.raises(InputError) as caught:
        workflow.load(path)

    assert str(caught.value).startswith(path)
    assert place in caught.value.place
    assert says in str(caught.value)


def test_aliases_that_make_it_enormous_are_refused(file):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    with pytest.raises(InputError, match="too large"):
        workflow.load(file("\n".join(lines)))


@pytest.mark.parametrize("name", ["/nowhere/at/all.yaml", "/", "\0"])
def test_a_file_that_cannot_be_read(name):
    with pytest.raises(InputError, match="cannot be read"):
        workflow.load(name)


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (("spec:", "spac:"), "$.spec", "missing"),
        (("metadata: {generateName: hello-}", "metadata: []"), "$.metadata", "expected an object, got a list"),
        (("- name: hello", "- nome: hello"), "$.spec.templates[0].name", "needs a name"),
        (("  entrypoint: hello\n", ""), "$.spec.entrypoint", "no entrypoint"),
        (("entrypoint: hello", "entrypoint: helo"), "$.spec.entrypoint", "did you mean 'hello'?"),
        (("name: other", "name: hello"), "$.spec.templates[0]", "two templates"),
        (("{image: alpine, command: [echo], args: [hi]}", "7"), "templates[0].container", "got a number"),
        (("container:", "cantainer:"), "$.spec.templates[0]", "no known type"),
    ],
)
def test_a_wrong_shape_is_named_by_its_path(file, change, place, says):
    with pytest.raises(InputError) as caught:
        choose(file(HELLO.replace(*change)))

    assert place in caught.value.place
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"), [("flow", "no pod of its own"), ("set", "later release"), ("nope", "no template 'nope'")]
)
def test_a_template_that_cannot_run_leads_to_those_that_can(file, name, says):
    with pytest.raises(InputError, match=says) as caught:
        choose(file(HELLO), name)

    assert "hello, other" in caught.value.remedy


def test_a_workflow_whose_templates_are_elsewhere_says_where(file):
    path = file("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {workflowTemplateRef: {name: far}}")

    with pytest.raises(InputError, match="'far'"):
        choose(path)


def test_template_defaults_are_merged_and_said(file):
    path = file(
        HELLO + "  templateDefaults: {activeDeadlineSeconds: 5, container: {workingDir: /w, args: [no]}, script: {}}"
    )

    chosen = choose(path)

    assert chosen.raw["activeDeadlineSeconds"] == 5
    assert chosen.raw["container"] == {"image": "alpine", "command": ["echo"], "args": ["hi"], "workingDir": "/w"}
    assert "script" not in chosen.raw
    assert "templateDefaults" in chosen.notes[0]


def test_numbers_where_text_is_wanted_become_text_and_are_said(file):
    path = file(HELLO.replace("args: [hi]", "args: [3, true], env: [{name: A, value: 1.5}]"))

    chosen = choose(path)

    assert chosen.raw["container"]["args"] == ["3", "true"]
    assert chosen.raw["container"]["env"] == [{"name": "A", "value": "1.5"}]
    assert len(chosen.notes) == 3


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[" * 300_000, "1:102"),
        ("- " * 300_000, "1:203"),
        ('{"a":' * 300_000, "1:506"),
        ("a: 1\n---\n" + "{?" * 9999, "3:"),
    ],
)
def test_what_is_nested_too_deep_is_refused_before_it_is_composed(file, text, place):
    with pytest.raises(InputError, match=f"wf.yaml:{place}.*nested too deep"):
        read_documents(file(text))


def test_a_hundred_levels_are_not_too_deep(file):
    (document,) = read_documents(file("[" * 100 + "]" * 100))

    for _ in range(99):
        (document,) = document
    assert document == []
