"""Every location with canaries, against every far end: no text that a person could come to see has one of them."""

from __future__ import annotations

import gc
import io
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.location import of_artifact
from lifecycle.registry import resolve
from tests.faults.canaries import ssh
from tests.faults.canaries.canary import Canaries, told
from tests.faults.canaries.echo import ANSWERS, Echo, FtpEcho
from tests.faults.canaries.pods import ENCRYPTED, FEW, FTP, LOCATIONS, NOWHERE, OTHER_PROTOCOLS, SSH, Pod
from tests.servers.process import deaf_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fixtures import Secrets

# Clients are forgotten in the midst of an answer here; that their connections are closed is another test's to see.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def _forgotten_here() -> Iterator[None]:
    """Where the warning is let pass, and not in whatever test the collector runs next."""
    yield
    gc.collect()


DATA = b"some bytes\n" * 100
SLOW = {"s3-container", "s3-web-identity", "s3-customer-key", "gcs-key", "git-password", "hdfs-keytab", "hdfs-cache",
        "gcs-no-key", "fsspec-options", "fsspec-chain", "azure-environment", "s3-role", "s3-environment",
        "gcs-default"}  # fmt: skip
"""Those whose client takes a second and more, or tries again by itself."""


def far_ends(kind: str) -> tuple[str, ...]:
    """Those that a location can meet."""
    if kind in NOWHERE:
        return ("403",)
    if kind in SSH:
        return ("refused", "403", *ssh.ANSWERS)
    if kind in FTP | OTHER_PROTOCOLS:
        return ("refused", "403")
    return ("refused", "403", "text 403", "200") if kind in FEW else ("refused", *ANSWERS)


@contextmanager
def far_end(name: str, kind: str, certificate: Any) -> Iterator[tuple[str, Echo | ssh.SshEcho | None]]:
    """The URL of what is there, and the server."""
    if name == "refused":
        with deaf_port() as port:
            scheme = "https" if kind in ENCRYPTED else "http"
            yield f"{scheme}://127.0.0.1:{port}", None
        return
    if kind in FTP:
        with FtpEcho() as ftp:
            yield ftp.origin, None
        return
    if name in ssh.ANSWERS:
        with ssh.SshEcho(name) as shell:
            yield shell.url, shell
        return
    with Echo(name, certificate if kind in ENCRYPTED else None) as server:
        yield server.url, server


def ask(location: dict[str, Any], secrets: Secrets, room: Path) -> list[str]:
    """Call everything a driver has; what comes of it, as text."""
    texts = []
    found = of_artifact(location)
    assert found is not None
    texts += [str(found)]
    try:
        driver = resolve("driver", found.type)(found.config, secrets)
    except Exception as error:
        return [*texts, told(error)]
    tree = room / "tree"
    tree.mkdir(exist_ok=True)
    calls = {
        "open": lambda: driver.open(found.key).read(10),
        "open_rest": lambda: driver.open_rest(found.key, 5, '"1"').read(10),
        "save": lambda: driver.save(found.key, io.BytesIO(DATA), len(DATA)),
        "list": lambda: list(driver.list(found.key)),
        "delete": lambda: driver.delete(found.key),
        "load_tree": lambda: driver.load_tree(found.key, tree),
    }
    for name, call in calls.items():
        if not hasattr(driver, name):
            continue
        try:
            call()
        except Exception as error:
            texts.append(f"{name}: {told(error)}")
    return texts


CASES = [(kind, end) for kind in LOCATIONS for end in far_ends(kind)]


QUICK = [case for case in CASES if case[1] == "403" and case[0] not in SLOW]
OTHERS = [pytest.param(*case, marks=[pytest.mark.slow]) for case in CASES if case not in QUICK]


@pytest.mark.parametrize(("kind", "end"), [*QUICK, *OTHERS])
def test_no_text_has_a_secret(kind: str, end: str, tmp_path, secrets, monkeypatch, certificate, caplog, capfd):
    canaries = Canaries()
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setenv("TMPDIR", str(room))
    monkeypatch.setattr("tempfile.tempdir", str(room))
    with caplog.at_level("DEBUG"), far_end(end, kind, certificate) as (url, server):
        pod = Pod(canaries, secrets, url, monkeypatch, tmp_path, certificate)
        location = LOCATIONS[kind](pod)
        if server:
            server.token = canaries.plant("the token that was given")
        texts = ask(location, secrets, room)
        if isinstance(server, ssh.SshEcho) and kind == "fsspec-options":
            assert server.sent
    if server:
        texts += server.children
        for number, one in enumerate(server.sent):
            canaries.keep(f"what was sent: {number}", one)
    texts += [file.read_text(errors="replace") for file in room.rglob("*") if file.is_file()]
    out, err = capfd.readouterr()
    everything = "\n".join([*texts, caplog.text, out, err])
    hits = canaries.found(everything)
    assert not hits, hits
