"""What HDFS refuses → our errors: by the class of the exception that the server names, never by its text.

Both ways to HDFS tell it: RPC in the header of an answer, WebHDFS as ``RemoteException.exception``.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lifecycle.errors import (
    BadRequest,
    Forbidden,
    LifecycleError,
    NotFound,
    Permanent,
    StorageFull,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from lifecycle.network import broken

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT: Final = "FileNotFoundException"
EXISTS: Final = "FileAlreadyExistsException"
NOT_EMPTY: Final = "PathIsNotEmptyDirectoryException"

_QUOTA: Final = "raise the quota of that directory (hdfs dfsadmin -setSpaceQuota, -setQuota), or delete from it"
_PERMISSION: Final = "grant that user the permission (hdfs dfs -chmod, -setfacl), or correct the path"
_REACH: Final = "are the addresses right, the servers up, and do they ask for Kerberos or `dataTransferProtection`?"
_TICKET: Final = "check the keytab or credential cache, krbUsername, krbRealm, krb5.conf, and that the clocks agree"
_KDC: Final = "can the pod reach the KDC that krb5.conf names?"
_LATER: Final = "the name node is starting, in safe mode or standby: hdfs dfsadmin -safemode get"

_MEANINGS: Final[dict[str, tuple[type[LifecycleError], str]]] = {
    ABSENT: (NotFound, ""),
    "AccessControlException": (
        Forbidden,
        "grant that user the permission (hdfs dfs -chmod, -setfacl), or correct the path",
    ),
    "AuthorizationException": (Forbidden, "the service's policy (hadoop-policy.xml) does not let this user in"),
    "SecurityException": (Unauthorized, "does the cluster ask for Kerberos? then give a keytab or a credential cache"),
    "AuthenticationException": (Unauthorized, _TICKET),
    "SaslException": (Unauthorized, _TICKET),
    "GSSException": (Unauthorized, _TICKET),
    "GSSAPIError": (Unauthorized, _TICKET),
    "SASLError": (Unauthorized, _TICKET),
    "NoSASLMechanism": (Unauthorized, "the name node offers no way to log in that this client has"),
    "InvalidToken": (Unauthorized, "the token has expired"),
    "InvalidEncryptionKeyException": (Unavailable, ""),
    "QuotaExceededException": (StorageFull, _QUOTA),
    "NSQuotaExceededException": (StorageFull, _QUOTA),
    "DSQuotaExceededException": (StorageFull, _QUOTA),
    "QuotaByStorageTypeExceededException": (StorageFull, _QUOTA),
    "ClusterStorageCapacityExceededException": (StorageFull, "free space in the cluster"),
    "MaxDirectoryItemsExceededException": (StorageFull, "that directory has as many entries as it may have"),
    EXISTS: (BadRequest, "set `force: true` to replace what is there, or give another path"),
    "ParentNotDirectoryException": (BadRequest, "a file stands where the path needs a directory"),
    "PathComponentTooLongException": (BadRequest, "a name has at most 255 bytes there"),
    "InvalidPathException": (BadRequest, "a path begins with / and has no ':' and no '..' in it"),
    "IllegalArgumentException": (BadRequest, ""),
    "InvalidArgument": (BadRequest, ""),
    "InvalidPath": (BadRequest, ""),
    "UrlParseError": (BadRequest, ""),
    "UnsupportedOperationException": (Unsupported, ""),
    "StandbyException": (Unavailable, _LATER),
    "ObserverRetryOnActiveException": (Unavailable, _LATER),
    "SafeModeException": (Unavailable, _LATER),
    "RetriableException": (Unavailable, _LATER),
    "RetryStartFileException": (Unavailable, ""),
    "LeaseExpiredException": (Unavailable, ""),
    "NotReplicatedYetException": (Unavailable, ""),
    "AlreadyBeingCreatedException": (Unavailable, ""),
    "RecoveryInProgressException": (Unavailable, ""),
    "DataTransferError": (Unavailable, "are the data nodes up, and do they ask for `dataTransferProtection`?"),
    "BlocksNotFound": (Unavailable, "blocks of that file are missing: hdfs fsck"),
    "ChecksumError": (Unavailable, "blocks of that file are damaged: hdfs fsck"),
    # What the server gives no better name, such as "could only be written to 0 of the 1 minReplication nodes".
    "IOException": (Unavailable, "are there data nodes with free space? hdfs dfsadmin -report"),
    "RemoteException": (Unavailable, ""),
    "OSError": (
        Unavailable,
        "are the addresses right, the servers up, and do they ask for Kerberos or `dataTransferProtection`?",
    ),
    "WeakProtection": (BadRequest, "set dfs.data.transfer.protection of the data nodes, or ask for less"),
    # What this process could not even begin with.
    "NoClient": (Unsupported, "add argoexec[hdfs] to the executor's image"),
    "NoGssapi": (Unsupported, "add libgssapi-krb5-2 (Debian) or krb5-libs (Red Hat) to the executor's image"),
}
# Minor codes of Kerberos that are the network's fault: KDC_UNREACH, REALM_CANT_RESOLVE.
_UNREACHABLE: Final = {-1765328228 & 0xFFFFFFFF, -1765328164 & 0xFFFFFFFF}
_PYTHON: Final = {
    "FileNotFoundError": ABSENT,
    "FileExistsError": EXISTS,
    "NotImplementedError": "UnsupportedOperationException",
}
_VARIANT: Final = re.compile(r"(?P<variant>[A-Z]\w+)(?:\((?P<rest>.*)\))?", re.DOTALL)
_RPC: Final = re.compile(r'"(?P<name>[\w.$]+)", "(?P<text>.*)"', re.DOTALL)
_GSSAPI: Final = re.compile(r'.*, (?P<minor>\d+), "(?P<text>.*)"', re.DOTALL)


class Refused(Exception):
    """What was asked has failed.

    Attributes:
        name: of the Java class without its package, or of the kind of error that the client library has.
        text: one line.
        minor: the minor code of a Kerberos error.
    """

    def __init__(self, name: str, text: str, minor: int = 0) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text
        self.minor = minor


class Lost(Exception):
    """The way to a server broke, or it is none of HDFS; ``known`` says so, without saying what was asked."""

    def __init__(self, known: LifecycleError) -> None:
        super().__init__(known.message)
        self.known = known


def simple(java: str) -> str:
    """The name of a Java class without its package and its outer class."""
    return java.rpartition(".")[2].rpartition("$")[2]


def of_library(kind: str, text: str, minor: int = 0) -> Refused:
    r"""What hdfs-native raised.

    It has exceptions of its own for a few kinds only; of the others it shows the Rust value, such as
    ``RPCError("org.…Exception", "message\n\tat …")``, in which the server's class is a field.
    """
    if kind in _PYTHON:
        return Refused(_PYTHON[kind], first_line(text))
    found = _VARIANT.fullmatch(text) if kind == "RuntimeError" else None
    if found is None:
        return Refused(kind, first_line(text), minor)
    variant, rest = found["variant"], found["rest"] or ""
    if variant in {"RPCError", "FatalRPCError"} and (rpc := _RPC.fullmatch(rest)):
        name = simple(rpc["name"])
        # The connection itself was refused: not the permissions of a path, but who this is.
        fatal = variant == "FatalRPCError" and name == "AccessControlException"
        return Refused("AuthenticationException" if fatal else name, first_line(rpc["text"]))
    if variant == "GSSAPIError" and (gss := _GSSAPI.fullmatch(rest)):
        return Refused(variant, first_line(gss["text"]), int(gss["minor"]))
    return Refused(variant, first_line(rest.strip('"')) or variant)


def first_line(text: str) -> str:
    """A message without the server's stack trace, which comes with real or escaped line ends."""
    return re.split(r"\\n|\n", text.replace('\\"', '"'), maxsplit=1)[0].strip()


def meaning(error: Exception, where: str) -> LifecycleError:
    """What an error means; the caller raises it.

    Args:
        error: a :class:`Refused`, or one of the kernel or of urllib3.
        where: what was done, for the message; without credentials.
    """
    if isinstance(error, LifecycleError):
        return error
    if isinstance(error, Lost):
        return type(error.known)(f"{where}: {error.known.message}", remedy=error.known.remedy)
    if not isinstance(error, Refused):
        return broken(where, error)
    if error.name == "GSSAPIError" and error.minor in _UNREACHABLE:
        return Unavailable(f"{where}: {error.text}", remedy=_KDC)
    kind, remedy = _MEANINGS.get(error.name, (Permanent, ""))
    text = error.text if error.name in _MEANINGS else f"{error.name}: {error.text}"
    return kind(f"{where}: {text}", remedy=remedy)


@contextmanager
def telling(where: str) -> Iterator[None]:
    """Translate what the block raises."""
    try:
        yield
    except (Refused, Lost, OSError) as error:
        raise meaning(error, where) from error
