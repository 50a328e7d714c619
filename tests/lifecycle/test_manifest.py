"""What a resource template asks for, judged before anything is created."""

from __future__ import annotations

import pytest

from lifecycle import manifest
from lifecycle.errors import InputError
from lifecycle.files import PodFiles
from lifecycle.template import Template

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: y}\n"


def order(text: str = CONFIG_MAP, outputs: list[dict] | None = None, **resource):
    action = resource.pop("action", "create")
    template = Template(
        {"name": "t", "resource": {"action": action} | resource, "outputs": {"parameters": outputs or []}}
    )
    return manifest.read(template, action, text.encode())


def test_a_document_is_a_change():
    [change] = order(flags=["--namespace=flows", "--field-manager", "me", "--validate=false"]).changes

    assert (change.action, change.api_version, change.kind, change.name) == ("create", "v1", "ConfigMap", "a")
    assert (change.namespace, change.manager, change.validation) == ("flows", "me", "Ignore")
    assert change.body["data"] == {"x": "y"}


def test_several_documents_and_the_items_of_a_list_are_changes_of_their_own():
    both = CONFIG_MAP + "---\n" + CONFIG_MAP.replace("name: a", "name: b")
    listed = "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: s}}]\n"

    assert [one.name for one in order(both).changes] == ["a", "b"]
    assert [one.kind for one in order(listed).changes] == ["Secret"]


@pytest.mark.parametrize("flags", [["pod", "p"], ["pod/p"]])
def test_a_json_patch_is_about_the_object_that_flags_name(flags: list[str]):
    patch = "- {op: add, path: /metadata/annotations/foo, value: bar}\n"
    [change] = order(patch, action="patch", mergeStrategy="json", flags=flags).changes

    assert (change.kind, change.name, change.strategy) == ("pod", "p", "json")
    assert change.body == [{"op": "add", "path": "/metadata/annotations/foo", "value": "bar"}]


def test_a_name_alone_is_enough_for_get_and_delete():
    assert order("", action="get", flags=["cm", "a"]).changes[0].name == "a"
    assert order("", action="delete", flags=["cm/a", "--now"]).changes[0].grace == 1


@pytest.mark.parametrize(
    ("flags", "action", "field", "value"),
    [
        (["--dry-run=client"], "create", "dry_run", True),
        (["--dry-run"], "create", "dry_run", True),
        (["--dry-run=none"], "create", "dry_run", False),
        (["--validate"], "create", "validation", "Strict"),
        (["-n", "flows"], "create", "namespace", "flows"),
        (["--force-conflicts"], "apply", "force", True),
        (["--grace-period", "5"], "delete", "grace", 5),
        (["--grace-period=-1"], "delete", "grace", None),
        (["--force"], "delete", "grace", 0),
        (["--cascade=orphan"], "delete", "propagation", "Orphan"),
        (["--type=merge"], "patch", "strategy", "merge"),
    ],
)
def test_a_flag_of_kubectl_means_what_it_means_there(flags: list[str], action: str, field: str, value: object):
    assert getattr(order(action=action, flags=flags).changes[0], field) == value


def test_flags_that_change_nothing_here_are_told_of():
    notes = order(action="apply", flags=["--server-side", "--save-config=true"]).notes

    assert [note.partition(":")[0] for note in notes] == ["$.resource.flags[0]", "$.resource.flags[1]"]


def test_a_deletion_is_waited_for_and_forgives_unless_somebody_says_no():
    assert order(action="delete").waits
    assert order(action="delete").forgives
    assert not order(action="delete", flags=["--wait=false"]).waits
    assert not order(action="get").forgives
    assert order(action="get", flags=["--ignore-not-found"]).forgives


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"action": "scale"}, r"\$\.resource\.action: there is no action 'scale'"),
        ({"action": "patch", "mergeStrategy": "deep"}, r"\$\.resource\.mergeStrategy: there is no merge strategy"),
        ({"text": ""}, r"\$\.resource\.manifest: a manifest is needed"),
        ({"text": "a: [1"}, "manifest:2:1: not YAML"),
        ({"text": "kind: X"}, r"manifest, document 1: \$\.apiVersion: apiVersion is needed"),
        ({"text": "apiVersion: v1"}, r"\$\.kind: kind is needed"),
        (
            {"text": CONFIG_MAP.replace("name: a", "generateName: a-"), "action": "apply"},
            r"\$\.metadata\.name: a name is",
        ),
        ({"text": CONFIG_MAP.replace("{name: a}", "{}")}, "a name or a generateName is needed"),
        ({"text": CONFIG_MAP + "---\n[1]\n"}, "manifest, document 2: an object is needed, not list"),
        (
            {"text": CONFIG_MAP.replace("name: a", "name: a, namespace: b"), "flags": ["-n", "c"]},
            "says 'b', the flags say 'c'",
        ),
        ({"flags": "--force"}, r"\$\.resource\.flags: an array of texts"),
        ({"flags": ["--selector=x"]}, r"\$\.resource\.flags\[0\]: the flag --selector has no meaning here"),
        ({"flags": ["-n"]}, "--namespace needs a value"),
        ({"flags": ["--dry-run=maybe"]}, "one of client, server, none"),
        ({"flags": ["--force"], "action": "apply"}, "deletes the object and creates it anew"),
        ({"flags": ["--now"]}, "--now is for delete, not for create"),
        ({"flags": ["--grace-period=soon"], "action": "delete"}, "a number of seconds"),
        ({"flags": ["pods"], "action": "get", "text": ""}, "'pods' names no object"),
        ({"flags": ["pod", "a", "b"], "action": "get", "text": ""}, "names no object"),
        ({"flags": ["pod", "a"], "action": "patch", "text": ""}, "a patch needs a manifest"),
        ({"successCondition": "a = b = c"}, r"\$\.resource\.successCondition: column 7"),
        ({"failureCondition": "="}, r"\$\.resource\.failureCondition: column 1"),
        ({"text": CONFIG_MAP + "---\n" + CONFIG_MAP, "successCondition": "a=b"}, "conditions are for one object"),
        ({"action": "delete", "successCondition": "a=b"}, "has no conditions and no outputs"),
        ({"action": "delete", "outputs": [{"name": "p"}]}, "has no conditions and no outputs"),
        (
            {"outputs": [{"name": "p", "valueFrom": {"jsonPath": "{.a"}}]},
            r"parameters\[0\]\.valueFrom\.jsonPath: the template",
        ),
        ({"outputs": [{"name": "p", "valueFrom": {"jqFilter": ".["}}]}, r"parameters\[0\]\.valueFrom\.jqFilter: jq: "),
    ],
)
def test_what_cannot_be_is_said_with_its_place(asked: dict, message: str):
    with pytest.raises(InputError, match=message):
        order(**asked)


def test_a_manifest_may_be_an_input_artifact(tmp_path):
    (tmp_path / "m.yaml").write_text(CONFIG_MAP)
    template = Template(
        {
            "name": "t",
            "inputs": {"artifacts": [{"name": "a", "path": "/m.yaml"}]},
            "resource": {"action": "create", "manifestFrom": {"artifact": {"name": "a"}}},
        }
    )

    assert manifest.text_of(template, PodFiles(tmp_path)) == CONFIG_MAP.encode()
    template.raw["resource"]["manifestFrom"]["artifact"]["name"] = "b"
    with pytest.raises(InputError, match="no input artifact 'b'"):
        manifest.text_of(template, PodFiles(tmp_path))
