"""The ports: what a phase asks of the world. Whoever implements one runs its conformance suite.

Three kinds of adapters are injected: a :class:`Runtime` (the containers of the pod), :class:`Driver` (a store) and a
:class:`ControlPlane` (template and execution control in, report out). The local runner needs a fourth, a
:class:`Sandbox`, because it plays the kubelet. Adapters raise only errors of :mod:`lifecycle.errors`; they translate
what their client library raises where they meet it, and decide nothing about retries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from lifecycle.clock import Cancel
    from lifecycle.secret import SecretReader


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What is around this process in its pod: what adapters are made from, before anything is asked of anybody.

    Attributes:
        pod: the pod's own name.
        environ: the environment (spec 1.3).
        annotations: the file of the downward API (spec 1.5.1).
        kube: kubectl's flags as they were given, ``kubeconfig`` and ``namespace`` among them (spec 1.2).
    """

    pod: str
    environ: Mapping[str, str]
    annotations: Path
    kube: Mapping[str, Any] = field(default_factory=dict)


# --- runtime ----------------------------------------------------------------------------------------------------

MAIN: Final = "main"
OURS: Final = frozenset({MAIN, "wait"})
"""Containers that are never killed as sidecars."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container of this pod. ``id`` is what its runtime calls it, without a ``scheme://``."""

    name: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a container ended.

    Attributes:
        code: 128 + n after signal n.
        reason: the runtime's word, e.g. OOMKilled; empty for what a command did by itself.
        message: why its command was never begun, where that is how it ended (``outcome.NOT_BEGUN``).
    """

    code: int
    reason: str = ""
    message: str = ""


class Runtime(Protocol):
    """The containers of the pod this process belongs to (spec 2).

    Attributes:
        reads_base_layer: whether it can read what main writes outside of its mounts.
    """

    reads_base_layer: ClassVar[bool]

    def find_main(self, cancel: Cancel) -> Container:
        """Block until main has started, and take hold of its root, so that it can be read after its end.

        Raises:
            MainNotStarted: it never will.
            Cancelled: the token was set.
        """

    def wait(self, container: Container, cancel: Cancel, timeout: float | None = None) -> ExitStatus | None:
        """Block until the container has ended and its output is complete; ``None`` after ``timeout`` seconds.

        Raises:
            Cancelled: the token was set.
            Transient: the connection broke; waiting again may work.
        """

    def others(self) -> Sequence[Container]:
        """Every container but main and wait that still runs, injected ones included (spec 1.10)."""

    def signal(self, container: Container, number: int) -> None:
        """Send a signal to the container's first process. Already gone is success."""

    def open_file(self, container: Container, path: str) -> BinaryIO:
        """A regular file of the container's own file system, links followed inside it.

        Raises:
            NotFound: there is none.
            Unsupported: this runtime cannot read a container's base layer.
        """

    def open_tar(self, container: Container, path: str) -> BinaryIO:
        """The path as an uncompressed tar stream whose first entry is named by the path's base name.

        Raises:
            NotFound, Unsupported: as ``open_file``.
        """

    def open_output(self, container: Container, *, combined: bool) -> BinaryIO:
        """What the container wrote: stdout alone, or stdout and stderr in the order they came."""


class RuntimeFactory(Protocol):
    """What the registry's ``module:attr`` of a runtime leads to: its class, as a rule."""

    reads_base_layer: bool

    def from_pod(self, here: Surroundings) -> Runtime:
        """The runtime of the pod this process is in; what it needs is opened when it is first used.

        Raises:
            InputError: the environment lacks something.
            LifecycleError: what else keeps it from working.
        """


@runtime_checkable
class RootHolder(Protocol):
    """A runtime that has main's root open with everything that is mounted in it: volumes are read as main sees them."""

    def held_root(self, container: Container) -> int:
        """A directory descriptor that stays the runtime's.

        Raises:
            NotFound: it is not held any more.
        """


# --- stores -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object below a key: its path relative to that key, and its bytes where the store tells."""

    path: str
    size: int | None = None


