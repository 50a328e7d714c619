"""Small objects by obstore: 2,000 of 4 KiB in a seventh (up) and a tenth (down) of a boto3 loop's time (ADR 12).

boto3 costs 1.5 ms of CPU for each request, obstore 0.2, and most of it outside the interpreter's lock. It cannot send
Content-MD5, nor show what the store answered; so what it did is believed only if the ETag is the MD5 of the bytes.
Whatever goes wrong here is no error: the same is asked again by boto3, which gives the precise answer.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from drivers.body import Body
from lifecycle.network import broken

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import S3Credential

    from drivers.s3_client import Connection
    from drivers.s3_encryption import Encryption

log = logging.getLogger("argoexec")

SMALL: Final = 1 << 20  # bytes; above it boto3 is as fast
_PATIENCE: Final = 3  # times that boto3 could do what obstore could not, until it is left alone
_EXPIRED: Final = datetime(1970, 1, 1, tzinfo=UTC)  # so that obstore asks for credentials again: ours know when
# What in the environment botocore takes into account and obstore does otherwise or not at all is not plain. These are
# harmless: credentials come from botocore, the region and the endpoint from its client.
_HARMLESS: Final = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_ENDPOINT_URL_STS", "AWS_EXECUTION_ENV",
    "AWS_EC2_METADATA_DISABLED", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CA_BUNDLE",
}  # fmt: skip

_ROOTS: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE")


class FastPath:
    """A second client of the same bucket. It is made when the first object asks for it."""

    def __init__(self, make: Callable[[], Any], where: str) -> None:
        """``make`` gives obstore's store; ``where`` is for messages."""
        self._make = make
        self._where = where
        self._store: Any = None
        self._missed = 0
        self._lock = threading.Lock()
        self.served = 0

    def put(self, key: str, data: bytes | bytearray, kind: str) -> bool:
        """Store an object; false if it must be stored again."""
        store = self._ready()
        if store is None:
            return False
        import obstore  # noqa: PLC0415 - 25 ms, for a directory of objects alone

        try:
            stored = obstore.put(store, key, data, attributes={"Content-Type": kind}, use_multipart=False)
        except Exception as error:  # noqa: BLE001 - boto3 asks the same, and tells what is wrong
            return self._failed(key, error)
        return self._proved(stored.get("e_tag"), data)

    def get(self, key: str) -> tuple[BinaryIO | None, bool]:
        """An object, whole, or ``None``; and whether boto3 would have given it."""
        store = self._ready()
        if store is None:
            return None, False
        import obstore  # noqa: PLC0415 - as above

        try:
            found = obstore.get(store, key)
            if found.meta["size"] > SMALL:
                return None, False
            data = bytes(found.bytes())
        except Exception as error:  # noqa: BLE001 - as above
            return None, not self._failed(key, error)
        version = found.meta["e_tag"] or ""
        if len(data) != found.meta["size"] or not self._proved(version, data):
            return None, True
        where = f"s3:GetObject of {key!r} in {self._where}"
        return Body(io.BytesIO(data), where, len(data), lambda error: broken(where, error), version), False

    def takes(self, key: str, size: int) -> bool:
        """Whether an object is for here. obstore makes another key of one with empty parts or dots."""
        return size <= SMALL and self._missed < _PATIENCE and not {"", ".", ".."} & set(key.split("/"))

    def outdone(self) -> None:
        """boto3 could do what we could not. That may be once; where it is always so we only cost time."""
        with self._lock:
            self._missed += 1
            if self._missed == _PATIENCE:
                log.info("%s: the fast path does not work with this store", self._where)

    def _ready(self) -> Any:
        with self._lock:
            if self._store is None and self._missed < _PATIENCE:
                try:
                    self._store = self._make()
                except Exception as error:  # noqa: BLE001 - it is not installed, or too old for these options
                    log.debug("%s: no fast path: %s", self._where, type(error).__name__)
                    self._missed = _PATIENCE
            return self._store

    def _proved(self, etag: str | None, data: bytes | bytearray) -> bool:
        proved = (etag or "").strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()
        if proved:
            with self._lock:
                self.served += 1
        return proved

    def _failed(self, key: str, error: Exception) -> bool:
        # Not its text: it may hold the URL and what the server said, which boto3's error will say as well.
        log.debug("%s: %r takes the slow path after %s", self._where, key, type(error).__name__)
        return False


def fast_path(connection: Connection, encryption: Encryption) -> FastPath | None:
    """The fast path of a connection, if obstore can ask what boto3 would ask there. Nothing is imported or sent."""
    if encryption.password or encryption.kms_key or getproxies().keys() - {"no"}:
        return None  # with KMS the ETag is no MD5
    tls = connection.client.meta.endpoint_url.startswith("https:")
    if tls and (connection.own_roots or any(os.environ.get(name) for name in _ROOTS)):
        return None  # it would add CAs to those it has
    if any(name.startswith("AWS_") and name not in _HARMLESS for name in os.environ):
        return None
    return FastPath(
        lambda: _store(connection, encryption),
        f"bucket {connection.place.bucket!r} at {connection.place.endpoint}",
    )


def _store(connection: Connection, encryption: Encryption) -> Any:
    from obstore.store import S3Store  # noqa: PLC0415 - as above

    def credentials() -> S3Credential:
        frozen = connection.credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": _EXPIRED,
        }

    url = urlsplit(connection.client.meta.endpoint_url)
    bucket, (connecting, reading) = connection.place.bucket, connection.timeouts
    config: dict[str, Any] = {"server_side_encryption": encryption.algorithm} if encryption.algorithm else {}
    return S3Store(
        bucket,
        endpoint=f"{url.scheme}://{bucket}.{url.netloc}" if connection.virtual else f"{url.scheme}://{url.netloc}",
        region=connection.region,
        virtual_hosted_style_request=connection.virtual,
        client_options={
            "allow_http": url.scheme == "http",
            "connect_timeout": timedelta(seconds=connecting),
            "timeout": timedelta(seconds=reading),
        },
        retry_config={"max_retries": 0},
        credential_provider=credentials,
        **config,
    )
