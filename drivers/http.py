"""HTTP artifacts: GET and PUT of a URL (spec 3.2, 5.29)."""
# ruff: noqa: ARG002 - the signatures are the port's

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import urllib3
import urllib3.exceptions

from drivers.body import Body, Undecoded
from drivers.http_auth import credentials
from drivers.http_client import Client
from drivers.http_errors import translated, when
from drivers.http_upload import SMALL, Upload
from drivers.http_url import is_webhdfs, overwrites, split, with_operation
from drivers.spool import read_up_to, spooled
from lifecycle.errors import BadRequest, LifecycleError, NotFound, Transient, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drivers.http_auth import Credentials
    from lifecycle.ports import StoredObject
    from lifecycle.secret import SecretReader

_PAGE: Final = 64 * 1024  # bytes; more behind an upload is not read to keep the connection


class HttpDriver:
    """Reads and writes URLs."""

    def __init__(
        self,
        config: Mapping[str, Any],
        secrets: SecretReader,
        *,
        connect_timeout: float = 15.0,
        read_timeout: float = 60.0,
        answer_timeout: float = 300.0,
    ) -> None:
        """Reads the secrets; nothing is sent. There is no limit for the whole of a transfer.

        Args:
            config: of the location: ``headers``, ``auth``, ``saveStreamViaFile``.
            secrets: where those it names are mounted.
            connect_timeout: seconds.
            read_timeout: seconds between two pieces.
            answer_timeout: seconds for the answer to a PUT, from the end of its body.

        Raises:
            BadRequest: the headers, or what is asked of ``auth``, cannot work.
            Unauthorized: a secret it names is not there.
        """
        self._via_file = config.get("saveStreamViaFile") or False
        if not isinstance(self._via_file, bool):
            raise BadRequest("`saveStreamViaFile` of an http artifact is true or false")
        self._client = Client(
            self._credentials(config, secrets),
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            answer_timeout=answer_timeout,
        )

    def open(self, key: str) -> BinaryIO:
        """The body of a 2xx answer; an error page is never an artifact.

        Raises:
            NotFound: 404.
            Unauthorized, Forbidden, BadRequest: the other 4xx.
            Throttled, Unavailable, TimedOut: worth another attempt.
            Permanent: no TLS connection can be made.
        """
        return self._open(key)[0]

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """The body from byte ``offset`` on, if it is still that version (RFC 9110, 13.1.5 and 14.2).

        Raises:
            NotFound: it is another by now.
            Unavailable: the server gives the whole instead, or another part.
            LifecycleError: as ``open``.
        """
        condition = self._condition(version)
        headers = {"Range": f"bytes={offset}-", **condition}
        response, where = self._client.exchange("GET", key, headers=headers)
        now = self._version(response.headers)
        if response.status == 206 and (now == version or (condition and not now)):
            begins = response.headers.get("Content-Range", "").partition("-")[0].split()
            if begins == ["bytes", str(offset)]:
                return _body(response, where, version)
            response.close()
            raise Unavailable(f"{where}: asked for what is behind byte {offset}, the server gave another part")
        if response.status == 200 and now == version:
            response.close()
            raise Unavailable(f"{where}: the server does not give the rest of it")
        if response.status in {200, 206, 416}:
            response.close()
            raise NotFound(f"{where}: it is another by now")
        raise self._client.refused(where, response)

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """PUT the stream: up to 1 MiB from memory, more in chunks while it comes, or from a file.

        All or nothing: a body that breaks off lacks its last chunk, or bytes of its length, and a server does not keep
        it. WebHDFS does: there the file is deleted, if it was one to overwrite.

        Raises:
            LifecycleError: what the server answered.
            Exception: whatever the stream raised.
        """
        head = read_up_to(stream, SMALL)
        if len(head) < SMALL:
            self._put(key, Upload(head))
        elif self._via_file:
            with spooled(head, stream) as (file, size):
                self._put(key, Upload(b"", file, size=size, seekable=True))
        else:
            self._put(key, Upload(head, stream))

    def list(self, key: str) -> Iterator[StoredObject]:
        """Nothing: HTTP knows no directories."""
        return iter(())

    def delete(self, key: str) -> None:
        """DELETE; 404 and 410 are success.

        Raises:
            LifecycleError: what else the server answered.
        """
        parts = split(key)
        url = with_operation(parts, "DELETE") if is_webhdfs(parts) else key
        response, where = self._client.exchange("DELETE", url)
        if response.status not in {404, 410} and not 200 <= response.status < 300:
            raise self._client.refused(where, response)
        _page(response)

    def _credentials(self, config: Mapping[str, Any], secrets: SecretReader) -> Credentials:
        return credentials(config, secrets)

    def _version(self, headers: Mapping[str, str]) -> str:
        return validator(headers)

    def _condition(self, version: str) -> dict[str, str]:
        return {"If-Range": version}

    def _open(self, key: str) -> tuple[Body, Mapping[str, str]]:
        response, where = self._client.exchange("GET", key)
        if not 200 <= response.status < 300:
            raise self._client.refused(where, response)
        version = self._version(response.headers) if response.status == 200 else ""
        return _body(response, where, version), response.headers

    def _put(self, key: str, upload: Upload, headers: Mapping[str, str] | None = None) -> bytes:
        """Send, and give the beginning of what the server says to it."""
        try:
            response, where = self._client.exchange("PUT", key, headers=headers, upload=upload)
            if not 200 <= response.status < 300:
                raise self._client.refused(where, response, chunked=upload.size is None)
            if not upload.done:
                response.close()
                raise Unavailable(f"{where}: the server answered {response.status} before it had the whole body")
        except Exception as error:
            broke = upload.failure is not None or isinstance(error, Transient)
            if broke and upload.begun and overwrites(split(key)):  # WebHDFS keeps what came before a break
                with contextlib.suppress(LifecycleError):  # the error that led here is the one to report
                    self.delete(key)
            raise
        return _page(response)


def validator(headers: Mapping[str, str]) -> str:
    """What tells this content from others at the same URL, for ``If-Range``; empty where nothing does for sure.

    A strong ETag. Without any ETag the time of the last change, if it was over when the answer was made (RFC 9110,
    8.8.2.2): within one second a file can change twice.
    """
    tag = headers.get("ETag", "")
    if headers.get("Accept-Ranges", "").strip().lower() == "none" or (tag and not tag.startswith('"')):
        return ""
    changed, now = when(headers.get("Last-Modified", "")), when(headers.get("Date", ""))
    if not tag and changed is not None and now is not None and now - changed >= 1:
        return headers["Last-Modified"]
    return tag


def _body(response: urllib3.BaseHTTPResponse, where: str, version: str) -> Body:
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    return Body(Undecoded(response), where, size, lambda error: translated(where, error), version)


def _page(response: urllib3.BaseHTTPResponse) -> bytes:
    """The beginning of an answer; when that is all of it, the connection serves the next request."""
    try:
        return response.read(_PAGE, decode_content=False)
    except urllib3.exceptions.HTTPError:
        return b""  # its status has come, and that decides
    finally:
        response.close()
