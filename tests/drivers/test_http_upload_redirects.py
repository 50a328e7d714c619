"""A PUT that is led elsewhere: what is sent again, what only once, and the two steps of WebHDFS."""

from __future__ import annotations

import io

import pytest

from drivers.conformance import MIB, Bytes
from drivers.http import HttpDriver
from lifecycle.errors import BadRequest, Forbidden, LifecycleError, NotFound, Unavailable
from tests.servers.httpd import Answer, Httpd


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


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("size", [3, MIB - 1])
def test_a_small_body_follows_a_redirect(httpd: Httpd, driver: HttpDriver, status: int, early: bool, size: int):
    httpd.on("/there", Answer(201))
    driver.save(httpd.on("/here", Answer(status, headers={"Location": "/there"}, early=early)), Bytes(size), None)

    assert [(request.target, request.method) for request in httpd.requests] == [("/here", "PUT"), ("/there", "PUT")]
    assert httpd.requests[1].body == bytes(size)


def test_a_large_body_is_sent_only_to_where_it_is_led(httpd: Httpd, driver: HttpDriver):
    with Httpd(grants=True) as other:
        httpd.on("/x", Answer(307, headers={"Location": other.on("/y", Answer(201))}, early=True))
        driver.save(f"{httpd.url}/x", Bytes(30 * MIB), None)

        assert [len(request.body) for request in httpd.requests] == [0]
        assert [len(request.body) for request in other.requests] == [30 * MIB]


@pytest.mark.parametrize("size", [3, 3 * MIB])
def test_webhdfs_gets_its_two_steps(httpd: Httpd, driver: HttpDriver, size: int):
    with Httpd(grants=True) as node:
        there = node.on("/webhdfs/v1/x?op=CREATE&token=t", Answer(201))
        url = httpd.on("/webhdfs/v1/x?op=CREATE", Answer(307, headers={"Location": there}))
        driver.save(url, Bytes(size), None)

        assert [len(request.body) for request in httpd.requests] == [0]
        assert [len(request.body) for request in node.requests] == [size]


@pytest.mark.parametrize("query", ["op=CREATE&overwrite=true", "op=CREATE"])
@pytest.mark.parametrize("status", [None, 503])
def test_what_came_of_a_broken_body_is_deleted_from_webhdfs(httpd: Httpd, driver: HttpDriver, query: str, status):
    """A data node keeps it (Hadoop 3.3.6); but what is not to be overwritten may be somebody else's."""
    failure = RuntimeError() if status is None else None
    httpd.on("/webhdfs/v1/x?overwrite=true&op=DELETE", Answer(200))
    httpd.on("/node", Answer(status or 201))
    url = httpd.on(f"/webhdfs/v1/x?{query}", Answer(307, headers={"Location": "/node"}))
    with pytest.raises((RuntimeError, Unavailable)):
        driver.save(url, Bytes(3 * MIB, failure=failure), None)
    httpd.await_requests(2 + ("overwrite" in query))

    assert [request.method for request in httpd.requests].count("DELETE") == ("overwrite" in query)


@pytest.mark.parametrize("status", [403, 503])
def test_what_webhdfs_did_not_begin_to_take_is_not_deleted(httpd: Httpd, driver: HttpDriver, status: int):
    failure(driver, httpd.on("/webhdfs/v1/x?op=CREATE&overwrite=true", Answer(status)), 3 * MIB)
    with pytest.raises(RuntimeError):
        driver.save(f"{httpd.url}/webhdfs/v1/x?op=CREATE&overwrite=true", Bytes(3, failure=RuntimeError()), None)

    assert [request.method for request in httpd.requests] == ["PUT"]


def test_what_webhdfs_refuses_to_replace_is_not_deleted(httpd: Httpd, driver: HttpDriver):
    httpd.on("/node", Answer(403))
    url = httpd.on("/webhdfs/v1/x?op=CREATE&overwrite=true", Answer(307, headers={"Location": "/node"}))
    failure(driver, url, 3 * MIB)

    assert [request.method for request in httpd.requests] == ["PUT", "PUT"]


@pytest.mark.parametrize(("status", "error"), [(403, Forbidden), (404, NotFound), (503, Unavailable)])
def test_a_refusal_of_the_first_step_is_one(httpd: Httpd, driver: HttpDriver, status: int, error):
    found = failure(driver, httpd.on("/webhdfs/v1/x?op=CREATE", Answer(status)), 3 * MIB)

    assert type(found) is error
    assert len(httpd.requests) == 1


def test_who_takes_the_first_step_for_all_gets_the_body(httpd: Httpd, driver: HttpDriver):
    driver.save(httpd.on("/webhdfs/v1/x?op=CREATE", Answer(201)), Bytes(3 * MIB), None)

    assert [len(request.body) for request in httpd.requests] == [0, 3 * MIB]


def test_a_large_body_that_was_read_before_the_redirect_is_a_clear_error(httpd: Httpd, driver: HttpDriver):
    httpd.on("/there", Answer(201))
    found = failure(driver, httpd.on("/here", Answer(307, headers={"Location": "/there"})), 3 * MIB)

    assert type(found) is BadRequest
    assert "307" in found.message
    assert "saveStreamViaFile: true" in found.remedy
    assert [request.target for request in httpd.requests] == ["/here"]


def test_from_a_file_it_is_sent_again(httpd: Httpd, filing: HttpDriver):
    httpd.on("/there", Answer(201))
    filing.save(httpd.on("/here", Answer(307, headers={"Location": "/there"})), Bytes(3 * MIB), None)

    assert [len(request.body) for request in httpd.requests] == [3 * MIB] * 2


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("size", [3, 3 * MIB])
def test_a_redirect_that_would_lose_the_body_is_refused(httpd: Httpd, driver: HttpDriver, status: int, size: int):
    """A page to log in at, say, whose 200 would pass for success."""
    httpd.on("/login", Answer(200))
    found = failure(driver, httpd.on("/x", Answer(status, headers={"Location": "/login?hidden"}, early=True)), size)

    assert type(found) is BadRequest
    assert f"{status} leads to {httpd.url}/login?…" in found.message
    assert "hidden" not in repr(found)


def test_credentials_do_not_follow_a_body_to_another_origin(httpd: Httpd, secrets):
    secrets.write("s", user="me", password="hidden")
    pair = {"usernameSecret": {"name": "s", "key": "user"}, "passwordSecret": {"name": "s", "key": "password"}}
    config = {"auth": {"basicAuth": pair}, "headers": [{"name": "X-Token", "value": "t0ken"}]}
    with Httpd(grants=True) as other:
        httpd.on("/x", Answer(307, headers={"Location": other.on("/x", Answer(201))}))
        HttpDriver(config, secrets).save(f"{httpd.url}/x", io.BytesIO(b"x"), None)

        assert httpd.requests[0].headers["X-Token"] == "t0ken"
        assert httpd.requests[0].headers["Authorization"] == "Basic bWU6aGlkZGVu"
        assert "X-Token" not in other.requests[0].headers
        assert "Authorization" not in other.requests[0].headers
