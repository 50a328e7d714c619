"""``encryptionOptions`` of an s3 location (spec 5.29): by the store's key, by one of KMS, or by a key of our own.

A key of our own (SSE-C) is made of the secret, the bucket and the object's key as minio-go does it, so that objects
of the original can be read here and ours there. An option that cannot take effect is refused: an encryption that is
silently left out is worse than an error.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import BadRequest, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.secret import Secret, SecretReader

_FIELD: Final = "`encryptionOptions` of an s3 location"
_ALGORITHM: Final = "AES256"
# minio-go's encrypt.DefaultPBKDF: Argon2id of the password, 1 pass, 64 MiB, 4 lanes, 32 bytes. It takes 0.2 s for each
# object, and the lock is there because eight at once would take 512 MiB.
_PASSES: Final = 1
_KIB: Final = 64 * 1024
_LANES: Final = 4
_DERIVING: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Encryption:
    """What requests say about encryption. By default nothing.

    Attributes:
        algorithm: of the store's own encryption: ``AES256``, ``aws:kms``, or none.
        kms_key: its name in KMS.
        kms_context: base64 of a JSON object.
        password: of which SSE-C keys are made.
    """

    bucket: str
    algorithm: str = ""
    kms_key: str = ""
    kms_context: str = ""
    password: Secret | None = None

    @property
    def asked(self) -> bool:
        """Whether what is stored must be encrypted."""
        return bool(self.algorithm or self.password)

    def is_of(self, answer: Mapping[str, Any]) -> bool:
        """Whether an object is encrypted so, by what the store answers to HEAD."""
        if self.password is not None:
            return bool(answer.get("SSECustomerAlgorithm") == _ALGORITHM)
        return bool(answer.get("ServerSideEncryption") == self.algorithm)

    def of(self, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of requests that begin an object, and of those that read it or send a part of it."""
        if self.password is not None:
            customer = {"SSECustomerAlgorithm": _ALGORITHM, "SSECustomerKey": self._derived(key, self.password)}
            return customer, customer
        arguments = {
            "ServerSideEncryption": self.algorithm,
            "SSEKMSKeyId": self.kms_key,
            "SSEKMSEncryptionContext": self.kms_context,
        }
        return {name: value for name, value in arguments.items() if value}, {}

    def _derived(self, key: str, password: Secret) -> bytes:
        try:
            from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # noqa: PLC0415 - 12 ms, for SSE-C alone
        except ImportError as error:
            raise Unsupported(
                f"{_FIELD}: `serverSideCustomerKeySecret` needs the package cryptography, 44 or later",
                remedy="add it to the executor's image",
            ) from error
        salt = f"{self.bucket}{key}".encode()
        with _DERIVING:
            derive = Argon2id(salt=salt, length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_KIB)
            return derive.derive(password.reveal().encode())


def encryption(config: Mapping[str, Any], secrets: SecretReader) -> Encryption:
    """The encryption that a location asks for.

    Raises:
        BadRequest: the options contradict each other, or cannot take effect.
        Unauthorized: the secret is not there.
    """
    bucket = str(config.get("bucket") or "")
    options = config.get("encryptionOptions") or {}
    kms_key, context = str(options.get("kmsKeyId") or ""), str(options.get("kmsEncryptionContext") or "")
    password = secrets.read(options.get("serverSideCustomerKeySecret"))
    # The controller's defaults may come as {} or {"enableEncryption": false}; those ask for nothing.
    if options.get("enableEncryption") is not True:
        for name in ("kmsKeyId", "kmsEncryptionContext", "serverSideCustomerKeySecret"):
            if options.get(name) and not (name.endswith("Secret") and password is None):
                raise BadRequest(
                    f"{_FIELD}: `{name}` is given, but not `enableEncryption: true`",
                    remedy="set `enableEncryption: true`, or take the other options out",
                )
        return Encryption(bucket)
    if password is not None:
        if kms_key or context:
            raise BadRequest(f"{_FIELD}: `serverSideCustomerKeySecret` and `kmsKeyId` exclude each other")
        if config.get("insecure") is True:
            raise BadRequest(
                f"{_FIELD}: `serverSideCustomerKeySecret` sends the key to the store, which needs TLS",
                remedy="take out `insecure: true`, and give the store's CA in `caSecret`",
            )
        if not password.reveal():
            raise BadRequest(f"{_FIELD}: the secret of `serverSideCustomerKeySecret` is empty")
        return Encryption(bucket, password=password)
    if not kms_key:
        if context:
            raise BadRequest(f"{_FIELD}: `kmsEncryptionContext` needs `kmsKeyId`")
        return Encryption(bucket, _ALGORITHM)
    return Encryption(bucket, "aws:kms", kms_key, _context(context))


def _context(text: str) -> str:
    if not text:
        return ""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise BadRequest(f"{_FIELD}: `kmsEncryptionContext` is not a JSON object of strings")
    return base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()
