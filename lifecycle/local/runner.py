"""A prepared run → a verdict: makes the work dir, plays kubelet and controller, and runs the whole table.

The same engine, phases and policies as in a pod; what differs is injected here.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from lifecycle import registry
from lifecycle.context import Pod
from lifecycle.engine import Engine
from lifecycle.errors import BadRequest, InputError
from lifecycle.files import INPUT_ARTIFACTS, LocalFiles
from lifecycle.local import again
from lifecycle.local.control import LocalControl
from lifecycle.local.prepare import HOME, JOURNAL, POD_DIR, REPORT, TEMPLATE, Prepared
from lifecycle.phases.staging import write_whole
from lifecycle.phases.starting import how_it_ended
from lifecycle.ports import Surroundings
from lifecycle.resource import RESOURCE
from lifecycle.resume import Whose, begin
from lifecycle.stopping import arm_deadline, handle_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lifecycle.clock import Cancel, Clock
    from lifecycle.context import Settings
    from lifecycle.engine import Observer
    from lifecycle.journal import FileJournal, Journal
    from lifecycle.objects import Objects
    from lifecycle.ports import Container, ContainerSpec, ExitStatus, Runtime, Sandbox
    from lifecycle.resume import Kept
    from lifecycle.stay import Stay
    from lifecycle.table import Event

SUCCEEDED, FAILED, ERROR = "Succeeded", "Failed", "Error"
"""Argo's node phases, not to be confused with the phases of a lifecycle."""

_EXIT_STATUS = {SUCCEEDED: 0, ERROR: 1, FAILED: 3}


class Watcher(Protocol):
    """Who shows a run to a person. Called from several threads; must return soon and not raise."""

    def begun(self, prepared: Prepared) -> None:
        """The work dir is there, the first phase follows."""

    def entered(self, stay: Stay) -> None:
        """A phase begins."""

    def left(self, stay: Stay, event: Event, to: str) -> None:
        """A phase has ended."""

    def told(self, kind: str, fields: Mapping[str, Any]) -> None:
        """A line goes into the journal."""

    def wrote(self, container: str, line: bytes) -> None:
        """A container wrote a line."""

    def moved(self, item: str, done: int, total: int | None) -> None:
        """So many bytes of an item have been transferred so far, of so many where that is known."""

    def ended(self, result: Result) -> None:
        """It is over."""

    def close(self) -> None:
        """Nothing more is shown; also after an error."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a run.

    Attributes:
        phase: the node phase: ``Succeeded``, ``Failed`` or ``Error``.
        message: why, when it is not the first.
        remedy: what a person can do about it.
        exit_code: main's, if it ran to an end.
        outputs: as the annotation carries them (spec 1.15).
        lifecycle: each stay in a phase with its items.
        prepared: what was run.
        notes: what a person should know and did not yet when it began.
    """

    phase: str
    message: str
    remedy: str
    exit_code: int | None
    outputs: Mapping[str, Any]
    lifecycle: tuple[dict[str, Any], ...]
    prepared: Prepared
    notes: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """Of the command: 0 Succeeded, 1 Error, 3 main failed."""
        return _EXIT_STATUS[self.phase]

    @property
    def journal(self) -> Path:
        """Where the journal is."""
        return self.prepared.workdir / JOURNAL

    def record(self) -> dict[str, Any]:
        """As ``-o json`` shows it."""
        return {
            "phase": self.phase,
            "message": self.message,
            "exitCode": self.exit_code,
            "outputs": dict(self.outputs),
            "lifecycle": list(self.lifecycle),
            "journal": str(self.journal),
            "workdir": str(self.prepared.workdir),
            "pod": self.prepared.identity.pod,
            "template": self.prepared.template.name,
            "notes": [*self.prepared.notes, *self.notes],
        }


