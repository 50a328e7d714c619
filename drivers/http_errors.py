"""What an HTTP server's answer means. The drivers that speak HTTP ask here, so that one status has one meaning."""

from __future__ import annotations

import email.utils
import http.client
import time
from typing import TYPE_CHECKING, Final

from lifecycle.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    StorageFull,
    Throttled,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from lifecycle.network import broken

if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

    from lifecycle.errors import LifecycleError

_CA_REMEDY: Final = "put the issuing CA into the system's store, or name a PEM file of it in SSL_CERT_FILE"
_LENGTH_REMEDY: Final = "set `saveStreamViaFile: true`: the length is then known before the body is sent"


def refused(
    where: str, response: urllib3.BaseHTTPResponse, *, credentials: str, chunked: bool = False
) -> LifecycleError:
    """The meaning of an answer that is no success; the caller raises it, and closes the answer.

    Args:
        where: method and URL, without credentials.
        response: its status and headers; the body, a page for people, is not read.
        credentials: where a person gave those that were sent.
        chunked: whether a body went with the request whose length was not told.
    """
    status = response.status
    text = f"{where}: {status} {http.client.responses.get(status, '')}".rstrip()  # not in the server's own words
    if status in {404, 401, 407, 403}:
        return _of_access(text, status, credentials)
    if status == 411 or (status == 501 and chunked):
        return BadRequest(f"{text}: the server wants to know the length", remedy=_LENGTH_REMEDY)
    if status in {408, 429} or status >= 500:
        return _of_server(text, status, retry_after(response.headers))
    if status == 400 and " https://" in where:  # nginx says so where it asked in vain
        return BadRequest(text, remedy="does the server ask for a client certificate, or another (`auth.clientCert`)?")
    return BadRequest(text, remedy=_REMEDIES.get(status, ""))


_REMEDIES: Final = {
    405: "does the server allow this method at that place?",
    409: "is a directory in the way, or missing? Artifactory answers so, too, when it got other bytes than were sent",
    413: "raise the size that the server takes",
}


def _of_access(text: str, status: int, credentials: str) -> LifecycleError:
    if status == 404:
        return NotFound(text)
    if status == 403:
        return Forbidden(text, remedy="the credentials are known there, but do not suffice for this")
    return Unauthorized(text, remedy=f"correct {'the credentials of the proxy' if status == 407 else credentials}")


def _of_server(text: str, status: int, later: float | None) -> LifecycleError:
    if status == 501:
        return Unsupported(text, remedy="this server does not know that method")
    if status == 507:
        return StorageFull(text, remedy="free space there, or raise the quota")
    if status == 429:
        return Throttled(text, retry_after=later)
    return Unavailable(text, retry_after=later)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds a ``Retry-After`` asks for; a date is relative to the server's own ``Date``, if it tells."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    then = when(text)
    if then is None:
        return None
    return max(0.0, then - (when(headers.get("Date", "")) or time.time()))


def when(text: str) -> float | None:
    """The seconds since the epoch of an HTTP date; ``None`` when it is none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def translated(where: str, error: Exception) -> LifecycleError:
    """The meaning of an error of urllib3's; the caller raises it."""
    return broken(where, error, remedy=_CA_REMEDY)
