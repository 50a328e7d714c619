"""Google Cloud Storage (spec 5.3): gcsfs for credentials, endpoint and connections, its JSON API for the objects.

gcsfs's own requests are not used: they are sent up to six times, with sleeps of 30 s in all, and a 403 or a 404 comes
out as an OSError without its status. ``STORAGE_EMULATOR_HOST`` is heeded, as by Google's own libraries.
"""

from __future__ import annotations

import asyncio
import io
import json
import mimetypes
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import quote, urlencode

from drivers.body import Body
from drivers.http_errors import retry_after
from drivers.objects import (
    BLOCK,
    Answer,
    Blocks,
    Place,
    in_loop,
    inside,
    package,
    prefix_of,
    required,
    send,
    translating,
)
from lifecycle.errors import InputError, LifecycleError, NotFound, Unauthorized, Unavailable
from lifecycle.network import causes
from lifecycle.ports import StoredObject
from lifecycle.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from lifecycle.secret import Secret, SecretReader

_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
_CANCELLED: Final = 499  # Google's answer to the end of a resumable upload that was asked for


class GcsDriver:
    """One bucket, any number of threads; the credentials are looked for when the first object is asked for."""

    def __init__(
        self,
        config: Mapping[str, Any],
        secrets: SecretReader,
        *,
        connect_timeout: float = 15.0,
        read_timeout: float = 60.0,
    ) -> None:
        """Reads the secret; nothing is sent. ``read_timeout`` is between two pieces of an answer, in seconds.

        Raises:
            InputError: no bucket, or the secret is not the JSON key of a service account.
            Unauthorized: a secret it names is not there.
            Unsupported: gcsfs is not installed.
        """
        self._bucket = required(config, "gcs", "bucket")
        key = secrets.read(config.get("serviceAccountKeySecret"))
        package("gcsfs", "gcs")
        self._token = _token(key)
        self._timeouts = connect_timeout, read_timeout
        self._place = Place(
            f"bucket {self._bucket!r}",
            os.environ.get("STORAGE_EMULATOR_HOST") or "Google Cloud Storage",
            "`serviceAccountKeySecret`" if key else "the default credentials of Google in this pod",
            {},
        )
        self._made: Any = None
        self._lock = threading.Lock()

    def open(self, key: str) -> BinaryIO:
        """The object, its first 4 MiB by the same request.

        Raises:
            NotFound: there is no such object; a bucket that is not there is a BadRequest.
            LifecycleError: what else the store answered.
        """
        with self._translating("reading", key):
            return self._opened(key, 0, "")

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """The same generation of the object, from a byte on.

        Raises:
            NotFound: that generation is no longer there.
            LifecycleError: what else the store answered.
        """
        with self._translating("reading", key):
            return self._opened(key, offset, version)

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """One request for what fits 4 MiB, else a resumable upload, which is an object when its last part is there.

        Raises:
            LifecycleError: what the store answered; a bucket that is not there is a BadRequest.
            Exception: whatever the stream raised; what was there before is there still.
        """
        # No limit of parts: those of a resumable upload are not numbered.
        send(_Upload(self, key), stream, size_hint, lambda: self._translating("writing", key), most=1_000_000)

    def list(self, key: str) -> Iterator[StoredObject]:
        """The objects below ``key + "/"``, a thousand for each request; of an empty key all of the bucket's.

        Raises:
            BadRequest: there is no such bucket, or a key would lead out of a directory.
            LifecycleError: what else the store answered.
        """
        prefix = prefix_of(key)
        query = {"prefix": prefix, "maxResults": "1000", "fields": "items(name,size),nextPageToken"}
        while True:
            with self._translating("listing", key):
                _, _, body = self._call("GET", self._url("o", query))
                page = json.loads(body)
            for entry in page.get("items", ()):
                path = str(entry["name"]).removeprefix(prefix)
                if path and not path.endswith("/"):  # else the marker of a folder
                    yield StoredObject(inside(path, prefix, self._place), int(entry["size"]))
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is success, a bucket that is not is a BadRequest.

        Raises:
            LifecycleError: what the store answered.
        """
        with self._translating("deleting", key):
            try:
                self._call("DELETE", self._url(f"o/{_quoted(key)}"))
            except _RefusedError as error:
                if error.answer.status != 404 or self._bucket_is_absent():
                    raise

    # --- requests -----------------------------------------------------------------------------------------------------

    def _opened(self, key: str, offset: int, version: str) -> BinaryIO:
        fetch = partial(self._fetch, key)
        try:
            status, headers, first = self.begin(fetch(offset, offset + BLOCK, version)).result()
        except _RefusedError as error:
            if error.answer.status != 416:
                raise
            if offset:
                raise Unavailable(f"{self._place.where('reading', key)}: it has no byte {offset}") from None
            # Not satisfiable from byte 0 on: it has none.
            status, headers, first = 200, {}, b""
        if status == 206:
            size = int(headers["Content-Range"].rpartition("/")[2])
        elif offset:
            raise Unavailable(f"{self._place.where('reading', key)}: the store gives no parts of it")
        else:
            size = len(first)
        version = headers.get("x-goog-generation", "")

        async def block(start: int, end: int) -> bytes:
            return (await fetch(start, end, version))[2]

        def wrap() -> AbstractContextManager[None]:
            return translating(lambda error: _lost(self._meaning(error, "reading", key)))

        blocks = Blocks(lambda start, end: self.begin(block(start, end)), wrap, first, offset + len(first), size)
        where = self._place.where("reading", key)
        return Body(blocks, where, size - offset, lambda error: self._meaning(error, "reading", key), version)

    async def _fetch(self, key: str, start: int, end: int, version: str) -> tuple[int, Mapping[str, str], bytes]:
        query = {"alt": "media"} | ({"generation": version} if version else {})
        # gzip: else the store unpacks what was stored with `Content-Encoding: gzip`, and ignores the range.
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "gzip"}
        return await self.ask("GET", self._url(f"o/{_quoted(key)}", query), headers)

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, data: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request, never repeated: the status, the headers, and the body as it came.

        Raises:
            Exception: what aiohttp or google-auth raised, or the refusal.
        """
        import aiohttp  # noqa: PLC0415 - gcsfs brings it
        import yarl  # noqa: PLC0415

        system = self._made
        sent = {"User-Agent": "argoexec", "Accept-Encoding": "identity", **(headers or {})}
        if system.credentials.credentials is not None:  # else anonymous
            await asyncio.to_thread(system.credentials.apply, sent)  # may ask for a token, and blocks
        session = await system._set_session()  # noqa: SLF001 - there is no public name
        async with session.request(
            method,
            yarl.URL(url, encoded=True),
            headers=sent,
            data=io.BytesIO(data) if data else None,  # in pieces: a large body at once would hold up the event loop
            timeout=aiohttp.ClientTimeout(sock_connect=self._timeouts[0], sock_read=self._timeouts[1]),
            allow_redirects=False,  # 308 is no redirection here: it asks for the next part
        ) as answer:
            body = await answer.read()
            if answer.status >= 400 and answer.status != _CANCELLED:
                said = redacted(_said(body), sent.get("Authorization", sent.get("authorization", "")).split())
                raise _RefusedError(Answer(answer.status, "", said, retry_after(answer.headers)))
            return answer.status, answer.headers, body

    def begin(self, work: Any) -> Future[Any]:
        """Start a coroutine.

        Raises:
            Exception: there is no file system to be had, such as for want of credentials.
        """
        try:
            loop = self._system().loop
        except BaseException:
            work.close()  # else Python complains that nobody has awaited it
            raise
        return asyncio.run_coroutine_threadsafe(work, loop)

    def _call(self, method: str, url: str) -> tuple[int, Mapping[str, str], bytes]:
        answer: tuple[int, Mapping[str, str], bytes] = in_loop(self._system().loop, self.ask(method, url))
        return answer

    def _url(self, path: str, query: Mapping[str, str] | None = None) -> str:
        return _with_query(f"{self._system().base}b/{_quoted(self._bucket)}/{path}", query)

    def upload_url(self, query: Mapping[str, str]) -> str:
        """Where objects are sent to."""
        base = self._system().base.replace("/storage/v1/", "/upload/storage/v1/")
        return _with_query(f"{base}b/{_quoted(self._bucket)}/o", query)

    def _system(self) -> Any:
        with self._lock:
            if self._made is None:
                from gcsfs.core import GCSFileSystem  # noqa: PLC0415

                session = {"trust_env": True, "auto_decompress": False}
                self._made = GCSFileSystem(token=self._token, session_kwargs=session, skip_instance_cache=True)
            return self._made

    def _bucket_is_absent(self) -> bool:
        """Whether the bucket is not there; both 404s look alike, and to list is allowed more often than to ask."""
        try:
            self._call("GET", self._url("o", {"maxResults": "1", "fields": "nextPageToken"}))
        except _RefusedError as error:
            return error.answer.status == 404
        return False

    # --- errors -------------------------------------------------------------------------------------------------------

    def _translating(self, action: str, key: str) -> AbstractContextManager[None]:
        return translating(lambda error: self._meaning(error, action, key))

    def _meaning(self, error: Exception, action: str, key: str) -> LifecycleError:
        from google.auth import exceptions as google  # noqa: PLC0415 - gcsfs brings it

        place = self._place
        if isinstance(error, _RefusedError):
            if error.answer.status == 404 and (action in {"writing", "listing"} or self._is_surely_absent()):
                return place.absent(action, key)
            return place.refused(error.answer, action, key)
        for cause in causes(error):
            if isinstance(cause, google.TransportError):
                break
            if isinstance(cause, google.GoogleAuthError):
                if cause.retryable:
                    return Unavailable(f"{place.where(action, key)}: the token server gave no token")
                text = f"{place.where(action, key)}: no access token could be had ({type(cause).__name__})"
                return Unauthorized(text, remedy=f"check {place.credentials}")
        return place.broken(error, action, key)

    def _is_surely_absent(self) -> bool:
        try:
            return self._bucket_is_absent()
        except Exception:  # noqa: BLE001 - then the first answer is all there is to tell
            return False


