"""The runtime port over a docker daemon, by the Engine API on its socket; no docker command, nothing polls (spec 2.2).

The kubelet labels what it starts with the pod's namespace, name and uid and the container's name: that is how a pod's
containers are found, in clusters (dockershim, cri-dockerd) as in a local run.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

from lifecycle.archive.stream import ChunkReader
from lifecycle.clock import Cancel, terminated
from lifecycle.errors import BadRequest, Cancelled, LifecycleError, MainNotStarted, NotFound, Unavailable, Unsupported
from lifecycle.outcome import NOT_BEGUN, OOM_KILLED
from lifecycle.ports import MAIN, OURS, Container, ExitStatus
from runtimes.dockerapi import Daemon, now
from runtimes.dockerfiles import Files, gone
from runtimes.dockerlogs import STDERR, STDOUT, payloads
from runtimes.dockerstream import Follower

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from lifecycle.ports import Surroundings
    from runtimes.dockerstream import Body
    from runtimes.pods import ContainerState

    _Inbox = queue.SimpleQueue[Exception | ContainerState | None]

log = logging.getLogger("argoexec")

NAMESPACE: Final = "io.kubernetes.pod.namespace"
POD: Final = "io.kubernetes.pod.name"
UID: Final = "io.kubernetes.pod.uid"
NAME: Final = "io.kubernetes.container.name"
KIND: Final = "io.kubernetes.docker.type"
"""``podsandbox`` for the container that holds a pod's network; ``container`` for the others."""

_SANDBOX: Final = "POD"
_CANNOT_RUN: Final = "ContainerCannotRun"
"""The kubelet's word for one that docker has made and could not start: for the kubelet it has ended."""
_PIECE: Final = 64 * 1024
_LET_GO: Final = 1.0
"""Seconds for a thread that has been woken; what it may still hang in, a plug-in of a kubeconfig, is not ours."""
_FIRST, _CAP = 1.0, 60.0
"""Seconds after which a main that was made, but not started, is looked at again: a start that fails is no event."""


