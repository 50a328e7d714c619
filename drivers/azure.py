"""Azure Blob Storage (spec 5.29): adlfs for the account's client, its requests for the blobs.

The fields are the original's: the account is the first label of the endpoint's host, or the first part of its path
where the host is an address or ``localhost``; ``accountKeySecret`` holds an account key or a SAS token.
"""

from __future__ import annotations

import asyncio
import io
import logging
import mimetypes
import threading
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit
from uuid import uuid4

from drivers.body import Body
from drivers.objects import (
    BLOCK,
    MIB,
    PART,
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
from lifecycle.errors import (
    BadRequest,
    Forbidden,
    InputError,
    LifecycleError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from lifecycle.network import causes
from lifecycle.ports import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from lifecycle.secret import Secret, SecretReader

_BLOCKS: Final = 50_000  # Azure's limit for one blob
# It logs requests and answers, and where a redirection leads, which may quote the signature of the request.
logging.getLogger("azure").setLevel(logging.WARNING)
_CODES: Final[Mapping[str, type[LifecycleError]]] = {
    "ContainerNotFound": BadRequest,
    "ContainerDisabled": BadRequest,
    "ResourceNotFound": BadRequest,  # of the account, not of a blob
    "AuthenticationFailed": Unauthorized,  # a 403: the key is wrong, or the SAS token is, or is no longer valid
    "InvalidAuthenticationInfo": Unauthorized,  # a 400
    "NoAuthenticationInformation": Unauthorized,
    "PublicAccessNotPermitted": Unauthorized,  # a 409: somebody who gave no credentials
    "AuthorizationFailure": Forbidden,
    "ContainerBeingDeleted": Unavailable,  # a 409: half a minute later it can be created again
    "ServerBusy": Unavailable,
    "OperationTimedOut": Unavailable,
}


class AzureDriver:
    """One container, any number of threads."""

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
            InputError: a field is missing, or the endpoint names no account.
            Unauthorized: a secret it names is not there.
            Unsupported: adlfs is not installed.
        """
        self._container = required(config, "azure", "container")
        self._account, self._url = _account(required(config, "azure", "endpoint"))
        key = None if config.get("useSDKCreds") else secrets.read(config.get("accountKeySecret"))
        if key is None and not config.get("useSDKCreds"):
            raise InputError(
                "neither `accountKeySecret` nor `useSDKCreds` is given",
                place="azure",
                remedy="name a secret with the account key or a SAS token, or set useSDKCreds for a managed identity",
            )
        self._key = key
        package("adlfs", "azure")
        self._timeouts = {"connection_timeout": connect_timeout, "read_timeout": read_timeout}
        self._place = Place(
            f"container {self._container!r}",
            self._url,
            "`accountKeySecret`" if key else "the default credentials of Azure in this pod (`useSDKCreds`)",
            _CODES,
        )
        self._made: Any = None
        self._lock = threading.Lock()

    def open(self, key: str) -> BinaryIO:
        """The blob, its first 4 MiB by the same request.

        Raises:
            NotFound: there is no such blob, or it is the marker of a directory; a container that is not there is a
                BadRequest.
            LifecycleError: what else the store answered.
        """
        with self._translating("reading", key):
            return self._opened(key, 0, "")

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """The blob with the same ETag, from a byte on.

        Raises:
            NotFound: it is another by now.
            LifecycleError: what else the store answered.
        """
        with self._translating("reading", key):
            return self._opened(key, offset, version)

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """One request for what fits 4 MiB, else blocks, which are a blob when their list is committed.

        Azure forgets blocks that nobody has committed after a week; they are never seen.

        Raises:
            LifecycleError: what the store answered; a container that is not there is a BadRequest.
            Exception: whatever the stream raised; what was there before is there still.
        """
        upload = _Upload(self, key)
        send(upload, stream, size_hint, lambda: self._translating("writing", key), most=_BLOCKS)

    def list(self, key: str) -> Iterator[StoredObject]:
        """The blobs below ``key + "/"``, a thousand for each request; of an empty key all of the container's.

        Raises:
            BadRequest: there is no such container, or a name would lead out of a directory.
            LifecycleError: what else the store answered.
        """
        prefix = prefix_of(key)
        with self._translating("listing", key):
            client = self._system().service_client.get_container_client(self._container)
            # The metadata tell a directory of a hierarchical namespace from an empty blob.
            pages = client.list_blobs(name_starts_with=prefix, include=["metadata"], results_per_page=1000).by_page()
        while True:
            with self._translating("listing", key):
                page = in_loop(self._system().loop, _next(pages))
            if page is None:
                return
            for blob in page:
                path = str(blob.name).removeprefix(prefix)
                if path and not path.endswith("/") and not _is_directory(blob):
                    yield StoredObject(inside(path, prefix, self._place), blob.size)

    def delete(self, key: str) -> None:
        """Remove the blob; one that is not there is success, a container that is not is a BadRequest.

        Raises:
            LifecycleError: what the store answered.
        """
        with suppress(NotFound), self._translating("deleting", key):
            in_loop(self._system().loop, self.blob(key).delete_blob())

    # --- requests -----------------------------------------------------------------------------------------------------

    def blob(self, key: str) -> Any:
        """The client of one blob."""
        return self._system().service_client.get_blob_client(self._container, key)

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

    def _opened(self, key: str, offset: int, version: str) -> BinaryIO:
        fetch = partial(self._fetch, key)
        properties, first = self.begin(fetch(offset, offset + BLOCK, version)).result()
        if _is_directory(properties):
            raise NotFound(f"{self._place.where('reading', key)}: it is a directory")
        size, version = _whole(properties), str(properties.etag or "")

        async def block(start: int, end: int) -> bytes:
            data: bytes = (await fetch(start, end, version))[1]
            return data

        def wrap() -> AbstractContextManager[None]:
            return translating(lambda error: _lost(self._meaning(error, "reading", key)))

        blocks = Blocks(lambda start, end: self.begin(block(start, end)), wrap, first, offset + len(first), size)
        where = self._place.where("reading", key)
        return Body(blocks, where, size - offset, lambda error: self._meaning(error, "reading", key), version)

    async def _fetch(self, key: str, start: int, end: int, version: str) -> tuple[Any, bytes]:
        from azure.core import MatchConditions  # noqa: PLC0415 - adlfs brings it
        from azure.core.exceptions import HttpResponseError  # noqa: PLC0415

        same = {"etag": version, "match_condition": MatchConditions.IfNotModified} if version else {}
        blob = self.blob(key)
        try:
            answer = await blob.download_blob(offset=start, length=end - start, **same)
            return answer.properties, await answer.readall()
        except HttpResponseError as error:
            if error.status_code != 416 or start:
                raise
        return await blob.get_blob_properties(), b""  # an empty blob has no first byte

    def _system(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _client(self._account, self._url, self._key, self._timeouts)
            return self._made

    # --- errors -------------------------------------------------------------------------------------------------------

    def _translating(self, action: str, key: str) -> AbstractContextManager[None]:
        return translating(lambda error: self._meaning(error, action, key))

    def _meaning(self, error: Exception, action: str, key: str) -> LifecycleError:
        from azure.core import exceptions as azure  # noqa: PLC0415 - adlfs brings it

        place = self._place
        for cause in causes(error):
            if isinstance(cause, azure.HttpResponseError) and cause.status_code:
                code = getattr(cause, "error_code", None) or ""
                code = str(getattr(code, "value", code))  # of an enumeration, or a word that is not in it
                known = place.refused(Answer(cause.status_code, code, "", _retry_after(cause)), action, key)
                if isinstance(known, NotFound) and action in {"writing", "listing"}:
                    return place.absent(action, key)
                return known
            if isinstance(cause, azure.ClientAuthenticationError):  # of azure-identity, before anything was sent
                text = f"{place.where(action, key)}: no access token could be had ({type(cause).__name__})"
                return Unauthorized(text, remedy=f"check {place.credentials}")
        return place.broken(error, action, key)


class _Upload:
    """One blob on its way."""

    def __init__(self, driver: AzureDriver, key: str) -> None:
        from azure.storage.blob import ContentSettings  # noqa: PLC0415 - adlfs brings it

        self._driver = driver
        self._blob = driver.blob(key)
        kind = mimetypes.guess_type(key, strict=False)[0] or "application/octet-stream"
        self._settings = ContentSettings(content_type=kind)
        self._blocks: list[str] = []

    def put(self, data: bytes) -> None:
        if len(data) > MIB:  # the library hands more than that to aiohttp in one piece, which holds up the event loop
            self.part(1, data, last=True).result()
            self.commit()
            return
        upload = self._blob.upload_blob(data, length=len(data), overwrite=True, content_settings=self._settings)
        self._driver.begin(upload).result()

    def begin(self) -> None:
        """A blob has no uploads: blocks belong to it at once."""

    def part(self, number: int, data: bytes, *, last: bool) -> Future[Any]:  # noqa: ARG002 - the protocol's
        self._blocks.append(uuid4().hex)  # its own, should another pod write the same blob
        return self._driver.begin(self._blob.stage_block(self._blocks[-1], io.BytesIO(data), length=len(data)))

    def commit(self) -> None:
        from azure.storage.blob import BlobBlock  # noqa: PLC0415 - adlfs brings it

        blocks = [BlobBlock(number) for number in self._blocks]
        self._driver.begin(self._blob.commit_block_list(blocks, content_settings=self._settings)).result()

    def abort(self) -> None:
        """Nothing: to remove blocks is to make a blob of others."""


def _client(account: str, url: str, key: Secret | None, timeouts: Mapping[str, Any]) -> Any:
    """The file system of adlfs with a client that sends every request once, and to hosts other than Azure's own."""
    from adlfs import AzureBlobFileSystem  # noqa: PLC0415 - 60 MiB; only for who has such a location
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential  # noqa: PLC0415
    from azure.storage.blob.aio import BlobServiceClient  # noqa: PLC0415

    credential: Any
    if key is None:
        from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415

        credential = DefaultAzureCredential()
    elif _is_sas(key.reveal()):
        credential = AzureSasCredential(key.reveal().removeprefix("?"))
    else:
        credential = AzureNamedKeyCredential(account, key.reveal())

    class Account(AzureBlobFileSystem):  # type: ignore[misc]
        def do_connect(self) -> None:
            self.service_client = BlobServiceClient(
                url,
                credential,
                user_agent="argoexec",
                retry_total=0,  # the phase decides about another attempt
                max_single_get_size=BLOCK,
                max_single_put_size=2 * PART,
                **timeouts,
            )

    return Account(account_name=account, credential=credential, skip_instance_cache=True)


def _account(endpoint: str) -> tuple[str, str]:
    """The account's name, and its URL.

    Raises:
        InputError: there is none.
    """
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        usable = parts.scheme in {"http", "https"} and bool(host) and parts.port != 0
    except ValueError:
        parts, host, usable = SplitResult("", "", "", "", ""), "", False
    if not usable or parts.username is not None or parts.query:
        raise InputError(
            "expected a URL such as https://ACCOUNT.blob.core.windows.net, without credentials",
            place="azure.endpoint",
            remedy="a SAS token belongs into the secret that accountKeySecret names",
        )
    path = parts.path.strip("/")
    local = host == "localhost"
    with suppress(ValueError):
        local = bool(ip_address(host))
    account = path.partition("/")[0] if local else host.partition(".")[0]
    if not account:
        raise InputError("the URL names no account: http://127.0.0.1:10000/ACCOUNT", place="azure.endpoint")
    return account, urlunsplit((parts.scheme, parts.netloc, f"/{path}" if path else "", "", ""))


def _is_sas(secret: str) -> bool:
    """An account key is base64; a SAS token is a query with a signature and a version."""
    return {"sig", "sv"} <= parse_qs(secret.removeprefix("?")).keys()


def _whole(properties: Any) -> int:
    """The bytes of the whole blob: ``size`` is that of the part that was asked for."""
    return int((properties.content_range or "").rpartition("/")[2] or properties.size)


def _is_directory(blob: Any) -> bool:
    """The marker of a directory in an account with hierarchical namespace: zero bytes, and a word in its metadata."""
    metadata = {name.lower(): value for name, value in (blob.metadata or {}).items()}
    return str(metadata.get("hdi_isfolder", "")).lower() == "true"


def _retry_after(error: Any) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    text = str(headers.get("Retry-After", ""))
    return float(text) if text.isdecimal() else None


async def _next(pages: Any) -> list[Any] | None:
    """The blobs of the next page."""
    try:
        page = await pages.__anext__()
    except StopAsyncIteration:
        return None
    return [blob async for blob in page]


def _lost(error: LifecycleError) -> LifecycleError:
    """A blob that is gone in the middle was removed: ``optional`` must not forgive that."""
    return Unavailable(f"{error.message}: it changed while it was read") if isinstance(error, NotFound) else error
