"""Alibaba Cloud's OSS (spec 5.3): ossfs for the credentials and the endpoint, its client oss2 for the objects.

An endpoint without a scheme is spoken to by plain HTTP, as in the original: write ``https://`` before it.
"""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from drivers.body import Body
from drivers.objects import (
    Answer,
    Place,
    inside,
    package,
    prefix_of,
    required,
    send,
    translating,
)
from lifecycle.errors import (
    BadRequest,
    CorruptData,
    Forbidden,
    InputError,
    LifecycleError,
    NotFound,
    StorageFull,
    Throttled,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from lifecycle.network import causes
from lifecycle.ports import StoredObject
from lifecycle.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lifecycle.secret import Secret, SecretReader

_CODES: Final[Mapping[str, type[LifecycleError]]] = {
    "NoSuchBucket": BadRequest,
    "InvalidBucketName": BadRequest,
    "NoSuchUpload": Unavailable,  # somebody aborted it under our hands; another attempt begins a new one
    "InvalidAccessKeyId": Unauthorized,
    "SignatureDoesNotMatch": Unauthorized,
    "SecurityTokenExpired": Unauthorized,
    "InvalidSecurityToken": Unauthorized,
    "SecurityTokenNotSupported": Unauthorized,
    "RequestTimeTooSkewed": Unauthorized,
    "AccessDenied": Forbidden,
    "UserDisable": Forbidden,
    "RequestTimeout": TimedOut,  # a 400
    "Throttling": Throttled,
    "QpsLimitExceeded": Throttled,
    "DownloadTrafficRateLimitExceeded": Throttled,
    "UploadTrafficRateLimitExceeded": Throttled,
    "QuotaExceeded": StorageFull,
}
# It logs the headers of every request, the security token among them.
logging.getLogger("oss2").setLevel(logging.WARNING)
_LIFECYCLE: Final = {"markDeletionAfterDays", "markInfrequentAccessAfterDays"}


class OssDriver:
    """One bucket, one client, any number of threads."""

    def __init__(
        self,
        config: Mapping[str, Any],
        secrets: SecretReader,
        *,
        connect_timeout: float = 15.0,
        read_timeout: float = 60.0,
    ) -> None:
        """Reads the secrets; nothing is sent. ``read_timeout`` is between two pieces of an answer, in seconds.

        Raises:
            InputError: a field is missing or of another shape.
            Unauthorized: a secret it names is not there.
            Unsupported: ``useSDKCreds`` is asked for, or ossfs is not installed.
        """
        if config.get("useSDKCreds"):
            raise Unsupported(
                "oss locations with `useSDKCreds` are not for this executor: ossfs has no such credentials",
                remedy="name secrets in accessKeySecret and secretKeySecret; give an STS token in securityToken",
            )
        self._name = required(config, "oss", "bucket")
        endpoint = required(config, "oss", "endpoint")
        access, secret = secrets.read(config.get("accessKeySecret")), secrets.read(config.get("secretKeySecret"))
        if access is None or secret is None:
            raise InputError("`accessKeySecret` and `secretKeySecret` are both needed", place="oss")
        self._rule = _lifecycle(config.get("lifecycleRule"))
        self._create = bool(config.get("createBucketIfNotPresent"))
        self._library = package("oss2", "oss")
        token = config.get("securityToken") or ""
        self._told = (access.reveal(), secret.reveal(), str(token))
        self._bucket = _client(endpoint, self._name, access, secret, str(token), (connect_timeout, read_timeout))
        credentials = "`accessKeySecret`, `secretKeySecret`" + (" and `securityToken`" if token else "")
        where = endpoint.rpartition("@")[2]
        self._place = Place(f"bucket {self._name!r}", where, credentials, _CODES)
        self._ruled: set[str] = set()
        self._lock = threading.Lock()

    def open(self, key: str) -> BinaryIO:
        """The object, by one GET; its CRC is checked at the end.

        Raises:
            NotFound: there is no such object; a bucket that is not there is a BadRequest.
            LifecycleError: what else the store answered; the stream raises CorruptData at its end.
        """
        with self._translating("reading", key):
            answer = self._bucket.get_object(key)
        return self._body(key, answer)

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """The object with the same ETag, from a byte on.

        Raises:
            NotFound: it is another by now.
            LifecycleError: what else the store answered.
        """
        with self._translating("reading", key):
            # standard: a range beyond the end is refused; else OSS gives all of the object instead.
            headers = {"If-Match": version, "x-oss-range-behavior": "standard"}
            answer = self._bucket.get_object(key, byte_range=(offset, None), headers=headers)
        if answer.status != 206:
            answer.resp.response.close()
            raise Unavailable(f"{self._place.where('reading', key)}: the store gives no parts of it")
        return self._body(key, answer)

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """One request for what fits 4 MiB, else a multipart upload; before it the bucket, where that is asked for.

        Raises:
            LifecycleError: what the store answered.
            Exception: whatever the stream raised; what was there before is there still.
        """
        with self._lock:
            self._prepare(key)
        send(_Upload(self._bucket, key), stream, size_hint, lambda: self._translating("writing", key))

    def list(self, key: str) -> Iterator[StoredObject]:
        """The objects below ``key + "/"``, a thousand for each request; of an empty key all of the bucket's.

        Raises:
            BadRequest: there is no such bucket, or a key would lead out of a directory.
            LifecycleError: what else the store answered.
        """
        prefix, mark = prefix_of(key), ""
        while True:
            with self._translating("listing", key):
                page = self._bucket.list_objects_v2(prefix, continuation_token=mark, max_keys=1000)
            for entry in page.object_list:
                path = str(entry.key).removeprefix(prefix)
                if path and not path.endswith("/"):  # else the marker of a folder, which the original makes
                    yield StoredObject(inside(path, prefix, self._place), entry.size)
            if not page.is_truncated:
                return
            mark = page.next_continuation_token

    def delete(self, key: str) -> None:
        """Remove the object; OSS says the same whether there was one or not.

        Raises:
            LifecycleError: what the store answered.
        """
        with self._translating("deleting", key):
            self._bucket.delete_object(key)

    def _body(self, key: str, answer: Any) -> BinaryIO:
        where = self._place.where("reading", key)

        def meaning(error: Exception) -> LifecycleError:
            return self._meaning(error, "reading", key)

        inner = _Stream(answer, where, self._library.utils.Crc64(), lambda: translating(meaning))
        return Body(inner, where, answer.content_length, meaning, f'"{answer.etag}"' if answer.etag else "")

    def _prepare(self, key: str) -> None:
        """The bucket, and the rule for what is below the key."""
        if self._create:
            with self._translating("creating the bucket for", key):
                try:
                    self._bucket.get_bucket_info()
                except self._library.exceptions.NoSuchBucket:
                    self._bucket.create_bucket()
            self._create = False
        if self._rule and key not in self._ruled:
            with self._translating("setting the life cycle of", key):
                self._set_lifecycle(key, self._rule)
            self._ruled.add(key)

    def _set_lifecycle(self, key: str, days: Mapping[str, int]) -> None:
        """Add a rule to those of the bucket, or replace the one of the same key: OSS only takes all at once."""
        oss2 = self._library
        name = f"argoexec-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        delete, move = days.get("markDeletionAfterDays"), days.get("markInfrequentAccessAfterDays")
        rule = oss2.models.LifecycleRule(
            name,
            key,
            status=oss2.models.LifecycleRule.ENABLED,
            expiration=oss2.models.LifecycleExpiration(days=delete) if delete else None,
            storage_transitions=[
                oss2.models.StorageTransition(days=move, storage_class=oss2.BUCKET_STORAGE_CLASS_IA)
            ] if move else [],
        )  # fmt: skip
        try:
            others = [one for one in self._bucket.get_bucket_lifecycle().rules if one.id != name]
        except oss2.exceptions.NoSuchLifecycle:
            others = []
        self._bucket.put_bucket_lifecycle(oss2.models.BucketLifecycle([*others, rule]))

    def _translating(self, action: str, key: str) -> AbstractContextManager[None]:
        return translating(lambda error: self._meaning(error, action, key))

    def _meaning(self, error: Exception, action: str, key: str) -> LifecycleError:
        place, oss = self._place, self._library.exceptions
        known: LifecycleError
        cause: Any = next((one for one in causes(error) if isinstance(one, oss.OssError)), None)
        if isinstance(cause, oss.InconsistentError):
            known = Unavailable(f"{place.where(action, key)}: the checksum of what came is another")
        elif isinstance(cause, oss.ClientError):
            known = BadRequest(f"{place.where(action, key)}: {redacted(str(cause.body), self._told)}")
        elif cause is None or cause.status <= 0:  # the connection: oss2 has numbers of its own for that
            known = place.broken(getattr(cause, "exception", error), action, key)
        else:
            wait = str(cause.headers.get("Retry-After", ""))
            said = redacted(cause.message or "", self._told)
            answer = Answer(cause.status, cause.code or "", said, float(wait) if wait.isdecimal() else None)
            known = place.refused(answer, action, key)
            if isinstance(known, NotFound) and action != "reading":
                known = place.absent(action, key)
        return known


class _Stream:
    """The bytes as they are stored, whatever `Content-Encoding` says; the last one comes only if the CRC is right.

    oss2's own way to read would unpack them, and compares a CRC only where it writes a file.
    """

    def __init__(self, answer: Any, where: str, crc: Any, wrap: Callable[[], AbstractContextManager[None]]) -> None:
        self._answer = answer
        self._where = where
        self._crc = crc
        self._wrap = wrap
        self._count = 0
        # That of a part is the whole object's.
        self._expected: int | None = answer.server_crc if answer.status == 200 else None

    def read(self, size: int, /) -> bytes:
        with self._wrap():
            data: bytes = self._answer.resp.response.raw.read(size, decode_content=False)
        if self._expected is not None:
            self._crc(data)
            self._count += len(data)
            if self._count == self._answer.content_length and self._crc.crc != self._expected:
                raise CorruptData(
                    f"{self._where}: the bytes are not those of the checksum that the store keeps",
                    remedy="load it again; if that ends the same way the object is damaged in the store",
                )
        return data

    def shutdown(self) -> None:
        self._answer.resp.response.raw.shutdown()

    def close(self) -> None:
        self._answer.resp.response.close()


class _Upload:
    """One object on its way; what is sent is sent in the thread that asks."""

    def __init__(self, bucket: Any, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._headers = {"Content-Type": mimetypes.guess_type(key, strict=False)[0] or "application/octet-stream"}
        self._number = ""
        self._parts: list[Any] = []

    def put(self, data: bytes) -> None:
        self._bucket.put_object(self._key, data, headers=self._headers)

    def begin(self) -> None:
        self._number = self._bucket.init_multipart_upload(self._key, headers=self._headers).upload_id

    def part(self, number: int, data: bytes, *, last: bool) -> Future[Any]:  # noqa: ARG002 - the protocol's
        from oss2.models import PartInfo  # noqa: PLC0415 - ossfs brings it

        sent: Future[Any] = Future()
        answer = self._bucket.upload_part(self._key, self._number, number, data)
        self._parts.append(PartInfo(number, answer.etag, size=len(data), part_crc=answer.crc))
        sent.set_result(None)
        return sent

    def commit(self) -> None:
        self._bucket.complete_multipart_upload(self._key, self._number, self._parts)

    def abort(self) -> None:
        self._bucket.abort_multipart_upload(self._key, self._number)


def _client(endpoint: str, name: str, access: Secret, secret: Secret, token: str, timeouts: tuple[float, float]) -> Any:
    """oss2's bucket, as ossfs makes it.

    Raises:
        InputError: the endpoint or the name of the bucket cannot be.
    """
    package("ossfs", "oss")
    from ossfs import OSSFileSystem  # noqa: PLC0415 - 50 MiB; only for who has such a location

    system = OSSFileSystem(
        endpoint=endpoint, key=access.reveal(), secret=secret.reveal(), token=token or None, skip_instance_cache=True
    )
    try:
        # The timeout goes to requests as it is, which takes a pair, too. Only calls of ossfs itself would be repeated.
        bucket = system._get_bucket(name, timeouts)  # noqa: SLF001 - there is no public name
    except (FileNotFoundError, ValueError) as error:
        raise InputError(
            f"no client can be made for the bucket {name!r} and this endpoint ({type(error).__name__})",
            place="oss",
            remedy="an endpoint is like https://oss-cn-hangzhou.aliyuncs.com; a bucket has 3 to 63 of a-z, 0-9 and -",
        ) from None
    # requests would follow a redirection: with the security token to whatever host it names, and a PUT as a GET there,
    # whose answer would pass for that to the PUT. As it is, a redirection is a refusal.
    bucket.session.session.get_redirect_target = lambda _: None
    return bucket


def _lifecycle(raw: Any) -> dict[str, int]:
    """The days of a ``lifecycleRule``.

    Raises:
        InputError: it is of another shape.
    """
    if raw is None:
        return {}
    if not isinstance(raw, dict) or raw.keys() - _LIFECYCLE:
        raise InputError(f"expected an object with {' and '.join(sorted(_LIFECYCLE))}", place="oss.lifecycleRule")
    for field, days in raw.items():
        if not isinstance(days, int) or isinstance(days, bool) or days < 0:
            raise InputError("expected a number of days", place=f"oss.lifecycleRule.{field}")
    return {field: days for field, days in raw.items() if days}