class LocalRun:
    """One run. Made when everything has been judged; writes nothing before :meth:`run`."""

    def __init__(
        self,
        prepared: Prepared,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        settings: Settings,
        watcher: Watcher | None,
        runtime: str = "local",
        kube: Mapping[str, Any] | None = None,
        resumed: bool = False,
    ) -> None:
        """Take what is to be run.

        Args:
            prepared: the judged request.
            clock: the only source of time.
            environ: where retry policies may be overridden.
            settings: what may be set from outside.
            watcher: shows it to a person.
            runtime: the registry's name of what runs the containers.
            kube: kubectl's flags.
            resumed: the work dir is that of a run that was killed.
        """
        self._resumed = resumed
        self._sandboxes = registry.resolve("sandbox", runtime)
        self._kube = dict(kube or {})
        self._prepared = prepared
        self._clock = clock
        self._environ = environ
        self._settings = settings
        self._watcher = watcher

    def run(self) -> Result:
        """Make the work dir and run the whole table in it.

        Raises:
            InputError: a retry policy is overridden by nonsense, and nothing is written; or no work dir can be made.
        """
        for phase in self._prepared.table.phases:
            phase.retry.overridden(self._environ, phase.state)
        objects = self._objects() if self._prepared.table is RESOURCE else None
        prepared, watcher = self._prepared, self._watcher
        workdir = prepared.workdir
        files = LocalFiles(workdir / POD_DIR, prepared.layout.host_mounts, prepared.secrets)
        kept = self._kept(files)
        file_journal = kept.journal
        observer = _Outcomes(watcher, file_journal, prepared.notes, kept.known.stays)
        sandbox = self._sandboxes(workdir / POD_DIR, prepared.identity.pod, watcher.wrote if watcher else None)
        try:
            pod = self._pod(files, _Told(file_journal, watcher) if watcher else file_journal, sandbox, objects, kept)
            if watcher:
                watcher.begun(prepared)
            with handle_signals(pod):
                arm_deadline(pod)
                Engine(prepared.table, pod, environ=self._environ, observer=observer).run()
        finally:
            sandbox.close()
            kept.close()
        if kept.known.state and not pod.found.outputs:
            pod.found.outputs = _reported(workdir / REPORT)
        result = _result(
            pod, prepared, observer, tuple(filter(None, (kept.known.headline, *kept.known.notes))), file_journal.error
        )
        if watcher:
            watcher.ended(result)
        return result

    def _kept(self, files: LocalFiles) -> Kept:
        """Make the work dir, or take one over; its journal is ours alone from then on."""
        if not self._resumed:
            self._make(files)
        prepared = self._prepared
        place = f"--{'resume' if self._resumed else 'workdir'} {prepared.workdir}"
        whose = Whose.of(prepared.identity.pod, prepared.table, prepared.template, prepared.identity.uid)
        try:
            return begin(prepared.workdir / JOURNAL, self._clock, prepared.table, whose, strict=True)
        except BlockingIOError as error:
            raise InputError("another argoexec works in it", place=place, remedy="wait until it has ended") from error
        except OSError as error:
            raise InputError(f"its journal cannot be written: {error}", place=place) from error

    def _make(self, files: LocalFiles) -> None:
        workdir = self._prepared.workdir
        try:
            home = workdir.parent
            if home.name == HOME:
                home.mkdir(parents=True, exist_ok=True)
                (home / ".gitignore").write_text("*\n")
            # In our own place the name was free a moment ago: if it no longer is, another run has taken it.
            workdir.mkdir(parents=True, exist_ok=home.name != HOME)
            self._prepared.layout.volumes.make()
            files.write()
            # It may hold what a person gave by -p, so it is only theirs to read.
            text = json.dumps(self._prepared.template.raw, indent=2, ensure_ascii=False)
            write_whole(workdir / TEMPLATE, text.encode(errors="surrogatepass"), 0o600)
            again.leave(self._prepared, self._clock.now())
        except OSError as error:
            raise InputError(f"it cannot be made: {error}", place=f"--workdir {workdir}") from error

    def _pod(self, files: LocalFiles, journal: Journal, sandbox: Sandbox, objects: Objects | None, kept: Kept) -> Pod:
        prepared = self._prepared
        seconds = prepared.layout.seconds
        return Pod(
            name=prepared.identity.pod,
            template=prepared.template,
            files=files,
            control=LocalControl(prepared.template.raw, prepared.workdir / REPORT),
            drivers=registry.drivers(files.secrets),
            clock=self._clock,
            journal=journal,
            runtime=sandbox.runtime,
            sandbox=_Kubelet(sandbox, files.volumes / INPUT_ARTIFACTS),
            launch=prepared.layout.launch,
            objects=None if objects is None else lambda: objects,
            deadline=None if seconds is None else self._clock.now() + timedelta(seconds=seconds),
            settings=self._settings,
            known=kept.known,
            findings_file=kept.findings,
        )

    def _objects(self) -> Objects:
        """Of a `resource` template: the cluster is the person's own, by the current kubeconfig.

        Raises:
            InputError: there is none.
        """
        prepared = self._prepared
        here = Surroundings(
            prepared.identity.pod, self._environ, prepared.workdir / POD_DIR / "annotations", self._kube
        )
        try:
            made: Objects = registry.resolve("objects", "kubernetes").from_pod(here)
        except InputError:
            raise
        except BadRequest as error:
            raise InputError(error.message, place="a resource template", remedy=error.remedy) from error
        return made


