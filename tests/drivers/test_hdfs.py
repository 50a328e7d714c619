"""The hdfs driver by RPC, on real clusters."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from drivers.conformance import MIB, Bytes, DriverConformance, Store
from drivers.hdfs import HdfsDriver
from drivers.hdfs_errors import Refused
from lifecycle.errors import BadRequest, Forbidden, NotFound, StorageFull, Unauthorized, Unavailable
from tests.servers.clusters import fresh
from tests.servers.proxy import Fault


class TestPlain(DriverConformance):
    @pytest.fixture
    def store(self, plain_config, secrets):
        return Store(HdfsDriver(plain_config, secrets), fresh())


class TestKeytab(DriverConformance):
    @pytest.fixture
    def store(self, keytab_config, secrets):
        return Store(HdfsDriver(keytab_config, secrets), fresh())


class TestCredentialCache(DriverConformance):
    @pytest.fixture
    def store(self, cache_config, secrets):
        return Store(HdfsDriver(cache_config, secrets), fresh())


@pytest.fixture
def alice(plain_config, secrets):
    return HdfsDriver(plain_config, secrets)


@pytest.fixture
def bob(plain_config, secrets):
    return HdfsDriver(plain_config | {"hdfsUser": "bob"}, secrets)


@pytest.fixture
def kerberos(keytab_config, secrets):
    return HdfsDriver(keytab_config, secrets)


def save(driver, key, data=b"data"):
    driver.save(key, io.BytesIO(data), len(data))


def read(driver, key):
    with driver.open(key) as stream:
        return stream.read()


def everything(driver, key):
    """What is below a path, with what the driver itself does not list."""
    return [entry.path for entry in driver._files.walk(key) if not entry.directory]


def held():
    """What this process has open."""
    for one in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            yield os.readlink(f"/proc/self/fd/{one}")


# --- files ---


def test_a_file_of_somebody_else_is_replaced_by_force_alone(alice, bob, plain_config, secrets):
    key = f"{fresh()}/f"
    save(bob, key)
    careful = HdfsDriver(plain_config | {"force": False}, secrets)
    with pytest.raises(BadRequest, match="a file is there already") as caught:
        save(careful, key, b"other")
    assert "force: true" in caught.value.remedy
    assert read(alice, key) == b"data"

    save(alice, key, b"other")
    assert read(alice, key) == b"other"


def test_without_force_a_further_attempt_replaces_what_this_process_has_put(plain_config, secrets):
    key = f"{fresh()}/f"
    for data in (b"first", b"second"):
        save(HdfsDriver(plain_config | {"force": False}, secrets), key, data)

    assert read(HdfsDriver(plain_config, secrets), key) == b"second"


def test_a_rename_whose_answer_was_lost_is_no_failure(plain_config, secrets, monkeypatch):
    driver = HdfsDriver(plain_config | {"force": False}, secrets)
    rename = driver._files.rename

    def lost(*args, **kwargs):
        rename(*args, **kwargs)
        raise Refused("OSError", "RPC listener disconnected")

    monkeypatch.setattr(driver._files, "rename", lost)
    key = f"{fresh()}/f"
    save(driver, key)

    assert read(driver, key) == b"data"


def test_a_rename_that_did_not_happen_is_one_and_leaves_nothing(plain_config, secrets, monkeypatch):
    driver = HdfsDriver(plain_config | {"force": False}, secrets)

    def lost(*args, **kwargs):
        raise Refused("OSError", "RPC listener disconnected")

    monkeypatch.setattr(driver._files, "rename", lost)
    key = fresh()
    with pytest.raises(Unavailable):
        save(driver, f"{key}/f")

    assert everything(driver, key) == []


@pytest.mark.parametrize("failure", [OSError("disk"), NotFound("gone"), KeyboardInterrupt()])
def test_a_source_that_fails_leaves_no_part(alice, failure):
    key = fresh()
    save(alice, f"{key}/there", b"")
    with pytest.raises(type(failure)) as caught:
        alice.save(f"{key}/f", Bytes(3 * MIB, failure=failure), None)

    assert caught.value is failure
    assert everything(alice, key) == [f"{key}/there"]


def test_a_directory_is_not_replaced_by_a_file(alice):
    key = fresh()
    save(alice, f"{key}/d/f")
    with pytest.raises(BadRequest, match="a directory is there"):
        save(alice, f"{key}/d")


def test_a_file_is_not_replaced_by_a_directory(alice):
    key = fresh()
    save(alice, f"{key}/f")
    # HDFS tells a user who is no superuser so; one who is gets a ParentNotDirectoryException.
    with pytest.raises(Forbidden, match="is not a directory") as caught:
        save(alice, f"{key}/f/g")
    assert "correct the path" in caught.value.remedy


def test_a_name_that_hdfs_does_not_allow_is_a_bad_request(alice):
    with pytest.raises(BadRequest, match="Invalid path name"):
        save(alice, f"{fresh()}/12:30")


def test_deleting_a_directory_deletes_nothing(alice):
    key = fresh()
    save(alice, f"{key}/d/f")
    alice.delete(f"{key}/d")

    assert read(alice, f"{key}/d/f") == b"data"


def test_parents_are_made_for_everybody(hadoop, alice):
    key = fresh()
    save(alice, f"{key}/d/f")

    told = hadoop.shell("-stat", "%u %a", key, f"{key}/d", f"{key}/d/f").splitlines()
    assert told == ["alice 777", "alice 777", "alice 644"]


def test_the_rest_of_a_file_is_read_from_its_middle(alice):
    key, data = f"{fresh()}/f", os.urandom(9 * MIB)
    save(alice, key, data)
    with alice.open(key) as stream:
        version = stream.version
    with alice.open_rest(key, 8 * MIB - 7, version) as rest:
        assert rest.size == MIB + 7
        assert rest.read() == data[8 * MIB - 7 :]
    with alice.open_rest(key, 9 * MIB, version) as rest:
        assert rest.read() == b""


def test_the_rest_of_a_file_that_was_written_since_is_not_found(alice):
    key = f"{fresh()}/f"
    save(alice, key)
    with alice.open(key) as stream:
        version = stream.version
    save(alice, key, b"longer than before")

    with pytest.raises(NotFound, match="written since"):
        alice.open_rest(key, 2, version)


def test_a_read_that_blocks_can_be_given_up(hadoop, plain_config, secrets, tmp_path, monkeypatch):
    key = f"{fresh()}/f"
    save(HdfsDriver(plain_config, secrets), key, bytes(12 * MIB))
    with hadoop.by_name(tmp_path) as (proxy, environ):
        monkeypatch.setenv("HADOOP_CONF_DIR", environ["HADOOP_CONF_DIR"])
        proxy.plan(Fault("silence", after=3 * MIB, times=1000))
        with HdfsDriver(plain_config, secrets).open(key) as stream, ThreadPoolExecutor(1) as pool:
            reading = pool.submit(stream.read)
            while not proxy.met and not reading.done():
                threading.Event().wait(0.01)
            stream.abort()
            with pytest.raises(Unavailable, match="given up"):
                reading.result(30)


# --- who may ---


def test_two_users_work_at_the_same_time_and_each_owns_his_files(hadoop, alice, bob):
    key = fresh()
    save(alice, f"{key}/first")

    def work(driver, name):
        for number in range(5):
            save(driver, f"{key}/{name}-{number}")

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, alice, "alice"), pool.submit(work, bob, "bob")]:
            done.result()
    told = hadoop.shell("-stat", "%n %u", *everything(alice, key)).splitlines()
    owners = {tuple(line.split()) for line in told}
    assert owners == {("first", "alice")} | {(f"{who}-{one}", who) for who in ("alice", "bob") for one in range(5)}


def test_what_a_user_may_not_do_is_forbidden(hadoop, alice, bob):
    key = fresh()
    save(bob, f"{key}/f")
    hadoop.shell("-chmod", "700", key)
    for ask in (
        lambda: alice.open(f"{key}/f"),
        lambda: save(alice, f"{key}/g"),
        lambda: list(alice.list(key)),
        lambda: alice.delete(f"{key}/f"),
        lambda: save(alice, "/not-for-alice"),
    ):
        with pytest.raises(Forbidden, match="user=alice, access=") as caught:
            ask()
        assert "-chmod" in caught.value.remedy
        assert "\tat " not in str(caught.value)


def test_a_directory_without_room_is_full(hadoop, alice):
    key = fresh()
    save(alice, f"{key}/first")
    hadoop.admin("-setSpaceQuota", "9m", key)  # one block of 8 MiB
    with pytest.raises(StorageFull, match="quota") as caught:
        save(alice, f"{key}/f", bytes(12 * MIB))

    assert "setSpaceQuota" in caught.value.remedy
    assert everything(alice, key) == [f"{key}/first"]


def test_safe_mode_is_worth_another_attempt(hadoop, alice):
    key = f"{fresh()}/f"
    hadoop.admin("-safemode", "enter")
    try:
        with pytest.raises(Unavailable, match="safe mode"):
            save(alice, key)
    finally:
        hadoop.admin("-safemode", "leave")
    save(alice, key)


def test_the_first_address_may_be_of_a_dead_name_node(hadoop, plain_config, secrets):
    driver = HdfsDriver(plain_config | {"addresses": ["127.0.0.1:1", hadoop.rpc]}, secrets)
    key = f"{fresh()}/f"
    save(driver, key)

    assert read(driver, key) == b"data"


# --- Kerberos ---


def test_a_cluster_with_kerberos_says_what_a_plain_user_lacks(kerberized, secrets):
    driver = HdfsDriver({"addresses": [kerberized.rpc], "hdfsUser": "alice"}, secrets)
    with pytest.raises(Unavailable) as caught:
        driver.open("/open/f")
    assert "Kerberos" in caught.value.remedy


def test_a_keytab_without_the_principal_is_unauthorized(keytab_config, secrets):
    driver = HdfsDriver(keytab_config | {"krbUsername": "mallory"}, secrets)
    with pytest.raises(Unauthorized, match=r"as mallory@TEST\.LOCAL by krbKeytabSecret .key 'keytab'") as caught:
        driver.open("/open/f")
    assert "keytab" in caught.value.remedy


@pytest.mark.parametrize(("secret", "key"), [("krbKeytabSecret", "keytab"), ("krbCCacheSecret", "ccache")])
def test_rubbish_is_no_credential(keytab_config, secrets, secret, key):
    del keytab_config["krbKeytabSecret"]
    secrets.write("alice", **{key: "rubbish"})
    driver = HdfsDriver(keytab_config | {secret: {"name": "alice", "key": key}}, secrets)
    with pytest.raises(Unauthorized, match=secret):
        driver.open("/open/f")


def test_a_ticket_that_has_expired_is_unauthorized(cache_config, secrets):
    path = secrets.root / "alice/ccache"
    tickets = bytearray(path.read_bytes())
    for at in range(len(tickets) - 12):
        issued, begins, ends = struct.unpack_from(">III", tickets, at)
        # The times of a ticket, as they stand in a cache; the second may have changed between who asks and the KDC.
        if issued == begins and 3540 <= ends - begins <= 3600:
            struct.pack_into(">I", tickets, at + 8, begins - 3600)
    assert tickets != path.read_bytes()
    path.write_bytes(tickets)
    with pytest.raises(Unauthorized, match="krbCCacheSecret"):
        HdfsDriver(cache_config, secrets).open("/open/f")


def test_each_location_has_its_own_krb5_conf(keytab_config, kerberos, secrets):
    """At the same time, in one process: the environment of GSSAPI is of a process."""
    secrets.write("elsewhere", **{"krb5.conf": "[realms]\n TEST.LOCAL = {\n  kdc = 127.0.0.1:1\n }\n"})
    config = keytab_config | {"krbConfigConfigMap": {"name": "elsewhere", "key": "krb5.conf"}}
    lost = HdfsDriver(config, secrets)
    key = f"{fresh()}/f"
    for _ in range(3):
        save(kerberos, key)
        with pytest.raises(Unavailable, match="KDC") as caught:
            lost.open(key)
        assert "krb5.conf" in caught.value.remedy


def test_credentials_are_in_no_file_and_no_environment_of_ours(kerberos, secrets, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    before = dict(os.environ)
    key = f"{fresh()}/f"
    save(kerberos, key)
    process = kerberos._files._process._process

    assert dict(os.environ) == before
    assert list((tmp_path / "tmp").iterdir()) == []
    assert str(secrets.root) not in Path(f"/proc/{process.pid}/cmdline").read_text()
    assert not [name for name in held() if "memfd" in name]


@pytest.mark.parametrize("protection", ["authentication", "integrity", "privacy"])
def test_data_is_protected_as_the_data_node_asks(kerberized, keytab_config, secrets, protection):
    kerberized.restart_data_node(protection)
    try:
        driver = HdfsDriver(keytab_config | {"dataTransferProtection": protection}, secrets)
        key, data = f"{fresh()}/f", os.urandom(9 * MIB)
        save(driver, key, data)
        assert read(driver, key) == data
    finally:
        kerberized.restart_data_node("authentication")


@pytest.mark.parametrize("protection", ["integrity", "privacy"])
def test_a_data_node_that_protects_less_than_is_asked_for_is_refused(keytab_config, kerberos, secrets, protection):
    key, data = f"{fresh()}/f", os.urandom(MIB)
    save(kerberos, key, data)
    driver = HdfsDriver(keytab_config | {"dataTransferProtection": protection}, secrets)
    message = f"the data node 127.* offers authentication, not {protection}"
    with pytest.raises(BadRequest, match=message):
        read(driver, key)
    with pytest.raises(BadRequest, match=message):
        save(driver, key, b"other")

    assert read(kerberos, key) == data


def test_a_data_node_that_asks_for_protection_takes_nothing_without(keytab_config, secrets):
    del keytab_config["dataTransferProtection"]
    driver = HdfsDriver(keytab_config, secrets)
    with pytest.raises(Unavailable) as caught:
        save(driver, f"{fresh()}/f")
    assert "dataTransferProtection" in caught.value.remedy
