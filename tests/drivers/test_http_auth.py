"""`auth` and `headers` of http artifacts: what of them can work, what is sent, and that nothing of it is ever shown."""

from __future__ import annotations

import os
import socket
import subprocess
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from drivers.http import HttpDriver
from lifecycle.errors import BadRequest, Forbidden, InputError, LifecycleError, Throttled, Unauthorized, Unavailable
from tests.servers.httpd import Answer, Httpd

if TYPE_CHECKING:
    from pathlib import Path

BASIC = {"usernameSecret": {"name": "s", "key": "user"}, "passwordSecret": {"name": "s", "key": "password"}}
OAUTH2: dict[str, Any] = {
    "clientIDSecret": {"name": "s", "key": "id"},
    "clientSecretSecret": {"name": "s", "key": "secret"},
    "tokenURLSecret": {"name": "s", "key": "url"},
}
CERTIFICATE = {"clientCertSecret": {"name": "s", "key": "cert"}, "clientKeySecret": {"name": "s", "key": "key"}}


@pytest.fixture
def pair(secrets):
    secrets.write("s", user="me", password="p:ss-wörd")
    return secrets


@pytest.fixture
def realm(httpd: Httpd, secrets):
    secrets.write("s", id="c4nary-client", secret="c4nary-secret", url=f"{httpd.url}/token?c4nary-query")
    return secrets


def token(value: str, **fields: Any) -> Answer:
    import json

    return Answer(200, json.dumps({"access_token": value, "token_type": "bearer"} | fields).encode())


def without(config: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != name}


@pytest.mark.parametrize(
    ("auth", "named"),
    [
        ("x", "`auth`"),
        ({"digest": {}}, "'digest'"),
        ({"basicAuth": "x"}, "`auth.basicAuth`"),
        ({"basicAuth": {"usernameSecret": "x"}}, "usernameSecret"),
        ({"basicAuth": without(BASIC, "passwordSecret")}, "passwordSecret"),
        ({"basicAuth": without(BASIC, "usernameSecret")}, "usernameSecret"),
        ({"oauth2": without(OAUTH2, "clientIDSecret")}, "clientIDSecret"),
        ({"oauth2": without(OAUTH2, "clientSecretSecret")}, "clientSecretSecret"),
        ({"oauth2": without(OAUTH2, "tokenURLSecret")}, "tokenURLSecret"),
        ({"oauth2": {"scopes": ["a"]}}, "tokenURLSecret"),
        ({"oauth2": OAUTH2 | {"scopes": "a b"}}, "scopes"),
        ({"oauth2": OAUTH2 | {"endpointParams": {"a": "b"}}}, "endpointParams"),
        ({"oauth2": OAUTH2 | {"endpointParams": [{"value": "b"}]}}, "endpointParams"),
        ({"basicAuth": BASIC, "oauth2": OAUTH2}, "basicAuth and oauth2"),
        ({"clientCert": without(CERTIFICATE, "clientKeySecret")}, "clientKeySecret"),
    ],
)
def test_auth_that_cannot_work_is_refused_by_name(secrets, auth: Any, named: str):
    secrets.write("s", user="u", password="p", id="i", secret="s", url="u", cert="c", key="k")
    with pytest.raises(BadRequest) as caught:
        HttpDriver({"auth": auth}, secrets)

    assert named in caught.value.message


def test_a_selector_without_a_key_is_refused(pair):
    with pytest.raises(InputError):
        HttpDriver({"auth": {"basicAuth": BASIC | {"passwordSecret": {"name": "s"}}}}, pair)


def test_a_secret_that_is_not_there_is_told_when_the_driver_is_made(secrets):
    with pytest.raises(Unauthorized, match="'s' has no key 'user'"):
        HttpDriver({"auth": {"basicAuth": BASIC}}, secrets)


@pytest.mark.parametrize("auth", [None, {}, {"basicAuth": None}, {"basicAuth": {}, "oauth2": {}, "clientCert": {}}])
def test_auth_that_is_empty_is_none(httpd: Httpd, secrets, auth: Any):
    HttpDriver({"auth": auth}, secrets).open(httpd.on("/x", Answer())).close()

    assert "Authorization" not in httpd.requests[0].headers


def test_user_and_password_are_sent_in_utf_8(httpd: Httpd, pair):
    HttpDriver({"auth": {"basicAuth": BASIC}}, pair).open(httpd.on("/x", Answer())).close()

    assert httpd.requests[0].headers["Authorization"] == "Basic bWU6cDpzcy13w7ZyZA=="


