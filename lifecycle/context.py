"""What is injected into the phases of one pod, and what they find out on the way."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lifecycle import findings
from lifecycle.clock import Cancel
from lifecycle.errors import Terminated
from lifecycle.grace import share_out
from lifecycle.known import Known
from lifecycle.outcome import Item, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from lifecycle.archive.extract import Limits
    from lifecycle.clock import Clock
    from lifecycle.errors import Cancelled
    from lifecycle.files import Files
    from lifecycle.findings import FindingsFile
    from lifecycle.grace import Grace
    from lifecycle.journal import Journal
    from lifecycle.location import Location
    from lifecycle.manifest import Order
    from lifecycle.objects import Objects
    from lifecycle.ports import (
        Container,
        ContainerSpec,
        ControlPlane,
        Driver,
        ExecutionControl,
        ExitStatus,
        Runtime,
        Sandbox,
    )
    from lifecycle.template import Template

KNOWN_PROXIES = ("istio-proxy", "linkerd-proxy", "envoy", "kuma-sidecar", "consul-dataplane", "vault-agent")
"""Containers that uploads may go through, by the names their injectors give them (upstream #1282, #12919)."""

RESULT_LIMIT = 256 * 1024
"""Bytes of stdout kept as the result, its end (spec 5.4)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What may be set from outside.

    Attributes:
        parallelism: how many items are in hand at once.
        grace: seconds between TERM and KILL, and for saving after a SIGTERM (spec 5.17).
        late_sidecars: containers that are killed only after the report.
        include_script_output: capture stdout although the template is no script (spec 5.8).
        progress: told of bytes moved: item, bytes so far, and of how many where that is known.
    """

    parallelism: int = 8
    grace: float = 30.0
    late_sidecars: tuple[str, ...] = KNOWN_PROXIES
    include_script_output: bool | None = None
    limits: Limits | None = None
    progress: Callable[[str, int, int | None], None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class Stop:
    """In the inbox: somebody wants an end."""

    reason: Cancelled


@dataclass(frozen=True, slots=True)
class ControlChanged:
    """In the inbox: the execution control may be another (SIGUSR2, or its file has changed)."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a sandbox starts: init containers in order, then main and the sidecars."""

    init_containers: Sequence[ContainerSpec]
    main: ContainerSpec
    sidecars: Sequence[ContainerSpec]


@dataclass(slots=True)
class Findings:
    """What the phases have found out, for those that follow; becomes the report.

    Attributes:
        main: the container, once it was found.
        ran: whether what stands for main in a pod without one has been done.
        data: the value that a `data` template's expressions are applied to.
        order: what a `resource` template asks for.
        objects: what it has made or read, in order.
        had_turn: whether the result was captured, or failed to be; else it is its turn while saving.
    """

    main: Container | None = None
    exit: ExitStatus | None = None
    result: str | None = None
    ran: bool = False
    data: Any = None
    order: Order | None = None
    objects: list[dict[str, Any]] = field(default_factory=list)
    had_turn: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)


class Pod:
    """One pod: its template, its ports, its time, and what became of it."""

    def __init__(
        self,
        *,
        name: str,
        template: Template,
        files: Files,
        control: ControlPlane,
        drivers: Callable[[Location], Driver],
        clock: Clock,
        journal: Journal,
        runtime: Callable[[], Runtime] | None = None,
        reads_base_layer: bool = True,
        objects: Callable[[], Objects] | None = None,
        runtime_name: str = "",
        sandbox: Sandbox | None = None,
        launch: Launch | None = None,
        deadline: datetime | None = None,
        settings: Settings | None = None,
        rng: random.Random | None = None,
        tell: Callable[[str], None] = lambda _: None,
        known: Known | None = None,
        findings_file: FindingsFile | None = None,
    ) -> None:
        """Take what is injected.

        Args:
            name: the pod's.
            template: substituted; nothing is left to be replaced.
            files: where the executor's side of the mounts is.
            control: template in, execution control in, report out.
            drivers: makes a driver for a location; called again after a failed attempt, to read credentials anew.
            clock: the only source of time.
            journal: told of everything before the next step begins.
            runtime: makes the runtime when a phase needs one.
            reads_base_layer: whether that will be able to read what main writes outside of its mounts.
            objects: makes the port to the cluster's objects, for `resource` templates.
            runtime_name: what people call it.
            sandbox: starts the containers, in a local run.
            launch: what it starts.
            deadline: when the step must be over, UTC.
            settings: what may be set from outside.
            rng: jitter comes from it; tests seed it.
            tell: leaves a message where the kubelet finds it, however this process ends; the last one counts.
            known: what earlier processes of this pod have left.
            findings_file: where this one leaves what it finds out.
        """
        self.name = name
        self.template = template
        self.files = files
        self.control = control
        self.drivers = drivers
        self.clock = clock
        self.journal = journal
        self.reads_base_layer = reads_base_layer
        self.objects = objects
        self.runtime_name = runtime_name
        self.sandbox = sandbox
        self.launch = launch
        self.deadline = deadline
        self.settings = settings or Settings()
        self.rng = rng or random.Random()  # noqa: S311 - jitter
        self.tell = tell
        self.known = known or Known()
        self._findings_file = findings_file
        self.cancel = Cancel()
        """Ends the phases that can be cancelled."""
        self.hurry = Cancel()
        """Ends the patience with sidecars: the kubelet kills them with the pod, or somebody does not want to wait."""
        self.abandon = Cancel()
        """Ends what is being captured and saved."""
        self.last = Cancel()
        """Ends what must happen after its first attempt, such as the report."""
        self.stops = 0
        self.grace: Grace | None = None
        self.inbox = clock.inbox()
        self.record = Record()
        self.found = Findings()
        self.execution: ExecutionControl | None = None
        self._runtime = runtime
        self._made: Runtime | None = None
        self._cluster: Objects | None = None
        self.unmade: Exception | None = None
        """Why there is no runtime."""
        self._unkept = ""
        """The phase of which something was too large to be kept."""
        self._lock = threading.Lock()

    @property
    def runtime(self) -> Runtime:
        """The container runtime, made when it is first needed: ``init`` needs none."""
        with self._lock:
            if self._made is None:
                if self._runtime is None:
                    raise RuntimeError("this lifecycle was given no runtime")
                try:
                    self._made = self._runtime()
                except Exception as error:
                    self.unmade = error
                    raise
                self.unmade = None
            return self._made

    @property
    def cluster(self) -> Objects:
        """The objects of the cluster; the port is made when a `resource` template first needs it."""
        with self._lock:
            if self._cluster is None:
                if self.objects is None:
                    raise RuntimeError("this lifecycle was given no cluster")
                self._cluster = self.objects()
            return self._cluster

    @property
    def result_wanted(self) -> bool:
        """Whether main's stdout is the result: always of scripts, as in v2.3.0, unless the controller says no.

        Of containers it is when the controller says so (spec 5.1, 5.8).
        """
        asked = self.settings.include_script_output
        if asked is None and self.execution is not None:
            asked = self.execution.include_script_output
        is_script = self.template.view.container is None and self.template.view.script is not None
        return is_script if asked is None else asked

    @property
    def main_failed(self) -> bool:
        """Whether main ended badly or was stopped: then an output that is not there is no failure of its own."""
        return self.record.cancelled is not None or (self.found.exit is not None and self.found.exit.code != 0)

    def stop(self, reason: Cancelled) -> None:
        """Somebody wants an end. The first wish is a polite one; each further one allows less.

        First: the present wait ends, main gets TERM and its grace, what can be saved is saved. Second: main is killed
        at once; when it has ended already, what is not saved yet is abandoned. Third: that in any case. A deadline is
        no wish of somebody's: the SIGTERM that the kubelet sends at the same moment is still the first. With the first
        the control plane is asked how much time is left (ADR 0031).
        """
        if isinstance(reason, Terminated):
            self.stops += 1
        self.cancel.set(reason)
        self.inbox.put(Stop(reason))
        if isinstance(reason, Terminated) and self.stops == 1:
            self.clock.start(lambda: share_out(self, reason), "grace")
        if self.stops > 1:
            self.hurry.set(reason)
        if self.stops > 2 or (self.stops > 1 and self.found.exit is not None):
            self.abandon.set(reason)
            self.last.set(reason)

    def keep_item(self, item: Item) -> None:
        """Keep what was found out with an item that is settled, before the journal says that it is."""
        if self._findings_file is not None and not self._findings_file.write(findings.of_item(self, item)):
            self._unkept = item.phase

    def keep_phase(self, phase: str) -> None:
        """Keep what was found out in a phase, before the journal says that it is left."""
        if self._findings_file is not None and self._unkept != phase:
            self._findings_file.write(findings.of_phase(self, phase))

    def keep_name(self, number: int, name: str) -> None:
        """Keep the name of a document of the manifest that is being sent to the server."""
        if self._findings_file is not None:
            self._findings_file.write({"begun": number, "name": name})

    def identity(self) -> Mapping[str, Any]:
        """What the journal's header says of the pod."""
        return {"pod": self.name, "template": self.template.name}
