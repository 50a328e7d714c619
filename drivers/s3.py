"""S3 and whatever speaks its protocol (spec 3.1, 5.29): objects as streams, listings by page.

boto3 does all of it. The small objects of a directory take a faster way where there is one (:mod:`drivers.s3_fast`).
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from drivers.body import Body
from drivers.s3_bucket import Bucket
from drivers.s3_client import connect
from drivers.s3_encryption import encryption
from drivers.s3_fast import SMALL, FastPath, fast_path
from drivers.s3_upload import Target, upload
from lifecycle.errors import BadRequest, Forbidden, NotFound, Permanent, Unavailable, Unsupported
from lifecycle.ports import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.secret import SecretReader

log = logging.getLogger("argoexec")

_REMEMBERED: Final = 100_000  # keys of small objects: 15 MiB


class S3Driver:
    """One bucket, one client, any number of threads."""

    def __init__(
        self,
        config: Mapping[str, Any],
        secrets: SecretReader,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        fast: bool | None = None,
    ) -> None:
        """Reads the secrets; nothing is sent. ``read_timeout`` is between two pieces of an answer.

        ``fast`` is whether small objects take the fast path: never, always, or (``None``) those of directories, unless
        the environment has ``ARGOEXEC_S3_FAST=off``.

        Raises:
            BadRequest: the location cannot work.
            Unauthorized: a secret it names is not there.
        """
        self._encryption = encryption(config, secrets)
        self._connection = connect(config, secrets, connect_timeout=connect_timeout, read_timeout=read_timeout)
        self._bucket = Bucket(self._connection, config.get("createBucketIfNotPresent"))
        self._unproved = self._encryption.asked
        wanted = fast is not False and (fast or os.environ.get("ARGOEXEC_S3_FAST") != "off")
        self._fast: FastPath | None = fast_path(self._connection, self._encryption) if wanted else None
        self._always = fast is True
        self._saved = False
        self._small: set[str] = set()

    def open(self, key: str) -> BinaryIO:
        """The object, by one GET: no HEAD before it, no file beside it. A checksum that the store keeps is compared.

        The marker of a folder is no object: an empty one whose key ends in ``/``.

        Raises:
            NotFound: there is no such object; a bucket that is not there is a BadRequest.
            LifecycleError: what else the store answered; the stream raises CorruptData at its end.
        """
        outdone = False
        if self._fast and (self._always or key in self._small) and self._fast.takes(key, 0):
            self._small.discard(key)
            quick, outdone = self._fast.get(key)
            if quick:
                return quick
        answer = self._get(key, ChecksumMode="ENABLED")
        if self._fast and outdone:
            self._fast.outdone()
        if not answer.get("ETag") and str(answer.get("ContentType")).startswith("text/html"):
            # Every store tells an ETag; MinIO's console answers anything with its page, and 200.
            answer["Body"].close()
            raise BadRequest(
                f"{self._where(key)} at {self._connection.place.endpoint}: what answers is no S3, but gives web pages",
                remedy="correct the endpoint: a store's console, for example, has another port than its S3",
            )
        if key.endswith("/") and not answer.get("ContentLength"):
            answer["Body"].close()
            raise NotFound(f"{self._where(key)}: it is the marker of a folder")
        return self._body(key, answer)

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """The object from a byte on, as long as its ETag is ``version``.

        Raises:
            NotFound: it is not that object any more.
            Unavailable: the store gives only whole objects.
            LifecycleError: what else the store answered.
        """
        answer = self._get(key, Range=f"bytes={offset}-", IfMatch=version)
        if answer.get("ETag") == version and str(answer.get("ContentRange")).startswith(f"bytes {offset}-"):
            return self._body(key, answer)
        answer["Body"].close()
        if answer.get("ETag") != version:
            raise NotFound(f"{self._where(key)}: it is another object now")
        raise Unavailable(f"{self._where(key)}: the store does not give a part of it")

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """Put what fits one part, send the rest in parts.

        Raises:
            Unsupported: the store does not encrypt, or lock, what it was asked to.
            LifecycleError: what else the store answered.
            Exception: whatever the stream raised; nothing is stored then.
        """
        self._bucket.ensure()
        begin, parts = self._encryption.of(key)
        fast = self._fast if self._always or self._saved else None
        outdone = False

        def quick(data: bytes | bytearray, kind: str) -> bool:
            nonlocal outdone
            if fast is None or not fast.takes(key, len(data)):
                return False
            stored = fast.put(key, data, kind)
            outdone = not stored
            return stored

        upload(Target(self._connection, key, begin, parts, quick), stream, size_hint)
        if fast and outdone:
            fast.outdone()
        if self._unproved:
            self._prove_encryption(key, parts)
        self._saved = True

    def list(self, key: str) -> Iterator[StoredObject]:
        """The objects below ``key + "/"``, a thousand for each request; of an empty key all of the bucket's.

        The key is not cleaned further (``a//b``): the caller opens ``key + "/" + path``, which must be the same object.

        Raises:
            BadRequest: the key of one of them would lead out of a directory.
            LifecycleError: what the store answered.
        """
        prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
        more: dict[str, str] = {}
        while True:
            page = self._connection.ask("list_objects_v2", "s3:ListBucket", prefix, Prefix=prefix, **more)
            for entry in page.get("Contents", ()):
                path, size = str(entry["Key"]).removeprefix(prefix), entry.get("Size")
                if path and not path.endswith("/"):  # else the marker of a folder, zero bytes
                    if self._fast and size is not None and size <= SMALL and len(self._small) < _REMEMBERED:
                        self._small.add(prefix + path)
                    yield StoredObject(self._inside(path, prefix), size)
            if not page.get("IsTruncated"):
                return
            before, more = more, {"ContinuationToken": str(page.get("NextContinuationToken") or "")}
            if more == before or not more["ContinuationToken"]:
                raise Permanent(
                    f"s3:ListBucket of {prefix!r} in bucket {self._connection.place.bucket!r}: the store says that "
                    "there is more, but not how to ask for it",
                    remedy="does it have ListObjectsV2? Store the directory as an archive otherwise",
                )

    def delete(self, key: str) -> None:
        """Remove the object; S3 says the same whether there was one or not, Google's says 404.

        Raises:
            LifecycleError: what the store answered.
        """
        with suppress(NotFound):
            self._connection.ask("delete_object", "s3:DeleteObject", key, Key=key)

    def _get(self, key: str, **arguments: Any) -> dict[str, Any]:
        _, reading = self._encryption.of(key)
        return self._connection.ask("get_object", "s3:GetObject", key, Key=key, **reading, **arguments)

    def _body(self, key: str, answer: dict[str, Any]) -> Body:
        etag = str(answer.get("ETag") or "")
        return Body(
            _Whole(answer["Body"], answer.get("ContentLength")),
            self._where(key),
            answer.get("ContentLength"),
            lambda error: self._connection.place.meaning(error, "s3:GetObject", key),
            "" if etag.startswith("W/") else etag,
        )

    def _where(self, key: str) -> str:
        return f"s3:GetObject of {key!r} in bucket {self._connection.place.bucket!r}"

    def _prove_encryption(self, key: str, parts: Mapping[str, Any]) -> None:
        """Look at the first object: Ceph and others take the headers of an encryption they do not have."""
        try:
            found = self._connection.ask("head_object", "s3:GetObject", key, Key=key, **parts)
        except Forbidden as error:
            log.warning("whether the store encrypts cannot be seen: %s", error)
        else:
            if not self._encryption.is_of(found):
                self.delete(key)
                raise Unsupported(
                    f"s3:PutObject of {key!r} in bucket {self._connection.place.bucket!r} at "
                    f"{self._connection.place.endpoint}: the store did not encrypt the object, which was removed again",
                    remedy="take `encryptionOptions` out of the location, or use a store that has that encryption",
                )
        self._unproved = False

    def _inside(self, path: str, prefix: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise BadRequest(
                f"the key {prefix + path!r} in bucket {self._connection.place.bucket!r} would lead out of its "
                "directory",
                remedy="rename that object",
            )
        return path


class _Whole:
    """An answer whose checksum is compared with its last byte: who reads an archive may not ask for the end."""

    def __init__(self, inner: Any, size: int | None) -> None:
        self._inner = inner
        self._left = size
        self._raw_stream = getattr(inner, "_raw_stream", None)

    def read(self, size: int, /) -> bytes:
        data: bytes = self._inner.read(size)
        if self._left is not None and data:
            self._left -= len(data)
            if self._left == 0:
                self._inner.read(1)
        return data

    def close(self) -> None:
        self._inner.close()
