"""Requests to HTTP servers: connections, proxies, redirects, and whose credentials go where.

urllib3 alone: fsspec's http filesystem takes twice the time and 120 ms more to import. Redirects are followed
here, one request each, because three things are decided anew for every hop: the proxy, the credentials (which do
not leave the origin they were given for), and the scheme.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
import urllib3.exceptions

from drivers.http_errors import refused, translated
from drivers.http_upload import POOLS, SourceFailed, Upload
from drivers.http_url import bare, is_webhdfs, joined, origin, split, userinfo
from lifecycle.errors import BadRequest, Unavailable
from lifecycle.location import without_userinfo
from lifecycle.network import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.http_auth import Credentials
    from lifecycle.errors import LifecycleError

# At DEBUG it logs every request with its query, where signatures and tokens are.
logging.getLogger("urllib3").setLevel(logging.WARNING)

_REDIRECTS: Final = {301, 302, 303, 307, 308}
_KEEPING: Final = {307, 308}  # those that keep method and body; with the others a PUT would become a GET
_HOPS: Final = 10


class Client:
    """The connections of one driver, for any number of threads."""

    def __init__(
        self, credentials: Credentials, *, connect_timeout: float, read_timeout: float, answer_timeout: float
    ) -> None:
        """Nothing is sent.

        Args:
            credentials: they go to the origin of the URL that is asked for, and only there.
            connect_timeout: seconds.
            read_timeout: seconds between two pieces of an answer, or of what is sent.
            answer_timeout: seconds from the end of a body that was sent to the answer: the server may have to move it.
        """
        self._credentials = credentials
        self._read = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._answer = urllib3.Timeout(connect=connect_timeout, read=answer_timeout)
        self._sending = read_timeout
        self._pools: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, upload: Upload | None = None
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        """Ask until there is an answer that is no redirect; gives it, and method and URL for messages.

        A token that was refused is replaced once. A body is sent again only where that is possible.

        Raises:
            BadRequest: too many redirects, or a URL or header that cannot be sent.
            LifecycleError: the connection, or the token endpoint.
            Exception: what the source of the upload raised.
        """
        place, own = url, True
        sent: dict[str, str] = dict(headers or {})
        body = upload
        if upload is not None:
            upload.timeout = self._sending
            if is_webhdfs(split(url)):
                # Its rules want two steps: an empty PUT, whose redirect says which data node takes the body. The name
                # node says 100 to whoever asks for leave, and answers 307 all the same (Hadoop 3.3.6).
                body = Upload(b"")
        for _ in range(_HOPS):
            parts = split(place)
            where = f"{method} {without_userinfo(place)}"
            token, fresh = self._token(own=own)
            response = self._ask(method, parts, where, self._headers(parts, sent, token, own=own), body, own=own)
            target = self._redirected(method, place, response)
            if response.status == 401 and token and not fresh and self._credentials.tokens is not None:
                self._credentials.tokens.drop(token)
                self._again(body, response, where, "the token was refused")
            elif target:
                self._again(body, response, where, f"{response.status} leads to another place")
                body = upload
                place = target
                own = own and origin(split(place)) == origin(parts)
            elif body is not upload and 200 <= response.status < 300:
                response.close()  # it does without the first step
                body = upload
            elif body is not None and body.answered and (response.status == 417 or 200 <= response.status < 300):
                # It does not understand the question (RFC 9110, 10.1.1), or took its own leave for the body.
                self._again(body, response, where, "the body was not asked for")
                body.expects = False
            else:
                return response, where
        raise BadRequest(f"{method} {without_userinfo(url)}: more than {_HOPS} redirects")

    def refused(self, where: str, response: urllib3.BaseHTTPResponse, *, chunked: bool = False) -> LifecycleError:
        """Close an answer that is no success, and tell its meaning; the caller raises it."""
        response.close()
        return refused(where, response, credentials=self._credentials.source, chunked=chunked)

    def _redirected(self, method: str, url: str, response: urllib3.BaseHTTPResponse) -> str:
        if response.status not in _REDIRECTS or not response.headers.get("Location"):
            return ""
        try:
            target = joined(url, response.headers["Location"])
            if method == "GET" or response.status in _KEEPING:
                return target
            raise BadRequest(
                f"{method} {without_userinfo(url)}: {response.status} leads to {without_userinfo(target)}, "
                f"and does not say to {method} there",
                remedy="give the URL that it leads to, or let the server answer 307 or 308",
            )
        except BadRequest:
            response.close()
            raise

    def _again(self, upload: Upload | None, response: urllib3.BaseHTTPResponse, where: str, why: str) -> None:
        response.close()
        if upload is not None and not upload.again():
            meaning = Unavailable if response.status == 401 else BadRequest
            raise meaning(
                f"{where}: {why}, after the server had begun to read the body, which cannot be sent twice",
                remedy="set `saveStreamViaFile: true`: the body is then kept in a file until it is taken",
            )

    def _token(self, *, own: bool) -> tuple[str, bool]:
        tokens = self._credentials.tokens
        return tokens.current(self._post) if own and tokens is not None else ("", False)

    def _headers(self, parts: SplitResult, sent: Mapping[str, str], token: str, *, own: bool) -> urllib3.HTTPHeaderDict:
        # identity: a transfer encoding would hide the artifact's size and unpack what is meant to be packed.
        headers = urllib3.HTTPHeaderDict({"Accept-Encoding": "identity", "User-Agent": "argoexec"})
        headers.update(sent)
        basic = self._credentials.basic
        authorization = token or (basic.reveal() if own and basic is not None else userinfo(parts))
        if authorization:
            headers["Authorization"] = authorization
        if own:
            for name, _ in self._credentials.headers:
                headers.discard(name)
            for name, value in self._credentials.headers:
                headers.add(name, value)
        return headers

    def _ask(
        self,
        method: str,
        parts: SplitResult,
        where: str,
        headers: urllib3.HTTPHeaderDict,
        upload: Upload | None,
        *,
        own: bool,
    ) -> urllib3.BaseHTTPResponse:
        if upload is not None and upload.size is not None:
            headers["Content-Length"] = str(upload.size)
        if upload is not None and upload.expects:
            headers["Expect"] = "100-continue"
        failed: Exception | None = None
        try:
            response = self._pool(parts, own=own).urlopen(
                method, bare(parts), headers=headers, timeout=self._read if upload is None else self._answer,
                body=upload, chunked=upload is not None and upload.size is None,
                redirect=False, retries=False, preload_content=False, decode_content=False,
            )  # fmt: skip
        except SourceFailed:
            failed = upload.failure if upload is not None else None
        except ValueError as error:
            # from None: these hold the URL with its query, or a header's value.
            raise BadRequest(f"{where}: the URL or a header cannot be sent ({type(error).__name__})") from None
        except urllib3.exceptions.HTTPError as error:
            raise translated(where, error) from shown(error)
        if failed is not None:
            raise failed  # here, so that its own cause stays as it is
        return response

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> urllib3.BaseHTTPResponse:
        """The request for a token; no credentials of the artifact's, no redirects."""
        parts = split(url)
        every = {"User-Agent": "argoexec", **headers}
        return self._pool(parts, own=False).urlopen(
            "POST", bare(parts), headers=every, body=body, timeout=self._read,
            redirect=False, retries=False, preload_content=False,
        )  # fmt: skip

    def _pool(self, parts: SplitResult, *, own: bool) -> urllib3.PoolManager:
        """A set of connections for each proxy that the environment prescribes; those with our certificate apart."""
        proxy = ""
        if not proxy_bypass(parts.netloc.rpartition("@")[2]):
            proxies = getproxies()
            proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
        context = self._credentials.tls if own else None
        key = proxy, context is not None
        with self._lock:
            if key not in self._pools:
                made = _proxied(proxy, context) if proxy else urllib3.PoolManager(maxsize=16, ssl_context=context)
                made.pool_classes_by_scheme = POOLS
                self._pools[key] = made
            return self._pools[key]


def _proxied(proxy: str, context: Any) -> urllib3.ProxyManager:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in {"http", "https"}:
        raise BadRequest(
            f"the proxy {without_userinfo(proxy)} is neither http nor https",
            remedy="correct http_proxy, https_proxy or all_proxy, or exempt the host with no_proxy",
        )
    authorization = userinfo(parts)
    headers = {"Proxy-Authorization": authorization} if authorization is not None else None
    return urllib3.ProxyManager(bare(parts), maxsize=16, proxy_headers=headers, ssl_context=context)