@runtime_checkable
class Driver(Protocol):
    """One store, with its credentials. A key is what names an object in it (for http: the URL).

    Made by ``factory(config, secrets)``: ``config`` is the artifact's location without its key. An instance serves
    several threads at once.
    """

    def open(self, key: str) -> BinaryIO:
        """The object as a stream; the caller closes it.

        An attribute ``size`` may tell its bytes, ``version`` which of several contents under this key they are; a
        method ``abort`` may end a read that blocks, from another thread.

        Raises:
            NotFound: there is no object of exactly this key.
        """

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """Store the stream, to its end, as one object; all or nothing.

        ``size_hint`` is an upper bound of its bytes, to choose part sizes by.
        """

    def list(self, key: str) -> Iterator[StoredObject]:
        """The objects below ``key + "/"``; folder markers are left out; nothing when there are none."""

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is success."""


@runtime_checkable
class RangeDriver(Protocol):
    """A store that can give the rest of an object: a download that broke goes on where it was (upstream #15044)."""

    def open_rest(self, key: str, offset: int, version: str) -> BinaryIO:
        """The object from byte ``offset`` on; its ``size`` is that of the rest.

        ``version`` is what the stream of :meth:`Driver.open` told, never empty.

        Raises:
            NotFound: that version is no longer there.
            Transient: as ``open``; also when the store cannot give a part of this object.
        """


@runtime_checkable
class TreeDriver(Protocol):
    """A store whose artifact is a directory by nature, such as a git repository."""

    def load_tree(self, key: str, directory: Path) -> None:
        """Fill the existing, empty ``directory``.

        A method ``abort`` of the driver may end it, from another thread.
        """


class DriverFactory(Protocol):
    """What the registry's ``module:attr`` of a driver leads to."""

    def __call__(self, config: Mapping[str, Any], secrets: SecretReader) -> Driver:
        """A driver for one configuration.

        Raises:
            BadRequest: the configuration cannot work.
            Unauthorized: a secret it names is not there.
        """


# --- control plane ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExecutionControl:
    """What the controller wants of a running pod (spec 1.9). ``terminate`` is its zero deadline."""

    deadline: datetime | None = None
    terminate: bool = False
    include_script_output: bool | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What the executor tells the controller: the Outputs (spec 1.15), a message of at most 4 KiB, and progress."""

    outputs: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


class ControlPlane(Protocol):
    """The side of the pod that the controller talks to."""

    @property
    def room(self) -> int:
        """Bytes that the outputs may have as JSON, where they go."""

    @property
    def key_only(self) -> bool:
        """Whether what is saved to the archive location is reported by its key alone (spec 5.7)."""

    def template(self) -> dict[str, Any]:
        """The template as the controller wrote it, unknown fields and all.

        Raises:
            NotFound: there is none.
            InputError: it is not JSON.
        """

    def execution(self) -> ExecutionControl:
        """The execution control as it is now."""

    def watch_execution(self, changed: Callable[[], None], cancel: Cancel) -> None:
        """Block until ``cancel``, calling ``changed`` whenever the execution control may be another."""

    def time_left(self) -> float | None:
        """Seconds until the pod is killed, now that it has been told to stop; ``None`` when nobody has said.

        Asked after a SIGTERM: a deleted pod has its own grace (``kubectl delete --grace-period``), not the template's.
        """

    def report(self, report: Report) -> None:
        """Deliver; doing it twice is the same as once.

        Raises:
            Transient, Forbidden: and the like; the phase decides about another attempt.
        """


# --- sandbox ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory or file of the host that a container sees at ``target``."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What the sandbox needs to run one container; everything is resolved, nothing is a Kubernetes object.

    Attributes:
        argv: command and arguments; only the arguments where ``entrypoint`` says so.
        env: complete; nothing is inherited but from the image.
        pull: ``Always``, ``IfNotPresent`` or ``Never``; empty is the sandbox's choice.
        entrypoint: the command is the image's own; ``argv``, if there is any, takes the place of its arguments.
        workdir: absolute; made if it is not there; empty is the image's.
        directories: absolute; made for everybody to write to if they are not there (the parents of output paths).
        user, group: numeric; ``None`` is the image's, else root.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    image: str = ""
    pull: str = ""
    entrypoint: bool = False
    workdir: str = "/"
    mounts: tuple[Mount, ...] = ()
    directories: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None


class Sandbox(Protocol):
    """Plays the kubelet for one pod on this machine (CRI's word for where a pod's containers live).

    Its class has ``check(environ, pod_dir=None)``: whether there can be one here, and, with a pod's directory, whether
    a run that was killed can be gone on with.
    """

    def run_init(self, spec: ContainerSpec, cancel: Cancel) -> ExitStatus:
        """Run an init container to its end.

        Raises:
            Cancelled: the token was set; the container is dead.
            Unsupported: the kernel refuses; the message says what to allow.
        """

    def start(self, spec: ContainerSpec, cancel: Cancel) -> Container:
        """Start main or a sidecar. One that a run which was killed has left, and that lives on, is not started again.

        Raises:
            Cancelled: the token was set before it was started.
            BadRequest: the command is not there or cannot be executed.
            Unsupported: as ``run_init``.
        """

    def runtime(self) -> Runtime:
        """The runtime of its containers."""

    def close(self) -> None:
        """Kill what still runs and let go of everything.

        Raises:
            LifecycleError: something may be left; the message says what, the remedy how to be rid of it.
        """