class _Kubelet:
    """A sandbox that makes what the kubelet makes: a directory for a mount of an artifact that was not loaded."""

    def __init__(self, sandbox: Sandbox, inputs: Path) -> None:
        self._sandbox = sandbox
        self._inputs = inputs

    def run_init(self, spec: ContainerSpec, cancel: Cancel) -> ExitStatus:
        """Run an init container to its end."""
        self._make_sources(spec)
        return self._sandbox.run_init(spec, cancel)

    def start(self, spec: ContainerSpec, cancel: Cancel) -> Container:
        """Start main or a sidecar."""
        self._make_sources(spec)
        return self._sandbox.start(spec, cancel)

    def runtime(self) -> Runtime:
        """The runtime of its containers."""
        return self._sandbox.runtime()

    def close(self) -> None:
        """End what still runs."""
        self._sandbox.close()

    def _make_sources(self, spec: ContainerSpec) -> None:
        for mount in spec.mounts:
            # An optional artifact that its store does not have; what was loaded may be a link that leads nowhere.
            if mount.source.parent == self._inputs and not os.path.lexists(mount.source):
                mount.source.mkdir()
                mount.source.chmod(0o777)


@dataclass
class _Outcomes:
    """What the lifecycle was, phase by phase: the event is the outcome."""

    watcher: Observer | None
    journal: Journal
    notes: tuple[str, ...]
    before: list[dict[str, Any]]
    stays: list[tuple[Stay, Event]] = field(default_factory=list)

    def entered(self, stay: Stay) -> None:
        if not self.stays:  # the header of a journal comes first, and a person has read them in ours
            for note in self.notes:
                self.journal.write("note", phase=stay.phase.state, text=note)
        if self.watcher:
            self.watcher.entered(stay)

    def left(self, stay: Stay, event: Event, to: str) -> None:
        self.stays.append((stay, event))
        if self.watcher:
            self.watcher.left(stay, event, to)

    def records(self) -> tuple[dict[str, Any], ...]:
        return (*self.before, *self._records())

    def _records(self) -> Iterator[dict[str, Any]]:
        yield from (
            {
                "phase": stay.phase.state,
                "outcome": event.value,
                "attempts": max((item.attempts for item in stay.items), default=0) or 1,
                "seconds": round(stay.seconds, 4),
                "items": [item.record() for item in stay.items],
            }
            for stay, event in self.stays
        )


class _Told:
    """A journal that a person can watch."""

    def __init__(self, journal: FileJournal, watcher: Watcher) -> None:
        self._journal = journal
        self._watcher = watcher

    def write(self, kind: str, **fields: Any) -> None:
        self._journal.write(kind, **fields)
        self._watcher.told(kind, fields)


def _reported(path: Path) -> dict[str, Any]:
    """The outputs that a killed process has reported."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return dict(found.get("outputs") or {})


def _result(
    pod: Pod, prepared: Prepared, outcomes: _Outcomes, known: tuple[str, ...], unwritten: OSError | None
) -> Result:
    """The node phase as a controller would infer it (spec 1.7.9), and why."""
    record, ended = pod.record, pod.found.exit
    message, remedy = record.message(), record.first.remedy if record.first else ""
    if record.failures:
        phase = ERROR
    elif record.cancelled is None and prepared.layout.launch is None:
        phase = SUCCEEDED
    elif record.cancelled is not None or ended is None or ended.code != 0:
        phase = FAILED
        reason = f" ({ended.reason})" if ended and ended.reason else ""
        message = message or (f"main {how_it_ended(ended.code)}{reason}" if ended else "main did not run")
    else:
        phase = SUCCEEDED
    return Result(
        phase=phase,
        message=message,
        remedy=remedy,
        exit_code=ended.code if ended else None,
        outputs=pod.found.outputs,
        lifecycle=outcomes.records(),
        prepared=prepared,
        notes=known if unwritten is None else (*known, f"the journal is incomplete: {unwritten.strerror}"),
    )
