"""What the API server's answers mean, by a scripted one over TLS."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from lifecycle.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    Permanent,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from lifecycle.network import causes
from runtimes import credentials
from runtimes.api import AlreadyExists, ApiServer, Conflict, Gone
from runtimes.credentials import Credentials
from tests.runtimes.apiserver_by_script import POD, account, api_of, found, refused, surroundings
from tests.servers.httpd import Answer, Httpd


@pytest.fixture
def server(certificate, tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", account(tmp_path / "account", certificate))
    with Httpd(certificate) as one:
        yield one


def get(server: Httpd) -> dict[str, object]:
    return api_of(server).call("get", POD, "pods")


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (301, "", BadRequest), (400, "BadRequest", BadRequest), (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden), (404, "NotFound", NotFound), (406, "NotAcceptable", BadRequest),
        (408, "Timeout", TimedOut), (409, "Conflict", Conflict), (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone), (413, "RequestEntityTooLarge", BadRequest), (422, "Invalid", BadRequest),
        (429, "TooManyRequests", Throttled), (500, "InternalError", Unavailable), (502, "", Unavailable),
        (503, "ServiceUnavailable", Unavailable), (504, "Timeout", TimedOut),
    ],
)  # fmt: skip
def test_a_status_has_one_meaning(server, status, reason, error):
    server.on(POD, refused(status, reason, "in its own words"))

    with pytest.raises(error, match=f"get {POD}: the API server answers {status}: in its own words") as caught:
        get(server)
    assert type(caught.value) is error
    assert len(server.requests) == 1


def test_the_server_s_wish_to_be_left_alone_is_kept(server):
    server.on(POD, Answer(429, b"{}", {"Retry-After": "7"}))

    with pytest.raises(Throttled) as caught:
        get(server)
    assert caught.value.retry_after == 7


def test_a_missing_permission_is_named_with_its_api_group(server):
    path = "/apis/argoproj.io/v1alpha1/namespaces/flows/workflowtaskresults"
    server.on(path, refused(403, "Forbidden", "no"))

    with pytest.raises(Forbidden) as caught:
        api_of(server).call("create", path, "workflowtaskresults", body={})
    assert caught.value.remedy == (
        "grant `create` on `workflowtaskresults` of the API group 'argoproj.io' to the pod's service account, "
        "in a Role of the namespace 'flows'"
    )


def test_a_message_without_end_is_cut(server):
    server.on(POD, Answer(500, b"x" * 100_000))

    with pytest.raises(Unavailable) as caught:
        get(server)
    assert len(str(caught.value)) < 1000


def test_an_answer_that_is_no_json_is_no_api_server_s(server):
    server.on(POD, Answer(200, b"<html>log in</html>"))

    with pytest.raises(Unavailable, match="no JSON"):
        get(server)


@pytest.mark.parametrize("body", [b"", b'{"half":'])
def test_a_connection_that_is_cut_in_mid_answer_may_work_later(server, body):
    server.on(POD, Answer(200, body, length=1000))

    with pytest.raises(Unavailable):
        get(server)


def test_a_log_that_is_cut_is_no_short_log(server):
    server.on(f"{POD}/log", Answer(200, b"some of it", length=1000))

    with api_of(server).open("get", f"{POD}/log", "pods/log") as answer, pytest.raises(Unavailable):
        b"".join(iter(answer.read1, b""))


def test_a_silent_server_is_not_waited_for_for_ever(server):
    server.on(f"{POD}/log", Answer(200, b"some", length=1000, hangs=True))

    with (
        api_of(server).open("get", f"{POD}/log", "pods/log", silence=1.0) as answer,
        pytest.raises(TimedOut),
    ):
        b"".join(iter(answer.read1, b""))


def test_what_is_sent_is_json_as_it_is(server):
    server.on(POD, found({"unknown": {"field": 1}}))
    answer = api_of(server).call(
        "patch",
        POD,
        "pods",
        body={"metadata": {"annotations": {"a": "ä"}}},
        content_type="application/merge-patch+json",
    )

    request = server.requests[0]
    assert answer == {"unknown": {"field": 1}}
    assert (request.method, request.headers["Content-Type"]) == ("PATCH", "application/merge-patch+json")
    assert json.loads(request.body) == {"metadata": {"annotations": {"a": "ä"}}}


def test_a_token_that_is_rotated_is_read_anew(server, tmp_path):
    server.on(POD, found({}))
    api = api_of(server)
    api.call("get", POD, "pods")
    (tmp_path / "account" / "token").write_text("another\n")
    api.call("get", POD, "pods")

    assert [one.headers["Authorization"] for one in server.requests] == ["Bearer t0ken", "Bearer another"]


def test_a_token_that_is_not_there_is_told_without_asking(server, tmp_path):
    (tmp_path / "account" / "token").unlink()

    with pytest.raises(BadRequest) as caught:
        get(server)
    assert "automountServiceAccountToken" in caught.value.remedy
    assert server.requests == []


def test_a_token_is_in_no_error(server, tmp_path):
    (tmp_path / "account" / "token").write_text("s3cr3t\n")
    server.on(POD, refused(403, "Forbidden", "no"))

    with pytest.raises(Forbidden) as caught:
        get(server)
    assert "s3cr3t" not in repr(caught.value) + str(caught.value) + caught.value.remedy


@pytest.mark.parametrize("token", ["s3cr3t\nrest", "s3cr3t\r\nX-More: 1", "s3cr3t\x00", "s3cr3té"])
def test_a_token_that_is_no_header_is_neither_sent_nor_told(server, token):
    found = Credentials(server.url, "flows", "the user", lambda: f"Bearer {token}", verify=False)

    with pytest.raises(BadRequest, match="the user cannot be sent") as caught:
        ApiServer(found).call("get", POD, "pods")
    assert "s3cr3t" not in "".join(map(repr, causes(caught.value)))
    assert server.requests == []


def test_a_login_in_the_server_s_url_is_in_no_error(certificate):
    with Httpd(certificate) as gone:
        url = gone.url.replace("https://", "https://somebody:s3cr3t@")

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1") as caught:
        ApiServer(Credentials(url, "flows", "the user", verify=False)).call("get", POD, "pods")
    assert "s3cr3t" not in str(caught.value)


def test_the_login_of_a_proxy_is_sent_to_it():
    with Httpd() as proxy:
        proxy.on(f"http://api.test{POD}", found({}))
        url = proxy.url.replace("http://", "http://somebody:p%40ss@")
        ApiServer(Credentials("http://api.test", "flows", "the user", proxy=url)).call("get", POD, "pods")

        assert proxy.requests[0].headers["Proxy-Authorization"] == f"Basic {b64encode(b'somebody:p@ss').decode()}"


def test_a_server_whose_authority_is_unknown_is_not_spoken_to(server, tmp_path):
    (tmp_path / "account" / "ca.crt").unlink()

    with pytest.raises(Permanent, match="not trusted") as caught:
        get(server)
    assert "ca.crt" in caught.value.remedy
    assert server.requests == []


def test_a_server_that_is_away_may_come_back(certificate, server):
    with Httpd(certificate) as gone:
        api = api_of(gone)

    with pytest.raises(Unavailable, match="refused"):
        api.call("get", POD, "pods")


def test_all_adapters_of_a_pod_share_one(server):
    here = surroundings(server)

    assert ApiServer.of(here) is ApiServer.of(here)
    assert ApiServer.of(here) is not ApiServer.of(surroundings(server))
