"""This pod as the API server shows it: its containers' states, and the one watch of this process on it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from lifecycle.errors import MainNotStarted, NotFound
from lifecycle.outcome import NOT_BEGUN
from lifecycle.ports import MAIN, ExitStatus
from runtimes.api import ApiServer
from runtimes.objectwatch import ObjectWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from lifecycle.clock import Cancel
    from lifecycle.ports import Surroundings

T = TypeVar("T")

_NEVER: Final = frozenset({"ErrImageNeverPull", "InvalidImageName"})
"""Reasons of a waiting container for which the kubelet has no second try in store."""
_STUCK: Final = frozenset({
    "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
})  # fmt: skip
"""Reasons that may pass: a registry comes back, a secret is made."""
PATIENCE: Final = 600.0
"""Seconds that such a reason may last: two of the kubelet's longest back-offs, of five minutes."""


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


class PodWatch(ObjectWatch[PodState]):
    """The one watch of this process on its own pod."""

    kind = "pod"

    def __init__(self, api: ApiServer, name: str, pause: Callable[[float], object] | None = None) -> None:
        """Nothing is asked yet; ``pause`` waits between two watches."""
        super().__init__(api, f"/api/v1/namespaces/{api.namespace}/pods", "pods", name, PodState, pause)

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

    def await_main(self, cancel: Cancel, patience: float = PATIENCE) -> ContainerState:
        """As the function of this name."""
        return await_main(self, cancel, patience)


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
