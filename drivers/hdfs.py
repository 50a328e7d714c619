"""HDFS (spec 3.5, 5.29): by RPC where `addresses` are ``HOST:PORT``, by WebHDFS where they are URLs.

A file is written under another name beside its own and then renamed, so that nobody ever reads half of it. Directories
come by themselves: their files are listed, and parents are made.
"""
# ruff: noqa: ARG002 - the signatures are the port's

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from drivers.body import Body
from drivers.hdfs_errors import meaning, telling
from drivers.hdfs_rpc import RpcFiles
from drivers.kerberos import login
from lifecycle.archive.stream import Readable
from lifecycle.errors import BadRequest, NotFound, Unavailable
from lifecycle.ports import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drivers.hdfs_files import Files, Status
    from drivers.kerberos import Login
    from lifecycle.secret import SecretReader

_PROTECTIONS: Final = ("authentication", "integrity", "privacy")
_PART: Final = ".argoexec-part-"
# Of this process, so that a second attempt writes over what the first could not remove, and nobody else's.
_OWN: Final = os.urandom(6).hex()
_SAVED: Final[dict[tuple[str, str], str]] = {}
"""What this process has put where, by store and path, as the version it has there.

Without `force` a file that is there is an error, as the original has it. But an attempt whose last answer was lost, or
that had saved half of a directory, is followed by another, which must not stumble over its own files.
"""


class HdfsDriver:
    """One cluster as one user. Keys are absolute paths."""

    def __init__(
        self,
        config: Mapping[str, Any],
        secrets: SecretReader,
        *,
        connect_timeout: float = 15.0,
        read_timeout: float = 60.0,
    ) -> None:
        """Reads the secrets; nothing is sent. ``read_timeout`` is how long a server may be silent, in seconds.

        Raises:
            BadRequest: the location cannot work.
            Unauthorized: a secret it names is not there.
            LifecycleError: its config map cannot be read.
        """
        addresses = _addresses(config)
        urls = [address for address in addresses if "://" in address]
        if urls and len(urls) < len(addresses):
            raise BadRequest("`addresses` of an hdfs location are all HOST:PORT or all URLs of WebHDFS, not both")
        self._force = config.get("force") is True
        who = login(config, secrets)
        if who.kerberos and not config.get("krbServicePrincipalName"):
            raise BadRequest("an hdfs location with Kerberos needs `krbServicePrincipalName`, such as hdfs/_HOST")
        self._place = f"{', '.join(addresses)} as {who.who}"
        self._store = self._place
        self._files = (
            _web(urls, who, config, connect_timeout, read_timeout)
            if urls
            else RpcFiles(addresses, who, _protection(config, who), read_timeout)
        )

    def open(self, key: str) -> BinaryIO:
        """The file.

        Raises:
            NotFound: there is none; a directory is none.
            LifecycleError: what else the cluster answered.
        """
        path = _path(key)
        where = self._where("opening", path)
        return self._opened(where, path, 0, self._there(where, path))

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """The file from byte ``offset`` on, if it was not written since.

        Raises:
            NotFound: it was, or it is gone.
            LifecycleError: as ``open``.
        """
        path = _path(key)
        where = self._where("opening", path)
        found = self._there(where, path)
        if found.version != version:
            raise NotFound(f"{where}: it has been written since")
        return self._opened(where, path, offset, found)

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """Write beside, then rename. Parents are made for everybody to write to, as the original makes them.

        Raises:
            BadRequest: a file is there and `force` is not set, or a directory is.
            LifecycleError: what else the cluster answered.
            Exception: whatever the stream raised; nothing is stored then.
        """
        path = _path(key)
        where = self._where("saving", path)
        replaces = self._may_replace(where, path)
        parent = path.rpartition("/")[0]
        part = f"{parent}/{_PART}{_OWN}-{hashlib.sha256(path.encode()).hexdigest()[:12]}"
        source = _Source(stream)
        try:
            with telling(where):
                self._files.make_directories(parent or "/")
                written = self._files.write(part, source)
                if written.size != source.count:
                    raise Unavailable(f"{where}: {written.size} of {source.count} bytes arrived")
                self._publish(part, path, written, replaces=replaces)
        except BaseException as error:
            with contextlib.suppress(Exception):  # what the connection still allows
                self._files.remove(part)
            if source.failure is not None:
                raise source.failure from source.failure.__cause__
            if isinstance(error, NotFound):  # the part, or its directory, was removed by somebody
                raise Unavailable(f"{where}: it was removed while it was written") from error
            raise

    def list(self, key: str) -> Iterator[StoredObject]:
        """The files below the directory, sorted; what somebody is still writing is left out.

        Raises:
            LifecycleError: what the cluster answered.
        """
        path = _path(key)
        where = self._where("listing", path)
        prefix = f"{path.rstrip('/')}/"
        with telling(where):
            found = self._files.status(path)
            if found is None or not found.directory:
                return
            entries = sorted(
                (entry.path.removeprefix(prefix), entry.size) for entry in self._files.walk(path) if not entry.directory
            )
        for name, size in entries:
            if not name.rpartition("/")[2].startswith(_PART):
                yield StoredObject(name, size)

    def delete(self, key: str) -> None:
        """Remove the file; a directory of this name is not the object that is asked for.

        Raises:
            LifecycleError: what the cluster answered.
        """
        path = _path(key)
        with telling(self._where("deleting", path)):
            found = self._files.status(path)
            if found is not None and not found.directory:
                self._files.remove(path)

    def _where(self, action: str, path: str) -> str:
        return f"{action} {path!r} on {self._place}"

    def _there(self, where: str, path: str) -> Status:
        with telling(where):
            found = self._files.status(path)
        if found is None:
            raise NotFound(f"{where}: there is no such file")
        if found.directory:
            raise NotFound(f"{where}: it is a directory")
        return found

    def _opened(self, where: str, path: str, offset: int, found: Status) -> BinaryIO:
        size = max(0, found.size - offset)
        with telling(where):
            inner = self._files.read(path, offset, size)
        return Body(inner, where, size, lambda error: meaning(error, where), found.version)

    def _may_replace(self, where: str, path: str) -> bool:
        with telling(where):
            found = self._files.status(path)
        if found is None:
            return self._force
        if found.directory:
            raise BadRequest(f"{where}: a directory is there", remedy="give the path of a file, or remove it")
        if not self._force and _SAVED.get((self._store, path)) != found.version:
            raise BadRequest(
                f"{where}: a file is there already",
                remedy="set `force: true` in the location to replace what is there, or give another path",
            )
        return True

    def _publish(self, part: str, path: str, written: Status, *, replaces: bool) -> None:
        if not self._force:
            _SAVED[self._store, path] = written.version
        try:
            self._files.rename(part, path, overwrite=replaces)
        except Exception as error:
            # The answer may be lost, not the request: a rename keeps the time, so what is there tells whose it is.
            if not meaning(error, "").transient:
                raise
            found = self._files.status(path)
            if found is None or found.version != written.version or self._files.status(part) is not None:
                raise


