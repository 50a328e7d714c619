"""fsspec: SFTP by paramiko from OpenSSH, and a proxy before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults.stage import Scene, Stage, fault
from tests.servers.proxy import Fault, Proxy
from tests.servers.sftp import Sftp

DATA = bytes(range(256)) * 20_000


def location(stage: Stage, path: str = "store/it", *, port: int = 0, **options: Any) -> dict[str, Any]:
    """A file below the test's directory, by SFTP."""
    sftp: Sftp = stage.fixture("sftp")
    url = f"sftp://127.0.0.1:{port or sftp.port}{stage.tmp_path / path}"
    return {"fsspec": {"url": url, "options": sftp.options() | options}}


@fault("unknown host", "load", "save")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    options = stage.fixture("sftp").options()
    yield Scene({"fsspec": {"url": "sftp://nowhere.invalid/it", "options": options}}, DATA)


@fault("wrong secret", "load", "save")
def wrong_secret(stage: Stage) -> Iterator[Scene]:
    stage.secrets.write("sftp", password="not-the-password")
    password = {"secretKeyRef": {"name": "sftp", "key": "password"}}
    yield Scene(location(stage, password=password, key_filename=None), DATA)


@fault("server gone in mid-transfer", "load", "save")
def gone(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, "cut")


@fault("truncated body", "load", "save")
def truncated(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, "end")


@fault("slow server", "load", "save")
def slow(stage: Stage) -> Iterator[Scene]:
    yield from proxied(stage, "silence", options={"read_timeout": 1.5})


def proxied(stage: Stage, kind: str, **more: Any) -> Iterator[Scene]:
    """Half of it goes through."""
    sftp: Sftp = stage.fixture("sftp")
    path = stage.tmp_path / "store/it"
    if stage.verb == "load":
        path.parent.mkdir()
        path.write_bytes(DATA)
    with Proxy(f"127.0.0.1:{sftp.port}") as proxy:
        proxy.plan(Fault(kind, after=len(DATA) // 2, upward=stage.verb == "save"))
        port = int(proxy.address.rpartition(":")[2])
        yield Scene(location(stage, port=port), DATA, stored=path.read_bytes, **more)
        assert len(proxy.met) == 1


@fault("403", "load", "save")
def forbidden(stage: Stage) -> Iterator[Scene]:
    # The kernel's own: whoever the tests are, nobody may read or write here.
    path = {"load": "/proc/1/mem", "save": "/sys/it"}[stage.verb]
    sftp: Sftp = stage.fixture("sftp")
    url = f"sftp://127.0.0.1:{sftp.port}{path}"
    yield Scene({"fsspec": {"url": url, "options": sftp.options()}}, DATA)


@fault("disk full", "load", "save")
def disk_full(stage: Stage) -> Iterator[Scene]:
    with stage.small_disk(1 << 20) as room:
        if stage.verb == "save":
            yield Scene(location(stage, "small/it"), DATA, left=lambda: list(room.iterdir()))
            return
        (stage.tmp_path / "store").mkdir()
        (stage.tmp_path / "store/it").write_bytes(DATA)
        yield Scene(location(stage), room=room)
