"""What the object stores behind fsspec have in common: gcs, azure and oss (ADR 17).

gcsfs, adlfs and ossfs give the credentials, the endpoint and the client. Their files are not used: one that is
forgotten commits what was written so far, a range may be of another generation than the one before it, ``?`` and ``#``
in a key are taken for something else, and refusals lose their status. So objects are read, sent and listed here.
"""

from __future__ import annotations

import asyncio
import importlib
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from lifecycle.errors import (
    BadRequest,
    Forbidden,
    InputError,
    LifecycleError,
    NotFound,
    StorageFull,
    Throttled,
    TimedOut,
    Transient,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from lifecycle.network import broken
from lifecycle.redaction import code_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

MIB: Final = 1 << 20
BLOCK: Final = 4 * MIB  # read by one request; one more is on its way while it is consumed
PART: Final = 4 * MIB  # up to four of an upload are in memory: eight uploads at once have 128 MiB
_LATE_PART: Final = 64 * MIB
_PIECE: Final = MIB  # what is asked of a source at once


# --- configuration ----------------------------------------------------------------------------------------------------


def package(name: str, kind: str) -> Any:
    """The module of a client library.

    Args:
        name: the module.
        kind: the type of location, which is also the name of the extra that brings the package.

    Raises:
        Unsupported: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unsupported(
            f"a location of type `{kind}` needs the package {name}, which cannot be imported: {error}",
            remedy=f"add argoexec[{kind}] to the executor's image, or to this environment",
        ) from error


def required(config: Mapping[str, Any], kind: str, field: str) -> str:
    """A field that is a string and not empty.

    Raises:
        InputError: it is missing, or no string.
    """
    value = config.get(field)
    if not isinstance(value, str) or not value:
        raise InputError("expected a string that is not empty", place=f"{kind}.{field}")
    return value


# --- what a refusal means ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal.

    Attributes:
        status: of HTTP.
        code: the store's word for it, such as ``NoSuchBucket``; empty where it has none.
        said: what it says to a person; never what may quote a signature.
        retry_after: seconds.
    """

    status: int
    code: str = ""
    said: str = ""
    retry_after: float | None = None


_STATUSES: Final[Mapping[int, type[LifecycleError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: TimedOut,
    412: NotFound,  # what was asked for by its ETag: that one is no longer there
    429: Throttled,
    501: Unsupported,
    507: StorageFull,
}


@dataclass(frozen=True, slots=True)
class Place:
    """What messages say of a store, and what its codes mean.

    Attributes:
        container: what it calls the place of its objects, and its name: ``bucket 'artifacts'``.
        endpoint: without credentials.
        credentials: where they come from.
        codes: the store's codes that mean something else than their status.
    """

    container: str
    endpoint: str
    credentials: str
    codes: Mapping[str, type[LifecycleError]]

    def where(self, action: str, key: str) -> str:
        """For messages."""
        return f"{action} {key!r} in {self.container} at {self.endpoint}"

    def refused(self, answer: Answer, action: str, key: str) -> LifecycleError:
        """The error that a refusal is."""
        code = code_alone(answer.code)
        kind = self.codes.get(code) or _STATUSES.get(answer.status)
        if kind is None:
            kind = Unavailable if answer.status >= 500 else BadRequest
        if answer.status == 412 and action != "reading":  # nothing else was asked for by an ETag: a lease, for example
            kind = BadRequest
        text = ": ".join(
            part for part in (self.where(action, key), f"{answer.status} {code}".rstrip(), answer.said) if part
        )
        if issubclass(kind, Transient):
            return kind(text, retry_after=answer.retry_after)
        return kind(text, remedy=self._remedy(kind, answer))

    def absent(self, action: str, key: str) -> BadRequest:
        """There is no such bucket or container: never NotFound, which ``optional`` would forgive."""
        return BadRequest(
            f"{self.where(action, key)}: there is no {self.container}",
            remedy=f"create the {self.container}, or correct its name or the endpoint",
        )

    def broken(self, error: Exception, action: str, key: str) -> LifecycleError:
        """What happened on the way to the store."""
        if isinstance(error, (CancelledError, asyncio.CancelledError, EOFError)):
            return Unavailable(f"{self.where(action, key)}: the transfer broke off")
        return broken(self.where(action, key), error, remedy="name a PEM file of the issuing CA in SSL_CERT_FILE")

    def _remedy(self, kind: type[LifecycleError], answer: Answer) -> str:
        if kind is BadRequest and answer.status == 404:
            return f"create the {self.container}, or correct its name or the endpoint"
        remedies: dict[type[LifecycleError], str] = {
            Unauthorized: f"the credentials are not valid, or no longer: check {self.credentials}",
            Forbidden: f"grant reading, writing and listing in the {self.container} to the owner of {self.credentials}",
            StorageFull: f"free space in the {self.container}, or raise its quota",
        }
        return remedies.get(kind, "")


@contextmanager
def translating(meaning: Callable[[Exception], LifecycleError]) -> Iterator[None]:
    """Errors of the calls inside become ours.

    Raises:
        LifecycleError: what they mean.
    """
    try:
        yield
    except LifecycleError:
        raise
    except Exception as error:  # noqa: BLE001 - this is the boundary; the kinds differ between the libraries
        # from None: causes are printed as they are, and may quote what was sent, or what a token server says of it.
        raise meaning(error) from None


def in_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in the thread of fsspec's event loop, which all file systems of the process share.

    Raises:
        Exception: what it raised.
    """
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    finally:
        future.cancel()


# --- reading ----------------------------------------------------------------------------------------------------------


class Blocks:
    """An object that is read by ranges of one version, a block ahead. It is the inside of a ``Body``."""

    def __init__(
        self,
        fetch: Callable[[int, int], Future[bytes]],
        wrap: Callable[[], Any],
        first: bytes,
        position: int,
        end: int,
    ) -> None:
        """Go on behind what opening it has read.

        Args:
            fetch: begins to read the bytes from one position up to another.
            wrap: a context in which errors become ours.
            first: what is read already.
            position: of the byte behind ``first``.
            end: the size of the whole object.
        """
        self._fetch = fetch
        self._wrap = wrap
        self._rest = memoryview(first)
        self._position = position
        self._end = end
        self._ahead: Future[bytes] | None = None

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes.

        Raises:
            LifecycleError: the store gave fewer than it announced, or refused.
        """
        with self._wrap():
            if not self._rest and self._position < self._end:
                self._rest = memoryview(self._block())
            if self._ahead is None and self._position < self._end:
                self._ahead = self._begin()
        data = bytes(self._rest[:size])
        self._rest = self._rest[len(data) :]
        return data

    def shutdown(self) -> None:
        """End a read that blocks in another thread."""
        if self._ahead is not None:
            self._ahead.cancel()

    def close(self) -> None:
        """Let go of what is on its way."""
        self.shutdown()
        self._rest = memoryview(b"")

    def _begin(self) -> Future[bytes]:
        return self._fetch(self._position, min(self._position + BLOCK, self._end))

    def _block(self) -> bytes:
        if self._ahead is None:
            self._ahead = self._begin()
        data = self._ahead.result()
        if len(data) != min(BLOCK, self._end - self._position):
            raise EOFError(f"{len(data)} bytes")
        self._position += len(data)
        self._ahead = None
        return data


# --- sending ----------------------------------------------------------------------------------------------------------


class Upload(Protocol):
    """How one object is sent to a store: by one request, or in parts that become an object at the end."""

    def put(self, data: bytes) -> None:
        """All of it at once."""

    def begin(self) -> None:
        """Before the first part."""

    def part(self, number: int, data: bytes, *, last: bool) -> Future[Any]:
        """Begin to send a part; the one before it has arrived. Numbers begin with 1."""

    def commit(self) -> None:
        """All parts have arrived: make the object."""

    def abort(self) -> None:
        """Leave nothing behind."""


def part_size(number: int, size_hint: int | None, most: int) -> int:
    """The bytes of a part, such that no more than ``most`` are needed; of an unknown length later ones are larger."""
    if size_hint is None:
        return PART if number <= most // 2 else _LATE_PART
    return max(PART, -(-size_hint // (most * 9 // 10) // MIB) * MIB)  # the hint is an estimate: a tenth is left


def send(
    upload: Upload, stream: BinaryIO, size_hint: int | None, wrap: Callable[[], Any], *, most: int = 10_000
) -> None:
    """Store a stream to its end, or nothing. A part is sent while the next one is read: three are in memory at most.

    Args:
        upload: to this object.
        stream: read in this thread, so that its own error comes out as it is.
        size_hint: as the port has it.
        wrap: a context in which errors become ours.
        most: parts that an object may have.

    Raises:
        BadRequest: the stream has more than that.
        LifecycleError: what the store answered.
        Exception: what the stream raised.
    """
    parts = _parts(stream, size_hint, most)
    number, data, last = next(parts)
    if last:
        with wrap():
            upload.put(data)
        return
    with wrap():
        upload.begin()
    whole = False
    sending: Future[Any] | None = None
    try:
        while True:
            with wrap():
                sending = upload.part(number, data, last=last)
            del data
            following = next(parts, None)
            with wrap():
                sending.result()
            if following is None:
                break
            number, data, last = following
        with wrap():
            upload.commit()
        whole = True
    finally:
        if not whole:
            if sending is not None:
                sending.cancel()
                with suppress(BaseException):
                    sending.result()
            with suppress(Exception):  # the error that led here is the one to report
                upload.abort()


def _parts(stream: BinaryIO, size_hint: int | None, most: int) -> Iterator[tuple[int, bytes, bool]]:
    """Number, bytes, and whether it is the last: that only the next read tells."""
    current = _read(stream, part_size(1, size_hint, most))
    for number in range(1, most + 1):
        following = b""
        if len(current) == part_size(number, size_hint, most):
            following = _read(stream, part_size(number + 1, size_hint, most))
        yield number, current, not following
        if not following:
            return
        current = following
    raise BadRequest(f"the stream has more than {most} parts of {len(current)} bytes")


def _read(stream: BinaryIO, size: int) -> bytes:
    """Exactly ``size`` bytes, fewer only at the end; a pipe gives 64 KiB at a time."""
    pieces = []
    while size and (piece := stream.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


# --- listing ----------------------------------------------------------------------------------------------------------


def prefix_of(key: str) -> str:
    """What the keys below a key begin with; of an empty key all do. It is not cleaned further, as ``a//b`` is legal."""
    return f"{key.rstrip('/')}/" if key.strip("/") else ""


def inside(path: str, prefix: str, place: Place) -> str:
    """The path of a listed object, relative to the prefix.

    Raises:
        BadRequest: it would lead out of a directory.
    """
    if path.startswith("/") or ".." in path.split("/"):
        raise BadRequest(
            f"the key {prefix + path!r} in {place.container} would lead out of its directory",
            remedy="rename that object",
        )
    return path
