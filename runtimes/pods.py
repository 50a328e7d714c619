"""This pod as the API server shows it: its containers' states, and one watch for all in this process who ask.

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
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from weakref import WeakSet

from lifecycle.errors import (
    Forbidden,
    LifecycleError,
    MainNotStarted,
    NotFound,
    Transient,
    Unauthorized,
    Unavailable,
    classify,
)
from lifecycle.outcome import NOT_BEGUN
from lifecycle.ports import ExitStatus
from runtimes.api import ApiServer, Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from typing import Self

    from lifecycle.clock import Cancel
    from lifecycle.ports import Surroundings

T = TypeVar("T")

log = logging.getLogger("argoexec")

MAIN: Final = "main"
OURS: Final = frozenset({MAIN, "wait"})
"""Containers that are never killed as sidecars."""

_WATCH: Final = 290
"""Seconds after which the server closes a watch; a half-open connection is found soon after."""
_FIRST, _CAP, _FACTOR = 0.5, 30.0, 2.0
"""Seconds of the back-off between two watches that broke or closed early."""
_STEADY: Final = 10.0
"""Seconds after which a watch that closes is a good one: servers close each in the end."""
_DOUBT: Final = 60.0
"""Seconds for which a refusal is doubted by who could watch before: an API server that has just been started answers
401 and 403 until it has read its accounts and roles, and main must not be lost by that."""

_NEVER: Final = frozenset({"ErrImageNeverPull", "InvalidImageName"})
"""Reasons of a waiting container for which the kubelet has no second try in store."""
_STUCK: Final = frozenset({
    "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
})  # fmt: skip
"""Reasons that may pass: a registry comes back, a secret is made."""
PATIENCE: Final = 600.0
"""Seconds that such a reason may last: two of the kubelet's longest back-offs, of five minutes."""


_NOBODY: Final = threading.Event()
"""Is never set: a back-off is nobody's to cut short, the thread is a daemon."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container of the pod's status.

    Attributes:
        id: without its ``scheme://``; empty before it was made.
        phase: ``waiting``, ``running`` or ``terminated``.
        reason, message: of that phase, in the kubelet's words.
        code: the exit code, once terminated.
    """

    name: str
    id: str
    phase: str
    reason: str = ""
    message: str = ""
    code: int = 0

    def exit_status(self) -> ExitStatus:
        """How it ended; only what is out of the ordinary has a reason."""
        reason = "" if self.reason in {"Completed", "Error"} else self.reason
        # Of a command that has run, the message is what it wrote to its termination log.
        return ExitStatus(self.code, reason, self.message if reason in NOT_BEGUN else "")


@dataclass(frozen=True, slots=True)
class PodState:
    """The pod's object, as it was when it was last seen; ``raw`` is the truth."""

    raw: Mapping[str, Any]

    @property
    def annotations(self) -> Mapping[str, str]:
        """Of its metadata."""
        return self.raw["metadata"].get("annotations") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """What was asked for."""
        found: Mapping[str, Any] = self.raw.get("spec") or {}
        return found

    @property
    def status(self) -> Mapping[str, Any]:
        """What the kubelet says of it."""
        found: Mapping[str, Any] = self.raw.get("status") or {}
        return found

    def containers(self) -> Iterator[ContainerState]:
        """Its ordinary containers, as far as the kubelet has told of them."""
        for one in self.status.get("containerStatuses") or ():
            yield _state(one)

    def container(self, name: str) -> ContainerState | None:
        """One of them."""
        return next((one for one in self.containers() if one.name == name), None)


class Pods(Protocol):
    """Who tells of this pod."""

    def get(self) -> PodState:
        """As it is now."""

    def wait_for(self, test: Callable[[PodState], T | None], cancel: Cancel, timeout: float | None = None) -> T | None:
        """Block until ``test`` gives something of it; ``None`` after ``timeout`` seconds."""


