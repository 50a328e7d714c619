"""The servers as fixtures, one of each for the whole run; `tests/conftest.py` gives them to every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lifecycle.secret import SecretReader
from tests.servers.artifactory import Artifactory
from tests.servers.certificates import self_signed
from tests.servers.chromium import Chromium
from tests.servers.gitdaemon import GitDaemon
from tests.servers.githttp import GitHttp
from tests.servers.httpd import Httpd
from tests.servers.nginx import Nginx
from tests.servers.oauth2 import OAuth2
from tests.servers.seaweedfs import SeaweedFS, binary
from tests.servers.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Secrets(SecretReader):
    """Mounted secrets that a test can write."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root

    def write(self, name: str, **values: str) -> None:
        self.write_bytes(name, **{key: value.encode() for key, value in values.items()})

    def write_bytes(self, name: str, **values: bytes) -> None:
        """Each at once, as the kubelet does it: who reads meanwhile never sees a half."""
        (self.root / name).mkdir(parents=True, exist_ok=True)
        for key, value in values.items():
            new = self.root / name / f".{key}.new"
            new.write_bytes(value)
            new.replace(self.root / name / key)


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path / "secrets")


@pytest.fixture
def httpd() -> Iterator[Httpd]:
    with Httpd() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[SeaweedFS]:
    binary()
    certificate = request.getfixturevalue("certificate")
    with SeaweedFS.started(tmp_path_factory.mktemp("seaweedfs"), certificate) as server:
        yield server


@pytest.fixture(scope="session")
def git_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below it every git server finds its repositories."""
    return tmp_path_factory.mktemp("git-root")


@pytest.fixture(scope="session")
def githttp(git_root: Path, certificate: tuple[Path, Path]) -> Iterator[GitHttp]:
    with GitHttp.started(git_root, certificate) as server:
        yield server


@pytest.fixture(scope="session")
def gitdaemon(git_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitDaemon]:
    with GitDaemon.started(git_root, tmp_path_factory.mktemp("git-daemon") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    with Sshd.started() as server:
        yield server


@pytest.fixture(scope="session")
def client_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="session")
def oauth2() -> Iterator[OAuth2]:
    with OAuth2.started() as server:
        yield server


@pytest.fixture(scope="session")
def nginx(
    tmp_path_factory: pytest.TempPathFactory,
    oauth2: OAuth2,
    certificate: tuple[Path, Path],
    client_certificate: tuple[Path, Path],
) -> Iterator[Nginx]:
    directory = tmp_path_factory.mktemp("nginx")
    with Nginx.started(directory, certificate, client_certificate[0], f"{oauth2.url}/introspect") as server:
        yield server


@pytest.fixture
def artifactory(tmp_path: Path) -> Iterator[Artifactory]:
    (tmp_path / "repository").mkdir()
    with Artifactory(tmp_path / "repository") as server:
        yield server


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
