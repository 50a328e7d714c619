"""The rest of a download that broke: what tells a version, and what a server may answer."""

from __future__ import annotations

import pytest

from drivers.http import HttpDriver, validator
from lifecycle.errors import LifecycleError, NotFound, Unavailable
from tests.servers.httpd import Answer, Httpd

OLD, NOW = "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:01 GMT"


@pytest.fixture
def driver(secrets) -> HttpDriver:
    return HttpDriver({}, secrets)


def failure(driver: HttpDriver, url: str) -> LifecycleError:
    with pytest.raises(LifecycleError) as caught:
        driver.open_rest(url, 4, '"v1"')
    return caught.value


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"ETag": '"v1"'}, '"v1"'),
        ({"ETag": 'W/"v1"'}, ""),
        ({"ETag": "v1"}, ""),
        ({"ETag": '"v1"', "Accept-Ranges": "none"}, ""),
        ({"Last-Modified": OLD, "Date": NOW}, OLD),
        ({"Last-Modified": OLD, "Date": OLD}, ""),
        ({"Last-Modified": OLD}, ""),
        ({"Last-Modified": "yesterday", "Date": NOW}, ""),
        ({"ETag": 'W/"v1"', "Last-Modified": OLD, "Date": NOW}, ""),
        ({}, ""),
    ],
)
def test_only_what_is_sure_to_change_with_the_content_tells_a_version(headers: dict[str, str], version: str):
    assert validator(headers) == version


def test_the_version_is_told_with_the_stream(httpd: Httpd, driver: HttpDriver):
    with driver.open(httpd.on("/x", Answer(200, b"data", {"ETag": '"v1"'}))) as stream:
        assert stream.version == '"v1"'


def test_a_part_that_a_person_asked_for_has_no_rest(httpd: Httpd, secrets):
    driver = HttpDriver({"headers": [{"name": "Range", "value": "bytes=0-3"}]}, secrets)
    with driver.open(httpd.on("/x", Answer(206, b"data", {"ETag": '"v1"'}))) as stream:
        assert stream.version == ""


@pytest.mark.parametrize("headers", [{"ETag": '"v1"'}, {}])
def test_the_rest_is_what_is_behind_the_offset(httpd: Httpd, driver: HttpDriver, headers: dict[str, str]):
    url = httpd.on("/x", Answer(206, b"rest", {"Content-Range": "bytes 4-7/8"} | headers))
    with driver.open_rest(url, 4, '"v1"') as stream:
        assert stream.size == 4
        assert stream.version == '"v1"'
        assert stream.read() == b"rest"

    assert httpd.requests[0].headers["Range"] == "bytes=4-"
    assert httpd.requests[0].headers["If-Range"] == '"v1"'


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, b"whole", {"ETag": '"v2"'}), NotFound),
        (Answer(200, b"whole"), NotFound),
        (Answer(200, b"whole", {"ETag": '"v1"'}), Unavailable),
        (Answer(206, b"rest", {"ETag": '"v2"', "Content-Range": "bytes 4-7/8"}), NotFound),
        (Answer(206, b"rest", {"ETag": '"v1"', "Content-Range": "bytes 3-7/8"}), Unavailable),
        (Answer(206, b"rest", {"ETag": '"v1"'}), Unavailable),
        (Answer(206, b"rest", {"ETag": '"v1"', "Content-Type": "multipart/byteranges"}), Unavailable),
        (Answer(416, b"", {"Content-Range": "bytes */3"}), NotFound),
        (Answer(404), NotFound),
        (Answer(503), Unavailable),
    ],
)
def test_what_is_not_the_rest_of_that_version_is_an_error(httpd: Httpd, driver: HttpDriver, answer: Answer, error):
    found = failure(driver, httpd.on("/x", answer))

    assert type(found) is error


def test_a_rest_that_breaks_off_is_an_error(httpd: Httpd, driver: HttpDriver):
    url = httpd.on("/x", Answer(206, b"re", {"ETag": '"v1"', "Content-Range": "bytes 4-7/8"}, length=4))
    with driver.open_rest(url, 4, '"v1"') as stream, pytest.raises(Unavailable):
        stream.read()
