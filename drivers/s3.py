"""S3 and whatever speaks its protocol (spec 3.1, 5.29): objects as streams, listings by page.

The client is made with the driver, and a driver is made for each attempt, so rotated credentials are picked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from drivers.body import Body
from drivers.s3_client import connect
from drivers.s3_upload import upload
from lifecycle.errors import BadRequest
from lifecycle.ports import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.secret import SecretReader


class S3Driver:
    """One bucket, one client, any number of threads."""

    def __init__(
        self,
        config: Mapping[str, Any],
        secrets: SecretReader,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
    ) -> None:
        """Reads the secrets; nothing is sent. ``read_timeout`` is between two pieces of an answer.

        Raises:
            BadRequest: the location cannot work.
            Unauthorized: a secret it names is not there.
            Unsupported: it asks for what a later release has.
        """
        self._client, self._place = connect(config, secrets, connect_timeout=connect_timeout, read_timeout=read_timeout)

    def open(self, key: str) -> BinaryIO:
        """The object, by one GET: no HEAD before it, no file beside it.

        Raises:
            NotFound: there is no such object; a bucket that is not there is a BadRequest.
            LifecycleError: what else the store answered.
        """
        place = self._place
        with place.translating("s3:GetObject", key):
            answer = self._client.get_object(Bucket=place.bucket, Key=key)
        return Body(
            answer["Body"],
            f"s3:GetObject of {key!r} in bucket {place.bucket!r}",
            answer.get("ContentLength"),
            lambda error: place.meaning(error, "s3:GetObject", key),
        )

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """Put what fits one part, send the rest in parts.

        Raises:
            LifecycleError: what the store answered.
            Exception: whatever the stream raised; nothing is stored then.
        """
        upload(self._client, self._place, key, stream, size_hint)

    def list(self, key: str) -> Iterator[StoredObject]:
        """The objects below ``key + "/"``, a thousand for each request; of an empty key all of the bucket's.

        The key is not cleaned further (``a//b``): the caller opens ``key + "/" + path``, which must be the same object.

        Raises:
            BadRequest: the key of one of them would lead out of a directory.
            LifecycleError: what the store answered.
        """
        prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(Bucket=self._place.bucket, Prefix=prefix))
        while True:
            with self._place.translating("s3:ListBucket", prefix):
                page = next(pages, None)
            if page is None:
                return
            for entry in page.get("Contents", ()):
                path = str(entry["Key"]).removeprefix(prefix)
                if path and not path.endswith("/"):  # else the marker of a folder, zero bytes
                    yield StoredObject(self._inside(path, prefix), entry.get("Size"))

    def delete(self, key: str) -> None:
        """Remove the object; S3 says the same whether there was one or not.

        Raises:
            LifecycleError: what the store answered.
        """
        with self._place.translating("s3:DeleteObject", key):
            self._client.delete_object(Bucket=self._place.bucket, Key=key)

    def _inside(self, path: str, prefix: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise BadRequest(
                f"the key {prefix + path!r} in bucket {self._place.bucket!r} would lead out of its directory",
                remedy="rename that object",
            )
        return path
