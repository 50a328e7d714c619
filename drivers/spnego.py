"""Tokens for ``Authorization: Negotiate`` from the system's Kerberos library, for WebHDFS of a cluster with Kerberos.

No package that does this comes without a compiler, and the library is there wherever hdfs-native works with Kerberos.
It is used in the process of the HDFS client alone (ADR 0016), whose environment names the credentials.
"""

from __future__ import annotations

import ctypes
from typing import Final

LIBRARY: Final = "libgssapi_krb5.so.2"
# RFC 4178; RFC 2744 (host-based service) and RFC 1964 (a principal by its name): the bodies of the object identifiers.
_SPNEGO: Final = b"\x2b\x06\x01\x05\x05\x02"
_SERVICE: Final = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x04"
_PRINCIPAL: Final = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01"
_INITIATE: Final = 1
_MUTUAL: Final = 2
_CONTINUE: Final = 1
_ERRORS: Final = 0xFFFF0000
_MECHANISM: Final = 2  # the kind of code whose text says what went wrong


class NoGssapi(OSError):
    """The Kerberos library, which is opened at run time, is not there."""


class GSSAPIError(Exception):
    """It refuses; ``minor`` is the code of Kerberos."""

    def __init__(self, text: str, minor: int) -> None:
        super().__init__(text)
        self.minor = minor


class _Buffer(ctypes.Structure):
    _fields_ = (("length", ctypes.c_size_t), ("value", ctypes.c_void_p))


class _Oid(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint32), ("elements", ctypes.c_char_p))


def load() -> ctypes.CDLL:
    """The library.

    Raises:
        NoGssapi: it is not there.
    """
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NoGssapi(f"Kerberos needs the library {LIBRARY}: {error}") from error


def token(host: str, principal: str) -> bytes:
    """What proves to ``HTTP@host`` who this is.

    Args:
        host: the name in the URL.
        principal: whose credentials; empty for the default ones.

    Raises:
        NoGssapi: the library is not there.
        GSSAPIError: there are no credentials, or no ticket for that host.
    """
    library = load()
    minor = ctypes.c_uint32()
    service, user, credentials, context = (ctypes.c_void_p() for _ in range(4))
    out = _Buffer()

    def check(major: int) -> None:
        if major & _ERRORS:
            raise GSSAPIError(_text(library, minor.value), minor.value)

    try:
        if principal:
            check(_import(library, minor, principal, _PRINCIPAL, user))
            check(
                library.gss_acquire_cred(
                    ctypes.byref(minor), user, 0, None, _INITIATE, ctypes.byref(credentials), None, None
                )
            )
        check(_import(library, minor, f"HTTP@{host}", _SERVICE, service))
        mechanism = _Oid(len(_SPNEGO), _SPNEGO)
        check(
            library.gss_init_sec_context(
                ctypes.byref(minor), credentials, ctypes.byref(context), service, ctypes.byref(mechanism), _MUTUAL, 0,
                None, None, None, ctypes.byref(out), None, None,
            )
        )  # fmt: skip
        return ctypes.string_at(out.value or 0, out.length) if out.length else b""
    finally:
        library.gss_release_buffer(ctypes.byref(minor), ctypes.byref(out))
        library.gss_delete_sec_context(ctypes.byref(minor), ctypes.byref(context), None)
        library.gss_release_cred(ctypes.byref(minor), ctypes.byref(credentials))
        for name in (service, user):
            library.gss_release_name(ctypes.byref(minor), ctypes.byref(name))


def _import(library: ctypes.CDLL, minor: ctypes.c_uint32, text: str, kind: bytes, name: ctypes.c_void_p) -> int:
    data = text.encode()
    held = ctypes.create_string_buffer(data, len(data))
    buffer = _Buffer(len(data), ctypes.cast(held, ctypes.c_void_p))
    oid = _Oid(len(kind), kind)
    major: int = library.gss_import_name(
        ctypes.byref(minor), ctypes.byref(buffer), ctypes.byref(oid), ctypes.byref(name)
    )
    return major


def _text(library: ctypes.CDLL, code: int) -> str:
    minor, more, out = ctypes.c_uint32(), ctypes.c_uint32(), _Buffer()
    library.gss_display_status(
        ctypes.byref(minor), ctypes.c_uint32(code), _MECHANISM, None, ctypes.byref(more), ctypes.byref(out)
    )
    try:
        return ctypes.string_at(out.value or 0, out.length).decode(errors="replace") if out.length else "unknown"
    finally:
        library.gss_release_buffer(ctypes.byref(minor), ctypes.byref(out))
