"""What a refused or redirected exec means, by scripted servers over TLS; what a granted one does, real ones show."""

from __future__ import annotations

import pytest

from lifecycle.errors import BadRequest, Forbidden, NotFound, Permanent, TimedOut, Unauthorized, Unavailable
from runtimes import credentials
from runtimes.exec import API_STREAMS, Finished, _finished, run
from tests.runtimes.apiserver_by_script import POD, account, api_of, refused
from tests.servers.httpd import Answer, Httpd

PATH = f"{POD}/exec"
TARGET = f"{PATH}?container=main&stdout=1&stderr=1&command=sh&command=-c&command=kill+-15+1"


@pytest.fixture
def server(certificate, tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", account(tmp_path / "account", certificate))
    with Httpd(certificate) as one:
        yield one


def execute(server: Httpd) -> Finished:
    query = [("container", "main"), *API_STREAMS]
    return run(api_of(server), PATH, "pods/exec", query, ["sh", "-c", "kill -15 1"], 10)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest), (401, Unauthorized), (403, Forbidden), (404, NotFound), (500, Unavailable),
        (503, Unavailable), (504, TimedOut),
    ],
)  # fmt: skip
def test_a_refused_handshake_has_the_meaning_of_its_status(server, status, error):
    server.on(TARGET, refused(status, "", 'container not found ("main")'))

    with pytest.raises(error, match=f"get {PATH}: the API server answers {status}: container not found") as caught:
        execute(server)
    assert type(caught.value) is error


def test_the_verb_of_a_web_socket_is_named(server):
    server.on(TARGET, refused(403, "Forbidden", "no"))

    with pytest.raises(Forbidden) as caught:
        execute(server)
    assert "grant `get` on `pods/exec`" in caught.value.remedy
    headers = server.requests[0].headers
    assert (headers["Authorization"], headers["Sec-WebSocket-Protocol"]) == ("Bearer t0ken", "v4.channel.k8s.io")


def test_a_redirect_to_the_same_host_is_followed_without_the_token(server, certificate):
    with Httpd(certificate) as streaming:
        streaming.on("/exec/abc", Answer(404, b"gone"))
        server.on(TARGET, Answer(302, b"", {"Location": f"{streaming.url}/exec/abc"}))

        with pytest.raises(NotFound):
            execute(server)
        assert [one.target for one in streaming.requests] == ["/exec/abc"]
        assert streaming.requests[0].headers["Authorization"] is None


def test_a_redirect_to_another_host_is_not_followed(server, certificate):
    with Httpd(certificate) as elsewhere:
        server.on(TARGET, Answer(302, b"", {"Location": elsewhere.url.replace("127.0.0.1", "localhost")}))

        with pytest.raises(BadRequest, match="another host"):
            execute(server)
        assert elsewhere.requests == []


def test_redirects_without_end_are_left(server):
    server.on(TARGET, Answer(302, b"", {"Location": TARGET}))

    with pytest.raises(BadRequest, match="in circles"):
        execute(server)
    assert len(server.requests) == 3


def test_a_server_whose_authority_is_unknown_is_not_spoken_to(server, tmp_path):
    (tmp_path / "account" / "ca.crt").unlink()

    with pytest.raises(Permanent, match="not trusted") as caught:
        execute(server)
    assert "ca.crt" in caught.value.remedy
    assert server.requests == []


def test_a_server_that_is_away_may_come_back(certificate, server):
    with Httpd(certificate) as gone:
        api = api_of(gone)

    with pytest.raises(Unavailable):
        run(api, PATH, "pods/exec", API_STREAMS, ["sh"], 10)


@pytest.mark.parametrize(
    ("status", "finished"),
    [
        (b'{"status":"Success"}', Finished(0, "out")),
        (b'{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}', Finished(3, "out")),
        (b'{"status":"Failure","reason":"InternalError","message":"no such file"}', Finished(None, "no such file")),
        (b"command terminated with non-zero exit code", Finished(None, "command terminated with non-zero exit code")),
    ],
)  # fmt: skip
def test_how_a_command_ended_is_in_its_status(status, finished):
    assert _finished(status, b"out\n") == finished
