"""HDFS over HTTP: the REST interface of name nodes and of HttpFS gateways, on urllib3.

fsspec's webhdfs would bring requests, buffers whole blocks, and tells neither a standby name node nor a quota from
other errors. What is written goes to a data node, to which the name node redirects.
"""

from __future__ import annotations

import io
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import quote, urlencode, urlsplit

import urllib3
import urllib3.exceptions

from drivers.body import Undecoded
from drivers.hdfs_errors import ABSENT, Lost, Refused, simple
from drivers.hdfs_files import Status
from drivers.hdfs_rpc import ClientProcess
from lifecycle.errors import BadRequest, Unavailable
from lifecycle.network import broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.body import Inner
    from drivers.kerberos import Login

_SCHEMES: Final = {"http": "http", "https": "https", "webhdfs": "http", "swebhdfs": "https"}
_PORTS: Final = {"http": 9870, "https": 9871}
_CHUNK: Final = 1 << 20
_OTHER: Final = f"is that the address of a WebHDFS? a name node has it on {_PORTS['http']}"
_CA_REMEDY: Final = "put the issuing CA into the system's store, or name a PEM file of it in SSL_CERT_FILE"
# What the answers without a RemoteException mean: those of a proxy, or of the filter that comes before HDFS.
_STATUSES: Final = {401: "AuthenticationException", 403: "AccessControlException", 429: "RetriableException"}
_ELSEWHERE: Final = {"StandbyException", "ObserverRetryOnActiveException"}
_DIRECTORY: Final = "777"  # as the original makes them, whatever the umask