class _Source(Readable):
    """Remembers whether it was the source that failed."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner
        self.count = 0
        self.failure: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        """As the source gives it."""
        try:
            data = self._inner.read(size)
        except BaseException as error:
            self.failure = error
            raise
        self.count += len(data)
        return data


def _addresses(config: Mapping[str, Any]) -> list[str]:
    given = config.get("addresses")
    if not isinstance(given, list) or not given or not all(isinstance(one, str) and one for one in given):
        raise BadRequest("`addresses` of an hdfs location is a list of HOST:PORT, or of URLs of WebHDFS")
    addresses = [one.removeprefix("hdfs://").rstrip("/") for one in given]
    for address in addresses:
        if "://" not in address and not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+):\d{1,5}", address):
            raise BadRequest(
                f"the hdfs address {address.rpartition('@')[2]!r} is not HOST:PORT",
                remedy="a name node listens for RPC on 8020 or 9000; of an HA service name each node, not the service",
            )
    return addresses


def _protection(config: Mapping[str, Any], who: Login) -> str:
    protection = config.get("dataTransferProtection") or ""
    if protection and protection not in _PROTECTIONS:
        raise BadRequest(
            f"`dataTransferProtection` of an hdfs location is {protection!r}", remedy=f"give {', '.join(_PROTECTIONS)}"
        )
    if protection and not who.kerberos:
        raise BadRequest("`dataTransferProtection` of an hdfs location needs Kerberos")
    return str(protection)


def _web(urls: list[str], who: Login, config: Mapping[str, Any], connect: float, read: float) -> Files:
    from drivers.webhdfs import WebFiles  # noqa: PLC0415 - 70 ms of urllib3, which RPC does not need

    if config.get("dataTransferProtection"):
        raise BadRequest("`dataTransferProtection` is of RPC", remedy="WebHDFS is protected by https:// or swebhdfs://")
    return WebFiles(urls, who, connect, read)


def _path(key: str) -> str:
    if not key.startswith("/"):
        raise BadRequest(f"the `path` {key!r} of an hdfs location is not absolute")
    return re.sub("/+", "/", key).rstrip("/") or "/"