def test_auth_is_stronger_than_the_url(httpd: Httpd, pair):
    httpd.on("/x", Answer())
    HttpDriver({"auth": {"basicAuth": BASIC}}, pair).open(f"http://other:word@{httpd.endpoint}/x").close()

    assert httpd.requests[0].headers["Authorization"] == "Basic bWU6cDpzcy13w7ZyZA=="


def test_two_authorizations_are_refused(pair):
    headers = [{"name": "authorization", "value": "Bearer x"}]
    with pytest.raises(BadRequest, match="Authorization"):
        HttpDriver({"headers": headers, "auth": {"basicAuth": BASIC}}, pair)


def test_a_token_is_fetched_when_it_is_needed(httpd: Httpd, realm):
    httpd.on("/token?c4nary-query", token("t0ken"))
    driver = HttpDriver({"auth": {"oauth2": OAUTH2 | {"scopes": ["a", "b c"]}}}, realm)
    assert httpd.requests == []
    driver.open(httpd.on("/x", Answer())).close()

    first, second = httpd.requests
    assert (first.method, first.body) == ("POST", b"grant_type=client_credentials&scope=a+b+c")
    assert first.headers["Authorization"] == "Basic YzRuYXJ5LWNsaWVudDpjNG5hcnktc2VjcmV0"
    assert second.headers["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(("fields", "fetched"), [({"expires_in": 9}, 2), ({"expires_in": "60"}, 1), ({}, 1)])
def test_a_token_is_used_until_shortly_before_its_end(httpd: Httpd, realm, fields: dict[str, Any], fetched: int):
    httpd.on("/token?c4nary-query", token("t0ken", **fields))
    driver = HttpDriver({"auth": {"oauth2": OAUTH2}}, realm)
    for _ in range(2):
        driver.open(httpd.on("/x", Answer())).close()

    assert httpd.asked["/token?c4nary-query"] == fetched


def test_a_token_that_was_refused_at_once_is_not_fetched_again(httpd: Httpd, realm):
    httpd.on("/token?c4nary-query", token("t0ken"))
    with pytest.raises(Unauthorized):
        HttpDriver({"auth": {"oauth2": OAUTH2}}, realm).open(httpd.on("/x", Answer(401)))

    assert len(httpd.requests) == 2


@pytest.mark.parametrize("value", ["c4nary", "c4nary\r\nX: y", "c4nary\u65e5"])
def test_a_token_is_never_shown(httpd: Httpd, realm, value: str):
    httpd.on("/token?c4nary-query", token(value))
    with pytest.raises(LifecycleError) as caught:
        HttpDriver({"auth": {"oauth2": OAUTH2}}, realm).open(httpd.on("/x", Answer(401)))

    assert "c4nary" not in "".join(traceback.format_exception(caught.value)) + caught.value.remedy


def test_a_token_that_was_refused_is_replaced_once(httpd: Httpd, realm):
    httpd.on("/token?c4nary-query", token("first"), token("second"))
    driver = HttpDriver({"auth": {"oauth2": OAUTH2}}, realm)
    url = httpd.on("/x", Answer(200), Answer(401), Answer(401))
    driver.open(url).close()
    with pytest.raises(Unauthorized):
        driver.open(url)

    sent = [request.headers["Authorization"] for request in httpd.requests if request.target == "/x"]
    assert sent == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_token_that_ends_while_a_body_is_read_is_worth_another_attempt(realm, httpd: Httpd):
    from drivers.conformance import MIB, Bytes

    httpd.on("/token?c4nary-query", token("first"), token("second"))
    driver = HttpDriver({"auth": {"oauth2": OAUTH2}}, realm)
    url = httpd.on("/x", Answer(200), Answer(401))
    driver.open(url).close()
    with pytest.raises(Unavailable) as caught:
        driver.save(url, Bytes(3 * MIB), None)

    assert "the token was refused" in caught.value.message


def test_a_token_does_not_follow_to_another_origin(httpd: Httpd, realm):
    httpd.on("/token?c4nary-query", token("t0ken"))
    with Httpd() as other:
        httpd.on("/x", Answer(302, headers={"Location": other.on("/x", Answer())}))
        HttpDriver({"auth": {"oauth2": OAUTH2}}, realm).open(f"{httpd.url}/x").close()

        assert "Authorization" not in other.requests[0].headers


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(401, b'{"error": "invalid_client", "error_description": "c4nary-secret"}'), Unauthorized),
        (Answer(401, b"<html>c4nary-secret</html>"), Unauthorized),
        (Answer(400, b'{"error": "unauthorized_client"}'), Unauthorized),
        (Answer(400, b'{"error": "invalid_scope"}'), Forbidden),
        (Answer(400, b'{"error": "c4nary-secret"}'), BadRequest),
        (Answer(404), BadRequest),
        (Answer(302, headers={"Location": "/c4nary-query"}), BadRequest),
        (Answer(429, headers={"Retry-After": "3"}), Throttled),
        (Answer(503), Unavailable),
        (Answer(200, b"{}"), BadRequest),
        (Answer(200, b"c4nary-secret"), BadRequest),
        (Answer(200, b'{"access_token": "c4nary-secret", "token_type": "mac"}'), BadRequest),
        (Answer(200, b'{"access', length=100), Unavailable),
    ],
)
def test_a_token_that_cannot_be_had_is_an_error_without_secrets(httpd: Httpd, realm, answer: Answer, error: type):
    httpd.on("/token?c4nary-query", answer)
    with pytest.raises(LifecycleError) as caught:
        HttpDriver({"auth": {"oauth2": OAUTH2}}, realm).open(httpd.on("/x", Answer()))

    assert type(caught.value) is error
    assert "c4nary" not in "".join(traceback.format_exception(caught.value)) + caught.value.remedy
    assert httpd.asked["/x"] == 0