class WebFiles:
    """The files of one cluster as one user. Several URLs are those of its name nodes: the active one serves."""

    def __init__(self, urls: Sequence[str], login: Login, connect_timeout: float, read_timeout: float) -> None:
        """Nothing is sent. Timeouts are in seconds; ``read_timeout`` is between two pieces of an answer.

        Raises:
            BadRequest: a URL is none of WebHDFS.
        """
        self._bases = [_base(url) for url in urls]
        self._active = 0
        self._login = login
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._patience = connect_timeout + read_timeout  # with the KDC
        self._pool = urllib3.PoolManager(maxsize=16)
        self._lock = threading.Lock()
        self._process: ClientProcess | None = None
        self._cookie = ""

    def status(self, path: str) -> Status | None:
        """What is there, if anything."""
        try:
            found = _value(self._ask("GET", path, "GETFILESTATUS"))
        except Refused as error:
            if error.name == ABSENT:
                return None
            raise
        with _shaped():
            return _status(path, found["FileStatus"])

    def walk(self, path: str) -> Iterator[Status]:
        """Everything below a directory, in no order; a directory of any size comes in pages."""
        waiting = [path]
        while waiting:
            directory, after, more = waiting.pop(), "", True
            while more:
                value = _value(self._ask("GET", directory, "LISTSTATUS_BATCH", startAfter=after))
                with _shaped():
                    listing = value["DirectoryListing"]
                    names = {one["pathSuffix"]: one for one in listing["partialListing"]["FileStatuses"]["FileStatus"]}
                    page = [_status(f"{directory.rstrip('/')}/{name}", one) for name, one in names.items()]
                    more = bool(listing["remainingEntries"]) and bool(page)
                after = next(reversed(names), "")
                waiting += [one.path for one in page if one.directory]
                yield from page

    def read(self, path: str, offset: int, size: int) -> Inner:
        """A part of a file; the caller closes it."""
        if not size:
            return io.BytesIO()  # WebHDFS refuses a length of 0
        answer = self._ask("GET", path, "OPEN", offset=str(offset), length=str(size))
        if location := answer.headers.get("Location"):
            answer.drain_conn()
            answer = _checked(self._send("GET", location, headers=self._known_by(location)))
        return Undecoded(answer)

    def write(self, path: str, stream: BinaryIO) -> Status:
        """A file, in the place of any; nothing stays where the stream fails."""
        answer = self._ask("PUT", path, "CREATE", overwrite="true")
        answer.drain_conn()
        location = answer.headers.get("Location")
        if not location:
            raise Refused("RemoteException", "the name node names no data node to write to")
        failures: list[BaseException] = []

        def body() -> Iterator[bytes]:
            try:
                while chunk := stream.read(_CHUNK):
                    yield chunk
            except BaseException as error:  # noqa: BLE001 - raised below
                # An upload that breaks off could make its file after it was removed; one that ends cannot.
                failures.append(error)

        _value(_checked(self._send("PUT", location, body(), self._known_by(location))))
        if failures:
            raise failures[0]
        found = self.status(path)
        if found is None:
            raise Refused(ABSENT, "it is gone")
        return found

    def make_directories(self, path: str) -> None:
        """With the parents; those that are there stay as they are."""
        if not _value(self._ask("PUT", path, "MKDIRS", permission=_DIRECTORY)).get("boolean"):
            raise Refused("IOException", "the directory cannot be made")

    def rename(self, path: str, target: str, *, overwrite: bool) -> None:
        """Put a file in another's place."""
        options = "OVERWRITE" if overwrite else "NONE"
        _value(self._ask("PUT", path, "RENAME", destination=target, renameoptions=options))

    def remove(self, path: str) -> None:
        """A file, or an empty directory; nothing there is success."""
        _value(self._ask("DELETE", path, "DELETE", recursive="false"))

    def _ask(self, method: str, path: str, operation: str, **parameters: str) -> urllib3.BaseHTTPResponse:
        """The first answer of an active name node."""
        query = {"op": operation} | parameters
        if self._login.user:
            query["user.name"] = self._login.user
        for attempt in range(len(self._bases)):
            number = (self._active + attempt) % len(self._bases)
            last = attempt + 1 == len(self._bases)
            url = f"{self._bases[number]}{quote(path)}?{urlencode(query)}"
            try:
                answer = _checked(self._authorized(method, url))
            except Lost as error:
                if last or not error.known.transient:
                    raise
            except Refused as error:
                if error.name == "AuthenticationException" and not self._login.kerberos:
                    raise Refused("SecurityException", error.text) from error
                if last or error.name not in _ELSEWHERE:
                    raise
            else:
                self._active = number
                return answer
        raise AssertionError("there is at least one address")

    def _authorized(self, method: str, url: str) -> urllib3.BaseHTTPResponse:
        """With Kerberos: the server's own cookie while it lasts, else a token."""
        if not self._login.kerberos:
            return self._send(method, url)
        if self._cookie:
            answer = self._send(method, url, headers={"Cookie": self._cookie})
            if answer.status != 401:
                return answer
            answer.drain_conn()
        host = urlsplit(url).hostname or ""
        with self._lock:
            if self._process is None or self._process.gone:
                settings = {"url": "", "config": {}, "kerberos": True}
                self._process = ClientProcess(settings, self._login)
            with self._process.call({"do": "negotiate", "host": host}, self._patience) as asked:
                token = asked.result()
        answer = self._send(method, url, headers={"Authorization": f"Negotiate {token}"})
        for one in answer.headers.getlist("Set-Cookie"):
            if one.startswith("hadoop.auth=") and answer.status < 400:
                self._cookie = one.partition(";")[0]
        return answer

    def _known_by(self, location: str) -> dict[str, str]:
        """A gateway redirects to itself, and asks again who this is; a data node finds it in the URL."""
        own = any(urlsplit(location).netloc == urlsplit(base).netloc for base in self._bases)
        return {"Cookie": self._cookie} if own and self._cookie else {}

    def _send(
        self, method: str, url: str, body: Iterator[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """One request; redirects are the caller's, because a body goes to the data node only."""
        # A URL of a data node has a delegation token in it: the host is all that a message may tell.
        where = f"{method} {urlsplit(url).netloc.rpartition('@')[2]}"
        try:
            return self._pool.urlopen(
                method, url, body=body, timeout=self._timeout, redirect=False, retries=False, preload_content=False,
                decode_content=False, chunked=body is not None,
                headers={"User-Agent": "argoexec", "Content-Type": "application/octet-stream"} | (headers or {}),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            # from None: urllib3's errors hold the URL.
            raise Lost(broken(where, error, remedy=_CA_REMEDY)) from None


def _base(url: str) -> str:
    try:
        parts = urlsplit(url)
        possible = bool(parts.hostname) and parts.port != 0
    except ValueError:  # from None: it may name a password
        raise BadRequest("an address of an hdfs location cannot be parsed as a URL") from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname or not possible or parts.query or parts.username is not None:
        raise BadRequest(
            f"an hdfs address is HOST:PORT or a URL, not {parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            remedy="WebHDFS is http://HOST:9870, https://HOST:9871, or the same as webhdfs:// and swebhdfs://",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/").removesuffix("/webhdfs/v1")
    return f"{scheme}://{host}:{parts.port or _PORTS[scheme]}{path}/webhdfs/v1"


def _status(path: str, entry: dict[str, Any]) -> Status:
    return Status(path, entry["type"] == "DIRECTORY", int(entry["length"]), int(entry["modificationTime"]))


def _value(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """The whole answer, which is small, as JSON."""
    try:
        data = answer.read(decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise Lost(broken("reading the answer", error)) from None
    with _shaped():
        return dict(json.loads(data)) if data.strip() else {}


@contextmanager
def _shaped() -> Iterator[None]:
    """What does not look like an answer of WebHDFS comes from something else."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise Lost(BadRequest("the answer is not one of WebHDFS", remedy=_OTHER)) from error


def _checked(answer: urllib3.BaseHTTPResponse) -> urllib3.BaseHTTPResponse:
    """The answer, if it is none of refusal.

    Raises:
        Refused: with the exception that the server names, or what the status alone means.
        Lost: neither tells anything.
    """
    if answer.status < 400:
        return answer
    try:
        told = json.loads(answer.read(_CHUNK, decode_content=False))["RemoteException"]
        name, text = simple(str(told.get("javaClassName") or told["exception"])), str(told.get("message", ""))
    except (ValueError, LookupError, TypeError, AttributeError, urllib3.exceptions.HTTPError):
        name, text = _STATUSES.get(answer.status, ""), f"{answer.status} {answer.reason or ''}".rstrip()
    finally:
        answer.close()
    if not name and answer.status >= 500:
        raise Lost(Unavailable(text))
    if not name:
        raise Lost(BadRequest(text, remedy=_OTHER))
    raise Refused(name, text.partition("\n")[0])
