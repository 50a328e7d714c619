"""Alibaba's OSS: the conformance run on a server that checks signatures; there is no emulator."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from drivers.conformance import Bytes, DriverConformance, Store
from drivers.oss import OssDriver
from lifecycle.errors import (
    BadRequest,
    CorruptData,
    Forbidden,
    InputError,
    NotFound,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from tests.servers.oss import ACCESS, SECRET, Oss

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


@pytest.fixture
def oss() -> Iterator[Oss]:
    with Oss() as server:
        yield server


@pytest.fixture
def config(oss: Oss, secrets) -> dict[str, Any]:
    secrets.write("oss", access=ACCESS, secret=SECRET)
    return {
        "endpoint": oss.endpoint,
        "bucket": "artifacts",
        "accessKeySecret": {"name": "oss", "key": "access"},
        "secretKeySecret": {"name": "oss", "key": "secret"},
    }


@pytest.fixture
def driver(config: dict[str, Any], secrets) -> OssDriver:
    return OssDriver(config, secrets)


class TestConformance(DriverConformance):
    flat = False  # the server is in the memory of this process

    @pytest.fixture
    def store(self, driver: OssDriver) -> Store:
        return Store(driver, f"test/{uuid4().hex}")


def test_a_large_object_goes_in_parts_and_a_failed_one_leaves_none(driver: OssDriver, oss: Oss):
    driver.save("large", Bytes(17 * MIB), None)
    driver.save("kept", io.BytesIO(b"old"), None)
    with pytest.raises(RuntimeError):
        driver.save("kept", Bytes(20 * MIB, failure=RuntimeError("broke")), None)

    assert sum("partNumber" in target for _, target in oss.asked) >= 3
    assert oss.uploads == {}
    assert oss.objects["artifacts"] == {"large": bytes(17 * MIB), "kept": b"old"}


def test_the_rest_is_given_of_the_same_object_only(driver: OssDriver):
    driver.save("it", io.BytesIO(b"0123456789"), None)
    with driver.open("it") as stream:
        version = stream.version
    with driver.open_rest("it", 4, version) as rest:
        assert (rest.size, rest.read()) == (6, b"456789")
    driver.save("it", io.BytesIO(b"another"), None)

    with pytest.raises(NotFound):
        driver.open_rest("it", 4, version)


@pytest.mark.parametrize("size", [1, 5 * MIB])
def test_bytes_that_are_not_those_of_the_store_s_checksum_are_no_object(driver: OssDriver, oss: Oss, size: int):
    driver.save("it", io.BytesIO(bytes(size)), None)
    oss.spoiled = True
    with driver.open("it") as stream:
        assert len(stream.read(size - 1)) == size - 1
        with pytest.raises(CorruptData, match="checksum"):  # whoever reads an archive does not ask for the end
            stream.read(1)


def test_what_is_stored_as_gzip_comes_as_it_is_stored(driver: OssDriver, oss: Oss):
    packed = gzip.compress(b"0123456789" * 100)
    driver.save("it", io.BytesIO(packed), None)
    oss.encoding = "gzip"
    with driver.open("it") as stream:
        assert (stream.size, stream.read()) == (len(packed), packed)


def test_a_bucket_that_is_not_there_is_never_not_found(config, secrets):
    driver = OssDriver(config | {"bucket": "nowhere"}, secrets)
    for work in (
        lambda: driver.open("it"),
        lambda: driver.save("it", io.BytesIO(b"x"), 1),
        lambda: list(driver.list("it")),
        lambda: driver.delete("it"),
    ):
        with pytest.raises(BadRequest, match="'nowhere'") as caught:
            work()
        assert "create the bucket" in caught.value.remedy


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", Forbidden),
        (403, "SecurityTokenExpired", Unauthorized),
        (403, "RequestTimeTooSkewed", Unauthorized),
        (400, "RequestTimeout", TimedOut),
        (400, "InvalidArgument", BadRequest),
        (503, "QpsLimitExceeded", Throttled),
        (500, "InternalError", Unavailable),
        (503, "", Unavailable),
    ],
)
def test_refusals_are_told_by_code_and_status_and_asked_for_once(
    driver: OssDriver, oss: Oss, status: int, code: str, expected: type[Exception]
):
    oss.failures = [(status, code)]
    with pytest.raises(expected) as caught:
        driver.open("it")

    assert type(caught.value) is expected
    assert code in str(caught.value)
    assert len(oss.asked) == 1


@pytest.mark.parametrize(("field", "code"), [("access", "InvalidAccessKeyId"), ("secret", "SignatureDoesNotMatch")])
def test_a_wrong_secret_is_unauthorized_and_stays_secret(config, secrets, field: str, code: str):
    secrets.write("oss", **{field: "wrong-s3cr3t"})
    with pytest.raises(Unauthorized, match=code) as caught:
        OssDriver(config, secrets).open("it")

    assert "secretKeySecret" in caught.value.remedy
    assert caught.value.__cause__ is None
    assert "wrong-s3cr3t" not in f"{caught.value}{caught.value.remedy}"


def test_a_security_token_is_sent(config, secrets, oss: Oss):
    oss.token = "the-token"
    OssDriver(config | {"securityToken": "the-token"}, secrets).save("it", io.BytesIO(b"x"), 1)
    with pytest.raises(Unauthorized, match="InvalidSecurityToken"):
        OssDriver(config, secrets).open("it")

    assert oss.objects["artifacts"] == {"it": b"x"}


def test_a_server_that_is_gone_is_unavailable(config, secrets):
    with pytest.raises(Unavailable, match="refused"):
        OssDriver(config | {"endpoint": "http://127.0.0.1:1"}, secrets).open("it")


def test_a_bucket_is_made_where_that_is_asked_for(config, secrets, oss: Oss):
    driver = OssDriver(config | {"bucket": "new-one", "createBucketIfNotPresent": True}, secrets)
    driver.save("a", io.BytesIO(b"x"), 1)
    driver.save("b", io.BytesIO(b"x"), 1)

    assert oss.objects["new-one"] == {"a": b"x", "b": b"x"}
    assert [target for method, target in oss.asked if method == "PUT"] == ["/new-one/", "/new-one/a", "/new-one/b"]


def test_a_life_cycle_rule_is_added_to_those_of_the_bucket(config, secrets, oss: Oss):
    rule = {"markDeletionAfterDays": 7, "markInfrequentAccessAfterDays": 3}
    for keys in (("a", "b"), ("a",)):
        driver = OssDriver(config | {"lifecycleRule": rule}, secrets)
        for key in keys:
            driver.save(key, io.BytesIO(b"x"), 1)

    text = oss.rules["artifacts"].decode()
    assert text.count("<Rule>") == 2
    assert (text.count("<Prefix>a</Prefix>"), text.count("<Prefix>b</Prefix>")) == (1, 1)
    assert (text.count("<Days>7</Days>"), text.count("<StorageClass>IA</StorageClass>")) == (2, 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bucket": ""}, "oss.bucket"),
        ({"endpoint": None}, "oss.endpoint"),
        ({"secretKeySecret": None}, "secretKeySecret"),
        ({"lifecycleRule": {"days": 3}}, "oss.lifecycleRule"),
        ({"lifecycleRule": {"markDeletionAfterDays": "3"}}, "markDeletionAfterDays"),
        ({"bucket": "Not_A Bucket"}, "oss"),
    ],
)
def test_a_field_that_cannot_be_is_named(config, secrets, change: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        OssDriver(config | change, secrets)


def test_what_the_library_cannot_do_is_refused_by_name(config, secrets):
    with pytest.raises(Unsupported, match="useSDKCreds"):
        OssDriver(config | {"useSDKCreds": True}, secrets)


def test_a_missing_package_names_the_extra(config, secrets, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "oss2", None)
    with pytest.raises(Unsupported) as caught:
        OssDriver(config, secrets)

    assert "argoexec[oss]" in caught.value.remedy