class DockerRuntime:
    """The containers of one pod."""

    reads_base_layer: ClassVar[bool] = True

    def __init__(self, daemon: Daemon, labels: Mapping[str, str], here: Surroundings | None = None) -> None:
        """Nothing is asked yet.

        Args:
            daemon: whose containers they are.
            labels: those that all of the pod's containers have.
            here: the pod in its cluster, whose API server tells why main does not start; ``None`` for a local run.
        """
        self._daemon = daemon
        self._labels = dict(labels)
        self._here = here
        self._files = Files(daemon)
        self._ended: dict[str, ExitStatus] = {}
        """What the cluster has told of containers that are not there any more, by their ids."""

    @classmethod
    def from_pod(cls, here: Surroundings) -> Self:
        """The runtime of ``ARGO_CONTAINER_RUNTIME_EXECUTOR=docker``."""
        labels = {POD: here.pod}
        if namespace := _namespace(here):
            labels[NAMESPACE] = namespace
        if uid := here.environ.get("ARGO_POD_UID"):
            labels[UID] = uid
        return cls(Daemon(here.environ), labels, here)

    # --- main begins ----------------------------------------------------------------------------------------------

    def find_main(self, cancel: Cancel) -> Container:
        """Block until main has started; one whose command could not be begun has ended, as the kubelet sees it.

        Events of the daemon tell when; the pod's object, where it may be watched, tells that it never will.

        Raises:
            MainNotStarted: it never will.
            Cancelled: the token was set.
            LifecycleError: as :meth:`Daemon.call`.
        """
        cancel.check()
        inbox: _Inbox = queue.SimpleQueue()
        labels = [f"{name}={value}" for name, value in (self._labels | {NAME: MAIN}).items()]
        filters = {"type": ["container"], "event": ["create", "start", "die"], "label": labels}
        since, over = now(), Cancel()
        # Subscribed first, then looked: what starts in between is told. The daemon answers before it subscribes us, but
        # gives what has happened since.
        events = Follower(
            "docker-events", lambda: self._daemon.subscribe(filters, since), lambda body: _forward(body, inbox),
            inbox.put,
        )  # fmt: skip
        cluster = threading.Thread(target=self._ask_cluster, args=(over, inbox), name="docker-pod", daemon=True)
        cluster.start()
        try:
            with cancel.listening(lambda: inbox.put(None)):
                return self._await_main(inbox, cancel)
        finally:
            over.set(terminated("main is found"))
            events.stop()
            cluster.join(_LET_GO)

    def _await_main(self, inbox: _Inbox, cancel: Cancel) -> Container:
        pause = _FIRST
        while True:
            main, made = self._main()
            if main is not None:
                return main
            cancel.check()
            try:
                told = inbox.get(timeout=pause if made else None)
                pause = _FIRST
            except queue.Empty:
                pause, told = min(_CAP, pause * 2), None
            if told is not None:
                cancel.check()
                main, _ = self._main()  # it may have run and ended meanwhile, which is news to nobody but us
                return main or self._told(told)

    def _told(self, told: Exception | ContainerState) -> Container:
        """Main by the word of the cluster, when the daemon has no container with its labels.

        Raises:
            BadRequest: it is another daemon's.
            Exception: what was told.
        """
        if isinstance(told, Exception):
            raise told
        with contextlib.suppress(NotFound):
            if told.id and _has_begun(self._daemon.inspect(told.id)["State"]):
                return Container(MAIN, told.id)
        if told.reason in NOT_BEGUN:  # it could not be started, and has been removed
            self._ended[told.id] = told.exit_status()
            return Container(MAIN, told.id)
        raise BadRequest(
            f"the docker daemon at {self._daemon.host} has no {told.id[:12]!r}, which the cluster says is main",
            remedy="the node's container runtime is not docker, or not this one: choose another "
            "ARGO_CONTAINER_RUNTIME_EXECUTOR, such as pns or k8sapi",
        )

    def _ask_cluster(self, over: Cancel, inbox: _Inbox) -> None:
        """Tell main's state when the pod's object says that it has started, and when it says that it never will."""
        if self._here is None:
            return
        from runtimes.pods import PodWatch  # noqa: PLC0415 - a local run has no cluster, and no use for its client

        try:
            inbox.put(PodWatch.of(self._here).await_main(over))
        except MainNotStarted as error:
            inbox.put(error)
        except Cancelled:
            return
        except LifecycleError as error:
            log.info("the pod's object is not watched, the docker daemon alone tells when main starts: %s", error)

    def _main(self) -> tuple[Container | None, bool]:
        """Main, if it runs, has run, or could not be started; and whether it has been made at least."""
        found = next((one for one in self._pod() if one["Labels"].get(NAME) == MAIN), None)
        if found is None:
            return None, False
        if found.get("State") != "created":
            return Container(MAIN, found["Id"]), True
        with contextlib.suppress(NotFound):  # the kubelet may remove one that it could not start
            if _has_begun(self._daemon.inspect(found["Id"])["State"]):
                return Container(MAIN, found["Id"]), True
        return None, True

    # --- containers -----------------------------------------------------------------------------------------------

    def wait(self, container: Container, cancel: Cancel, timeout: float | None = None) -> ExitStatus | None:
        """Block until it has ended; the daemon has its whole output by then.

        Raises:
            NotFound: it has been removed, and nobody knows how it ended.
            Cancelled: the token was set.
            Unavailable: the connection broke, or the daemon is away.
        """
        if told := self._ended.get(container.id):
            return told
        try:
            code = self._daemon.wait(container.id, cancel, timeout)
        except NotFound as error:
            raise NotFound(
                f"the container {container.name} has been removed: how it ended is not known",
                remedy="see what removes containers on that node: the kubelet keeps those of a pod that runs",
            ) from error
        if code is None:
            return None
        try:
            state = self._daemon.inspect(container.id)["State"]
        except NotFound:  # removed since; its code is known
            return ExitStatus(code)
        if state["Status"] == "created":
            return ExitStatus(code, _CANNOT_RUN, state.get("Error", ""))
        return ExitStatus(code, OOM_KILLED if state.get("OOMKilled") else "")

    def others(self) -> Sequence[Container]:
        """Every container of the pod that runs, but main, wait and the one that holds its network."""
        running = self._pod(ended=False)
        return [Container(name, one["Id"]) for one in running if (name := one["Labels"].get(NAME, "")) not in OURS]

    def signal(self, container: Container, number: int) -> None:
        """Send it to the container's first process.

        Raises:
            LifecycleError: as :meth:`Daemon.call`.
        """
        self._daemon.kill(container.id, number)

    def _pod(self, *, ended: bool = True) -> list[dict[str, Any]]:
        """The pod's containers, the newest first.

        A pod of the same name may have been there before: the newest container, which is at least ours, has the uid.

        Raises:
            BadRequest: pods of that name are in several namespaces, and nobody has said in which we are.
        """
        found = self._daemon.containers(self._labels, ended=ended)
        if len(namespaces := {one["Labels"].get(NAMESPACE, "") for one in found}) > 1:
            raise BadRequest(
                f"there are pods {self._labels[POD]!r} in the namespaces {', '.join(sorted(namespaces))}",
                remedy="say which one: give the pod a service account's token, or --namespace",
            )
        uid = found[0]["Labels"].get(UID) if found else None
        return [
            one
            for one in found
            if one["Labels"].get(UID) == uid
            and one["Labels"].get(KIND) != "podsandbox"
            and one["Labels"].get(NAME) != _SANDBOX
        ]

    # --- what it leaves -------------------------------------------------------------------------------------------

    def open_file(self, container: Container, path: str) -> BinaryIO:
        """A regular file of the container, links followed inside it.

        Raises:
            NotFound: there is none.
            BadRequest: it is a directory, a special file, or a link that leads nowhere but to itself.
            Permanent: the container has been removed.
        """
        return self._files.open_file(container, path)

    def open_tar(self, container: Container, path: str) -> BinaryIO:
        """The path as a tar stream, as the daemon makes it.

        Raises:
            NotFound, BadRequest, Permanent: as ``open_file``.
        """
        return self._files.open_tar(container, path)

    def open_output(self, container: Container, *, combined: bool) -> BinaryIO:
        """What it has written so far; all of it once ``wait`` has returned.

        A terminal (``tty: true``) has one stream: both go into it.

        Raises:
            Unsupported: the daemon's logging driver keeps nothing that could be read.
            Permanent: the container has been removed.
        """
        try:
            config = self._daemon.inspect(container.id)
            path = f"/containers/{container.id}/logs"
            terminal = bool(config["Config"].get("Tty"))
            stderr = combined or terminal
            query = {"stdout": 1, "stderr": int(stderr), "follow": 0, "timestamps": 0, "tail": "all"}
            body = self._daemon.stream("GET", path, query)
        except NotFound as error:
            raise gone(container) from error
        except Unsupported as error:
            driver = config["HostConfig"].get("LogConfig", {}).get("Type", "")
            raise Unsupported(
                f"the output of {container.name} cannot be read: the logging driver {driver!r} keeps none",
                remedy="set log-driver to json-file, local or journald in the daemon.json of the nodes, or let main "
                "write what is wanted into a file",
            ) from error
        # A frame is a chunk of HTTP's, and read1 gives one at a time: 2.5 times the CPU of whole pieces.
        pieces = iter(lambda: body.read(_PIECE), b"")
        wanted = frozenset({STDOUT, STDERR} if combined else {STDOUT})
        return ChunkReader(pieces if terminal else payloads(pieces, wanted=wanted), body.close)


def _forward(events: Body, inbox: _Inbox) -> None:
    """Ring once subscribed, and for every event.

    Raises:
        Unavailable: they have ended.
    """
    inbox.put(None)
    for line in events.lines():
        if line.strip():
            inbox.put(None)
    raise Unavailable("the docker daemon has ended its events")


def _has_begun(state: Mapping[str, Any]) -> bool:
    """Whether it runs, has run, or could not be started, which leaves an exit code with one that is only made."""
    return bool(state["Status"] != "created" or state.get("ExitCode"))


def _namespace(here: Surroundings) -> str:
    """The pod's: kubectl's flag, or what the service account's files say."""
    from runtimes.credentials import SERVICE_ACCOUNT  # noqa: PLC0415 - as above

    if named := here.kube.get("namespace"):
        return str(named)
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return ""
