"""A boto3 client from the fields of an ``s3`` location (spec 3.1, 5.29), tuned where its defaults hurt."""

from __future__ import annotations

import logging
import os
import re
import ssl
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3.session
import botocore.config
import botocore.handlers
import botocore.loaders
import botocore.session
from botocore.exceptions import ClientError

from drivers.s3_credentials import Credentials, find, selector
from drivers.s3_errors import Place, refuses_credentials
from lifecycle.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.secret import SecretReader

AWS: Final = "s3.amazonaws.com"
CONNECTIONS: Final = 16  # four uploads of four parts, or as many objects of a directory, without a queue
_STYLES: Final = {"path": "path", "virtual-hosted": "virtual", "": "", "auto": ""}
_VIRTUAL_HOSTS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com", "storage.googleapis.com")
_REGION_IN_HOST: Final = re.compile(r"s3[.-]([a-z]{2}-[a-z-]+-\d)\.amazonaws\.com")
# Where Go programs, the original among them, find the system's CAs. botocore knows only certifi's, so a CA that an
# image was given for its cluster would not be trusted.
_SYSTEM_CAS: Final = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
)  # fmt: skip
# At DEBUG botocore logs every request with its headers: session tokens, and customers' keys.
logging.getLogger("botocore").setLevel(logging.INFO)
# It warns of credentials that it cannot renew with the whole answer, in which STS may quote the token it was given.
logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)
# Reading and parsing the description of S3 is most of what a client costs: 120 ms the first time, 9 ms afterwards.
_LOADER: Final = botocore.loaders.create_loader()


