"""Google Cloud Storage: the conformance run on the emulator, and by script what no emulator does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any
from uuid import uuid4

import pytest

from drivers.conformance import Bytes, DriverConformance, Store
from drivers.gcs import GcsDriver
from drivers.objects import BLOCK, PART
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    InputError,
    NotFound,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from lifecycle.ports import StoredObject
from tests.servers.gcs import Gcs, service_account
from tests.servers.httpd import Answer, Httpd


@pytest.fixture
def emulated(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> Gcs:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    return gcs


@pytest.fixture
def driver_of_emulator(emulated: Gcs, secrets) -> GcsDriver:
    return GcsDriver({"bucket": emulated.bucket}, secrets)


class TestConformance(DriverConformance):
    @pytest.fixture
    def store(self, emulated: Gcs, secrets) -> Store:
        return Store(GcsDriver({"bucket": emulated.bucket}, secrets), f"test/{uuid4().hex}")


# --- by script --------------------------------------------------------------------------------------------------------

OBJECT = "/storage/v1/b/artifacts/o/it"
LIST = "/storage/v1/b/artifacts/o?maxResults=1&fields=nextPageToken"
MEDIA = f"{OBJECT}?alt=media"
DATA = bytes(range(256)) * 20_000
GENERATION = {"x-goog-generation": "7"}


def part(start: int, end: int, **more: Any) -> Answer:
    """The answer to a range."""
    data = DATA[start:end]
    return Answer(
        206, data, {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{len(DATA)}", **GENERATION}, **more
    )


@pytest.fixture
def driver(httpd: Httpd, secrets, monkeypatch: pytest.MonkeyPatch) -> GcsDriver:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", httpd.url)
    return GcsDriver({"bucket": "artifacts"}, secrets)


def test_every_block_is_asked_for_by_range_and_of_the_first_ones_generation(driver: GcsDriver, httpd: Httpd):
    httpd.on(MEDIA, part(0, BLOCK))
    httpd.on(f"{MEDIA}&generation=7", part(BLOCK, len(DATA)))
    with driver.open("it") as stream:
        assert (stream.size, stream.version) == (len(DATA), "7")
        assert stream.read() == DATA

    assert [one.headers["Range"] for one in httpd.requests] == [
        f"bytes=0-{BLOCK - 1}",
        f"bytes={BLOCK}-{len(DATA) - 1}",
    ]
    assert {one.headers["Accept-Encoding"] for one in httpd.requests} == {"gzip"}


def test_an_object_that_is_replaced_while_it_is_read_is_no_missing_one(driver: GcsDriver, httpd: Httpd):
    httpd.on(MEDIA, part(0, BLOCK))
    httpd.on(f"{MEDIA}&generation=7", Answer(404))
    httpd.on(LIST, Answer(200, b"{}"))
    with driver.open("it") as stream, pytest.raises(Unavailable, match="changed while it was read"):
        stream.read()


def test_the_rest_is_that_of_the_same_generation(driver: GcsDriver, httpd: Httpd):
    httpd.on(f"{MEDIA}&generation=7", part(1000, len(DATA)), Answer(404))
    httpd.on(LIST, Answer(200, b"{}"))
    with driver.open_rest("it", 1000, "7") as rest:
        assert (rest.size, rest.version) == (len(DATA) - 1000, "7")
        assert rest.read() == DATA[1000:]
    with pytest.raises(NotFound):
        driver.open_rest("it", 1000, "7")


def test_a_truncated_block_is_unavailable(driver: GcsDriver, httpd: Httpd):
    httpd.on(MEDIA, part(0, BLOCK))
    httpd.on(f"{MEDIA}&generation=7", part(BLOCK, len(DATA), length=len(DATA) - BLOCK + 5))
    with driver.open("it") as stream, pytest.raises(Unavailable):
        stream.read()


def test_a_read_that_blocks_is_ended_from_another_thread(driver: GcsDriver, httpd: Httpd):
    httpd.on(MEDIA, part(0, BLOCK))
    httpd.on(f"{MEDIA}&generation=7", part(BLOCK, BLOCK + 10, length=len(DATA) - BLOCK, hangs=True))
    with driver.open("it") as stream:
        assert stream.read(BLOCK) == DATA[:BLOCK]
        ended = threading.Thread(target=stream.abort)
        ended.start()
        with pytest.raises(Unavailable, match="broke off"):
            stream.read(1)
        ended.join()


def test_a_store_that_says_nothing_has_timed_out(httpd: Httpd, secrets, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", httpd.url)
    httpd.on(MEDIA, part(0, 10, length=BLOCK, hangs=True))
    with pytest.raises(TimedOut):
        GcsDriver({"bucket": "artifacts"}, secrets, read_timeout=0.2).open("it")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (408, TimedOut),
        (429, Throttled),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
    ],
)
def test_refusals_are_told_by_status_and_asked_for_once(
    driver: GcsDriver, httpd: Httpd, status: int, expected: type[Exception]
):
    body = json.dumps({"error": {"code": status, "message": "invalid: storage.objects.get is missing"}}).encode()
    httpd.on(MEDIA, Answer(status, body, {"Retry-After": "7"}))
    with pytest.raises(expected, match=rf"{status}.*storage\.objects\.get is missing") as caught:
        driver.open("it")

    assert type(caught.value) is expected
    assert getattr(caught.value, "retry_after", 7.0) == 7.0
    assert len(httpd.requests) == 1


@pytest.mark.parametrize(
    ("bucket", "expected"), [(Answer(200, b"{}"), NotFound), (Answer(403), NotFound), (Answer(404), BadRequest)]
)
def test_a_missing_object_is_told_from_a_missing_bucket(
    driver: GcsDriver, httpd: Httpd, bucket: Answer, expected: type[Exception]
):
    httpd.on(MEDIA, Answer(404, b'{"error": {"message": "No such object"}}'))
    httpd.on(LIST, bucket)
    with pytest.raises(expected) as caught:
        driver.open("it")

    assert type(caught.value) is expected


def test_a_bucket_that_is_not_there_is_never_not_found(emulated: Gcs, secrets):
    driver = GcsDriver({"bucket": "nowhere"}, secrets)
    for work in (
        lambda: driver.open("it"),
        lambda: driver.save("it", Bytes(10), None),
        lambda: driver.save("it", Bytes(20 << 20), None),
        lambda: list(driver.list("it")),
        lambda: driver.delete("it"),
    ):
        with pytest.raises(BadRequest, match="'nowhere'") as caught:
            work()
        assert "create the bucket" in caught.value.remedy


def test_what_the_store_did_not_keep_of_a_part_is_sent_again(driver: GcsDriver, httpd: Httpd):
    size = PART + 1000
    begun = "/upload/storage/v1/b/artifacts/o?uploadType=resumable&name=it"
    half = PART // 2
    kept = [Answer(308, b"", {"Range": f"bytes=0-{half - 1}"}), Answer(308, b"", {"Range": f"bytes=0-{PART - 1}"})]
    httpd.on(begun, Answer(200, b"", {"Location": f"{httpd.url}/session"}))
    httpd.on("/session", *kept, Answer(200, b"{}"))
    driver.save("it", Bytes(size), None)

    sent = [(one.headers["Content-Range"], len(one.body)) for one in httpd.requests if one.target == "/session"]
    assert sent == [
        (f"bytes 0-{PART - 1}/*", PART),
        (f"bytes {half}-{PART - 1}/*", half),
        (f"bytes {PART}-{size - 1}/{size}", 1000),
    ]


def test_a_failed_upload_is_cancelled_and_keeps_what_was_there(emulated: Gcs, driver_of_emulator: GcsDriver):
    driver_of_emulator.save("kept", Bytes(5), None)
    with pytest.raises(RuntimeError):
        driver_of_emulator.save("kept", Bytes(20 << 20, failure=RuntimeError("broke")), None)

    with driver_of_emulator.open("kept") as stream:
        assert stream.read() == bytes(5)


def test_an_upload_that_fails_is_ended(driver: GcsDriver, httpd: Httpd):
    begun = "/upload/storage/v1/b/artifacts/o?uploadType=resumable&name=it"
    httpd.on(begun, Answer(200, b"", {"Location": f"{httpd.url}/session"}))
    httpd.on("/session", Answer(503), Answer(499))
    with pytest.raises(Unavailable, match="503"):
        driver.save("it", Bytes(20 << 20), None)

    assert [one.method for one in httpd.requests] == ["POST", "POST", "DELETE"]


def test_folder_markers_are_no_objects(driver: GcsDriver, httpd: Httpd):
    target = "/storage/v1/b/artifacts/o?prefix=d%2F&maxResults=1000&fields=items%28name%2Csize%29%2CnextPageToken"
    first = {"items": [{"name": "d/", "size": "0"}, {"name": "d/a/", "size": "0"}], "nextPageToken": "more"}
    second = {"items": [{"name": "d/a/b", "size": "3"}]}
    httpd.on(target, Answer(200, json.dumps(first).encode()))
    httpd.on(f"{target}&pageToken=more", Answer(200, json.dumps(second).encode()))

    assert list(driver.list("d")) == [StoredObject("a/b", 3)]


@pytest.fixture
def with_key(httpd: Httpd, secrets, monkeypatch: pytest.MonkeyPatch) -> GcsDriver:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", httpd.url)
    secrets.write("gcs", key=service_account(f"{httpd.url}/token"))
    return GcsDriver({"bucket": "artifacts", "serviceAccountKeySecret": {"name": "gcs", "key": "key"}}, secrets)


def test_the_service_accounts_token_is_asked_for_once_and_sent(with_key: GcsDriver, httpd: Httpd):
    token = {"access_token": "the-token", "expires_in": 3600, "token_type": "Bearer"}
    httpd.on("/token", Answer(200, json.dumps(token).encode(), {"Content-Type": "application/json"}))
    httpd.on(MEDIA, Answer(200, b"data", GENERATION))
    for _ in range(2):
        with with_key.open("it") as stream:
            assert stream.read() == b"data"

    assert [one.headers["Authorization"] for one in httpd.requests if one.target == MEDIA] == ["Bearer the-token"] * 2
    assert httpd.asked["/token"] == 1


def test_a_token_that_is_refused_is_unauthorized_and_nothing_quotes_the_key(with_key: GcsDriver, httpd: Httpd):
    httpd.on("/token", Answer(400, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'))
    with pytest.raises(Unauthorized, match="no access token") as caught:
        with_key.open("it")

    assert "serviceAccountKeySecret" in caught.value.remedy
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "not JSON", "[]", '{"type": "service_account", "private_key": "s3cr3t"}'])
def test_a_secret_that_is_no_key_is_named_and_not_shown(secrets, text: str):
    secrets.write("gcs", key=text)
    with pytest.raises(InputError, match=r"gcs\.serviceAccountKeySecret") as caught:
        GcsDriver({"bucket": "artifacts", "serviceAccountKeySecret": {"name": "gcs", "key": "key"}}, secrets)

    assert caught.value.__cause__ is None


def test_no_default_credentials_is_unauthorized(secrets, monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(Unauthorized, match="no access token"):
        GcsDriver({"bucket": "artifacts"}, secrets).open("it")


def test_a_bucket_is_required(secrets):
    with pytest.raises(InputError, match=r"gcs\.bucket"):
        GcsDriver({}, secrets)


def test_a_missing_package_names_the_extra(secrets, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(Unsupported) as caught:
        GcsDriver({"bucket": "artifacts"}, secrets)

    assert "argoexec[gcs]" in caught.value.remedy


def test_all_drivers_of_a_process_share_one_thread(httpd: Httpd, secrets, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", httpd.url)
    httpd.on(MEDIA, Answer(200, b"data", GENERATION))
    for _ in range(5):
        with GcsDriver({"bucket": "artifacts"}, secrets).open("it") as stream:
            stream.read()

    assert sum(thread.name == "fsspecIO" for thread in threading.enumerate()) == 1


def test_a_process_that_used_it_ends_at_once_and_says_nothing(httpd: Httpd):
    httpd.on(MEDIA, Answer(200, b"data", GENERATION))
    program = (
        "from drivers.gcs import GcsDriver; from lifecycle.secret import SecretReader; from pathlib import Path\n"
        "driver = GcsDriver({'bucket': 'artifacts'}, SecretReader(Path('/')))\n"
        "print(driver.open('it').read())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", program],
        env=os.environ | {"STORAGE_EMULATOR_HOST": httpd.url},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"b'data'\n", b"")


def test_a_child_that_is_forked_has_a_thread_of_its_own(httpd: Httpd):
    httpd.on(MEDIA, Answer(200, b"data", GENERATION))
    program = (
        "import os; from drivers.gcs import GcsDriver; from lifecycle.secret import SecretReader\n"
        "from pathlib import Path\n"
        "read = lambda: GcsDriver({'bucket': 'artifacts'}, SecretReader(Path('/'))).open('it').read()\n"
        "assert read() == b'data'\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(7 if read() == b'data' else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), read())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | {"STORAGE_EMULATOR_HOST": httpd.url},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"7 b'data'\n", b"")
