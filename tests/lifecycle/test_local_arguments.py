"""Where the inputs of a template come from, and what is said when they come from nowhere."""

import getpass
import os

import pytest

from lifecycle.errors import InputError
from lifecycle.local import arguments
from lifecycle.local.arguments import Flags
from lifecycle.local.stores import archive_location, location_of_url, store_location
from lifecycle.local.workflow import Chosen, Workflow

STORE = {"fsspec": {"url": "file:///store"}, "archiveLogs": True}


def chosen(inputs=None, given=None):
    flow = Workflow("f", "Workflow", {}, {"arguments": given} if given is not None else {}, "f: $.spec")
    raw = {"name": "t"} | ({"inputs": inputs} if inputs is not None else {})
    return Chosen(flow, raw, "f: $.spec.templates[0]", is_entrypoint=True, notes=())


def bind(inputs, given=None, *, p=(), a=()):
    flags = arguments.parse_flags(p, a, {})
    raw = arguments.bind(chosen(inputs, given), flags, STORE, lambda value: value and value.replace("{{w}}", "W"))
    return arguments.with_flags(raw, flags).get("inputs")


def value(inputs, given=None, **flags):
    return bind({"parameters": [inputs]}, {"parameters": given or []}, **flags)["parameters"][0]["value"]


@pytest.mark.parametrize(
    ("parameter", "given", "flags", "expected"),
    [
        ({"name": "x", "default": "d"}, [], [], "d"),
        ({"name": "x", "value": "v"}, [], [], "v"),
        ({"name": "x", "value": "v", "default": "d"}, [], [], "d"),
        ({"name": "x", "valueFrom": {"default": 4}}, [], [], "4"),
        ({"name": "x", "default": "d"}, [{"name": "x", "value": 3}], [], "3"),
        ({"name": "x", "default": "d"}, [{"name": "x", "value": True}], [], "true"),
        ({"name": "x", "default": "{{w}}"}, [], [], "W"),
        ({"name": "x", "default": "d"}, [{"name": "x", "value": "g"}], ["x=f"], "f"),
        ({"name": "x"}, [], ["x=a=b"], "a=b"),
        ({"name": "x"}, [], ["x="], ""),
        ({"name": "x"}, [], ["x=1", "x=2"], "2"),
        ({"name": "x"}, [], ["x=@@here"], "@here"),
        ({"name": "x"}, [], ["x={{w}}"], "{{w}}"),
        ({"name": "x", "enum": ["a", 1]}, [], ["x=1"], "1"),
    ],
)
def test_the_flag_wins_over_the_file_which_wins_over_the_default(parameter, given, flags, expected):
    assert value(parameter, given, p=flags) == expected


def test_a_value_may_come_from_a_file(tmp_path):
    (tmp_path / "v").write_text("line\n")

    assert value({"name": "x"}, p=[f"x=@{tmp_path / 'v'}"]) == "line\n"


def test_everything_that_is_missing_is_said_at_once_with_its_flag():
    inputs = {
        "parameters": [{"name": "x"}, {"name": "y"}, {"name": "z", "default": ""}],
        "artifacts": [{"name": "data", "path": "/d"}, {"name": "opt", "path": "/o", "optional": True}],
    }

    with pytest.raises(InputError) as caught:
        bind(inputs)

    text = str(caught.value)
    assert all(flag in text for flag in ("-p x=VALUE", "-p y=VALUE", "-a data=PATH"))
    assert "'z'" not in text
    assert "'opt'" not in text


@pytest.mark.parametrize(
    ("p", "a", "says"),
    [
        (["xx=1"], [], "no parameter 'xx'; did you mean 'x'?"),
        ([], ["dta=/"], "no input artifact 'dta'; did you mean 'data'?"),
        (["x"], [], "expected NAME=VALUE"),
        (["=1"], [], "expected NAME=VALUE"),
        ([], ["data"], "expected NAME=PATH|URL"),
        (["x=@/nowhere"], [], "/nowhere cannot be read"),
        (["x=\udcff"], [], "not UTF-8"),
        ([], ["data=/nowhere"], "cannot be read"),
        ([], ["data=/dev/null"], "neither a file nor a directory"),
        ([], ["data=s3://bucket"], "names no object"),
        (["x=no"], ["data=/"], "cannot be 'no'"),
    ],
)
def test_a_wrong_flag_is_named(p, a, says):
    inputs = {"parameters": [{"name": "x", "enum": ["yes"], "default": "yes"}],
              "artifacts": [{"name": "data", "path": "/d"}]}  # fmt: skip

    with pytest.raises(InputError) as caught:
        bind(inputs, p=p, a=a)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "place"),
    [
        ([], None),
        ({"parameters": {}}, "inputs.parameters"),
        ({"parameters": [1]}, "inputs.parameters[0]"),
        ({"parameters": [{"value": 1}]}, "inputs.parameters[0].name"),
        ({"parameters": [{"name": "a"}, {"name": "a"}]}, "inputs.parameters[1].name"),
        ({"parameters": [{"name": "a", "value": []}]}, "inputs.parameters[0].value"),
        ({"artifacts": "x"}, "inputs.artifacts"),
    ],
)
def test_wrong_shapes_are_named_by_their_path(inputs, place):
    if place is None:
        assert bind(inputs) == inputs
        return
    with pytest.raises(InputError) as caught:
        bind(inputs)

    assert caught.value.place.endswith(place)


