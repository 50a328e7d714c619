"""git: real servers of each transport, a proxy that breaks the way to them, and repositories on this disk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.stage import Scene, Stage, fault
from tests.servers.githttp import PASSWORD, USER
from tests.servers.proxy import Fault, Proxy
from tests.servers.repository import Repository

_NUMBERS = itertools.count()
_HTTP = {
    "usernameSecret": {"name": "creds", "key": "username"},
    "passwordSecret": {"name": "creds", "key": "password"},
}
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy"


class _Tree(dict[str, bytes]):
    """A working tree, whatever its .git holds."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict) or ".git/config" not in other:
            return False
        return dict(self) == {name: data for name, data in other.items() if not name.startswith(".git/")}


def _repository(root: Path) -> tuple[Repository, _Tree]:
    """One whose content is not compressible, so that it is on its way for a while."""
    made = Repository(root / f"fault-{next(_NUMBERS)}/r.git")
    noise = os.urandom(3 << 20)
    (made.work / "noise").write_bytes(noise)
    made.commit("small", "x")
    made.push()
    (made.path / "git-daemon-export-ok").touch()
    return made, _Tree({"noise": noise, "small": b"x"})


def _by_http(stage: Stage, address: str, made: Repository, *, password: str = PASSWORD) -> dict[str, Any]:
    stage.secrets.write("creds", username=USER, password=password)
    return {"git": {"repo": f"http://{address}/private/{made.path.parent.name}/r.git"} | _HTTP}


@fault("wrong password", "load")
def wrong_password(stage: Stage) -> Iterator[Scene]:
    server = stage.fixture("githttp")
    made, _ = _repository(stage.fixture("git_root"))
    yield Scene(_by_http(stage, server.address, made, password="canary-of-a-wrong-password"))


@fault("wrong key", "load")
def wrong_key(stage: Stage) -> Iterator[Scene]:
    server = stage.fixture("sshd")
    made, _ = _repository(stage.fixture("git_root"))
    stage.secrets.write("ssh", key=server.stranger)
    key = {"sshPrivateKeySecret": {"name": "ssh", "key": "key"}, "insecureIgnoreHostKey": True}
    yield Scene({"git": {"repo": f"{server.url}{made.path}"} | key})


@fault("unknown host key", "load")
def unknown_host_key(stage: Stage) -> Iterator[Scene]:
    server = stage.fixture("sshd")
    made, _ = _repository(stage.fixture("git_root"))
    stage.secrets.write("ssh", key=server.key)
    yield Scene({"git": {"repo": f"{server.url}{made.path}", "sshPrivateKeySecret": {"name": "ssh", "key": "key"}}})


@fault("unknown host", "load")
def unknown_host(stage: Stage) -> Iterator[Scene]:
    yield Scene({"git": {"repo": "https://host.invalid/r.git"}})


@fault("unknown repository", "load")
def unknown_repository(stage: Stage) -> Iterator[Scene]:
    server = stage.fixture("githttp")
    yield Scene({"git": {"repo": f"{server.url}/public/none.git"}}, optional=True)


@fault("unknown repository on this disk", "load")
def unknown_path(stage: Stage) -> Iterator[Scene]:
    yield Scene({"git": {"repo": str(stage.tmp_path / "none.git")}}, optional=True)


@fault("unknown revision", "load")
def unknown_revision(stage: Stage) -> Iterator[Scene]:
    made, _ = _repository(stage.tmp_path)
    yield Scene({"git": {"repo": str(made.path), "revision": "v9"}}, optional=True)


@fault("forbidden", "load")
def forbidden(stage: Stage) -> Iterator[Scene]:
    server = stage.fixture("githttp")
    yield Scene({"git": {"repo": f"{server.url}/forbidden/r.git"}})


@fault("503 then success", "load")
def busy_at_first(stage: Stage) -> Iterator[Scene]:
    server = stage.fixture("githttp")
    made, tree = _repository(stage.fixture("git_root"))
    with Proxy(server.address) as proxy:
        proxy.plan(Fault("answer", data=_BUSY, times=2))
        yield Scene(_by_http(stage, proxy.address, made), tree)


@fault("server gone in mid-transfer", "load")
def gone_in_mid_transfer(stage: Stage) -> Iterator[Scene]:
    yield from _proxied(stage, "cut")


@fault("truncated body", "load")
def truncated(stage: Stage) -> Iterator[Scene]:
    yield from _proxied(stage, "end")


@fault("slow server", "load")
def falls_silent(stage: Stage) -> Iterator[Scene]:
    yield from _proxied(stage, "silence", options={"read_timeout": 2.5})


def _proxied(stage: Stage, kind: str, **more: Any) -> Iterator[Scene]:
    """One MiB of three goes through."""
    server = stage.fixture("githttp")
    made, tree = _repository(stage.fixture("git_root"))
    with Proxy(server.address) as proxy:
        proxy.plan(Fault(kind, after=1 << 20))
        yield Scene(_by_http(stage, proxy.address, made), tree, **more)
        assert len(proxy.met) == 1


@fault("daemon gone in mid-transfer", "load")
def daemon_gone(stage: Stage) -> Iterator[Scene]:
    server = stage.fixture("gitdaemon")
    made, tree = _repository(stage.fixture("git_root"))
    with Proxy(server.address) as proxy:
        proxy.plan(Fault("end", after=1 << 20))
        yield Scene({"git": {"repo": f"git://{proxy.address}/{made.path.parent.name}/r.git", "depth": 1}}, tree)
        assert len(proxy.met) == 1


@fault("disk full", "load")
def disk_full(stage: Stage) -> Iterator[Scene]:
    made, _ = _repository(stage.tmp_path)
    with stage.small_disk(2 << 20) as room:
        yield Scene({"git": {"repo": str(made.path)}}, room=room)
