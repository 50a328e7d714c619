"""The hdfs driver where no cluster is needed: its configuration, its process, and servers that are none."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from drivers.hdfs import HdfsDriver
from drivers.hdfs_errors import meaning, of_library
from lifecycle import errors
from lifecycle.errors import BadRequest, TimedOut, Unauthorized, Unavailable, Unsupported

PLAIN = {"addresses": ["127.0.0.1:1"], "hdfsUser": "alice"}
KEYTAB = {
    "addresses": ["127.0.0.1:1"],
    "krbKeytabSecret": {"name": "k", "key": "keytab"},
    "krbUsername": "alice",
    "krbRealm": "TEST.LOCAL",
    "krbServicePrincipalName": "hdfs/_HOST",
}


@pytest.fixture(autouse=True)
def _keytab(secrets):
    secrets.write("k", keytab="k", ccache="c")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"addresses": []}, "`addresses`"),
        ({"addresses": "nn:8020"}, "`addresses`"),
        ({"addresses": ["nn"]}, "'nn' is not HOST:PORT"),
        ({"addresses": ["u:secret@nn:8020"]}, "'nn:8020' is not HOST:PORT"),
        ({"addresses": ["nn:8020", "http://nn:9870"]}, "not both"),
        ({"addresses": ["ftp://nn"]}, "not ftp://nn"),
        ({"addresses": ["http://u:secret@n\u2100n"]}, "cannot be parsed"),
        ({"addresses": ["http://nn:port"]}, "cannot be parsed"),
        ({"hdfsUser": ""}, "by nothing"),
        ({"krbKeytabSecret": {"name": "k", "key": "keytab"}}, "by hdfsUser and krbKeytabSecret"),
        ({"dataTransferProtection": "privacy"}, "needs Kerberos"),
        (KEYTAB | {"hdfsUser": "", "dataTransferProtection": "strong"}, "'strong'"),
        (KEYTAB | {"hdfsUser": "", "krbUsername": ""}, "needs `krbUsername` and `krbRealm`"),
        (KEYTAB | {"hdfsUser": "", "krbServicePrincipalName": ""}, "needs `krbServicePrincipalName`"),
        (
            KEYTAB | {"hdfsUser": "", "addresses": ["http://nn"], "dataTransferProtection": "privacy"},
            "`dataTransferProtection` is of RPC",
        ),
        (KEYTAB | {"hdfsUser": "", "krbConfigConfigMap": {"name": "c", "key": "krb5"}}, "config map 'c'"),
    ],
)
def test_what_cannot_work_is_refused_when_the_driver_is_made(secrets, config, says):
    with pytest.raises(BadRequest) as caught:
        HdfsDriver(PLAIN | config, secrets)

    assert says in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_secret_that_is_not_there_is_unauthorized(secrets):
    config = KEYTAB | {"krbKeytabSecret": {"name": "none", "key": "keytab"}}
    with pytest.raises(Unauthorized, match="'none' has no key 'keytab'"):
        HdfsDriver(config, secrets)


def test_a_path_is_absolute(secrets):
    driver = HdfsDriver(PLAIN, secrets)
    for ask in (driver.open, driver.delete, lambda key: list(driver.list(key))):
        with pytest.raises(BadRequest, match="'a/b' of an hdfs location is not absolute"):
            ask("a/b")


def test_a_driver_that_is_not_used_starts_nothing(secrets):
    assert HdfsDriver(PLAIN, secrets)._files._process is None


def test_hdfs_native_is_not_imported_here(secrets):
    with pytest.raises(Unavailable):
        HdfsDriver(PLAIN, secrets).open("/f")

    assert "hdfs_native" not in sys.modules


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:8020"])
def test_a_cluster_that_cannot_be_reached_is_unavailable(secrets, address):
    driver = HdfsDriver(PLAIN | {"addresses": [address]}, secrets)
    for ask in (driver.open, driver.delete, lambda key: list(driver.list(key))):
        with pytest.raises(Unavailable, match=f"'/f' on {address} as user 'alice': ") as caught:
            ask("/f")
        assert "addresses" in caught.value.remedy


@pytest.fixture
def silent():
    """A server that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_name_node_that_says_nothing_is_given_up(secrets, silent):
    driver = HdfsDriver(PLAIN | {"addresses": [silent]}, secrets, read_timeout=0.3)
    with pytest.raises((TimedOut, Unavailable), match="/f"):
        driver.open("/f")


def test_the_process_ends_with_its_driver(secrets):
    driver = HdfsDriver(PLAIN, secrets)
    with pytest.raises(Unavailable):
        driver.open("/f")
    process = driver._files._process._process
    assert process.poll() is None
    del driver
    gc.collect()

    assert process.returncode is not None


