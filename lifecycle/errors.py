"""The one tree of errors. A leaf answers a caller's question: retry? whose fault? cancelled?

::

    LifecycleError
    ├── Transient              worth another attempt
    │   ├── Unavailable        the server or the way to it is down
    │   ├── Throttled          it says when to come back: retry_after
    │   └── TimedOut
    ├── Permanent              another attempt would end the same way
    │   ├── NotFound           what `optional` keys on
    │   ├── Unauthorized       the credentials are wrong
    │   ├── Forbidden          they are right, but do not suffice
    │   ├── BadRequest
    │   │   ├── AlreadyExists  an object of that name is there
    │   │   └── InputError     what a person wrote; names the place, exit status 2
    │   ├── UnsafeArchive      an entry reaches outside its target
    │   ├── CorruptData
    │   ├── StorageFull
    │   ├── MainNotStarted
    │   └── Unsupported
    └── Cancelled              somebody asked us to stop
        ├── Terminated
        └── DeadlineExceeded

Adapters translate what their client library raises at their boundary, ``raise … from``, by type and status,
never by substring. The ``code`` is the original's (spec 1.16); the phase, item and attempt are not the error's
to know: the engine writes them beside it into the :class:`~lifecycle.outcome.Failure`.
"""

from __future__ import annotations

import errno
import socket
from typing import ClassVar


class LifecycleError(Exception):
    """What happened, in one sentence, and what a person can do about it."""

    code: ClassVar[str] = "ERR_INTERNAL"
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class Transient(LifecycleError):
    """Worth another attempt; waits at least ``retry_after`` seconds where the server named them."""

    transient = True

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class Unavailable(Transient):
    """The server, or the way to it, is down."""


class Throttled(Transient):
    """The server asks for less."""


class TimedOut(Transient):
    """No answer within the time that was allowed."""

    code = "ERR_TIMEOUT"


class Permanent(LifecycleError):
    """Another attempt would end the same way."""


class NotFound(Permanent):
    """The one error that ``optional`` forgives."""

    code = "ERR_NOT_FOUND"


class Unauthorized(Permanent):
    """The credentials are wrong."""

    code = "ERR_UNAUTHORIZED"


class Forbidden(Permanent):
    """The credentials are right but do not suffice."""

    code = "ERR_FORBIDDEN"


class BadRequest(Permanent):
    """What was asked cannot be done by anybody."""

    code = "ERR_BAD_REQUEST"


class AlreadyExists(BadRequest):
    """An object of that name is there."""


class InputError(BadRequest):
    """What a person wrote is wrong. ``place`` is where: a file, a flag, a JSON path such as ``$.inputs``."""

    def __init__(self, message: str, *, place: str = "", remedy: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message, remedy=remedy)
        self.place = place


class UnsafeArchive(Permanent):
    """An entry of an archive reaches outside the place it is unpacked to, or passes a limit."""

    code = "ERR_BAD_REQUEST"


class CorruptData(Permanent):
    """The bytes are not what they claim to be."""

    code = "ERR_BAD_REQUEST"


class StorageFull(Permanent):
    """No space, or no quota, where the bytes should go."""


class MainNotStarted(Permanent):
    """The main container never began to run."""


class Unsupported(Permanent):
    """This runtime, store or platform cannot do it by nature."""

    code = "ERR_NOT_IMPLEMENTED"


class Cancelled(LifecycleError):
    """Somebody asked us to stop."""


class Terminated(Cancelled):
    """SIGTERM, Ctrl-C, or the zero deadline of the controller (spec 1.9)."""


class DeadlineExceeded(Cancelled):
    """The step or its workflow ran out of time."""

    code = "ERR_TIMEOUT"


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DOWN = {
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ENETDOWN, errno.ENETUNREACH,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EAGAIN, errno.EINTR,
}  # fmt: skip

_MEANINGS: tuple[tuple[tuple[type[OSError], ...], type[LifecycleError]], ...] = (
    ((TimeoutError,), TimedOut),
    ((ConnectionError,), Unavailable),
    ((FileNotFoundError, NotADirectoryError), NotFound),
)


def from_os_error(error: OSError) -> LifecycleError:
    """Classify an :class:`OSError` by its errno; the caller raises the result ``from`` it."""
    text = f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error)
    if isinstance(error, socket.gaierror):
        # Never NotFound: `optional` would forgive a store that cannot be found as an artifact that is not there.
        return Unavailable(f"the name cannot be resolved: {text}")
    if error.errno in _FULL:
        return StorageFull(text, remedy="free space there, or raise the volume's size or ephemeral-storage limit")
    if isinstance(error, PermissionError):
        return Forbidden(text, remedy="run the executor as a user who may read and write there")
    for kinds, meaning in _MEANINGS:
        if isinstance(error, kinds):
            return meaning(text)
    return Unavailable(text) if error.errno in _DOWN else Permanent(text)


def classify(error: Exception) -> LifecycleError:
    """The error itself when it is ours, its errno's meaning when the kernel's, else an internal error."""
    if isinstance(error, LifecycleError):
        return error
    if isinstance(error, OSError):
        return from_os_error(error)
    return LifecycleError(
        f"{type(error).__name__}: {error}", remedy="this is a defect of argoexec: report it with the journal"
    )