class PodWatch:
    """The one watch of this process on its own pod; begins with the first question.

    Attributes:
        name: the pod's.
    """

    def __init__(self, api: ApiServer, name: str, pause: Callable[[float], object] = _NOBODY.wait) -> None:
        """Nothing is asked yet; ``pause`` waits between two watches."""
        self.name = name
        self._api = api
        self._pause = pause
        self._listening: WeakSet[Cancel] = WeakSet()
        self._path = f"/api/v1/namespaces/{api.namespace}/pods"
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._state: PodState | None = None
        self._error: LifecycleError | None = None
        self._version = ""
        self._was_open = False
        self._refused_since: float | None = None
        self._listeners: list[Callable[[PodState], None]] = []

    @classmethod
    def of(cls, here: Surroundings) -> Self:
        """The pod's own; whoever asks shares it.

        Raises:
            InputError, BadRequest: as :meth:`ApiServer.of`.
        """
        kind: Any = cls
        with _MAKING:
            made: Self = _shared(kind, here)
        return made

    @property
    def seen(self) -> PodState | None:
        """The pod as it was last seen, without waiting; ``None`` before that."""
        return self._state

    def get(self) -> PodState:
        """The pod as it is now, by a request of its own.

        Raises:
            LifecycleError: as :meth:`ApiServer.call`.
        """
        return PodState(self._api.call("get", f"{self._path}/{self.name}", "pods"))

    def listen(self, told: Callable[[PodState], None]) -> None:
        """Call ``told`` with each state that is seen from now on; that alone begins no watch."""
        self._listeners.append(told)

    def wait_for(self, test: Callable[[PodState], T | None], cancel: Cancel, timeout: float | None = None) -> T | None:
        """Block until ``test`` gives something of the pod; ``None`` after ``timeout`` seconds.

        An API server that is away is waited for.

        Raises:
            Cancelled: the token was set.
            NotFound: the pod's object is gone.
            Forbidden, Unauthorized: it may not be watched.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if cancel not in self._listening:  # it keeps its listeners: once is enough
            self._listening.add(cancel)
            cancel.listen(self._wake)
        with self._changed:
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

    def await_main(self, cancel: Cancel, patience: float = PATIENCE) -> ContainerState:
        """As the function of this name."""
        return await_main(self, cancel, patience)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _begin(self) -> None:
        """Watch, unless somebody does; after an error, again."""
        if self._thread is None:
            self._error = None
            self._thread = threading.Thread(target=self._run, name="pod-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = 0.0
        while True:
            began = time.monotonic()
            try:
                # Closed here: an error that is kept would keep the generator, and that the connection.
                with closing(self._events()) as events:
                    for event in events:
                        self._take(event)
            except Gone as error:
                log.debug("%s", error)
                self._version = ""  # begin with the pod as it is
            except Transient as error:
                log.warning("the pod cannot be watched: %s", error)
            except (Forbidden, Unauthorized) as error:
                if not self._doubts():
                    self._fail(error)
                    return
                log.warning("the pod cannot be watched any more, which is doubted for a while: %s", error)
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
        """The pod as it is, unless it is known from where to go on, and then what changes.

        Raises:
            NotFound: there is no such pod; a watch alone would wait for one.
            Transient: the watch broke.
        """
        query = [
            ("watch", "true"),
            ("fieldSelector", f"metadata.name={self.name}"),
            ("timeoutSeconds", str(_WATCH)),
            ("allowWatchBookmarks", "true"),
        ]
        if self._version:
            query.append(("resourceVersion", self._version))
        else:
            # Its own version is none to watch from: that of a pod that has not changed for long is too old.
            self._show(self.get())
        with self._api.open("watch", self._path, "pods", query=query, silence=_WATCH + 15.0) as answer:
            self._was_open, self._refused_since = True, None
            for line in answer.lines():
                if line.strip():
                    yield _event(line)

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, found = event["type"], event["object"]
        if kind == "ERROR":
            # Nearly always 410; whatever it is, the pod is looked at anew.
            raise Gone(f"the watch of the pod ends: {found.get('message', found.get('code'))}")
        self._version = found["metadata"].get("resourceVersion", self._version)
        if kind == "DELETED":
            self._show(PodState(found))
            raise NotFound(f"the pod {self.name!r} has been deleted")
        if kind != "BOOKMARK":
            self._show(PodState(found))

    def _show(self, state: PodState) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()
        for told in tuple(self._listeners):
            told(state)


_MAKING: Final = threading.Lock()
"""The cache itself would let two threads that ask at the same moment each have one of its own."""


@lru_cache(maxsize=8)
def _shared(kind: Any, here: Surroundings) -> Any:
    return kind(ApiServer.of(here), here.pod)


def await_main(pods: Pods, cancel: Cancel, patience: float = PATIENCE) -> ContainerState:
    """Block until main runs or has run.

    Args:
        pods: who tells of the pod.
        cancel: ends the wait.
        patience: seconds that what may pass may last.

    Raises:
        MainNotStarted: it never will: its image cannot be pulled, its pod has ended …
        LifecycleError: as :meth:`PodWatch.wait_for`.
    """
    stuck: ContainerState | None = None
    since = 0.0

    def started(pod: PodState) -> ContainerState | None:
        nonlocal stuck, since
        main = pod.container(MAIN)
        if main is not None and main.phase != "waiting":
            return main
        if main is not None and main.reason in _NEVER:
            raise _never(main)
        if pod.status.get("phase") in {"Failed", "Succeeded"}:
            why = pod.status.get("message") or pod.status.get("reason") or "the pod has ended"
            raise MainNotStarted(f"main was never started: {why}")
        if main is None or main.reason not in _STUCK:
            stuck = None
        elif stuck is None:
            stuck, since = main, time.monotonic()
        else:
            stuck = main
        return None

    while True:
        # A reason may come and go while nobody looks: each turn waits for what is left of the patience.
        left = patience if stuck is None else patience - (time.monotonic() - since)
        if stuck is not None and left <= 0:
            raise _never(stuck, f" (for {patience:.0f} s)")
        found = pods.wait_for(started, cancel, left)
        if found is not None:
            return found


def ended(pod: PodState, name: str) -> ExitStatus | None:
    """How a container has ended, once it has.

    Raises:
        NotFound: the pod has no such container.
    """
    found = pod.container(name)
    if found is not None and found.phase == "terminated":
        return found.exit_status()
    if pod.spec.get("containers") and all(one["name"] != name for one in pod.spec["containers"]):
        raise NotFound(f"there is no container {name!r} in the pod")
    return None


def _event(line: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
        return {"type": found["type"], "object": found["object"]}
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"the watch of the pod broke off in the middle of an event ({len(line)} bytes)") from error


def _state(raw: Mapping[str, Any]) -> ContainerState:
    states: Mapping[str, Mapping[str, Any] | None] = raw.get("state") or {"waiting": None}
    phase, told = next(iter(states.items()))
    found = told or {}
    return ContainerState(
        name=raw["name"],
        id=str(raw.get("containerID", "")).rpartition("://")[2],
        phase=phase,
        reason=found.get("reason", ""),
        message=found.get("message", ""),
        code=found.get("exitCode", 0),
    )


def _never(main: ContainerState, how_long: str = "") -> MainNotStarted:
    said = f": {main.message}" if main.message else ""
    return MainNotStarted(
        f"main cannot be started: {main.reason}{how_long}{said}",
        remedy="correct the image's name, or see that the node can pull it (imagePullSecrets, the registry)"
        if "Image" in main.reason or "Pull" in main.reason
        else "see what the kubelet says of the pod: kubectl describe pod",
    )
