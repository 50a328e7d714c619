"""A boto3 client from the fields of an ``s3`` location (spec 3.1, 5.29), tuned where its defaults hurt.

Anything that a location can say and this release cannot do is refused: an encryption that is silently left out is
worse than an error.
"""

from __future__ import annotations

import os
import re
import ssl
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3.session
import botocore.config
import botocore.credentials
import botocore.handlers
import botocore.loaders
import botocore.session

from drivers.s3_errors import Place
from lifecycle.errors import BadRequest, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.secret import Secret, SecretReader

AWS: Final = "s3.amazonaws.com"
CONNECTIONS: Final = 16  # four uploads of four parts, or as many objects of a directory, without a queue
_LATER: Final = ("encryptionOptions", "createBucketIfNotPresent")
_STYLES: Final = {"path": "path", "virtual-hosted": "virtual", "": "", "auto": ""}
_VIRTUAL_HOSTS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com", "storage.googleapis.com")
_REGION_IN_HOST: Final = re.compile(r"s3[.-]([a-z]{2}-[a-z-]+-\d)\.amazonaws\.com")
# Where Go programs, the original among them, find the system's CAs. botocore knows only certifi's, so a CA that an
# image was given for its cluster would not be trusted.
_SYSTEM_CAS: Final = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
)  # fmt: skip
# Reading and parsing the description of S3 is most of what a client costs: 120 ms the first time, 9 ms afterwards.
_LOADER: Final = botocore.loaders.create_loader()


def connect(
    config: Mapping[str, Any], secrets: SecretReader, *, connect_timeout: float, read_timeout: float
) -> tuple[Any, Place]:
    """A client that several threads may use, and what messages say of its store. Nothing is sent.

    Raises:
        BadRequest: the location cannot work.
        Unauthorized: a secret it names is not there.
        Unsupported: it asks for what a later release has.
    """
    _refuse_later(config)
    endpoint = str(config.get("endpoint") or AWS)
    bucket = config.get("bucket")
    if not isinstance(bucket, str) or not bucket:
        raise BadRequest("an s3 location needs a bucket")
    if "/" in endpoint or "@" in endpoint:
        raise BadRequest(
            f"the s3 endpoint {endpoint.rpartition('@')[2]!r} is not HOST or HOST:PORT",
            remedy="leave out the scheme; `insecure: true` stands for http",
        )
    keys, source = _keys(config, secrets)
    place = Place(endpoint, bucket, source)
    secure = config.get("insecure") is not True
    with place.translating("connecting", ""):
        core = botocore.session.Session()
        core.register_component("data_loader", _LOADER)
        region = config.get("region") or _region(endpoint) or core.get_config_variable("region") or "us-east-1"
        if role := config.get("roleARN") if not keys else None:
            _assume(core, str(role), region)
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
                s3={"addressing_style": _addressing(config, endpoint, bucket, secure=secure)},
                # Since 1.36 botocore sends CRC32 trailers unasked: older MinIO and Ceph refuse them, and they cost
                # a quarter of an upload. The signature covers a SHA-256 of the body anyway.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                ignore_configured_endpoint_urls=True,
            ),
            **keys,
        )
    if opened is not None:
        weakref.finalize(client, os.close, opened)
    _unburden(client)
    return client, place


def _refuse_later(config: Mapping[str, Any]) -> None:
    for name in _LATER:
        value = config.get(name)
        # The controller's defaults may come as {} or {"enableEncryption": false}; those ask for nothing.
        asks = any(value.values()) if name == "encryptionOptions" and isinstance(value, dict) else value is not None
        if asks:
            raise Unsupported(
                f"`{name}` of an s3 location comes with a later release of this executor",
                remedy="take it out of the location; default encryption can be set on the bucket itself",
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


def _keys(config: Mapping[str, Any], secrets: SecretReader) -> tuple[dict[str, str], str]:
    """The static credentials as the client's arguments, none for the SDK's chain; and whence, for messages."""
    found: dict[str, Secret | None] = {
        name: secrets.read(config.get(name)) for name in ("accessKeySecret", "secretKeySecret", "sessionTokenSecret")
    }
    access, secret, token = found.values()
    if access is None and secret is None:
        if role := config.get("roleARN"):
            return {}, f"the role {role} and the credentials of the pod that assumes it"
        # Timeout and attempts of the chain's last link, the metadata service, are 1 s and 1: a laptop does not hang.
        return {}, "the credentials of the AWS tools or the pod's IAM role (the location names no key secrets)"
    if access is None or secret is None:
        given, missing = (
            ("secretKeySecret", "accessKeySecret") if access is None else ("accessKeySecret", "secretKeySecret")
        )
        raise BadRequest(f"the s3 location has `{given}` but no `{missing}`", remedy="give both or neither")
    keys = {"aws_access_key_id": access.reveal(), "aws_secret_access_key": secret.reveal()}
    if token is not None:
        keys["aws_session_token"] = token.reveal()
    return keys, ", ".join(_selector(name, config[name]) for name, value in found.items() if value is not None)


def _selector(name: str, selector: Mapping[str, Any]) -> str:
    return f"{name} (key {selector['key']!r} of secret {selector['name']!r})"


def _assume(core: Any, role: str, region: str) -> None:
    """Let the session act as a role; its credentials are renewed before they expire."""
    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        core.create_client, core.get_credentials(), role, extra_args={"RoleSessionName": "argoexec"}
    )
    core.set_config_variable("region", region)
    core._credentials = botocore.credentials.DeferredRefreshableCredentials(  # noqa: SLF001 - the way botocore has
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )


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
        raise BadRequest(f"{_selector('caSecret', config['caSecret'])} is not a certificate in PEM form") from error
    descriptor = os.memfd_create("ca.pem")
    os.write(descriptor, pem.reveal().encode())
    return f"/proc/self/fd/{descriptor}", descriptor