@pytest.mark.parametrize("url", ["http://c4nary.invalid/", "ftp://c4nary/", "http://127.0.0.1:1/c4nary", "c4nary"])
def test_a_token_url_that_leads_nowhere_is_not_shown(secrets, url: str):
    secrets.write("s", id="i", secret="s", url=url)
    with pytest.raises((Unavailable, BadRequest)) as caught:
        HttpDriver({"auth": {"oauth2": OAUTH2}}, secrets).open("http://127.0.0.1:1/x")

    assert "c4nary" not in "".join(traceback.format_exception(caught.value)) + caught.value.remedy


@pytest.mark.parametrize("secret", ["cert", "key"])
def test_a_certificate_that_is_none_is_refused_without_its_text(secrets, certificate, secret: str):
    secrets.write("s", cert=certificate[0].read_text(), key=certificate[1].read_text())
    secrets.write("s", **{secret: "c4nary"})
    with pytest.raises(BadRequest) as caught:
        HttpDriver({"auth": {"clientCert": CERTIFICATE}}, secrets)

    assert "key 'cert' of secret 's'" in caught.value.remedy
    assert "c4nary" not in "".join(traceback.format_exception(caught.value))


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_pass_phrase(secrets, certificate, tmp_path: Path):
    locked = tmp_path / "locked.pem"
    command = ["openssl", "ec", "-in", certificate[1], "-aes128", "-passout", "pass:word", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    secrets.write("s", cert=certificate[0].read_text(), key=locked.read_text())
    with pytest.raises(BadRequest, match="encrypted"):
        HttpDriver({"auth": {"clientCert": CERTIFICATE}}, secrets)


def test_the_key_is_in_no_file_and_no_descriptor_is_left(secrets, certificate):
    secrets.write("s", cert=certificate[0].read_text(), key=certificate[1].read_text())
    before = sorted(os.listdir("/proc/self/fd"))
    HttpDriver({"auth": {"clientCert": CERTIFICATE}}, secrets)

    assert sorted(os.listdir("/proc/self/fd")) == before


def test_the_certificate_is_not_shown_to_another_origin(secrets, client_certificate, certificate, monkeypatch):
    import ssl
    import threading

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    secrets.write("s", cert=client_certificate[0].read_text(), key=client_certificate[1].read_text())
    shown: list[bool] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(client_certificate[0])
    context.verify_mode = ssl.CERT_OPTIONAL

    def serve(listening: socket.socket, answer: bytes) -> None:
        raw, _ = listening.accept()
        with context.wrap_socket(raw, server_side=True) as connection:
            shown.append(bool(connection.getpeercert()))
            connection.recv(65536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        away = b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:%d/x\r\nContent-Length: 0\r\n\r\n"
        answers = (away % second.getsockname()[1], b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        threads = [
            threading.Thread(target=serve, args=(listening, answer))
            for listening, answer in zip((first, second), answers, strict=True)
        ]
        for thread in threads:
            thread.start()
        url = f"https://127.0.0.1:{first.getsockname()[1]}/x"
        with HttpDriver({"auth": {"clientCert": CERTIFICATE}}, secrets).open(url) as stream:
            assert stream.read() == b"x"
        for thread in threads:
            thread.join()

    assert shown == [True, False]
