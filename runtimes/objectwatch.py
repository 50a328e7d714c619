"""One object as the API server shows it, followed by one watch for all in this process who ask.

A watch that closes is opened again from where it was; one that is too old (410) begins anew; an API server that is
away is waited for with back-off. Who waits for something to become true is woken by the event that makes it so.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from lifecycle.errors import Forbidden, LifecycleError, NotFound, Transient, Unauthorized, Unavailable, classify
from runtimes.api import Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from lifecycle.clock import Cancel
    from runtimes.api import Answer, ApiServer

S = TypeVar("S")
T = TypeVar("T")

log = logging.getLogger("argoexec")

_WATCH: Final = 290
"""Seconds after which the server closes a watch; a half-open connection is found soon after."""
_FIRST, _CAP, _FACTOR = 0.5, 30.0, 2.0
"""Seconds of the back-off between two watches that broke or closed early."""
_STEADY: Final = 10.0
"""Seconds after which a watch that closes is a good one: servers close each in the end."""
_DOUBT: Final = 60.0
"""Seconds for which a refusal is doubted by who could watch before: an API server that has just been started answers
401 and 403 until it has read its accounts and roles, and main must not be lost by that."""


class ObjectWatch(Generic[S]):
    """One watch on one object; begins with the first question.

    Attributes:
        name: the object's.
    """

    kind: ClassVar[str] = "object"

    def __init__(
        self,
        api: ApiServer,
        path: str,
        resource: str,
        name: str,
        see: Callable[[Mapping[str, Any]], S],
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            api: who is asked.
            path: of the object's kind in its namespace.
            resource: as RBAC calls it.
            name: the object's.
            see: makes of its JSON what those who ask are shown.
            pause: waits between two watches.
        """
        self.name = name
        self._api = api
        self._resource = resource
        self._see = see
        self._over = threading.Event()
        self._pause = pause or self._over.wait
        self._path = path
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._state: S | None = None
        self._error: LifecycleError | None = None
        self._version = self._looked = ""
        self._was_open = False
        self._refused_since: float | None = None
        self._listeners: list[Callable[[S], None]] = []
        self._answer: Answer | None = None

    @property
    def seen(self) -> S | None:
        """The object as it was last seen, without waiting; ``None`` before that."""
        return self._state

    def get(self) -> S:
        """The object as it is now, by a request of its own.

        Raises:
            LifecycleError: as :meth:`ApiServer.call`.
        """
        return self._see(self._ask())

    def _ask(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api.call("get", f"{self._path}/{self.name}", self._resource)
        return found

    def listen(self, told: Callable[[S], None]) -> None:
        """Call ``told`` with each state that is seen from now on; that alone begins no watch."""
        self._listeners.append(told)

    def wait_for(self, test: Callable[[S], T | None], cancel: Cancel, timeout: float | None = None) -> T | None:
        """Block until ``test`` gives something of the object; ``None`` after ``timeout`` seconds.

        An API server that is away is waited for.

        Raises:
            Cancelled: the token was set.
            NotFound: it is gone.
            Forbidden, Unauthorized: it may not be watched.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with cancel.listening(self._wake), self._changed:
            self._begin()
            while True:
                cancel.check()
                if self._state is not None and (found := test(self._state)) is not None:
                    return found
                if self._error is not None:
                    raise self._error
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)

    def close(self) -> None:
        """Nobody will ask again: the watch ends, and its connection."""
        self._over.set()
        answer = self._answer
        if answer is not None:
            answer.abort()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _begin(self) -> None:
        """Watch, unless somebody does; after an error, again."""
        if self._thread is None:
            self._error = None
            self._thread = threading.Thread(target=self._run, name=f"{self.kind}-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = 0.0
        while not self._over.is_set():
            began = time.monotonic()
            try:
                # Closed here: an error that is kept would keep the generator, and that the connection.
                with closing(self._events()) as events:
                    for event in events:
                        self._take(event)
            except Gone as error:
                log.debug("%s", error)
                self._version = ""  # begin with the object as it is
            except Transient as error:
                if self._over.is_set():
                    return
                log.warning("the %s cannot be watched: %s", self.kind, error)
            except (Forbidden, Unauthorized) as error:
                if not self._doubts():
                    self._fail(error)
                    return
                log.warning("the %s cannot be watched any more, which is doubted for a while: %s", self.kind, error)
            except Exception as error:  # noqa: BLE001 - a thread has no caller: whoever waits is told
                self._fail(classify(error))
                return
            # One that closes at once must not become a tight loop (spec 7.4 #91), whatever it told before.
            pause = 0.0 if time.monotonic() - began >= _STEADY else min(_CAP, max(_FIRST, pause * _FACTOR))
            if pause:
                self._pause(pause * (1 + random.random() / 5))  # noqa: S311 - jitter

    def _doubts(self) -> bool:
        """Whether a refusal may pass: it could be watched, and that was not long ago."""
        if self._refused_since is None:
            self._refused_since = time.monotonic()
        return self._was_open and time.monotonic() - self._refused_since < _DOUBT

    def _fail(self, error: LifecycleError) -> None:
        """Tell whoever waits; who asks then begins a new watch."""
        with self._changed:
            self._error, self._thread = error, None
            self._was_open, self._refused_since = False, None
            self._changed.notify_all()

    def _events(self) -> Generator[dict[str, Any], None, None]:
        """The object as it is, unless it is known from where to go on, and then what changes.

        Raises:
            NotFound: there is no such object; a watch alone would wait for one.
            Transient: the watch broke.
        """
        query = [
            ("watch", "true"),
            ("fieldSelector", f"metadata.name={self.name}"),
            ("timeoutSeconds", str(_WATCH)),
            ("allowWatchBookmarks", "true"),
        ]
        anew = not self._version
        if anew:
            self._look()
        # Its own version is none to watch from: that of one that has not changed for long is too old. From 0 the server
        # has begun to watch when it answers; without a version it may only list then what there is, some time later.
        query.append(("resourceVersion", self._version or "0"))
        with self._api.open("watch", self._path, self._resource, query=query, silence=_WATCH + 15.0) as answer:
            self._answer = answer
            if self._over.is_set():  # closed meanwhile, when there was no answer to abort
                return
            self._was_open, self._refused_since = True, None
            try:
                if anew:
                    self._look()  # once more: of what was deleted before it began to watch it tells nothing
                for line in answer.lines():
                    if line.strip():
                        yield _event(line)
            finally:
                self._answer = None

    def _look(self) -> None:
        found = self._ask()
        self._looked = found["metadata"].get("resourceVersion", "")
        self._show(self._see(found))

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, found = event["type"], event["object"]
        if kind == "ERROR":
            # Nearly always 410; whatever it is, the object is looked at anew.
            raise Gone(f"the watch of the {self.kind} ends: {found.get('message', found.get('code'))}")
        self._version = found["metadata"].get("resourceVersion", self._version)
        if kind == "DELETED":
            self._show(self._see(found))
            raise NotFound(f"the {self.kind} {self.name!r} has been deleted")
        # A server's cache begins with what it has, which may be older than what it gave by a get.
        if kind != "BOOKMARK" and not _older(self._version, self._looked):
            self._show(self._see(found))

    def _show(self, state: S) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()
        for told in tuple(self._listeners):
            told(state)


def _older(version: str, than: str) -> bool:
    """By the numbers that versions are on every server (KEP-5504); what is none is never older."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


def _event(line: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
        return {"type": found["type"], "object": found["object"]}
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"the watch broke off in the middle of an event ({len(line)} bytes)") from error
