"""What fsspec's backends raise → our errors. They agree on little: by type here, and what is of no known type is
permanent, by the name of its class.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import (
    BadRequest,
    LifecycleError,
    NotFound,
    Permanent,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unsupported,
    from_os_error,
)
from lifecycle.network import broken

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_TYPES: Final[tuple[tuple[Any, type[LifecycleError], str], ...]] = (
    (ABSENT, NotFound, "there is no such object"),
    (NotImplementedError, Unsupported, "this filesystem cannot do that"),
    (socket.gaierror, Unavailable, "the host name cannot be resolved"),  # not NotFound, which `optional` would forgive
    (TimeoutError, TimedOut, "no answer in time"),
    (EOFError, Unavailable, "the server ended the connection"),
)


def meaning(error: Exception, where: str, *, redacted: Callable[[Exception], str], secret: bool) -> LifecycleError:
    """The error as one of ours; the caller raises it.

    Args:
        error: what the backend raised.
        where: the action and the object, for messages.
        redacted: gives the text of an error, without what may quote a secret.
        secret: whether the backend was given any.
    """
    known = _of_ssh(error, where) or _of_type(error, where, redacted)
    if known is not None:
        return known
    if isinstance(error, OSError):
        of_kernel = from_os_error(error)
        text = redacted(error if secret else of_kernel)
        return type(of_kernel)(f"{where}: {text}", remedy=of_kernel.remedy)
    text = redacted(error)
    return Permanent(f"{where}: {text if secret else f'{type(error).__name__}: {text}'}")


def _of_type(error: Exception, where: str, redacted: Callable[[Exception], str]) -> LifecycleError | None:
    if isinstance(error, ImportError):
        return Unsupported(f"{where}: {redacted(error)}", remedy="add the package to the executor's image")
    for kinds, known, text in _TYPES:
        if isinstance(error, kinds):
            return known(f"{where}: {text}")
    return None


def _of_ssh(error: Exception, where: str) -> LifecycleError | None:
    """Of paramiko, which is only there if somebody uses it."""
    ssh: Any = sys.modules.get("paramiko.ssh_exception")
    known: LifecycleError | None = None
    if ssh is None:
        return None
    if isinstance(error, ssh.AuthenticationException):
        known = Unauthorized(
            f"{where}: the server does not accept the credentials ({type(error).__name__})",
            remedy="check `username`, `password` or `key_filename` in fsspec.options",
        )
    elif isinstance(error, ssh.BadHostKeyException):
        known = BadRequest(f"{where}: the server's host key is another than the known one")
    elif isinstance(error, ssh.NoValidConnectionsError):  # an OSError without errno around one for each address
        known = broken(where, next(iter(error.errors.values())))
    # "Socket is closed" has no number; what SFTP refuses without one comes with its word for it, such as "Failure".
    elif isinstance(error, ssh.SSHException) or (
        type(error) is OSError and error.errno is None and _of_closed_socket(error)
    ):
        known = Unavailable(f"{where}: the connection broke ({type(error).__name__})")
    return known


def _of_closed_socket(error: OSError) -> bool:
    """Whether paramiko's channel raised it: the refusals of SFTP come from its client."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and os.path.basename(trace.tb_frame.f_code.co_filename) in {"channel.py", "file.py"}
