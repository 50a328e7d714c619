"""HTTP artifacts: GET of a URL (spec 3.2, 5.29).

urllib3 alone: fsspec's http filesystem takes twice the time and 120 ms more to import. Redirects are followed
here, one request each, because three things are decided anew for every hop: the proxy, the credentials (which do
not leave the host they were given for), and the scheme.
"""
# ruff: noqa: ARG002 - the signatures are the port's

from __future__ import annotations

import base64
import email.utils
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
import urllib3.exceptions

from drivers.body import Body
from drivers.network import broken
from lifecycle.errors import BadRequest, Forbidden, NotFound, Throttled, Unauthorized, Unavailable, Unsupported
from lifecycle.location import without_userinfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.errors import LifecycleError
    from lifecycle.ports import StoredObject
    from lifecycle.secret import SecretReader

_REDIRECTS = {301, 302, 303, 307, 308}
_HOPS: Final = 10
_CA_REMEDY: Final = "put the issuing CA into the system's store, or name a PEM file of it in SSL_CERT_FILE"


class HttpDriver:
    """Reads URLs. The configured ``headers`` go with every request to the URL's own host, and only there."""

    def __init__(
        self,
        config: Mapping[str, Any],
        secrets: SecretReader,
        *,
        connect_timeout: float = 15.0,
        read_timeout: float = 60.0,
    ) -> None:
        """``read_timeout`` is between two pieces of an answer; there is no limit for the whole.

        Raises:
            BadRequest: the headers are not a list of names and values.
            Unsupported: ``auth`` is asked for.
        """
        if config.get("auth"):
            raise Unsupported(
                "http artifacts with `auth` come with a later release of this executor",
                remedy="for now give an Authorization header under `headers`",
            )
        self._headers = _headers(config.get("headers"))
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def open(self, key: str) -> BinaryIO:
        """The body of a 2xx answer; an error page is never an artifact.

        Raises:
            NotFound: 404.
            Unauthorized, Forbidden, BadRequest: the other 4xx.
            Throttled, Unavailable, TimedOut: worth another attempt.
            Permanent: no TLS connection can be made.
        """
        url, own = key, True
        for _ in range(_HOPS):
            parts = _split(url)
            where = f"GET {without_userinfo(url)}"
            response = self._get(parts, where, own=own)
            if response.status not in _REDIRECTS or not response.headers.get("Location"):
                break
            response.close()
            url = urljoin(url, response.headers["Location"])
            own = own and _origin(_split(url)) == _origin(parts)
        else:
            raise BadRequest(f"GET {without_userinfo(key)}: more than {_HOPS} redirects")
        if not 200 <= response.status < 300:
            response.close()
            raise _refused(where, response)
        length = response.headers.get("Content-Length", "")
        return Body(
            _Undecoded(response), where, int(length) if length.isdecimal() else None, lambda e: _translated(where, e)
        )

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """Not in this release.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(
            "saving to an http location comes with a later release of this executor",
            remedy="give the output artifact an s3 or fsspec location",
        )

    def list(self, key: str) -> Iterator[StoredObject]:
        """Nothing: HTTP knows no directories."""
        return iter(())

    def delete(self, key: str) -> None:
        """Not in this release.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("deleting from an http location comes with a later release of this executor")

    def _get(self, parts: SplitResult, where: str, *, own: bool) -> urllib3.BaseHTTPResponse:
        # identity: a transfer encoding would hide the artifact's size and unpack what is meant to be packed.
        headers = urllib3.HTTPHeaderDict({"Accept-Encoding": "identity", "User-Agent": "argoexec"})
        if parts.username is not None:
            headers["Authorization"] = _basic(parts)
        if own:
            for name, _ in self._headers:
                headers.discard(name)
            for name, value in self._headers:
                headers.add(name, value)
        try:
            return self._pool(parts).request(
                "GET", _bare(parts), headers=headers, timeout=self._timeout,
                redirect=False, retries=False, preload_content=False, decode_content=False,
            )  # fmt: skip
        except ValueError as error:
            # from None: these hold the URL with its query, or a header's value.
            raise BadRequest(f"{where}: the URL or a header cannot be sent ({type(error).__name__})") from None
        except urllib3.exceptions.HTTPError as error:
            raise _translated(where, error) from error

    def _pool(self, parts: SplitResult) -> urllib3.PoolManager:
        """The connections of this driver, one set for each proxy that the environment prescribes."""
        proxy = ""
        if not proxy_bypass(parts.netloc.rpartition("@")[2]):
            proxies = getproxies()
            proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = _proxied(proxy) if proxy else urllib3.PoolManager(maxsize=16)
            return self._pools[proxy]


class _Undecoded:
    """An answer's bytes as they came."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def read(self, size: int, /) -> bytes:
        return self._response.read(size, decode_content=False)

    def shutdown(self) -> None:
        self._response.shutdown()

    def close(self) -> None:
        self._response.close()


def _headers(raw: Any) -> list[tuple[str, str]]:
    if not isinstance(raw or [], list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("value", ""), str)
        for one in raw or []
    ):
        raise BadRequest("`headers` of an http artifact is a list of objects with name and value")
    return [(one["name"], one.get("value", "")) for one in raw or []]


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an IPv6 address that is none; from None: it names the URL
        raise BadRequest("the URL of an http artifact cannot be parsed") from None
    if parts.scheme not in {"http", "https"} or not usable:
        raise BadRequest(
            f"an http artifact is read from an http or https URL, not from {without_userinfo(url)}",
            remedy="for files and other stores use an `fsspec` location",
        )
    return parts


def _bare(parts: SplitResult) -> str:
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _basic(parts: SplitResult) -> str:
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _proxied(proxy: str) -> urllib3.ProxyManager:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in {"http", "https"}:
        raise BadRequest(
            f"the proxy {without_userinfo(proxy)} is neither http nor https",
            remedy="correct http_proxy, https_proxy or all_proxy, or exempt the host with no_proxy",
        )
    headers = {"Proxy-Authorization": _basic(parts)} if parts.username is not None else None
    return urllib3.ProxyManager(_bare(parts), maxsize=16, proxy_headers=headers)


def _refused(where: str, response: urllib3.BaseHTTPResponse) -> LifecycleError:
    status = response.status
    text = f"{where}: {status} {response.reason or ''}".rstrip()
    if status == 404:
        return NotFound(text)
    if status in {401, 407}:
        return Unauthorized(text, remedy="correct the credentials in `headers`, in the URL, or of the proxy")
    if status == 403:
        return Forbidden(text, remedy="the credentials are known there, but may not read this")
    if status == 429:
        return Throttled(text, retry_after=retry_after(response.headers))
    if status == 408 or status >= 500:
        return Unavailable(text, retry_after=retry_after(response.headers))
    return BadRequest(text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds a ``Retry-After`` asks for; a date is relative to the server's own ``Date``, if it tells."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        then = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    try:
        now = email.utils.parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except ValueError:
        now = time.time()
    return max(0.0, then - now)


def _translated(where: str, error: Exception) -> LifecycleError:
    return broken(where, error, remedy=_CA_REMEDY)
