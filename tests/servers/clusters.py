"""The HDFS clusters as fixtures, one of each for the whole run, with locations in them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.hadoop import Hadoop
from tests.servers.kdc import REALM, Kdc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fixtures import Secrets

ALICE = f"alice@{REALM}"


@pytest.fixture(scope="session")
def hadoop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hadoop]:
    """Plain: everybody is who he says."""
    with Hadoop.started(tmp_path_factory.mktemp("hadoop") / "plain") as cluster:
        cluster.shell("-mkdir", "/open")
        cluster.shell("-chmod", "1777", "/open")
        yield cluster


@pytest.fixture(scope="session")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    with Kdc.started(tmp_path_factory.mktemp("kdc") / "realm") as server:
        yield server


@pytest.fixture(scope="session")
def kerberized(tmp_path_factory: pytest.TempPathFactory, kdc: Kdc) -> Iterator[Hadoop]:
    """With Kerberos; its data node asks for authentication and leaves the data as it is, which is fast."""
    with Hadoop.started(tmp_path_factory.mktemp("hadoop") / "kerberized", kdc) as cluster:
        keytab = kdc.keytab("services", f"hdfs/localhost@{REALM}")
        cluster.environment = cluster.environment | {
            "KRB5CCNAME": f"FILE:{kdc.tickets('superuser', keytab, f'hdfs/localhost@{REALM}')}"
        }
        cluster.shell("-mkdir", "/open")
        cluster.shell("-chmod", "1777", "/open")
        yield cluster


@pytest.fixture
def plain_config(hadoop: Hadoop) -> dict[str, Any]:
    """A location of the user `alice`."""
    return {"addresses": [hadoop.rpc], "hdfsUser": "alice", "force": True}


def _kerberos(secrets: Secrets, kdc: Kdc) -> dict[str, Any]:
    secrets.write("kerberos", **{"krb5.conf": kdc.config.read_text()})
    return {
        "force": True,
        "krbServicePrincipalName": "hdfs/_HOST",
        "krbConfigConfigMap": {"name": "kerberos", "key": "krb5.conf"},
    }


@pytest.fixture
def keytab_config(kerberized: Hadoop, kdc: Kdc, secrets: Secrets) -> dict[str, Any]:
    """A location of `alice`, who has a keytab."""
    config = _kerberos(secrets, kdc)
    secrets.write_bytes("alice", keytab=kdc.keytab("alice", ALICE).read_bytes())
    return config | {
        "addresses": [kerberized.rpc],
        "krbKeytabSecret": {"name": "alice", "key": "keytab"},
        "krbUsername": "alice",
        "krbRealm": REALM,
        "dataTransferProtection": "authentication",
    }


@pytest.fixture
def cache_config(kerberized: Hadoop, kdc: Kdc, secrets: Secrets) -> dict[str, Any]:
    """A location of `alice`, who has tickets."""
    config = _kerberos(secrets, kdc)
    tickets = kdc.tickets("alice", kdc.keytab("alice", ALICE), ALICE)
    secrets.write_bytes("alice", ccache=tickets.read_bytes())
    return config | {
        "addresses": [kerberized.rpc],
        "krbCCacheSecret": {"name": "alice", "key": "ccache"},
        "dataTransferProtection": "authentication",
    }


def fresh() -> str:
    """A path below which nothing is."""
    return f"/open/{uuid.uuid4()}"