@dataclass(frozen=True, slots=True)
class Connection:
    """A client that several threads may use, and what belongs to it.

    Attributes:
        place: what messages say of the store.
        virtual: whether the bucket is part of the host name.
        own_roots: whether ``caSecret`` says which CAs to trust.
        timeouts: seconds for a connection, and between two pieces of an answer.
    """

    client: Any
    place: Place
    credentials: Credentials
    region: str
    virtual: bool
    own_roots: bool
    timeouts: tuple[float, float]

    def ask(self, operation: str, action: str, key: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation of the client; once more if its credentials were refused and there are others by now.

        Args:
            operation: a method of the client.
            action: the permission it needs, such as ``s3:GetObject``.
            key: the object, or the prefix, for messages.
            arguments: of the operation, without the bucket.

        Raises:
            LifecycleError: what the store answered.
        """
        call = getattr(self.client, operation)
        with self.place.translating(action, key):
            used = self.credentials.get_frozen_credentials()
            try:
                return dict(call(Bucket=self.place.bucket, **arguments))
            except ClientError as error:
                if not refuses_credentials(error) or not self.credentials.renewed(used):
                    raise
            return dict(call(Bucket=self.place.bucket, **arguments))


def connect(
    config: Mapping[str, Any], secrets: SecretReader, *, connect_timeout: float, read_timeout: float
) -> Connection:
    """Make the client. Nothing is sent.

    Raises:
        BadRequest: the location cannot work.
        Unauthorized: a secret it names is not there.
    """
    endpoint = str(config.get("endpoint") or AWS)
    bucket = config.get("bucket")
    if not isinstance(bucket, str) or not bucket:
        raise BadRequest("an s3 location needs a bucket")
    if "/" in endpoint or "@" in endpoint:
        raise BadRequest(
            f"the s3 endpoint {endpoint.rpartition('@')[2]!r} is not HOST or HOST:PORT",
            remedy="leave out the scheme; `insecure: true` stands for http",
        )
    secure = config.get("insecure") is not True
    style = _addressing(config, endpoint, bucket, secure=secure)
    with Place(endpoint, bucket, "the AWS tools' configuration").translating("connecting", ""):
        core = botocore.session.Session()
        core.register_component("data_loader", _LOADER)
        # Half of a listing's time went into dates that nobody reads; botocore takes them as text, too.
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
        region = config.get("region") or _region(endpoint) or core.get_config_variable("region") or "us-east-1"
        credentials, whence = find(config, secrets, core, region)
        core._credentials = credentials  # noqa: SLF001 - the way botocore has
        certificates, opened = _certificates(config, secrets)
        client = boto3.session.Session(botocore_session=core).client(
            "s3",
            region_name=region,
            use_ssl=secure,
            verify=certificates,
            endpoint_url=None if endpoint == AWS else f"{'https' if secure else 'http'}://{endpoint}",
            config=botocore.config.Config(
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                max_pool_connections=CONNECTIONS,
                # One more try hides a lost connection; the attempts that a person sees are the lifecycle's.
                retries={"mode": "standard", "total_max_attempts": 2},
                s3={"addressing_style": style},
                # Since 1.36 botocore sends CRC32 trailers unasked: older MinIO and Ceph refuse them, and they cost
                # a quarter of an upload. Content-MD5 does what they do (ADR 11).
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                ignore_configured_endpoint_urls=True,
            ),
        )
    if opened is not None:
        weakref.finalize(client, os.close, opened)
    _unburden(client)
    return Connection(
        client=client,
        place=Place(endpoint, bucket, whence, None if _has_customer_key(config) else credentials.told),
        credentials=credentials,
        region=str(region),
        virtual=style == "virtual",
        own_roots=opened is not None,
        timeouts=(connect_timeout, read_timeout),
    )


def _unburden(client: Any) -> None:
    """Send bodies as the bytes they are.

    botocore wraps bytes into a file, sends that by 16 KiB, and with it ``Expect: 100-continue``, for which a server or
    proxy that never answers it costs 1 s for each request (256 MiB took 32 s). As bytes: no waiting, 20 % less CPU.
    """
    events = client.meta.events
    events.unregister("before-call.s3", botocore.handlers.add_expect_header)
    for operation in ("PutObject", "UploadPart"):
        events.unregister(f"before-parameter-build.s3.{operation}", botocore.handlers.convert_body_to_file_like_object)
    events.register("before-call.s3.HeadBucket", _not_redirected)


def _not_redirected(params: dict[str, Any], **_: Any) -> None:
    """The question where a bucket is, which botocore asks when it is redirected, follows no redirection itself.

    Else what redirects everything is asked until Python's stack has no more room, in 50 requests.
    """
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _region(endpoint: str) -> str | None:
    found = _REGION_IN_HOST.fullmatch(endpoint.partition(":")[0])
    return found[1] if found else None


def _addressing(config: Mapping[str, Any], endpoint: str, bucket: str, *, secure: bool) -> str:
    wanted = str(config.get("addressingStyle") or "")
    if wanted not in _STYLES:
        raise BadRequest(f"`addressingStyle` of an s3 location is {wanted!r}", remedy="give path or virtual-hosted")
    if _STYLES[wanted]:
        return _STYLES[wanted]
    host = f".{endpoint.partition(':')[0]}"
    dotted = secure and "." in bucket  # a wildcard certificate covers one label
    return "virtual" if host.endswith(_VIRTUAL_HOSTS) and not dotted else "path"


def _has_customer_key(config: Mapping[str, Any]) -> bool:
    return bool((config.get("encryptionOptions") or {}).get("serverSideCustomerKeySecret"))


def _certificates(config: Mapping[str, Any], secrets: SecretReader) -> tuple[str | None, int | None]:
    """The CAs to trust as a path, and the descriptor that stands behind it if it is in memory.

    botocore wants a path, and opens it for every connection; a memory file leaves nothing on disk.
    """
    pem = secrets.read(config.get("caSecret"))
    if pem is None:
        if os.environ.get("AWS_CA_BUNDLE"):
            return None, None  # botocore reads it itself
        known = (os.environ.get("SSL_CERT_FILE") or "", *_SYSTEM_CAS)
        return next((path for path in known if path and Path(path).is_file()), None), None
    try:
        ssl.create_default_context(cadata=pem.reveal())
    except (ssl.SSLError, ValueError) as error:
        raise BadRequest(f"{selector('caSecret', config)} is not a certificate in PEM form") from error
    descriptor = os.memfd_create("ca.pem")
    os.write(descriptor, pem.reveal().encode())
    return f"/proc/self/fd/{descriptor}", descriptor
