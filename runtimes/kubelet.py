"""The runtime port over the kubelet of the pod's node: logs, exec, and its list of pods (spec 2.3).

The kubelet has no watch. Who may watch the pod at the API server does so; else a container's end is told by the end
of its log, which the kubelet pushes, and only its start and its exit code are asked for repeatedly (ADR 25).
"""

from __future__ import annotations

import codecs
import json
import logging
import re
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from lifecycle.errors import Forbidden, InputError, LifecycleError, NotFound, Unauthorized, Unavailable, classify
from lifecycle.ports import Container
from runtimes import exec as commands
from runtimes.api import ApiServer
from runtimes.pods import PodState, PodWatch, await_main, ended
from runtimes.remote import RemoteRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from lifecycle.clock import Cancel
    from lifecycle.ports import ExitStatus, Surroundings
    from runtimes.pods import Pods

T = TypeVar("T")

log = logging.getLogger("argoexec")

HOST, PORT, INSECURE = "ARGO_KUBELET_HOST", "ARGO_KUBELET_PORT", "ARGO_KUBELET_INSECURE"

_FIRST, _CAP, _FACTOR = 0.1, 5.0, 1.5
"""Seconds between two looks at the node's pods; what it says of a container's end is 1 or 2 s old."""


_BEGIN: Final = re.compile(r'"items"\s*:\s*(\[|null)')


class Kubelet(ApiServer):
    """The kubelet of one node; it asks the API server who may do what."""

    called: ClassVar[str] = "the kubelet"
    distrusted: ClassVar[str] = (
        f"have the cluster's authority sign it (serverTLSBootstrap), or set kubeletInsecure ({INSECURE}=true)"
    )

    @property
    def role(self) -> str:
        """Nodes are in no namespace."""
        return "in a ClusterRole that is bound by a ClusterRoleBinding"

    def pods(self) -> Iterator[PodState]:
        """The pods of the node, one by one as they come: a node may have hundreds, of 5 to 20 KiB.

        Raises:
            Forbidden, Unauthorized, Transient: they cannot be read.
        """
        with self.open("get", "/pods", "nodes/proxy") as answer:
            for item in _items(iter(answer.read1, b"")):
                yield PodState(item)


class NodePods:
    """One pod as its kubelet lists it: looked at again and again while somebody waits for something."""

    def __init__(self, kubelet: Kubelet, namespace: str, name: str) -> None:
        """Nothing is asked yet."""
        self._kubelet = kubelet
        self._namespace = namespace
        self._name = name

    def get(self) -> PodState:
        """The pod as the kubelet has it now.

        Raises:
            NotFound: it is not on this node.
            LifecycleError: as :meth:`Kubelet.pods`.
        """
        for pod in self._kubelet.pods():
            found = pod.raw["metadata"]
            if found["name"] == self._name and found["namespace"] == self._namespace:
                return pod
        raise NotFound(
            f"the kubelet at {self._kubelet.place} has no pod {self._name!r} of the namespace {self._namespace!r}",
            remedy=f"{HOST} must be the pod's own node: take it from the field status.hostIP",
        )

    def wait_for(self, test: Callable[[PodState], T | None], cancel: Cancel, timeout: float | None = None) -> T | None:
        """Look until ``test`` gives something of the pod; ``None`` after ``timeout`` seconds.

        Raises:
            Cancelled: the token was set.
            LifecycleError: as :meth:`get`.
        """
        until, pause = None if timeout is None else time.monotonic() + timeout, _FIRST
        while True:
            cancel.check()
            found = test(self.get())
            if found is not None:
                return found
            left = pause if until is None else min(pause, until - time.monotonic())
            if left <= 0:
                return None
            cancel.wait(left)
            pause = min(_CAP, pause * _FACTOR)


