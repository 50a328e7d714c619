"""What S3 and botocore raise → our errors. By error code, status and type; never by the text.

The codes are those of AWS, MinIO, Ceph, SeaweedFS and Swift; the list of transient ones is that of spec 5.29.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import botocore.exceptions as boto
from botocore.parsers import ResponseParserError

from lifecycle.errors import (
    BadRequest,
    CorruptData,
    Forbidden,
    LifecycleError,
    NotFound,
    Permanent,
    StorageFull,
    Throttled,
    TimedOut,
    Transient,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from lifecycle.network import broken, causes
from lifecycle.redaction import code_alone, redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator


@dataclass(frozen=True, slots=True)
class _Rule:
    """What an answer means that has one of these codes, or one of these statuses and a code that no rule names."""

    meaning: type[LifecycleError]
    codes: Container[str] = ()
    statuses: Container[int] = ()
    remedy: str = ""


_RULES: Final = (
    _Rule(NotFound, {"NoSuchKey", "NoSuchVersion"}, {404}),
    # Not NotFound: an optional input forgives a missing object, not a configuration that cannot work.
    _Rule(
        BadRequest,
        {"NoSuchBucket", "InvalidBucketName"},
        remedy="create the bucket {bucket!r}, or correct its name",
    ),
    # Of `open_rest` alone: only it sends If-Match and Range.
    _Rule(NotFound, {"PreconditionFailed", "InvalidRange"}, {412, 416}),
    _Rule(
        Unauthorized,
        {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"},
        remedy="the credentials have expired and no newer ones are there: renew {credentials}",
    ),
    _Rule(
        Unauthorized,
        {
            "SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthFailure", "InvalidToken", "InvalidClientTokenId",
            "UnrecognizedClientException",
        },
        {401},
        "the credentials are not valid: check {credentials}",
    ),
    _Rule(
        Unauthorized,
        {"RequestTimeTooSkewed"},
        remedy="set the clock of this machine: a signature holds for a few minutes",
    ),
    _Rule(
        Throttled,
        {
            "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "ThrottledException",
            "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "TooManyRequestsException",
        },
        {429},
    ),
    _Rule(TimedOut, {"RequestTimeout"}, {408}),
    _Rule(
        BadRequest,
        {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"},
        {301, 307},
        "set `region` of the s3 location to that of the bucket",
    ),
    _Rule(BadRequest, (), {302, 303, 308}, "is that the endpoint of an S3, or of a login page before it?"),
    _Rule(
        StorageFull,
        {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"},
        {507},
        "free space in the store, or raise the quota of the bucket {bucket!r}",
    ),
    _Rule(Unsupported, {"NotImplemented"}, {501}),
    _Rule(
        Unavailable,
        {
            "RequestError", "InternalError", "ServiceUnavailable", "OperationAborted",
            "NoSuchUpload",  # somebody aborted it under our hands; another attempt begins a new one
            # The store got other bytes than were sent.
            "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch",
        },
        range(500, 600),
    ),
    _Rule(Forbidden, (), {403}, "grant {action} (bucket {bucket!r}) to the owner of {credentials}"),
)  # fmt: skip

_OF_ONE_OBJECT: Final = {"s3:GetObject", "s3:DeleteObject"}
# A listing finds nothing without an error: whoever has none there is no S3, and `optional` must not forgive that.
_NO_STORE: Final = _Rule(BadRequest, remedy="is that the endpoint of an S3, and does the bucket {bucket!r} exist?")

_NO_CREDENTIALS: Final = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.ProfileNotFound,
    boto.InvalidConfigError,
)


_PLAIN: Final[tuple[tuple[type[Exception], type[LifecycleError], str, str], ...]] = (
    (boto.MetadataRetrievalError, Unavailable, "the metadata service gave no credentials", ""),
    (boto.IncompleteReadError, Unavailable, "the store broke off in the middle", ""),
    (
        boto.FlexibleChecksumError,
        CorruptData,
        "the bytes are not those of the checksum that the store keeps",
        "load it again; if that ends the same way the object is damaged in the store",
    ),
    (
        ResponseParserError,
        BadRequest,
        "the answer is not that of S3 or STS",
        "do the endpoint, and AWS_ENDPOINT_URL_STS, lead to the right port?",
    ),
)


def refuses_credentials(error: boto.ClientError) -> bool:
    """Whether other credentials may do what these were not let do."""
    return _rule(error).meaning is Unauthorized


def answer(error: BaseException) -> tuple[str, int]:
    """The code and the status of the answer that an error of ours stands for, or one of botocore's.

    Of ours it is the context, not the cause: that would be printed, and may quote a secret.
    """
    found: Any = error if isinstance(error, boto.ClientError) else error.__context__
    if not isinstance(found, boto.ClientError):
        return "", 0
    response: Any = found.response
    return response.get("Error", {}).get("Code", ""), response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _rule(error: Any) -> _Rule:
    code, status = answer(error)
    return next((rule for rule in _RULES if code in rule.codes), None) or next(
        (rule for rule in _RULES if status in rule.statuses), _Rule(BadRequest)
    )


@dataclass(frozen=True, slots=True)
class Place:
    """What messages say of a store.

    Attributes:
        endpoint: without credentials.
        bucket: its name.
        credentials: where they come from.
        told: what a store may quote of a request and a message must not; ``None`` when that cannot be known, as of a
            key derived for each object: then the store is quoted by its codes alone.
    """

    endpoint: str
    bucket: str
    credentials: str
    told: Callable[[], Iterable[str | None]] | None = field(default=tuple, compare=False)

    @contextmanager
    def translating(self, action: str, key: str) -> Iterator[None]:
        """Errors of the calls inside become ours.

        Args:
            action: the permission that the call needs, such as ``s3:GetObject``; it names the call, too.
            key: the object, or the prefix.

        Raises:
            LifecycleError: what the error of botocore means.
        """
        try:
            yield
        except (boto.ClientError, boto.BotoCoreError, ResponseParserError) as error:
            if getattr(error, "request", None) is not None:
                error.request = None  # its headers have the session token, and a customer's key
            if isinstance(error, boto.HTTPClientError) and any(
                isinstance(one, ValueError) and not isinstance(one, OSError) for one in causes(error)
            ):
                # from None: it quotes the header, in which the session token is.
                raise BadRequest(
                    f"{self._where(action, key)}: a header of the request would have a value that cannot be sent",
                    remedy=f"has one of these more than one line? {self.credentials}",
                ) from None
            raise self.meaning(error, action, key) from _shown(error)

    def _where(self, action: str, key: str) -> str:
        return f"{action} of {key!r} in bucket {self.bucket!r} at {self.endpoint}"

    def meaning(self, error: Exception, action: str, key: str) -> LifecycleError:
        """The error as one of ours; see :meth:`translating`."""
        if getattr(error, "operation_name", "") == "AssumeRole":  # sent before the call, by the credentials
            action = "sts:AssumeRole"
        where = self._where(action, key)
        name = type(error).__name__
        known: LifecycleError
        match error:
            case boto.ClientError():
                known = self._answered(error, where, action)
            case boto.NoCredentialsError() | boto.ProfileNotFound():
                known = Unauthorized(f"{where}: {error}", remedy=f"check {self.credentials}")
            case _ if isinstance(error, _NO_CREDENTIALS):  # without their text: it may hold a program's output
                known = Unauthorized(f"{where}: no credentials: {name}", remedy=f"check {self.credentials}")
            case boto.ParamValidationError():
                known = BadRequest(f"{where}: {error}")
            case _ if plain := next((one for one in _PLAIN if isinstance(error, one[0])), None):
                known = plain[1](f"{where}: {plain[2]}", remedy=plain[3])
            case boto.BotoCoreError() if not isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
                known = Permanent(f"{where}: {name}")
            case _:  # of the connection, also what urllib3 raises under botocore while a body is read
                known = broken(where, error, remedy="give the CA in `caSecret`, or its file in SSL_CERT_FILE")
        return known

    def _answered(self, error: Any, where: str, action: str) -> LifecycleError:
        """What the server said."""
        code, status = answer(error)
        # Of STS only its code: it was sent the token of a service account, which is another's secret than the store's.
        told = None if error.operation_name.startswith("AssumeRole") else self.told
        said = "" if told is None else redacted(error.response.get("Error", {}).get("Message", ""), told())
        text = ": ".join(part for part in (where, code_alone(code) or str(status), said) if part)
        rule = _rule(error)
        if rule.meaning is NotFound and action not in _OF_ONE_OBJECT:
            rule = _NO_STORE
        remedy = rule.remedy.format(action=action, bucket=self.bucket, credentials=self.credentials)
        if issubclass(rule.meaning, Transient):
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders") or {}
            return rule.meaning(text, remedy=remedy, retry_after=_seconds(headers))
        return rule.meaning(text, remedy=remedy)


def _shown(error: Exception) -> Exception | None:
    """For ``raise … from``: causes are printed as they are, and most quote what answered, or a file or program."""
    silent = (boto.ConnectionError, boto.ReadTimeoutError, boto.NoCredentialsError, boto.ProfileNotFound)
    return error if isinstance(error, silent) else None


def _seconds(headers: dict[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