def test_a_workflow_parameter_that_no_input_has_can_be_given():
    flow = chosen({}, {"parameters": [{"name": "message", "value": "m"}]})

    assert arguments.workflow_parameters(flow, Flags({}, {})) == {"message": "m"}
    assert arguments.workflow_parameters(flow, Flags({"message": "f"}, {})) == {"message": "f"}
    arguments.bind(flow, Flags({"message": "f"}, {}), STORE, lambda value: value)


def test_an_artifact_takes_its_location_from_the_flag_then_the_file_then_itself(tmp_path):
    own = {"name": "d", "path": "/d", "mode": 7, "archive": {"none": {}}, "http": {"url": "http://own"}}
    given = {"artifacts": [{"name": "d", "raw": {"data": "x"}, "path": "/ignored"}]}

    def artifact(**more):
        return bind({"artifacts": [own]}, **more)["artifacts"][0]

    kept = {"name": "d", "path": "/d", "mode": 7, "archive": {"none": {}}}
    assert artifact() == own
    assert artifact(given=given) == kept | {"raw": {"data": "x"}}
    assert artifact(given=given, a=[f"d={tmp_path}"]) == kept | {"fsspec": {"url": f"file://{tmp_path}"}}


def test_a_key_alone_is_a_location_only_in_a_store_of_its_kind():
    inputs = {"artifacts": [{"name": "d", "path": "/d", "s3": {"key": "k"}}]}
    bucket = {"s3": {"bucket": "b", "endpoint": "e"}}

    with pytest.raises(InputError, match="-a d=PATH"):
        bind(inputs)
    assert arguments.bind(chosen(inputs), Flags({}, {}), bucket, lambda value: value)["inputs"]["artifacts"]


def test_a_path_given_by_hand_is_relative_to_here(tmp_path, monkeypatch):
    (tmp_path / "sp ace").write_text("x")
    monkeypatch.chdir(tmp_path)

    found = bind({"artifacts": [{"name": "d", "path": "/d"}]}, a=["d=sp ace"])

    assert found["artifacts"][0]["fsspec"] == {"url": f"file://{tmp_path}/sp ace"}


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "f").write_text("x")
    (tmp_path / "f").chmod(0)
    real = os.getuid()
    if real == 0:
        os.setreuid(65534, 0)  # access(2) asks for the real user, and root may read everything
    try:
        with pytest.raises(InputError, match="may not be read"):
            bind({"artifacts": [{"name": "d", "path": "/d"}]}, a=[f"d={tmp_path / 'f'}"])
    finally:
        os.setreuid(real, os.geteuid())


def test_urls_become_locations():
    aws = {"AWS_ENDPOINT_URL": "http://localhost:9000", "AWS_REGION": "r"}

    assert location_of_url("https://h/x?y=z", {}, place="") == {"http": {"url": "https://h/x?y=z"}}
    assert location_of_url("memory://x", {}, place="") == {"fsspec": {"url": "memory://x"}}
    assert location_of_url("simplecache::http://x", {}, place="") == {"fsspec": {"url": "simplecache::http://x"}}
    assert location_of_url("s3://b/k/l", aws, place="")["s3"] == {
        "bucket": "b", "key": "k/l", "useSDKCreds": True, "endpoint": "localhost:9000", "insecure": True, "region": "r",
    }  # fmt: skip