class _RefusedError(Exception):
    """A status from 400 on."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _Upload:
    """One object on its way; the parts of a resumable upload are sent one after another."""

    def __init__(self, driver: GcsDriver, key: str) -> None:
        self._driver = driver
        self._key = key
        self._kind = mimetypes.guess_type(key, strict=False)[0] or "application/octet-stream"
        self._session = ""
        self._sent = 0

    def put(self, data: bytes) -> None:
        if not data:  # the emulator knows no other way to store nothing
            self.begin()
            self.part(1, b"", last=True).result()
            return
        url = self._driver.upload_url({"uploadType": "media", "name": self._key})
        self._driver.begin(self._driver.ask("POST", url, {"Content-Type": self._kind}, data)).result()

    def begin(self) -> None:
        url = self._driver.upload_url({"uploadType": "resumable", "name": self._key})
        headers = {"X-Upload-Content-Type": self._kind, "Content-Length": "0"}
        _, answer, _ = self._driver.begin(self._driver.ask("POST", url, headers)).result()
        self._session = answer["Location"]

    def part(self, number: int, data: bytes, *, last: bool) -> Future[Any]:  # noqa: ARG002 - the protocol's
        return self._driver.begin(self._sending(data, last))

    def commit(self) -> None:
        """The last part was it."""

    def abort(self) -> None:
        self._driver.begin(self._driver.ask("DELETE", self._session, {"Content-Length": "0"})).result()

    async def _sending(self, data: bytes, last: bool) -> None:
        """The store may keep less than it is sent, and says how much it has."""
        rest = data
        while True:
            end = self._sent + len(rest)
            total = str(end) if last else "*"
            span = f"{self._sent}-{end - 1}" if rest else "*"
            headers = {"Content-Range": f"bytes {span}/{total}", "Content-Length": str(len(rest))}
            # Not PUT, which aiohttp sends anew when a connection breaks: the store may have kept some of the part.
            status, answer, _ = await self._driver.ask("POST", self._session, headers, rest)
            if status != 308:
                return
            kept = int(answer["Range"].rpartition("-")[2]) + 1 if "Range" in answer else 0
            if kept == end and not last:
                self._sent = end
                return
            if not self._sent < kept < end:
                raise EOFError(f"{kept} of {end} bytes kept")
            rest = rest[kept - self._sent :]
            self._sent = kept


def _token(key: Secret | None) -> Any:
    """What gcsfs takes for credentials."""
    if key is None:
        return "anon" if os.environ.get("STORAGE_EMULATOR_HOST") else "google_default"
    from google.oauth2 import service_account  # noqa: PLC0415 - gcsfs brings it

    try:
        return service_account.Credentials.from_service_account_info(json.loads(key.reveal()), scopes=[_SCOPE])  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError):  # from None: they may quote the key
        raise InputError(
            "the secret is not the JSON key of a service account",
            place="gcs.serviceAccountKeySecret",
            remedy="store the file that Google gave for the service account's key, as it is",
        ) from None


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _with_query(url: str, query: Mapping[str, str] | None) -> str:
    return f"{url}?{urlencode(query, quote_via=quote)}" if query else url


def _said(body: bytes) -> str:
    """The message of an error answer, which names the missing permission."""
    try:
        error = json.loads(body)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        return ""
    return text if isinstance(text, str) else ""


def _lost(error: LifecycleError) -> LifecycleError:
    """An object that is gone in the middle was replaced: ``optional`` must not forgive that."""
    return Unavailable(f"{error.message}: it changed while it was read") if isinstance(error, NotFound) else error
