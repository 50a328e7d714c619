"""The hdfs driver by WebHDFS: on real clusters, and on a scripted server for what those do not do."""

from __future__ import annotations

import io
import json
import os
import traceback

import pytest

from drivers.conformance import MIB, Bytes, DriverConformance, Store
from drivers.hdfs import HdfsDriver
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    Permanent,
    StorageFull,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from tests.servers.clusters import fresh
from tests.servers.httpd import Answer, Httpd


class TestPlain(DriverConformance):
    @pytest.fixture
    def store(self, plain_config, hadoop, secrets):
        return Store(HdfsDriver(plain_config | {"addresses": [hadoop.url]}, secrets), fresh())


class TestKeytab(DriverConformance):
    @pytest.fixture
    def store(self, keytab_config, kerberized, secrets):
        del keytab_config["dataTransferProtection"]
        return Store(HdfsDriver(keytab_config | {"addresses": [kerberized.url]}, secrets), fresh())


class TestCredentialCache(DriverConformance):
    @pytest.fixture
    def store(self, cache_config, kerberized, secrets):
        del cache_config["dataTransferProtection"]
        return Store(HdfsDriver(cache_config | {"addresses": [kerberized.url]}, secrets), fresh())


# --- a real cluster ---


@pytest.fixture
def alice(plain_config, hadoop, secrets):
    return HdfsDriver(plain_config | {"addresses": [hadoop.url]}, secrets)


def save(driver, key, data=b"data"):
    driver.save(key, io.BytesIO(data), len(data))


def everything(driver, key):
    return [entry.path for entry in driver._files.walk(key) if not entry.directory]


def test_what_one_way_stores_the_other_reads(alice, plain_config, secrets):
    key, data = f"{fresh()}/f", os.urandom(MIB)
    save(alice, key, data)
    with HdfsDriver(plain_config, secrets).open(key) as stream:
        assert stream.read() == data
        version = stream.version
    with alice.open_rest(key, 1000, version) as rest:
        assert rest.read() == data[1000:]


def test_without_force_a_file_that_is_there_stays(alice, hadoop, plain_config, secrets):
    key = f"{fresh()}/f"
    save(HdfsDriver(plain_config | {"addresses": [hadoop.url], "hdfsUser": "bob"}, secrets), key)
    with pytest.raises(BadRequest, match="a file is there already"):
        save(HdfsDriver(plain_config | {"addresses": [hadoop.url], "force": False}, secrets), key, b"other")
    with alice.open(key) as stream:
        assert stream.read() == b"data"


@pytest.mark.parametrize("failure", [OSError("disk"), NotFound("gone"), KeyboardInterrupt()])
def test_a_source_that_fails_leaves_no_part(alice, failure):
    key = fresh()
    save(alice, f"{key}/there", b"")
    with pytest.raises(type(failure)) as caught:
        alice.save(f"{key}/f", Bytes(3 * MIB, failure=failure), None)

    assert caught.value is failure
    assert everything(alice, key) == [f"{key}/there"]


def test_what_a_user_may_not_do_is_forbidden(alice):
    with pytest.raises(Forbidden, match="user=alice, access=WRITE"):
        save(alice, "/not-for-alice")


def test_a_directory_without_room_is_full(hadoop, alice):
    key = fresh()
    save(alice, f"{key}/first")
    hadoop.admin("-setSpaceQuota", "9m", key)  # one block of 8 MiB
    with pytest.raises((StorageFull, Unavailable)) as caught:
        save(alice, f"{key}/f", bytes(12 * MIB))

    assert type(caught.value) is StorageFull
    assert everything(alice, key) == [f"{key}/first"]


def test_without_credentials_kerberos_is_asked_for(kerberized, secrets):
    driver = HdfsDriver({"addresses": [kerberized.url], "hdfsUser": "alice"}, secrets)
    with pytest.raises(Unauthorized) as caught:
        driver.open("/open/f")
    assert "Kerberos" in caught.value.remedy


def test_a_keytab_without_the_principal_is_unauthorized(keytab_config, kerberized, secrets):
    del keytab_config["dataTransferProtection"]
    driver = HdfsDriver(keytab_config | {"addresses": [kerberized.url], "krbUsername": "mallory"}, secrets)
    with pytest.raises(Unauthorized, match=r"mallory@TEST\.LOCAL"):
        driver.open("/open/f")


# --- a scripted server ---

STATUS = {"FileStatus": {"type": "FILE", "length": 4, "modificationTime": 7, "pathSuffix": ""}}
NAME_NODE = "/webhdfs/v1/a%20b?op=GETFILESTATUS&user.name=alice"
OPEN = "/webhdfs/v1/a%20b?op=OPEN&offset=0&length=4&user.name=alice"


def refused(status, name):
    told = {"exception": name, "javaClassName": f"org.apache.hadoop.{name}", "message": "no\n\tat Trace"}
    return Answer(status, json.dumps({"RemoteException": told}).encode())


def web(secrets, *urls, **options):
    return HdfsDriver({"addresses": list(urls), "hdfsUser": "alice", "force": True}, secrets, **options)


def test_a_file_is_read_where_the_name_node_says(httpd, secrets):
    httpd.on(NAME_NODE, Answer(body=json.dumps(STATUS).encode()))
    location = httpd.on("/data?delegation=t0ken", Answer(body=b"data"))
    httpd.on(OPEN, Answer(307, headers={"Location": location}))
    with web(secrets, httpd.url).open("/a b") as stream:
        assert (stream.size, stream.version, stream.read()) == (4, "7-4", b"data")


