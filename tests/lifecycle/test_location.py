"""Where an artifact is: which store, which object."""

import pytest

from lifecycle.errors import InputError, Unauthorized
from lifecycle.location import Location, of_artifact, relocated, without_userinfo
from lifecycle.secret import Secret, SecretReader


def test_a_location_is_split_into_the_store_and_the_key_and_put_together_again():
    raw = {"s3": {"bucket": "b", "endpoint": "e", "key": "a/b.tgz"}}
    location = of_artifact({"name": "x", "path": "/x"} | raw)

    assert (location.type, location.key) == ("s3", "a/b.tgz")
    assert location.raw() == raw


@pytest.mark.parametrize(
    "artifact",
    [
        {},
        {"s3": {"key": "k"}},
        {"http": {"url": ""}},
        {"git": {}},
        {"hdfs": {"addresses": []}},
        {"s3": None},
        {"plugin": {"key": "k"}},
    ],
)
def test_what_names_no_store_is_no_location(artifact):
    assert of_artifact(artifact) is None


def test_raw_is_a_location_even_when_it_is_empty():
    assert of_artifact({"raw": {}}) == Location("raw", {}, "")


def test_s3_comes_before_http_when_both_are_there():
    assert of_artifact({"http": {"url": "http://x"}, "s3": {"bucket": "b", "key": "k"}}).type == "s3"


def test_a_key_that_is_no_string_is_named_by_its_place():
    with pytest.raises(InputError, match=r"\$\.a\.s3\.key: expected a string"):
        of_artifact({"s3": {"bucket": "b", "key": 3}}, place="$.a")


@pytest.mark.parametrize(
    ("location", "joined"),
    [
        (Location("s3", {}, "wf/pod"), "wf/pod/main.log"),
        (Location("s3", {}, "wf/pod/"), "wf/pod/main.log"),
        (Location("s3", {}, ""), "main.log"),
        (Location("artifactory", {}, "http://h/repo?x=1"), "http://h/repo/main.log?x=1"),
        (Location("fsspec", {}, "memory://a"), "memory://a/main.log"),
        (Location("fsspec", {}, "file:///tmp/store"), "file:///tmp/store/main.log"),
        (Location("fsspec", {}, "memory:///a"), "memory:///a/main.log"),
    ],
)
def test_a_name_is_joined_to_keys_and_to_the_path_of_urls(location, joined):
    assert location.join("main.log").key == joined


@pytest.mark.parametrize("kind", ["http", "artifactory"])
def test_a_name_that_means_something_in_a_url_is_quoted_there(kind: str):
    joined = Location(kind, {}, "https://h/d?x=1").join("a/b#c?d%e f")

    assert joined.key == "https://h/d/a/b%23c%3Fd%25e%20f?x=1"


def test_a_name_is_not_quoted_where_a_url_is_only_a_way_to_write_a_key():
    assert Location("fsspec", {}, "memory://d").join("a%b c").key == "memory://d/a%b c"


def test_a_key_only_artifact_gets_the_store_of_the_archive_location():
    archive = {"archiveLogs": True, "s3": {"bucket": "b", "endpoint": "e", "key": "prefix"}}

    assert relocated({"name": "a", "s3": {"key": "k"}}, archive)["s3"] == {"bucket": "b", "endpoint": "e", "key": "k"}
    assert relocated({"name": "a", "s3": {"bucket": "own", "key": "k"}}, archive)["s3"]["bucket"] == "own"


def test_a_location_in_a_message_shows_no_secret():
    assert str(Location("http", {}, "https://user:hunter2@host/x?token=hunter2")) == "http https://host/x?…"
    assert "hunter2" not in str(Location("raw", {}, "hunter2"))
    assert str(Location("s3", {"bucket": "b"}, "a/b")) == "s3://b/a/b"
    assert str(Location("azure", {"container": "c"}, "a/b")) == "azure://c/a/b"
    assert str(Location("plugin", {"name": "sqlite"}, "a/b")) == "plugin://sqlite/a/b"


def test_a_secret_is_read_where_it_is_mounted_and_shown_nowhere(tmp_path):
    (tmp_path / "cred").mkdir()
    (tmp_path / "cred/key").write_text("  hunter2\n")
    secret = SecretReader(tmp_path).read({"name": "cred", "key": "key"})

    assert secret.reveal() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {secret:>10}"
    assert secret == Secret("hunter2")


def test_a_secret_that_is_not_there_is_named_and_an_unset_selector_is_none(tmp_path):
    reader = SecretReader(tmp_path)

    assert reader.read(None) is None
    assert reader.read({"key": ""}) is None
    with pytest.raises(Unauthorized, match="'cred' has no key 'key'"):
        reader.read({"name": "cred", "key": "key"})


@pytest.mark.parametrize("selector", [{"name": "..", "key": "k"}, {"name": "a/b", "key": "k"}, {"name": "a"}])
def test_a_secret_selector_cannot_leave_its_directory(tmp_path, selector):
    with pytest.raises(InputError):
        SecretReader(tmp_path).read(selector)


@pytest.mark.parametrize(
    ("kind", "store", "key"),
    [
        ("gcs", {"bucket": "b"}, {"key": "k"}),
        ("oss", {"bucket": "b", "endpoint": "e"}, {"key": "k"}),
        ("azure", {"container": "c", "endpoint": "e"}, {"blob": "k"}),
        ("plugin", {"name": "sqlite", "configuration": "file: x"}, {"key": "k"}),
    ],
)
def test_an_artifact_with_nothing_but_a_key_is_in_the_store_of_the_archive(kind: str, store, key):
    found = relocated({"name": "a", kind: key}, {kind: store | dict.fromkeys(key, "prefix")})

    assert of_artifact(found) == Location(kind, store, "k")
    assert str(of_artifact(found).join("d/e").key) == "k/d/e"


UNPARSABLE = "://user:s3cr3t@exa\u2100mple/a"  # "℀" would be "a/c" in a host name: Python's error quotes the whole


@pytest.mark.parametrize(
    "location", [Location("http", {}, f"http{UNPARSABLE}"), Location("fsspec", {}, f"ftp{UNPARSABLE}")]
)
def test_a_url_that_cannot_be_parsed_is_not_shown(location):
    assert "s3cr3t" not in str(location)
    with pytest.raises(InputError) as caught:
        location.join("name")

    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("url", ["u:s3cr3t@host/a?sig=s3cr3t", "http:/u:s3cr3t@host/a", "http:u:s3cr3t@host/a"])
def test_a_password_is_not_shown_of_a_url_that_is_mistyped_either(url):
    assert str(Location("http", {}, url)) == "http host/a"


@pytest.mark.parametrize("url", ["git@host:a/b.git", "/data/a:b/c@d", "file:///data/a@b"])
def test_what_is_no_password_is_shown(url):
    assert without_userinfo(url) == url