class KubeletRuntime(RemoteRuntime):
    """The containers of a pod, as its node's kubelet shows them."""

    resource_exec: ClassVar[str] = "nodes/proxy"
    resource_log: ClassVar[str] = "nodes/proxy"

    def __init__(self, kubelet: Kubelet, watch: PodWatch) -> None:
        """Nothing is asked yet."""
        super().__init__()
        self._kubelet = kubelet
        self._watch = watch
        self._node = NodePods(kubelet, kubelet.namespace, watch.name)
        self._is_watched = True
        self._ends: dict[str, _End] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_pod(cls, here: Surroundings) -> Self:
        """The runtime of ``ARGO_CONTAINER_RUNTIME_EXECUTOR=kubelet``.

        Raises:
            InputError: the environment does not name the kubelet, or names none.
            BadRequest: there is no service account.
        """
        host, port = here.environ.get(HOST, ""), here.environ.get(PORT) or "10250"
        if not host:
            raise InputError("the kubelet is not named", place=HOST, remedy="take it from the field status.hostIP")
        if not (port.isdecimal() and 0 < int(port) < 65536):
            raise InputError(f"{port!r} is no port", place=PORT, remedy="10250 is a kubelet's; remove the variable")
        found = replace(
            ApiServer.of(here).credentials,
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            verify=here.environ.get(INSECURE, "").lower() not in {"true", "1"},
            server_name=None,
            impersonate=(),
            proxy=None,
        )
        return cls(Kubelet(found), PodWatch.of(here))

    def find_main(self, cancel: Cancel) -> Container:
        """Block until main has started.

        Raises:
            MainNotStarted: it never will.
            Cancelled: the token was set.
            LifecycleError: neither the API server nor the kubelet tells of the pod.
        """
        main = self._ask(lambda pods: await_main(pods, cancel))
        return Container(main.name, main.id)

    def wait(self, container: Container, cancel: Cancel, timeout: float | None = None) -> ExitStatus | None:
        """Block until the container has ended, and how.

        Raises:
            Cancelled: the token was set.
            NotFound: the pod is gone.
            Transient: the connection to the kubelet broke.
        """

        def over(pod: PodState) -> ExitStatus | None:
            return ended(pod, container.name)

        def wait(pods: Pods) -> ExitStatus | None:
            if pods is not self._node:
                return pods.wait_for(over, cancel, timeout)
            until = None if timeout is None else time.monotonic() + timeout
            found = over(self._node.get())
            if found is None and self._end(container).wait(cancel, timeout):
                left = None if until is None else max(0.0, until - time.monotonic())
                found = self._node.wait_for(over, cancel, left)
            return found

        return self._ask(wait)

    def _ask(self, question: Callable[[Pods], T]) -> T:
        """Of the API server; once it has refused, of the kubelet."""
        if self._is_watched:
            try:
                return question(self._watch)
            except (Forbidden, Unauthorized) as error:
                self._is_watched = False
                log.warning("%s; the kubelet is asked instead, which costs it more", error)
        return question(self._node)

    def _end(self, container: Container) -> _End:
        with self._lock:
            found = self._ends.get(container.name)
            if found is None or found.error is not None:
                found = self._ends[container.name] = _End(self, container)
            return found

    def follow(self, container: Container) -> None:
        """Read the output that is still to come, and drop it, until there will be none.

        Raises:
            LifecycleError: the kubelet does not give it, or the connection broke.
        """
        path, _ = self._log(container)
        query = [("follow", "true"), ("tailLines", "0")]
        with self._kubelet.open("get", path, self.resource_log, query=query, silence=None) as answer:
            while answer.read1():
                pass

    def _pod(self) -> PodState:
        return self._ask(lambda pods: pods.get())

    def _server(self) -> ApiServer:
        return self._kubelet

    def _log(self, container: Container) -> tuple[str, list[tuple[str, str]]]:
        return f"/containerLogs/{self._kubelet.namespace}/{self._watch.name}/{container.name}", []

    def _exec(self, container: Container) -> tuple[str, list[tuple[str, str]]]:
        path = f"/exec/{self._kubelet.namespace}/{self._watch.name}/{container.name}"
        return path, list(commands.KUBELET_STREAMS)


class _End:
    """Becomes true when a container's log ends; a thread reads it, which outlives who waits.

    Attributes:
        error: why it cannot be told.
    """

    def __init__(self, runtime: KubeletRuntime, container: Container) -> None:
        self.error: LifecycleError | None = None
        self._over = False
        self._changed = threading.Condition()
        self._follow: Callable[[], None] = lambda: runtime.follow(container)
        threading.Thread(target=self._run, name=f"log of {container.name}", daemon=True).start()

    def wait(self, cancel: Cancel, timeout: float | None) -> bool:
        """Whether it has come, within so many seconds.

        Raises:
            Cancelled: the token was set.
            LifecycleError: the log cannot be followed, or not any more.
        """
        with cancel.listening(self._wake), self._changed:
            self._changed.wait_for(lambda: self._over or cancel.reason is not None, timeout)
        cancel.check()
        if self.error is not None:
            raise self.error
        return self._over

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - a thread has no caller: whoever waits is told
            self.error = classify(error)
        self._over = True
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _items(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The items of a list, each as soon as it has come whole; no more than one is held.

    Raises:
        Unavailable: it is no list, or breaks off.
    """
    decoder, utf8 = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")("replace")
    text, begun = "", False
    for chunk in chunks:
        text += utf8.decode(chunk)
        if not begun:
            found = _BEGIN.search(text)
            if found is None:
                continue
            if found[1] == "null":
                return
            text, begun = text[found.end() :], True
        while (text := text.lstrip(", \r\n\t")).startswith("{"):
            try:
                item, end = decoder.raw_decode(text)
            except ValueError:
                break  # the rest of it is still to come
            yield item
            text = text[end:]
        if text.startswith("]"):
            return
    raise Unavailable("the kubelet's list of pods breaks off, or is none")
