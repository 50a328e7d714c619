"""Our own location ``fsspec: {url, options}``: a directory of this machine, or any store fsspec has a package for.

The key is the URL; a bare path is a file. Of the options, values of the form ``{"secretKeyRef": {"name", "key"}}`` are
read from mounted secrets.
"""

from __future__ import annotations

import os
import secrets as randomness
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import available_protocols, get_filesystem_class, registry
from fsspec.spec import AbstractBufferedFile

from drivers.body import Body
from drivers.fsspec_errors import ABSENT, meaning
from drivers.fsspec_sftp import end, is_sftp, read_fast, tune, write_fast
from lifecycle.errors import BadRequest, InputError, LifecycleError, NotFound, Unsupported
from lifecycle.location import without_userinfo
from lifecycle.ports import StoredObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lifecycle.secret import SecretReader

_CHUNK: Final = 1 << 20
_PART_SUFFIX: Final = ".argoexec-part"  # of a file that is being written; a crash leaves it, no listing shows it
# Options that a message may have.
_OPEN: Final = {"host", "username", "protocol", "cache_storage", "target_protocol", "endpoint_url"}
_VERSIONS: Final = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "modified")


class FsspecDriver:
    """Any of fsspec's filesystems. Each thread has its own: those over ftp and sftp cannot be shared."""

    def __init__(self, config: Mapping[str, Any], secrets: SecretReader, *, read_timeout: float = 60.0) -> None:
        """Reads the secrets among the options; filesystems are made when a URL names one.

        ``read_timeout`` is between two pieces of an SFTP server's answer, in seconds; other backends have their own.

        Raises:
            InputError: the options are not an object, or a selector in them is wrong.
            Unauthorized: a secret they name is not there.
        """
        if not isinstance(options := config.get("options") or {}, dict):
            raise InputError("expected an object", place="fsspec.options")
        self._secretive = _has_text(options)
        self._options: dict[str, Any] = self._resolved(options, secrets)
        self._read_timeout = read_timeout
        self._here = threading.local()

    def open(self, key: str) -> BinaryIO:
        """The object as a stream.

        Raises:
            NotFound: there is none, or it is a directory.
            InputError, Unsupported: no filesystem for such a URL.
            LifecycleError: what else the backend raised.
        """
        with self._translating("reading", key):
            system, file, about = self._opened(key)
        return self._body(key, system, file, about, 0)

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """The object from a byte on, if its ETag, generation, or time and size are what they were.

        Raises:
            NotFound: it is another by now.
            InputError, Unsupported: no filesystem for such a URL.
            LifecycleError: what else the backend raised.
        """
        with self._translating("reading", key):
            self._here.__dict__.clear()  # a rest is asked for when a connection broke: that of this thread may be it
            system, file, about = self._opened(key)
            if _version(about) != version:
                file.close()
                raise NotFound(f"reading {without_userinfo(key)}: it is another by now")
            file.seek(offset)
        return self._body(key, system, file, about, offset)

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:  # noqa: ARG002 - the port's
        """Store the stream; a file, local or by SFTP, appears under its name when it is complete.

        Elsewhere the object is written where it belongs, and if that fails, what has come of it is removed. Object
        stores make it at the end, so that what was there before stays; of others it is lost then.

        Raises:
            InputError, Unsupported: no filesystem for such a URL.
            LifecycleError: what else the backend raised.
            Exception: whatever the stream raised; nothing is stored then.
        """
        with self._translating("writing", key):
            system, path = self._system(key)
        if isinstance(system, LocalFileSystem):
            self._save_file(key, Path(path), stream)
            return
        renamed = is_sftp(system)
        name = _part_of(path) if renamed else path
        with self._translating("writing", key):
            before = None if renamed else _before(system, name)
            try:
                target = system.open(name, "wb")
            except FileNotFoundError:  # no such directory; object stores have none, and make no bucket this way
                _make_directory(system, system._parent(path))  # noqa: SLF001 - there is no public name
                target = system.open(name, "wb")
            if renamed:
                write_fast(target)
        whole = False
        try:
            self._copy(key, stream, target)
            with self._translating("writing", key):
                target.close()  # most backends send the last part, and make the object, here
                if renamed:
                    system.mv(name, path)
            whole = True
        finally:
            if not whole:
                _discard(system, name, target, before)

    def list(self, key: str) -> Iterator[StoredObject]:
        """The objects below the URL, by path; links to files count as files, other links and devices do not.

        Raises:
            BadRequest: the path of one of them leads out of its directory.
            LifecycleError: what the backend raised.
        """
        with self._translating("listing", key):
            system, path = self._system(key)
            system.invalidate_cache()
            try:
                found = system.find(path, detail=True)
            except ABSENT:
                return
        prefix = f"{path.rstrip('/')}/"
        for name in sorted(found):
            relative = name.removeprefix(prefix)
            if relative == name or name.endswith(("/", _PART_SUFFIX)) or found[name].get("type") == "directory":
                continue
            if isinstance(system, LocalFileSystem) and not Path(name).is_file():
                continue
            if relative.startswith("/") or ".." in relative.split("/"):
                raise BadRequest(f"the path {relative!r} below {without_userinfo(key)} would lead out of it")
            yield StoredObject(relative, found[name].get("size"))

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is success.

        Raises:
            LifecycleError: what the backend raised.
        """
        with self._translating("deleting", key):
            system, path = self._system(key)
            with suppress(*ABSENT):
                system.rm_file(path)

    def _system(self, key: str) -> tuple[Any, str]:
        """The filesystem of a URL, of this thread alone, and the path in it."""
        if not key:
            raise InputError("an fsspec location needs a URL", place="fsspec.url")
        systems: dict[tuple[str, str], Any] = self._here.__dict__.setdefault("systems", {})
        try:
            parts = urlsplit(key)
        except ValueError:  # from None: it may name a password
            raise InputError("the URL cannot be parsed", place="fsspec.url") from None
        origin = (parts.scheme, parts.netloc)
        if origin in systems:
            return systems[origin], systems[origin]._strip_protocol(key)  # noqa: SLF001 - there is no public name
        _check_protocols(key)
        try:
            system, path = url_to_fs(key, skip_instance_cache=True, **self._options)
        except (TypeError, ValueError, *ABSENT) as error:
            if isinstance(error, ABSENT) and "::" in key:
                raise  # a chain looks for its object here; else what is missing is a file that an option names
            text = f"no filesystem can be made of {without_userinfo(key)}: {self._redacted(error, key)}"
            raise InputError(text, place="fsspec.options") from self._cause(error, key)
        if is_sftp(system):
            tune(system, self._read_timeout)
        if "::" not in key:  # the parts of a chain have paths of their own
            systems[origin] = system
        return system, path

    def _opened(self, key: str) -> tuple[Any, Any, Mapping[str, Any]]:
        """The filesystem, a file of it, and what it tells of the object."""
        system, path = self._system(key)
        if isinstance(system, LocalFileSystem) and not Path(path).is_file():
            raise FileNotFoundError(path)  # a directory, or a FIFO, whose reader would wait for ever
        file = system.open(path, "rb")
        details = getattr(file, "details", None)
        about = details if isinstance(details, dict) else _found(system, path) or {}
        if about.get("type") == "directory":
            file.close()
            raise IsADirectoryError(path)
        return system, file, about

    def _body(self, key: str, system: Any, file: Any, about: Mapping[str, Any], offset: int) -> BinaryIO:
        size = getattr(file, "size", None)
        if not isinstance(size, int):
            size = about.get("size")
        if is_sftp(system):
            read_fast(file)
        return Body(
            _Held(system, file, lambda: self._translating("reading", key)),
            without_userinfo(key),
            size - offset if isinstance(size, int) else None,
            lambda error: self._meaning(error, "reading", key),
            _version(about),
        )

    def _save_file(self, key: str, path: Path, stream: BinaryIO) -> None:
        part = Path(_part_of(str(path)))
        with self._translating("writing", key):
            path.parent.mkdir(parents=True, exist_ok=True)
            target = part.open("xb", buffering=0)
        try:
            with target:
                self._copy(key, stream, target)
            with self._translating("writing", key):
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _copy(self, key: str, stream: BinaryIO, target: Any) -> None:
        """Errors of the stream come out as they are, those of the target translated."""
        while chunk := stream.read(_CHUNK):
            rest = memoryview(chunk)
            while rest:
                with self._translating("writing", key):
                    # fsspec's own buffers take all and do not all say so; a raw file may take less on a full disk.
                    rest = rest[target.write(rest) or len(rest) :]

    @contextmanager
    def _translating(self, action: str, key: str) -> Iterator[None]:
        try:
            yield
        except LifecycleError:
            raise
        except Exception as error:  # noqa: BLE001 - translated at this boundary, whatever a backend raises
            raise self._meaning(error, action, key) from self._cause(error, key)

    def _meaning(self, error: Exception, action: str, key: str) -> LifecycleError:
        where = f"{action} {without_userinfo(key)}"
        return meaning(error, where, redacted=lambda one: self._redacted(one, key), secret=self._may_quote(key))

    def _may_quote(self, key: str) -> bool:
        """Whether a filesystem was given what may be a secret: any text among the options, or a login in the URL."""
        return self._secretive or without_userinfo(key) != key

    def _redacted(self, error: Exception, key: str) -> str:
        """A filesystem that was given secrets may quote them in any way: then only errors of the kernel speak."""
        if not self._may_quote(key):
            return str(error)
        known = error.errno if isinstance(error, OSError) and error.strerror else None
        return os.strerror(known) if known else f"{type(error).__name__}, whose text may quote a secret"

    def _cause(self, error: Exception, key: str) -> Exception | None:
        """For ``raise … from``: the journal and debug logs print causes as they are."""
        return None if self._may_quote(key) else error

    def _resolved(self, value: Any, secrets: SecretReader) -> Any:
        """Options with the values of the secrets that they select."""
        if isinstance(value, list):
            return [self._resolved(one, secrets) for one in value]
        if not isinstance(value, dict):
            return value
        if value.keys() != {"secretKeyRef"}:
            return {name: self._resolved(one, secrets) for name, one in value.items()}
        secret = secrets.read(value["secretKeyRef"])
        if secret is None:
            raise InputError("a secretKeyRef without a name", place="fsspec.options")
        return secret.reveal()


def _has_text(options: Any) -> bool:
    """Whether there is a text in them that is not the name of a host, a user or a directory, or a secret's selector."""
    if isinstance(options, dict):
        return any(_has_text(value) for name, value in options.items() if name not in _OPEN)
    return any(map(_has_text, options)) if isinstance(options, list) else isinstance(options, str)


