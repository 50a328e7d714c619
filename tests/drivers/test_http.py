"""HTTP artifacts, against a real server that answers by script."""

from __future__ import annotations

import gzip
import socket

import pytest

from drivers.http import HttpDriver
from drivers.http_errors import retry_after
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    LifecycleError,
    NotFound,
    Permanent,
    StorageFull,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from tests.servers.httpd import Answer, Httpd
from tests.servers.process import deaf_port


@pytest.fixture
def driver(secrets) -> HttpDriver:
    return HttpDriver({}, secrets)


def failure(driver: HttpDriver, url: str) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught, driver.open(url) as stream:
        stream.read()
    return caught.value


def moved(url: str, status: int = 302) -> Answer:
    return Answer(status, b"<html>elsewhere</html>", {"Location": url})


def test_the_body_of_a_200_is_the_artifact(httpd: Httpd, driver: HttpDriver):
    url = httpd.on("/a%20b/ö?x=1".replace("ö", "%C3%B6"), Answer(200, b"data"))
    with driver.open(url) as stream:
        assert stream.size == 4
        assert stream.read() == b"data"


def test_an_empty_body_is_an_empty_artifact(httpd: Httpd, driver: HttpDriver):
    with driver.open(httpd.on("/", Answer(200))) as stream:
        assert stream.read() == b""


def test_a_body_without_a_length_ends_where_the_connection_does(httpd: Httpd, driver: HttpDriver):
    with driver.open(httpd.on("/x", Answer(200, b"data", length=-1))) as stream:
        assert stream.size is None
        assert stream.read() == b"data"


def test_a_compressed_artifact_stays_compressed(httpd: Httpd, driver: HttpDriver):
    packed = gzip.compress(b"data")
    url = httpd.on("/x.gz", Answer(200, packed, {"Content-Encoding": "gzip"}))
    with driver.open(url) as stream:
        assert stream.read() == packed
    assert httpd.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest), (401, Unauthorized), (403, Forbidden), (404, NotFound), (407, Unauthorized),
        (408, Unavailable), (410, BadRequest), (429, Throttled), (500, Unavailable), (502, Unavailable),
        (503, Unavailable), (304, BadRequest), (302, BadRequest), (501, Unsupported), (507, StorageFull),
    ],
)  # fmt: skip
def test_an_error_page_is_an_error(httpd: Httpd, driver: HttpDriver, status: int, error: type[LifecycleError]):
    found = failure(driver, httpd.on("/page?token=hidden", Answer(status, b"<html>sorry</html>" * (status != 304))))

    assert type(found) is error
    assert str(status) in found.message
    assert f"{httpd.url}/page" in found.message
    assert "hidden" not in repr(found)


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_when_to_come_back(httpd: Httpd, driver: HttpDriver, status: int):
    found = failure(driver, httpd.on("/", Answer(status, headers={"Retry-After": "17"})))

    assert found.retry_after == 17


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:40 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 40.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:29:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers) == seconds


def test_a_body_that_breaks_off_is_not_an_artifact(httpd: Httpd, driver: HttpDriver):
    found = failure(driver, httpd.on("/x", Answer(200, b"half", length=8)))

    assert type(found) is Unavailable


def test_reading_on_after_a_break_is_not_the_end(httpd: Httpd, driver: HttpDriver):
    with driver.open(httpd.on("/x", Answer(200, b"half", length=8))) as stream:
        for _ in range(2):
            with pytest.raises(Unavailable):
                list(iter(lambda: stream.read(100), b""))


def test_a_server_that_stops_sending_times_out(httpd: Httpd, secrets):
    driver = HttpDriver({}, secrets, read_timeout=2.0)
    url = httpd.on("/slow", Answer(200, b"half", length=8, hangs=True))
    with driver.open(url) as stream:
        assert stream.read(4) == b"half"
        with pytest.raises(TimedOut):
            stream.read(4)


def test_a_server_that_does_not_answer_times_out(secrets):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        driver = HttpDriver({}, secrets, read_timeout=0.2)
        found = failure(driver, f"http://127.0.0.1:{silent.getsockname()[1]}/?token=hidden")

    assert type(found) is TimedOut
    assert "hidden" not in str(found)


