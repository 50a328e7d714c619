"""PUT, against a real server that answers by script: framing, leave before the body, redirects, all or nothing."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import tempfile
import threading
import traceback
from collections.abc import Iterator

import pytest

from drivers.conformance import MIB, Bytes
from drivers.http import HttpDriver
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    LifecycleError,
    NotFound,
    StorageFull,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from tests.servers.httpd import Answer, Httpd
from tests.servers.proxy import Fault, Proxy


@pytest.fixture
def httpd():
    with Httpd(grants=True) as server:
        yield server


@pytest.fixture
def driver(secrets) -> HttpDriver:
    return HttpDriver({}, secrets)


@pytest.fixture
def filing(secrets) -> HttpDriver:
    return HttpDriver({"saveStreamViaFile": True}, secrets)


def failure(driver: HttpDriver, url: str, size: int) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        driver.save(url, Bytes(size), None)
    return caught.value


@pytest.mark.parametrize("size", [0, 5, MIB - 1])
def test_a_small_body_goes_with_its_length_and_without_a_question(httpd: Httpd, driver: HttpDriver, size: int):
    driver.save(httpd.on("/x", Answer(201)), Bytes(size), None)

    (request,) = httpd.requests
    assert request.method == "PUT"
    assert request.headers["Content-Length"] == str(size)
    assert "Transfer-Encoding" not in request.headers
    assert "Expect" not in request.headers
    assert request.body == bytes(size)


@pytest.mark.parametrize("size", [MIB, 3 * MIB + 1])
def test_a_larger_body_goes_in_chunks_when_the_server_has_given_leave(httpd: Httpd, driver: HttpDriver, size: int):
    driver.save(httpd.on("/x", Answer(201)), Bytes(size, longest=65536), size + 10)

    (request,) = httpd.requests
    assert "Content-Length" not in request.headers
    assert request.headers["Transfer-Encoding"] == "chunked"
    assert request.headers["Expect"] == "100-continue"
    assert request.whole
    assert request.body == bytes(size)


def test_a_server_that_does_not_know_the_question_gets_the_body(driver: HttpDriver):
    with Httpd() as silent:
        driver.save(silent.on("/x", Answer(201)), Bytes(3 * MIB), None)

        assert silent.requests[0].body == bytes(3 * MIB)


def test_a_server_that_answers_the_question_by_tls(certificate, driver: HttpDriver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with Httpd(certificate, grants=True) as httpd:
        httpd.on("/early", Answer(307, headers={"Location": "/x"}, early=True))
        httpd.on("/x", Answer(201))
        driver.save(f"{httpd.url}/early", Bytes(3 * MIB), None)

        assert [len(request.body) for request in httpd.requests] == [0, 3 * MIB]


def test_a_server_that_does_not_know_the_question_by_tls(certificate, driver: HttpDriver, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with Httpd(certificate) as silent:
        driver.save(silent.on("/x", Answer(201)), Bytes(3 * MIB), None)

        assert silent.requests[0].body == bytes(3 * MIB)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Done\r\n\r\n", None),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Forbidden),
        (b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Forbidden),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Unavailable),
        (b"HTTP/1.1 2", Unavailable),
        (b"", Unavailable),
    ],
)
def test_whatever_comes_before_the_body_is_read_as_it_is_meant(driver: HttpDriver, data: bytes, error):
    source = Bytes(3 * MIB)
    with Proxy("127.0.0.1:1") as proxy:
        proxy.plan(Fault("answer", data=data))
        if error is None:
            driver.save(f"http://{proxy.address}/x", source, None)
        else:
            with pytest.raises(error):
                driver.save(f"http://{proxy.address}/x", source, None)

    assert len(source.readall()) == (0 if b"100 Continue" in data else 2 * MIB)


def test_a_body_goes_through_a_proxy(httpd: Httpd, driver: HttpDriver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", httpd.url)
    httpd.on("http://a.invalid/x", Answer(201))
    driver.save("http://a.invalid/x", Bytes(3 * MIB), None)

    assert httpd.requests[0].body == bytes(3 * MIB)


def test_a_body_goes_through_a_tunnel(certificate, driver: HttpDriver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with Httpd(certificate, grants=True) as httpd, tunnel(httpd.endpoint) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        for _ in range(2):
            driver.save(httpd.on("/x", Answer(201)), Bytes(3 * MIB), None)

        assert [len(request.body) for request in httpd.requests] == [3 * MIB] * 2


@contextlib.contextmanager
def tunnel(target: str) -> Iterator[str]:
    """A proxy that knows nothing but CONNECT, behind which is one server."""
    with (
        contextlib.ExitStack() as sockets,
        Proxy(target) as behind,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    while not client.recv(65536).endswith(b"\r\n\r\n"):
                        pass
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                    host, _, port = behind.address.rpartition(":")
                    server = socket.create_connection((host, int(port)))
                    for one in (client, server):
                        sockets.enter_context(one)
                    for pair in ((client, server), (server, client)):
                        threads.append(threading.Thread(target=pump, args=pair))
                        threads[-1].start()

        def pump(source: socket.socket, goal: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    goal.sendall(data)
                goal.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=serve)]
        threads[0].start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        behind.hang_up()
        for thread in threads:
            thread.join(10)


@pytest.mark.parametrize("size", [3, 3 * MIB])
def test_via_a_file_the_length_is_known(httpd: Httpd, filing: HttpDriver, size: int):
    filing.save(httpd.on("/x", Answer(201)), Bytes(size), None)

    (request,) = httpd.requests
    assert request.headers["Content-Length"] == str(size)
    assert "Transfer-Encoding" not in request.headers
    assert request.body == bytes(size)


def test_the_file_has_no_name(httpd: Httpd, filing: HttpDriver, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []

    class Looking(Bytes):
        def read(self, size: int = -1, /) -> bytes:
            seen.append(list(tmp_path.iterdir()))
            return super().read(size)

    filing.save(httpd.on("/x", Answer(201)), Looking(3 * MIB), None)

    assert len(seen) > 3
    assert not any(seen)


def test_no_room_for_the_file_is_storage_full_and_asks_nobody(httpd: Httpd, filing: HttpDriver, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b", 0))  # noqa: SIM115
    found = failure(filing, httpd.on("/x", Answer(201)), 3 * MIB)

    assert type(found) is StorageFull
    assert "TMPDIR" in found.remedy
    assert httpd.requests == []


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_is_one(httpd: Httpd, driver: HttpDriver, status: int):
    driver.save(httpd.on("/x", Answer(status, b"thank you" * (status != 204))), io.BytesIO(b"x"), None)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("size", [3, 3 * MIB])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest), (401, Unauthorized), (403, Forbidden), (404, NotFound), (405, BadRequest),
        (409, BadRequest), (411, BadRequest), (413, BadRequest), (429, Throttled), (500, Unavailable),
        (503, Unavailable), (507, StorageFull),
    ],
)  # fmt: skip
def test_a_refusal_is_an_error(httpd: Httpd, driver: HttpDriver, status: int, error, size: int, early: bool):
    page = Answer(status, b"<html>sorry</html>", {"Retry-After": "7"}, early=early)
    found = failure(driver, httpd.on("/x?token=hidden", page), size)

    assert type(found) is error
    assert found.message.startswith(f"PUT {httpd.url}/x?…: {status}")
    assert "hidden" not in repr(found)
    assert getattr(found, "retry_after", 7) == 7


def test_a_server_that_wants_the_length_is_given_it_by_a_field(httpd: Httpd, driver: HttpDriver):
    for status in (411, 501):  # the latter is what S3 says to chunks
        found = failure(driver, httpd.on(f"/{status}", Answer(status, early=True)), 3 * MIB)

        assert type(found) is BadRequest
        assert "saveStreamViaFile: true" in found.remedy


def test_a_server_that_does_not_know_put_is_not_asked_for_a_length(httpd: Httpd, driver: HttpDriver):
    assert type(failure(driver, httpd.on("/x", Answer(501)), 3)) is Unsupported


def test_an_expectation_that_fails_is_not_repeated(httpd: Httpd, driver: HttpDriver):
    driver.save(httpd.on("/x", Answer(417, early=True), Answer(201)), Bytes(3 * MIB), None)

    assert [request.headers["Expect"] for request in httpd.requests] == ["100-continue", None]
    assert httpd.requests[1].body == bytes(3 * MIB)


def test_a_success_without_the_body_is_none(httpd: Httpd, driver: HttpDriver):
    """Some that do not know the question answer it with their 200: the body was never sent."""
    driver.save(httpd.on("/x", Answer(200, early=True), Answer(201)), Bytes(3 * MIB), None)

    assert [len(request.body) for request in httpd.requests] == [0, 3 * MIB]


def test_a_success_before_the_whole_body_is_none(driver: HttpDriver):
    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as hasty:
        thread = threading.Thread(target=serve, args=[hasty])
        thread.start()
        found = failure(driver, f"http://127.0.0.1:{hasty.getsockname()[1]}/x", 100 * MIB)
        thread.join()

    assert type(found) is Unavailable


@pytest.mark.parametrize("size", [MIB, 20 * MIB])
def test_a_source_that_breaks_is_told_to_the_server_by_the_missing_end(httpd: Httpd, driver: HttpDriver, size: int):
    failure = OSError(5, "the source broke")
    with pytest.raises(OSError, match="the source broke") as caught:
        driver.save(httpd.on("/x", Answer(201)), Bytes(size, failure=failure), None)
    httpd.await_requests(1)

    assert caught.value is failure
    assert not httpd.requests[0].whole


def test_a_small_source_that_breaks_asks_nobody(httpd: Httpd, driver: HttpDriver):
    with pytest.raises(RuntimeError):
        driver.save(httpd.on("/x", Answer(201)), Bytes(MIB - 1, failure=RuntimeError()), None)

    assert httpd.requests == []


def test_a_broken_source_keeps_its_own_cause(httpd: Httpd, driver: HttpDriver):
    failure = RuntimeError("broke")
    failure.__cause__ = KeyError("why")
    with pytest.raises(RuntimeError) as caught:
        driver.save(httpd.on("/x", Answer(201)), Bytes(3 * MIB, failure=failure), None)

    assert isinstance(caught.value.__cause__, KeyError)


def test_a_server_that_says_nothing_after_the_body_times_out(secrets):
    driver = HttpDriver({}, secrets, answer_timeout=0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = failure(driver, f"http://127.0.0.1:{silent.getsockname()[1]}/x", 3)

    assert type(found) is TimedOut


def test_no_error_of_a_save_shows_a_credential(httpd: Httpd, secrets):
    secrets.write("s", user="c4nary-user", password="c4nary-password")
    pair = {"usernameSecret": {"name": "s", "key": "user"}, "passwordSecret": {"name": "s", "key": "password"}}
    config = {"auth": {"basicAuth": pair}, "headers": [{"name": "X-Token", "value": "c4nary-header"}]}
    driver = HttpDriver(config, secrets, read_timeout=0.2, answer_timeout=0.2)
    httpd.on("/401?c4nary-query", Answer(401))
    httpd.on("/ring?c4nary-query", Answer(307, headers={"Location": "/ring?c4nary-query"}))
    for url in (
        f"{httpd.url}/401?c4nary-query",
        f"{httpd.url}/ring?c4nary-query",
        "http://c4nary-user:c4nary-password@no-such-host.invalid/?c4nary-query",
        "http://127.0.0.1:1/?c4nary-query",
    ):
        for size in (3, 3 * MIB):
            with pytest.raises(LifecycleError) as caught:
                driver.save(url, Bytes(size), None)

            assert "c4nary" not in "".join(traceback.format_exception(caught.value))
            assert "c4nary" not in caught.value.remedy


@pytest.mark.parametrize("value", ["yes", 1])
def test_save_stream_via_file_is_true_or_false(secrets, value: object):
    with pytest.raises(BadRequest, match="saveStreamViaFile"):
        HttpDriver({"saveStreamViaFile": value}, secrets)


def test_a_presigned_url_of_s3_takes_a_file(weed, filing: HttpDriver, driver: HttpDriver):
    data = os.urandom(3 * MIB)
    filing.save(weed.presigned("PUT", "by-http"), io.BytesIO(data), None)
    with driver.open(weed.presigned("GET", "by-http")) as stream:
        assert stream.read() == data
