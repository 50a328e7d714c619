"""Alibaba's OSS, as far as a driver needs it, in memory: no emulator of it can be had. A real HTTP server on loopback.

It checks every signature (version 1) by its own computation, and forgets nothing it was asked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import crcmod

ACCESS, SECRET = "LTAI-of-tests", "s3cr3t-of-OSS"
_SIGNED = {"uploads", "uploadId", "partNumber", "lifecycle", "bucketInfo", "security-token", "continuation-token"}
_PAGE = 3  # so that listings have pages


@dataclass
class Oss:
    """A running server; one bucket, ``artifacts``, is there.

    Attributes:
        token: the security token that it wants besides the signature; empty for none.
        failures: answered instead, in this order: status and code.
        refusals: the same for every request whose target has these words in it.
        spoiled: whether the last byte of what is read is another than that of the object.
        encoding: the `Content-Encoding` of what is read.
    """

    token: str = ""
    objects: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"artifacts": {}})
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    rules: dict[str, bytes] = field(default_factory=dict)
    failures: list[tuple[int, str]] = field(default_factory=list)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    spoiled: bool = False
    encoding: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"oss": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of a test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    oss: Oss

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self._body()
        with self.oss.lock:
            self.oss.asked.append((self.command, self.path))
            if self.oss.failures:
                self._refuse(*self.oss.failures.pop(0))
            elif refused := [one for words, one in self.oss.refusals.items() if words in self.path]:
                self._refuse(*refused[0])
            elif refusal := self._unsigned(bucket, key, query):
                self._refuse(403, refusal)
            elif bucket not in self.oss.objects and not (self.command == "PUT" and not key):
                self._refuse(404, "NoSuchBucket")
            else:
                getattr(self, f"_{self.command.lower()}")(bucket, key, query, body)

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the base class looks for these

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":  # as oss2 sends nothing
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if len(body) < size:
                raise ConnectionAbortedError("the body broke off")
            return body
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _unsigned(self, bucket: str, key: str, query: dict[str, str]) -> str:
        """The code of a refusal, or nothing."""
        access, _, signature = self.headers.get("Authorization", "").removeprefix("OSS ").partition(":")
        own = sorted((n.lower(), v) for n, v in self.headers.items() if n.lower().startswith("x-oss-"))
        signed = sorted((name, value) for name, value in query.items() if name in _SIGNED)
        tail = "&".join(f"{name}={value}" if value else name for name, value in signed)
        lines = [self.command, self.headers.get("Content-MD5", ""), self.headers.get("Content-Type", "")]
        lines += [self.headers["Date"], *(f"{name}:{value}" for name, value in own)]
        text = "\n".join([*lines, f"/{bucket}/{key}" + (f"?{tail}" if tail else "")])
        if access != ACCESS:
            return "InvalidAccessKeyId"
        expected = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()).decode()
        if not hmac.compare_digest(signature, expected):
            return "SignatureDoesNotMatch"
        if self.headers.get("x-oss-security-token", "") != self.oss.token:
            return "InvalidSecurityToken"
        return ""

    def _get(self, bucket: str, key: str, query: dict[str, str], _: bytes) -> None:
        if not key:
            self._get_bucket(bucket, query)
            return
        if key not in self.oss.objects[bucket]:
            self._refuse(404, "NoSuchKey")
            return
        data = self.oss.objects[bucket][key]
        etag = f'"{hashlib.md5(data).hexdigest().upper()}"'
        if self.headers.get("If-Match", etag) != etag:
            self._refuse(412, "PreconditionFailed")
            return
        headers = {"ETag": etag, "x-oss-hash-crc64ecma": _crc(data)}
        if self.oss.encoding:
            headers["Content-Encoding"] = self.oss.encoding
        if self.oss.spoiled:
            data = data[:-1] + bytes([data[-1] ^ 1])
        wanted = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        if wanted:
            headers["Content-Range"] = f"bytes {wanted}-{len(data) - 1}/{len(data)}"
            data = data[int(wanted) :]
        self._answer(206 if wanted else 200, data, **headers)

    def _get_bucket(self, bucket: str, query: dict[str, str]) -> None:
        if "bucketInfo" in query:
            self._xml("BucketInfo", f"<Bucket><Name>{bucket}</Name></Bucket>")
            return
        if "lifecycle" in query:
            if bucket not in self.oss.rules:
                self._refuse(404, "NoSuchLifecycle")
            else:
                self._answer(200, self.oss.rules[bucket])
            return
        after = query.get("continuation-token", "")
        names = sorted(name for name in self.oss.objects[bucket] if name.startswith(query["prefix"]) and name > after)
        page = names[:_PAGE]
        text = "".join(
            f"<Contents><Key>{escape(quote(name, safe=''))}</Key><Size>{len(self.oss.objects[bucket][name])}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag><Type>Normal</Type>"
            "<StorageClass>Standard</StorageClass></Contents>"
            for name in page
        )
        more = len(names) > _PAGE
        token = f"<NextContinuationToken>{escape(quote(page[-1], safe=''))}</NextContinuationToken>" if more else ""
        head = f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        self._xml("ListBucketResult", head + text)

    def _put(self, bucket: str, key: str, query: dict[str, str], body: bytes) -> None:
        if "lifecycle" in query:
            self.oss.rules[bucket] = body
        elif not key:
            self.oss.objects.setdefault(bucket, {})
        elif "uploadId" in query:
            self.oss.uploads[query["uploadId"]][int(query["partNumber"])] = body
        else:
            self.oss.objects[bucket][key] = body
        self._answer(
            200, b"", ETag=f'"{hashlib.md5(body).hexdigest().upper()}"', **{"x-oss-hash-crc64ecma": _crc(body)}
        )

    def _post(self, bucket: str, key: str, query: dict[str, str], _: bytes) -> None:
        if "uploads" in query:
            number = f"upload-{len(self.oss.asked)}"
            self.oss.uploads[number] = {}
            self._xml("InitiateMultipartUploadResult", f"<UploadId>{number}</UploadId>")
            return
        parts = self.oss.uploads.pop(query["uploadId"])
        data = b"".join(parts[number] for number in sorted(parts))
        self.oss.objects[bucket][key] = data
        self._answer(200, b"<CompleteMultipartUploadResult/>", ETag='"x"', **{"x-oss-hash-crc64ecma": _crc(data)})

    def _delete(self, bucket: str, key: str, query: dict[str, str], _: bytes) -> None:
        if "uploadId" in query:
            self.oss.uploads.pop(query["uploadId"], None)
        else:
            self.oss.objects[bucket].pop(key, None)
        self._answer(204, b"")

    def _xml(self, name: str, text: str) -> None:
        self._answer(200, f"<?xml version='1.0' encoding='UTF-8'?><{name}>{text}</{name}>".encode())

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>no: {code}</Message></Error>".encode())

    def _answer(self, status: int, body: bytes, **headers: Any) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("x-oss-request-id", "1")
        self.end_headers()
        self.wfile.write(body)


def _crc(data: bytes) -> int:
    crc: int = crcmod.Crc(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True).new(data).crcValue
    return crc