def test_the_process_ends_with_ours(secrets):
    """However that ends: it has no more than the other end of a socket."""
    program = (
        "import sys, os; from pathlib import Path; from drivers.hdfs import HdfsDriver;"
        "from lifecycle.secret import SecretReader\n"
        "driver = HdfsDriver({'addresses': ['127.0.0.1:1'], 'hdfsUser': 'a'}, SecretReader(Path('/')))\n"
        "try: driver.open('/f')\n"
        "except Exception: pass\n"
        "print(driver._files._process._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    import subprocess

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    child = int(told.stdout)
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(child)
        try:
            assert select.select([descriptor], [], [], 30)[0]
        finally:
            os.close(descriptor)


def test_a_process_that_is_killed_is_told_and_the_next_call_has_another(secrets):
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        driver = HdfsDriver(PLAIN | {"addresses": [f"127.0.0.1:{server.getsockname()[1]}"]}, secrets)
        asked = pool.submit(driver.open, "/f")
        with server.accept()[0]:
            driver._files._process._process.kill()
            with pytest.raises(Unavailable, match="ended with status -9"):
                asked.result(60)
    with pytest.raises(Unavailable, match="refused"):  # by the name node that is gone
        driver.open("/f")


def test_without_hdfs_native_the_extra_is_named(secrets, monkeypatch):
    paths = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", paths)
    with pytest.raises(Unsupported) as caught:
        HdfsDriver(PLAIN, secrets).open("/f")
    assert "argoexec[hdfs]" in caught.value.remedy


def test_without_the_kerberos_library_its_package_is_named(secrets, monkeypatch, tmp_path):
    (tmp_path / "libgssapi_krb5.so.2").write_bytes(b"\x7fELF")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(Unsupported, match=r"libgssapi_krb5\.so\.2") as caught:
        HdfsDriver(KEYTAB, secrets).open("/f")
    assert "libgssapi-krb5-2" in caught.value.remedy


def test_a_login_shows_no_credential(secrets):
    from drivers.kerberos import login

    secrets.write("k", keytab="the-key-itself")
    assert "the-key-itself" not in repr(login(KEYTAB, secrets))


RPC = 'RPCError("org.apache.hadoop.{}", "what \\"it\\" said\\n\\tat org.apache.Trace(Trace.java:1)")'


@pytest.mark.parametrize(
    ("kind", "text", "error", "message"),
    [
        ("FileNotFoundError", "File does not exist: /f\n\tat org", errors.NotFound, "File does not exist: /f"),
        ("FileExistsError", "/f already exists", errors.BadRequest, "/f already exists"),
        ("OSError", "Connection refused (os error 111)", errors.Unavailable, "Connection refused"),
        ("NotImplementedError", "no", errors.Unsupported, "no"),
        ("PanicException", "not yet implemented", errors.Permanent, "PanicException: not yet implemented"),
        ("RuntimeError", "NoSASLMechanism", errors.Unauthorized, "NoSASLMechanism"),
        ("RuntimeError", 'DataTransferError("closed")', errors.Unavailable, "closed"),
        ("RuntimeError", 'SomethingNew("x")', errors.Permanent, "SomethingNew: x"),
        ("RuntimeError", RPC.format("security.AccessControlException"), errors.Forbidden, 'what "it" said'),
        (
            "RuntimeError",
            "Fatal" + RPC.format("security.AccessControlException"),
            errors.Unauthorized,
            'what "it" said',
        ),
        ("RuntimeError", RPC.format("ipc.StandbyException"), errors.Unavailable, 'what "it" said'),
        ("RuntimeError", RPC.format("hdfs.server.namenode.SafeModeException"), errors.Unavailable, 'what "it" said'),
        ("RuntimeError", RPC.format("ipc.RetriableException"), errors.Unavailable, 'what "it" said'),
        ("RuntimeError", RPC.format("hdfs.protocol.DSQuotaExceededException"), errors.StorageFull, 'what "it" said'),
        ("RuntimeError", RPC.format("security.token.SecretManager$InvalidToken"), errors.Unauthorized, "what"),
        ("RuntimeError", RPC.format("fs.ParentNotDirectoryException"), errors.BadRequest, "what"),
        ("RuntimeError", RPC.format("NeverSeenException"), errors.Permanent, "NeverSeenException: what"),
        (
            "RuntimeError",
            'GSSAPIError(GssMajorCodes { raw: "0x00070000" }, 2529639053, "No credentials: none")',
            errors.Unauthorized,
            "No credentials: none",
        ),
        (
            "RuntimeError",
            'GSSAPIError(GssMajorCodes { raw: "0x000d0000" }, 2529639068, "Cannot contact any KDC")',
            errors.Unavailable,
            "Cannot contact any KDC",
        ),
    ],
)
def test_an_error_is_told_by_its_class(kind, text, error, message):
    told = meaning(of_library(kind, text), "opening '/f' on nn")

    assert type(told) is error
    assert str(told).startswith(f"opening '/f' on nn: {message}")
    assert "Trace" not in str(told)
