"""What JFrog documents of Artifactory's generic repositories, on loopback: there is no real one to be had.

PUT, GET with Range, and DELETE of files with basic authentication; `X-Checksum-*` of a PUT are compared (409), those of
a GET are told, as is an ETag without quotes; a PUT is answered with sizes (as strings) and checksums in JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tests.servers.loopback import Loopback, LoopbackHandler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fixtures import Secrets

USER, PASSWORD = "jfrog-user", "jfrog-passw0rd"
_EXPECTED = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
_PIECE = 64 * 1024


class Artifactory(Loopback):
    """A server of one repository, which is a directory."""

    def __init__(self, directory: Path, certificate: tuple[Path, Path] | None = None) -> None:
        self.directory = directory
        self.checksums: list[dict[str, str]] = []
        self.numbers = iter(range(1 << 30))
        super().__init__(_Handler, certificate)
        self.url = f"{self.origin}/artifactory/generic-local"

    def files(self) -> list[str]:
        """Every file there is, also those that are not whole."""
        return sorted(str(path.relative_to(self.directory)) for path in self.directory.rglob("*") if path.is_file())


def credentials(secrets: Secrets, password: str = PASSWORD) -> dict[str, Any]:
    """What an ``artifactory`` location has beside its URL."""
    secrets.write("jfrog", user=USER, password=password)
    return {
        "usernameSecret": {"name": "jfrog", "key": "user"},
        "passwordSecret": {"name": "jfrog", "key": "password"},
    }


class _Handler(LoopbackHandler):
    def handle_expect_100(self) -> bool:
        if self._known():
            return super().handle_expect_100()
        self.close_connection = True
        self._tell(401)
        return False

    def do_GET(self) -> None:  # noqa: N802 - the base class looks for it
        path = self._path()
        if not self._known() or not path.is_file():
            self._tell(404 if self._known() else 401)
            return
        sums = {name: _digest(path, name) for name in ("sha256", "sha1", "md5")}
        size = path.stat().st_size
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start >= size > 0:
            self._tell(416)
            return
        self.send_response(206 if start else 200)
        for name, value in sums.items():
            self.send_header(f"X-Checksum-{name.capitalize()}", value)
        self.send_header("ETag", sums["sha1"])
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        with path.open("rb") as file:
            file.seek(start)
            while piece := file.read(_PIECE):
                self.wfile.write(piece)

    def do_PUT(self) -> None:  # noqa: N802 - the base class looks for it
        owner = self.server.owner
        claimed = {name: self.headers.get(f"X-Checksum-{name.capitalize()}") for name in ("sha256", "sha1", "md5")}
        new = owner.directory / f".new-{next(owner.numbers)}"
        sums = {name: hashlib.new(name) for name in claimed}
        size = 0
        with new.open("wb") as file:
            for piece in self._pieces(int(self.headers["Content-Length"])):
                file.write(piece)
                size += len(piece)
                for one in sums.values():
                    one.update(piece)
        found = {name: one.hexdigest() for name, one in sums.items()}
        whole = size == int(self.headers["Content-Length"])
        right = all(value in {None, found[name]} for name, value in claimed.items())
        if not (self._known() and whole and right):
            new.unlink()
            if whole:
                self._tell(409 if self._known() else 401)
            self.close_connection = True
            return
        owner.checksums.append({name: value for name, value in claimed.items() if value})
        self._path().parent.mkdir(parents=True, exist_ok=True)
        os.replace(new, self._path())
        self._tell(201, {"size": str(size), "checksums": found, "originalChecksums": claimed})

    def do_DELETE(self) -> None:  # noqa: N802 - the base class looks for it
        if not self._known():
            self._tell(401)
            return
        there = self._path().is_file()
        self._path().unlink(missing_ok=True)
        self._tell(204 if there else 404)

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size and (piece := self.rfile.read(min(size, _PIECE))):
            size -= len(piece)
            yield piece

    def _path(self) -> Path:
        parts = urlsplit(self.path).path.removeprefix("/artifactory/generic-local/").split("/")
        return self.server.owner.directory.joinpath("files", *(unquote(part) for part in parts))

    def _known(self) -> bool:
        return self.headers.get("Authorization") == _EXPECTED

    def _tell(self, status: int, answer: dict[str, Any] | None = None) -> None:
        body = b"" if status == 204 else json.dumps(answer or {"errors": [{"status": status}]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()
