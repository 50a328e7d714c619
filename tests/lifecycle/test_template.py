"""The raw template is the truth, the view is for reading, and a wrong type names its place."""

import pytest

from lifecycle.errors import InputError
from lifecycle.template import Template, check_path, lies_below, text_of


def test_a_wrong_type_names_its_place():
    raw = {"inputs": {"artifacts": [{"name": "a"}] * 3 + [{"name": "b", "s3": {"bucket": "x", "insecure": "yes"}}]}}
    with pytest.raises(InputError, match=r"^\$\.inputs\.artifacts\[3\]\.s3\.insecure: Expected `bool"):
        Template(raw)


def test_unknown_fields_stay_in_the_raw_dict_and_do_not_disturb():
    raw = {"name": "t", "futureField": {"x": [1]}, "inputs": {"artifacts": [{"name": "a", "path": "/a", "new": True}]}}

    template = Template(raw)

    assert template.raw == raw
    assert template.raw_artifacts("inputs")[0]["new"] is True


def test_null_is_the_same_as_absent():
    assert Template({"container": None, "inputs": None, "sidecars": None}).main is None


@pytest.mark.parametrize(
    ("text", "why"), [("{", "not JSON: .*line 1 column 2"), ("[]", "expected an object, got list")]
)
def test_what_is_no_template(text, why):
    with pytest.raises(InputError, match=why):
        Template.parse(text)


@pytest.mark.parametrize(
    ("archive", "kind", "declared"),
    [(None, "tar", None), ({"none": {}}, "none", "none"), ({"tar": {}}, "tar", "tar"), ({}, "tar", "tar")],
)
def test_the_archive_strategy(archive, kind, declared):
    raw = {"name": "a", "archive": archive} if archive is not None else {"name": "a"}
    artifact = Template({"outputs": {"artifacts": [raw]}}).view.outputs.artifacts[0]

    assert (artifact.archive_kind, artifact.declared_archive) == (kind, declared)


def test_paths_are_compared_by_whole_elements():
    assert lies_below("/foo/bar", "/foo/")
    assert lies_below("/foo", "/foo")
    assert lies_below("/anything", "/")
    assert not lies_below("/foobar", "/foo")


def test_the_deepest_mount_wins_and_scripts_have_mounts_too():
    mounts = [{"name": n, "mountPath": p} for n, p in (("deep", "/mnt/a/b"), ("top", "/mnt"), ("beside", "/mnt/ab"))]
    template = Template({"script": {"source": "", "volumeMounts": mounts}})

    assert template.overlapping_mount("/mnt/a/b/c").name == "deep"
    assert template.overlapping_mount("/mnt/abc").name == "top"
    assert template.overlapping_mount("/other") is None


def test_an_output_below_an_input_artifact_is_read_through_the_mirror():
    artifacts = [{"name": "a", "path": "/in/a", "raw": {"data": ""}}, {"name": "o", "path": "/in/o", "optional": True}]
    template = Template({"container": {}, "inputs": {"artifacts": artifacts}})

    assert template.is_mirrored("/in/a/part")
    assert not template.is_mirrored("/in/b")
    assert not template.is_mirrored("/in/o")


def test_an_output_in_an_input_artifacts_own_place_is_read_there_and_a_key_alone_supplies_one():
    """From v3.0 on an input may have a key, and the archive location the rest (spec 5.7)."""
    artifacts = [{"name": "k", "path": "/in/k", "optional": True, "s3": {"key": "k"}}]
    template = Template({
        "container": {}, "inputs": {"artifacts": artifacts}, "archiveLocation": {"s3": {"bucket": "b", "key": "wf"}},
    })  # fmt: skip

    assert template.is_mirrored("/in/k")
    assert template.is_mirrored("/in/k/")
    assert template.is_mirrored("/in//k/part")
    assert not template.is_mirrored("/in/key")
    assert not template.is_mirrored("/in")


@pytest.mark.parametrize("path", ["", "relative", "/a/../b", ".."])
def test_a_path_must_be_absolute_and_stay(path):
    with pytest.raises(InputError, match=r"^\$\.x: "):
        check_path(path, place="$.x")


def test_values_are_written_as_yaml_writes_them():
    assert [text_of(value) for value in (True, 3, 0.5, "x", None)] == ["true", "3", "0.5", "x", ""]