def test_nobody_at_the_port_is_unavailable(driver: HttpDriver):
    with deaf_port() as port:
        found = failure(driver, f"http://user:hidden@127.0.0.1:{port}/x?y=hidden")

    assert type(found) is Unavailable
    assert found.message == f"GET http://127.0.0.1:{port}/x?…: Connection refused"


def test_a_host_without_an_address_is_unavailable_not_missing(driver: HttpDriver):
    found = failure(driver, "http://no-such-host.invalid/x")

    assert type(found) is Unavailable
    assert "cannot be resolved" in found.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(httpd: Httpd, driver: HttpDriver, status: int):
    httpd.on("/there", Answer(200, b"data"))
    with driver.open(httpd.on("/here", moved("/there", status))) as stream:
        assert stream.read() == b"data"


def test_a_ring_of_redirects_ends(httpd: Httpd, driver: HttpDriver):
    found = failure(driver, httpd.on("/ring", moved("/ring")))

    assert type(found) is BadRequest
    assert "redirects" in found.message


def test_a_redirect_to_a_file_is_refused(httpd: Httpd, driver: HttpDriver):
    assert type(failure(driver, httpd.on("/x", moved("file:///etc/passwd")))) is BadRequest


@pytest.mark.parametrize("target", ["http://[::1/hidden", "http://host:port/hidden", "//user:hidden@[/"])
def test_a_redirect_to_what_is_no_url_is_refused(httpd: Httpd, driver: HttpDriver, target: str):
    found = failure(driver, httpd.on("/x", moved(target)))

    assert type(found) is BadRequest
    assert "hidden" not in repr(found)


def test_configured_headers_are_sent(httpd: Httpd, secrets):
    driver = HttpDriver({"headers": [{"name": "X-Token", "value": "t0ken"}]}, secrets)
    driver.open(httpd.on("/x", Answer())).close()

    assert httpd.requests[0].headers["X-Token"] == "t0ken"


def test_user_and_password_of_the_url_become_basic_authentication(httpd: Httpd, driver: HttpDriver):
    httpd.on("/x", Answer())
    driver.open(f"http://user:p%40ss@{httpd.endpoint}/x").close()

    assert httpd.requests[0].headers["Authorization"] == "Basic dXNlcjpwQHNz"
    assert httpd.requests[0].target == "/x"
    assert httpd.requests[0].headers["Host"] == httpd.endpoint


def test_a_password_outside_of_latin_1_is_sent_as_utf_8(httpd: Httpd, driver: HttpDriver):
    httpd.on("/x", Answer())
    driver.open(f"http://u:日@{httpd.endpoint}/x").close()

    assert httpd.requests[0].headers["Authorization"] == "Basic dTrml6U="


def test_credentials_stay_with_their_host(httpd: Httpd, secrets):
    driver = HttpDriver({"headers": [{"name": "Private-Token", "value": "t0ken"}]}, secrets)
    with Httpd() as other:
        away = other.on("/x", Answer(200, b"data"))
        httpd.on("/first", moved("/second"))
        httpd.on("/second", moved(away))
        with driver.open(f"http://user:pass@{httpd.endpoint}/first") as stream:
            assert stream.read() == b"data"

    assert "Authorization" in httpd.requests[0].headers
    assert "Private-Token" in httpd.requests[0].headers
    assert "Private-Token" in httpd.requests[1].headers
    assert "Authorization" not in other.requests[0].headers
    assert "Private-Token" not in other.requests[0].headers


def test_credentials_go_with_a_redirect_on_their_own_host(httpd: Httpd, driver: HttpDriver):
    httpd.on("/first", moved("/second"))
    httpd.on("/second", Answer())
    driver.open(f"http://user:pass@{httpd.endpoint}/first").close()

    assert [request.headers.get("Authorization") for request in httpd.requests] == ["Basic dXNlcjpwYXNz"] * 2


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/x", "", "host/x", "http://", "http://h:x/", "http://[::1/", "data:,x"],
)
def test_only_http_urls_are_read(driver: HttpDriver, url: str):
    assert type(failure(driver, url)) is BadRequest


def test_a_url_that_cannot_be_parsed_is_not_repeated(driver: HttpDriver):
    assert "hidden" not in repr(failure(driver, "http://user:hidden@host:port/?hidden"))


