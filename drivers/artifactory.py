"""JFrog Artifactory: an HTTP server that knows checksums (spec 3.4), so both ways are checked to the last byte."""
# ruff: noqa: ARG002 - the signatures are the port's

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from drivers.http import HttpDriver
from drivers.http_auth import Credentials, basic_auth
from drivers.http_upload import SMALL, Upload
from drivers.spool import read_up_to, spooled
from lifecycle.archive.stream import Readable
from lifecycle.errors import CorruptData, LifecycleError, Transient
from lifecycle.location import without_userinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivers.body import Body
    from lifecycle.secret import SecretReader

_ALGORITHMS: Final = ("sha256", "sha1", "md5")  # the best first
_SOURCE: Final = "usernameSecret and passwordSecret of the artifact"


class ArtifactoryDriver(HttpDriver):
    """Reads and writes the files of a repository by their URL."""

    def __init__(self, config: Mapping[str, Any], secrets: SecretReader, **timeouts: float) -> None:
        """Reads the secrets; nothing is sent.

        Args:
            config: of the location: ``usernameSecret``, ``passwordSecret``.
            secrets: where those are mounted.
            timeouts: those of :class:`HttpDriver`.

        Raises:
            BadRequest: a user name without a password, or the other way round.
            Unauthorized: a secret is not there.
        """
        super().__init__(config, secrets, **timeouts)
        # What was read of a download that broke, by object, version and place: its rest is checked with it. Two
        # downloads that broke at one place have read the same.
        self._read: dict[tuple[str, str, int], tuple[_Sums, str]] = {}

    def open(self, key: str) -> BinaryIO:
        """As of http; what an ``X-Checksum-*`` header says is checked at the end.

        Raises:
            LifecycleError: as of http.
        """
        body, headers = self._open(key)
        name, expected = _told(headers)
        return self._checked(key, body, 0, _Sums((name,)), expected) if name else body

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """As of http; the whole is checked at the end.

        Raises:
            LifecycleError: as of http.
        """
        body = cast("Body", super().open_rest(key, offset, version))
        if (key, version, offset) not in self._read:
            return body
        begun, expected = self._read[key, version, offset]
        return self._checked(key, body, offset, begun.copy(), expected)

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """PUT the stream with its checksums; what the server says of the file it has is compared.

        Raises:
            CorruptData: it has other bytes.
            LifecycleError: what else it answered.
            Exception: whatever the stream raised.
        """
        sums = _Sums(_ALGORITHMS)
        head = read_up_to(stream, SMALL)
        if len(head) < SMALL:
            sums.add(head)
            self._deploy(key, Upload(head), sums)
            return
        with spooled(head, stream, sums.add) as (file, size):
            del head
            self._deploy(key, Upload(b"", file, size=size, seekable=True), sums)

    def _credentials(self, config: Mapping[str, Any], secrets: SecretReader) -> Credentials:
        return Credentials(basic=basic_auth(config, secrets), source=_SOURCE)

    def _version(self, headers: Mapping[str, str]) -> str:
        # A checksum is the best version there is; and Artifactory's ETag has no quotes, so If-Range cannot hold it.
        name, value = _told(headers)
        return f"{name}:{value}" if name else super()._version(headers)

    def _condition(self, version: str) -> dict[str, str]:
        return {} if version.startswith(tuple(f"{name}:" for name in _ALGORITHMS)) else super()._condition(version)

    def _checked(self, key: str, body: Body, offset: int, sums: _Sums, expected: str) -> BinaryIO:
        def broke(count: int) -> None:
            self._read[key, body.version, offset + count] = sums, expected

        return _Checked(body, without_userinfo(key), sums, expected, broke)

    def _deploy(self, key: str, upload: Upload, sums: _Sums) -> None:
        told = sums.told()
        page = self._put(key, upload, {f"X-Checksum-{name.capitalize()}": value for name, value in told.items()})
        try:
            answer = json.loads(page)
        except ValueError:
            return
        if not isinstance(answer, dict):
            return
        has = answer.get("checksums")
        stored = {**(has if isinstance(has, dict) else {}), "size": answer.get("size")}
        for name, value in {**told, "size": str(upload.size)}.items():
            if stored.get(name) is not None and str(stored[name]).lower() != value:
                with contextlib.suppress(LifecycleError):  # what led here is the error to report
                    self.delete(key)
                raise CorruptData(
                    f"PUT {without_userinfo(key)}: the server has {name} {str(stored[name])[:64]}, sent was {value}",
                    remedy="save it once more; the damaged file is deleted there, if that is allowed",
                )


def _told(headers: Mapping[str, str]) -> tuple[str, str]:
    """The best checksum that the server tells, and its name."""
    for name in _ALGORITHMS:
        if value := headers.get(f"X-Checksum-{name}", "").strip().lower():
            return name, value
    return "", ""


class _Sums:
    """Checksums of what was shown to it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}

    def add(self, data: bytes | bytearray) -> None:
        for one in self._hashes.values():
            one.update(data)

    def told(self) -> dict[str, str]:
        return {name: one.hexdigest() for name, one in self._hashes.items()}

    def copy(self) -> _Sums:
        other = _Sums(())
        other._hashes = {name: one.copy() for name, one in self._hashes.items()}
        return other


class _Checked(Readable):
    """A body whose last byte comes only if its checksum is right."""

    def __init__(self, body: Body, where: str, sums: _Sums, expected: str, broke: Callable[[int], None]) -> None:
        self.size = body.size
        self.version = body.version
        self._body = body
        self._where = where
        self._sums = sums
        self._expected = expected
        self._broke = broke
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        """As the body's; fails at its end.

        Raises:
            CorruptData: it is not what the server said it is.
            LifecycleError: from the body.
        """
        if size < 0:
            return self.readall()
        try:
            data = self._body.read(size)
        except Transient:
            self._broke(self._count)
            raise
        self._sums.add(data)
        self._count += len(data)
        if (not data and size) or self._count == self.size:
            ((name, found),) = self._sums.told().items()
            if found != self._expected:
                raise CorruptData(
                    f"GET {self._where}: its {name} is {found}, the server has {self._expected[:64]}",
                    remedy="load it once more; if it stays so, the file in the repository is damaged",
                )
        return data

    def abort(self) -> None:
        """End a read that blocks in another thread."""
        self._body.abort()

    def close(self) -> None:
        """Close the body; twice is once."""
        if not self.closed:
            super().close()
            self._body.close()