class _Held:
    """A file that keeps its filesystem alive: an archive's closes itself, and its files, when it is forgotten."""

    def __init__(self, system: Any, file: Any, wrap: Callable[[], AbstractContextManager[None]]) -> None:
        self._system = system
        self._file = file
        self._wrap = wrap

    def read(self, size: int, /) -> bytes:
        with self._wrap():  # here and not in the Body, because the causes of its errors may quote a secret
            data: bytes = self._file.read(size)
        return data

    def shutdown(self) -> None:
        """End a read that blocks, where the backend can."""
        if is_sftp(self._system):
            end(self._system)

    def close(self) -> None:
        self._file.close()


def _found(system: Any, path: str) -> dict[str, Any] | None:
    """What a filesystem tells of an object; ``None`` where there is none, or it does not say."""
    with suppress(Exception):
        system.invalidate_cache()
        found = system.info(path)
        return found if isinstance(found, dict) else None
    return None


def _before(system: Any, path: str) -> dict[str, Any] | None:
    """What is there before a save: ``None`` is nothing, and an empty answer that nobody knows."""
    try:
        system.invalidate_cache()
        return dict(system.info(path))
    except ABSENT:
        return None
    except Exception:  # noqa: BLE001 - such as who may write there and not read; the save will tell the rest
        return {}