def test_a_gateway_may_answer_itself(httpd, secrets):
    httpd.on(NAME_NODE, Answer(body=json.dumps(STATUS).encode()))
    httpd.on(OPEN, Answer(body=b"data"))
    with web(secrets, httpd.url).open("/a b") as stream:
        assert stream.read() == b"data"


def test_a_data_node_that_is_gone_is_told_without_its_token(httpd, secrets):
    httpd.on(NAME_NODE, Answer(body=json.dumps(STATUS).encode()))
    httpd.on(OPEN, Answer(307, headers={"Location": "http://127.0.0.1:1/data?delegation=t0ken"}))
    with pytest.raises(Unavailable, match=r"GET 127\.0\.0\.1:1: Connection refused") as caught:
        web(secrets, httpd.url).open("/a b")

    assert "t0ken" not in "".join(traceback.format_exception(caught.value))


def test_an_answer_that_is_cut_off_is_an_error_without_its_token(httpd, secrets):
    httpd.on(NAME_NODE, Answer(body=json.dumps(STATUS).encode()))
    location = httpd.on("/data?delegation=t0ken", Answer(body=b"da", length=4))
    httpd.on(OPEN, Answer(307, headers={"Location": location}))
    with web(secrets, httpd.url).open("/a b") as stream, pytest.raises(Unavailable, match="'/a b'") as caught:
        stream.read()

    assert "t0ken" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("first", [refused(403, "StandbyException"), Answer(503, b"starting")])
def test_the_active_one_of_several_name_nodes_serves(httpd, secrets, first):
    httpd.on(NAME_NODE, first)
    with Httpd() as active:
        active.on(NAME_NODE, Answer(body=json.dumps(STATUS).encode()))
        active.on(OPEN, Answer(body=b"data"))
        with web(secrets, httpd.url, active.url).open("/a b") as stream:
            assert stream.read() == b"data"
        assert len(httpd.requests) == 1


def test_a_directory_comes_in_pages(httpd, secrets):
    def page(left, *names):
        entries = [{"pathSuffix": name, "type": kind, "length": 1, "modificationTime": 7} for name, kind in names]
        listing = {"partialListing": {"FileStatuses": {"FileStatus": entries}}, "remainingEntries": left}
        return Answer(body=json.dumps({"DirectoryListing": listing}).encode())

    status = STATUS["FileStatus"] | {"type": "DIRECTORY"}
    httpd.on("/webhdfs/v1/d?op=GETFILESTATUS&user.name=alice", Answer(body=json.dumps({"FileStatus": status}).encode()))
    batch = "op=LISTSTATUS_BATCH&startAfter={}&user.name=alice"
    httpd.on(f"/webhdfs/v1/d?{batch.format('')}", page(1, ("b", "FILE"), ("c", "DIRECTORY")))
    httpd.on(f"/webhdfs/v1/d?{batch.format('c')}", page(0, ("d", "FILE")))
    httpd.on(f"/webhdfs/v1/d/c?{batch.format('')}", page(0, ("a", "FILE"), (".argoexec-part-1", "FILE")))

    assert [entry.path for entry in web(secrets, httpd.url).list("/d")] == ["b", "c/a", "d"]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (refused(403, "AccessControlException"), Forbidden, ": no"),
        (refused(403, "StandbyException"), Unavailable, ": no"),
        (refused(403, "SafeModeException"), Unavailable, ": no"),
        (refused(403, "DSQuotaExceededException"), StorageFull, ": no"),
        (refused(404, "FileNotFoundException"), NotFound, "no such file"),
        (Answer(401, b"<html>"), Unauthorized, "401"),
        (Answer(403, b"<html>"), Forbidden, "403"),
        (Answer(404, b"<html>"), BadRequest, "404"),
        (Answer(502, b"<html>"), Unavailable, "502"),
    ],
)
def test_a_refusal_is_told_by_its_class(httpd, secrets, answer, error, says):
    httpd.on(NAME_NODE, answer)
    with pytest.raises(error, match=says) as caught:
        web(secrets, httpd.url).open("/a b")

    assert type(caught.value) is error
    assert "Trace" not in str(caught.value)
    assert len(httpd.requests) == 1


@pytest.mark.parametrize("body", [b"<html>It works!", b"{}", b"[1]", b'{"FileStatus": 3}'])
def test_a_page_of_something_else_is_no_status(httpd, secrets, body):
    httpd.on(NAME_NODE, Answer(body=body))
    with pytest.raises(BadRequest, match="WebHDFS"):
        web(secrets, httpd.url).open("/a b")


@pytest.mark.parametrize("scheme", ["https", "swebhdfs"])
def test_a_certificate_that_nobody_trusts_is_refused(certificate, secrets, scheme):
    with Httpd(certificate) as server, pytest.raises(Permanent, match="certificate is not trusted") as caught:
        web(secrets, f"{scheme}://{server.endpoint}").open("/a b")
    assert "SSL_CERT_FILE" in caught.value.remedy


def test_tls_with_a_ca_that_is_named(certificate, secrets, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with Httpd(certificate) as server:
        server.on(NAME_NODE, refused(404, "FileNotFoundException"))
        with pytest.raises(NotFound):
            web(secrets, f"swebhdfs://{server.endpoint}").open("/a b")


def test_a_server_that_hangs_is_given_up(httpd, secrets):
    httpd.on(NAME_NODE, Answer(body=b"{", length=100, hangs=True))
    with pytest.raises(TimedOut):
        web(secrets, httpd.url, read_timeout=0.2).open("/a b")