def test_urls_of_gcs_and_hdfs_become_locations_of_our_drivers():
    assert location_of_url("gs://b/k/l", {}, place="") == {"gcs": {"bucket": "b", "key": "k/l"}}
    assert location_of_url("hdfs://me@nn:8020/a/b", {"HADOOP_USER_NAME": "her"}, place="") == {
        "hdfs": {"addresses": ["nn:8020"], "hdfsUser": "me", "path": "/a/b"}
    }
    assert location_of_url("hdfs://nn:8020/a", {"HADOOP_USER_NAME": "her"}, place="")["hdfs"]["hdfsUser"] == "her"
    assert location_of_url("hdfs://nn:8020/a", {}, place="")["hdfs"]["hdfsUser"] == getpass.getuser()


@pytest.mark.parametrize("url", ["hdfs://nn/a", "hdfs://nn:8020", "hdfs:///a", "hdfs://me:hunter2@nn:8020/a"])
def test_a_url_of_hdfs_without_a_port_or_a_path_or_with_a_password_is_refused(url):
    with pytest.raises(InputError, match="-a x: ") as caught:
        location_of_url(url, {}, place="-a x")

    assert "hdfs://HOST:PORT/PATH" in caught.value.remedy
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("url", "remedy"), [("gs://b", "gs://BUCKET/KEY"), ("gs:///k", "gs://BUCKET/…")])
def test_a_url_of_gcs_that_names_no_object_or_no_bucket_is_refused(url, remedy):
    with pytest.raises(InputError) as caught:
        location_of_url(url, {}, place="")

    assert remedy in caught.value.remedy


def test_stores_become_locations_below_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert store_location("out", "w/p", {}) == {"fsspec": {"url": f"file://{tmp_path}/out/w/p"}}
    assert store_location("file:///a/", "w/p", {}) == {"fsspec": {"url": "file:///a/w/p"}}
    assert store_location("memory://a", "w/p", {}) == {"fsspec": {"url": "memory://a/w/p"}}
    assert store_location("s3://b", "w/p", {})["s3"]["key"] == "w/p"
    assert store_location("s3://b/x/", "w/p", {})["s3"]["key"] == "x/w/p"
    assert store_location("gs://b", "w/p", {}) == {"gcs": {"bucket": "b", "key": "w/p"}}
    assert store_location("gs://b/x/", "w/p", {})["gcs"]["key"] == "x/w/p"
    assert store_location("hdfs://me@nn:8020/x/", "w/p", {})["hdfs"]["path"] == "/x/w/p"
    assert store_location("hdfs://me@nn:8020", "w/p", {})["hdfs"]["path"] == "/w/p"


@pytest.mark.parametrize("store", ["http://h/x", "s3:///x", "file://relative", "/a#b", "/a?b"])
def test_where_nothing_can_be_stored_is_refused(store):
    with pytest.raises(InputError):
        store_location(store, "w/p", {})


def test_a_template_keeps_an_archive_location_that_names_a_store():
    own = {"s3": {"bucket": "b", "key": "k"}}

    assert archive_location({}, {"fsspec": {"url": "u"}}, "") == {"fsspec": {"url": "u"}, "archiveLogs": True}
    assert archive_location({"archiveLocation": own}, {}, "") == own | {"archiveLogs": True}
    assert archive_location({"archiveLocation": {"archiveLogs": False}}, STORE, "")["archiveLogs"] is False


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("ftp://me:hunter2@host/x", "--store ftp://host/x"),
        ("s3://me:hunter2@bucket/x", "--store s3://bucket/x"),
        ("simplecache::ftp://me:hunter2@host/x", "--store simplecache::ftp://host/x"),
        ("zip://a::ftp://me:hunter2@host/x", "--store zip://a::ftp://host/x"),
        ("ftp://me:hun?ter2@host/x?hunter2", "--store ftp://host/x?…"),
        ("https://me:hunter2@host/x", "--store https://host/x"),
    ],
)
def test_a_store_with_a_password_is_refused_and_the_password_not_shown(store, shown):
    with pytest.raises(InputError) as caught:
        store_location(store, "wf/pod", {})

    assert caught.value.place == shown
    assert "hun" not in str(caught.value)
    assert "--secrets" in caught.value.remedy


def test_a_store_with_a_user_alone_or_an_at_in_its_path_is_none_with_a_password():
    assert store_location("sftp://me@host/x", "b", {})["fsspec"]["url"] == "sftp://me@host/x/b"
    assert store_location("memory://a/b:c@d", "b", {})["fsspec"]["url"] == "memory://a/b:c@d/b"


def test_a_store_that_is_no_url_is_said():
    with pytest.raises(InputError, match="--store: this is no URL"):
        store_location("ftp://[x", "b", {})