def _version(about: Mapping[str, Any]) -> str:
    """What tells this content from others: the size, and an ETag, a generation or a time; empty without any."""
    marks = [f"{name}={about[name]}" for name in _VERSIONS if about.get(name)]
    return f"{about.get('size')} {marks[0]}" if marks else ""


def _make_directory(system: Any, path: str) -> None:
    """With its parents. Each may be made by somebody else after we looked, which SFTP calls just a failure."""
    for left in range(path.count("/"), -1, -1):
        try:
            system.makedirs(path, exist_ok=True)
        except Exception:
            if system.isdir(path):
                return
            if not left:
                raise
        else:
            return


def _part_of(path: str) -> str:
    """The name that a file has while it is written, beside the one it will have."""
    directory, slash, name = path.rpartition("/")
    short = name.encode()[:200].decode(errors="ignore")
    return f"{directory}{slash}.{short}.{randomness.token_hex(4)}{_PART_SUFFIX}"


def _discard(system: Any, path: str, target: Any, before: dict[str, Any] | None) -> None:
    """Leave nothing of a file that failed; what was there before stays where the backend has not touched it yet."""
    with suppress(Exception):  # the error that led here is the one to report
        if isinstance(target, AbstractBufferedFile):
            target.discard()
            target.closed = True  # else it would be committed as it is, now or when it is forgotten
        else:
            target.close()
    with suppress(Exception):
        in_place = not isinstance(target, AbstractBufferedFile)
        if before is None or in_place or (before and _found(system, path) != before):
            system.rm_file(path)


def _check_protocols(key: str) -> None:
    """Say what is missing before fsspec does, which knows neither our s3 driver nor our image."""
    known = {*available_protocols(), *registry}
    for link in key.split("::"):
        protocol = link.partition("://")[0] if "://" in link else link if "::" in key and link in known else "file"
        if protocol in {"s3", "s3a"}:
            raise Unsupported(
                "fsspec's s3 filesystem is not part of this executor",
                remedy="use an `s3` location: endpoint, bucket, key and secret selectors",
            )
        if protocol in {"http", "https"}:
            raise Unsupported(
                "fsspec's http filesystem is not part of this executor: to it a server that refuses or is down has no "
                "such object, which `optional` would forgive",
                remedy="use an `http` location: url, headers and auth",
            )
        if protocol not in known:
            raise InputError(
                f"there is no filesystem for {protocol}://",
                place="fsspec.url",
                remedy=f"fsspec knows: {', '.join(sorted(known))}",
            )
        try:
            get_filesystem_class(protocol)
        except ImportError as error:
            raise Unsupported(
                f"the filesystem for {protocol}:// is not installed: {error}",
                remedy="add the package that it names to the executor's image, or to this environment",
            ) from error
