"""What a broken connection means. Drivers and runtimes ask here, so that one failure has one meaning.

Client libraries wrap the kernel's and OpenSSL's errors two to four times, each in its own way; what happened is
the innermost one. It is told by its type, never by its text.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final

from lifecycle.errors import Permanent, TimedOut, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.errors import LifecycleError

# The peer went away in the middle of the handshake: a restarting server or a balancer without back ends.
_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)

AWAY: Final = "is it up, and does the network let us reach it?"
UNKNOWN: Final = "is the host name right, and does the name server here know it?"


def broken(where: str, error: Exception, *, remedy: str = "") -> LifecycleError:
    """The meaning of an error that a client library raised about the way to a server; the caller raises it.

    Args:
        where: the server and object, for the message; without credentials.
        error: what the library raised.
        remedy: what to do about a certificate that is not trusted.
    """
    for cause in causes(error):
        if isinstance(cause, ssl.SSLError) and type(cause).__module__ != ssl.__name__:
            continue  # aiohttp's, which are OpenSSL's by type and have nothing of them: that one is their cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Permanent(f"{where}: the certificate is not trusted: {cause.verify_message}", remedy=remedy)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, (*_HUNG_UP, TimeoutError)):
            return Permanent(
                f"{where}: TLS failed: {cause.reason or 'SSL error'}", remedy="does the port there speak TLS?"
            )
        if isinstance(cause, socket.gaierror):
            # Also for "no such host": cluster DNS says so for seconds at the start of a pod, and a typing error
            # in the endpoint must not pass for a missing object, which `optional` would forgive.
            return Unavailable(f"{where}: the host name cannot be resolved", remedy=UNKNOWN)
        if isinstance(cause, TimeoutError):
            return TimedOut(f"{where}: no answer in time", remedy=AWAY)
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0 and cause.strerror:
            # In the kernel's words: aiohttp's have the URL in them, whose query may be a signature. The numbers below 0
            # that it gives some are the resolver's, whose own error is their cause.
            return Unavailable(f"{where}: {os.strerror(cause.errno)}", remedy=AWAY)
    return Unavailable(f"{where}: the connection broke ({type(error).__name__})", remedy=AWAY)


def shown(error: Exception) -> Exception | None:
    """For ``raise … from``: causes are printed as they are, and an answer that is no HTTP is quoted in them."""
    quotes = any(isinstance(one, (http.client.HTTPException, ValueError)) for one in causes(error))
    return None if quotes else error


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and all it wraps: as cause, context, argument, ``reason`` (urllib3), ``kwargs`` (botocore)."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            kwargs = getattr(one, "kwargs", None)
            wrapped = kwargs.get("error") if isinstance(kwargs, dict) else None
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), wrapped, *one.args]