def test_the_proxy_of_the_environment_is_used(httpd: Httpd, driver: HttpDriver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", f"http://me:pass@{httpd.endpoint}")
    httpd.on("http://a.invalid/x", Answer(200, b"through the proxy"))
    with driver.open("http://a.invalid/x") as stream:
        assert stream.read() == b"through the proxy"

    assert httpd.requests[0].headers["Proxy-Authorization"] == "Basic bWU6cGFzcw=="


def test_no_proxy_is_obeyed_for_every_hop(httpd: Httpd, driver: HttpDriver, monkeypatch: pytest.MonkeyPatch):
    with Httpd() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        proxy.on("http://a.invalid/x", Answer(200, b"through the proxy"))
        with driver.open(httpd.on("/x", moved("http://a.invalid/x"))) as stream:
            assert stream.read() == b"through the proxy"

        assert len(httpd.requests) == len(proxy.requests) == 1


def test_a_proxy_that_is_down_is_unavailable(driver: HttpDriver, monkeypatch: pytest.MonkeyPatch):
    with deaf_port() as port:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        assert type(failure(driver, "http://a.invalid/x")) is Unavailable


def test_a_proxy_of_another_kind_is_refused(driver: HttpDriver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "socks5://user:hidden@127.0.0.1:1080")
    found = failure(driver, "http://a.invalid/x")

    assert type(found) is BadRequest
    assert "hidden" not in found.message


def test_a_certificate_that_nobody_vouches_for_is_permanent(certificate, driver: HttpDriver):
    with Httpd(certificate) as httpd:
        found = failure(driver, httpd.on("/x", Answer()))

    assert type(found) is Permanent
    assert "certificate" in found.message
    assert "SSL_CERT_FILE" in found.remedy


def test_a_ca_can_be_named_in_the_environment(certificate, driver: HttpDriver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with Httpd(certificate) as httpd, driver.open(httpd.on("/x", Answer(200, b"data"))) as stream:
        assert stream.read() == b"data"


def test_a_port_without_tls_is_permanent(httpd: Httpd, driver: HttpDriver):
    found = failure(driver, f"https://{httpd.endpoint}/x")

    assert type(found) is Permanent
    assert "TLS" in found.message


def test_a_url_has_nothing_below_it(driver: HttpDriver):
    assert list(driver.list("http://host/")) == []


@pytest.mark.parametrize("status", [200, 202, 204, 404, 410])
def test_what_is_gone_is_deleted(httpd: Httpd, driver: HttpDriver, status: int):
    driver.delete(httpd.on("/x", Answer(status)))

    assert httpd.requests[0].method == "DELETE"


@pytest.mark.parametrize(("status", "error"), [(403, Forbidden), (405, BadRequest), (503, Unavailable)])
def test_what_cannot_be_deleted_is_an_error(httpd: Httpd, driver: HttpDriver, status: int, error: type[LifecycleError]):
    with pytest.raises(error, match=f"DELETE {httpd.url}/x: {status}"):
        driver.delete(httpd.on("/x", Answer(status)))


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Expect", "Connection"])
def test_headers_that_frame_a_message_are_not_a_persons(secrets, name: str):
    with pytest.raises(BadRequest, match=name):
        HttpDriver({"headers": [{"name": name, "value": "1"}]}, secrets)


@pytest.mark.parametrize("headers", ["X: y", [{"value": "y"}], [{"name": "X", "value": 1}], [1]])
def test_headers_of_another_shape_are_refused(secrets, headers: object):
    with pytest.raises(BadRequest):
        HttpDriver({"headers": headers}, secrets)


def test_a_header_that_would_smuggle_another_is_refused(httpd: Httpd, secrets):
    driver = HttpDriver({"headers": [{"name": "X", "value": "hidden\r\nY: z"}]}, secrets)

    assert type(failure(driver, httpd.on("/x", Answer()))) is BadRequest


def test_a_header_may_come_twice_and_may_replace_ours(httpd: Httpd, secrets):
    pairs = [("X-Part", "1"), ("X-Part", "2"), ("user-agent", "mine")]
    driver = HttpDriver({"headers": [{"name": name, "value": value} for name, value in pairs]}, secrets)
    driver.open(httpd.on("/x", Answer())).close()

    assert httpd.requests[0].headers.get_all("X-Part") in (["1", "2"], ["1, 2"])
    assert httpd.requests[0].headers.get_all("User-Agent") == ["mine"]
