"""A prepared run → a verdict: makes the work dir, plays kubelet and controller, and runs the whole table.

The same engine, phases and policies as in a pod; what differs is injected here.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from lifecycle import registry
from lifecycle.context import Pod
from lifecycle.engine import Engine
from lifecycle.errors import BadRequest, InputError, LifecycleError
from lifecycle.files import INPUT_ARTIFACTS, LocalFiles
from lifecycle.local import again
from lifecycle.local.control import LocalControl
from lifecycle.local.prepare import HOME, JOURNAL, POD_DIR, REPORT, TEMPLATE, Prepared
from lifecycle.local.result import Outcomes, Result, reported
from lifecycle.observing import observed
from lifecycle.phases.staging import write_whole
from lifecycle.ports import Surroundings
from lifecycle.resource import RESOURCE
from lifecycle.resume import Whose, begin
from lifecycle.stopping import arm_deadline, handle_signals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lifecycle.clock import Cancel, Clock
    from lifecycle.context import Settings
    from lifecycle.faults.injection import Faults
    from lifecycle.journal import FileJournal, Journal
    from lifecycle.objects import Objects
    from lifecycle.ports import Container, ContainerSpec, ExitStatus, Runtime, Sandbox
    from lifecycle.resume import Kept
    from lifecycle.stay import Stay
    from lifecycle.table import Event


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
        faults: Faults | None = None,
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
            faults: what is to go wrong; its clock is used.
        """
        self._resumed = resumed
        self._sandboxes = registry.resolve("sandbox", runtime)
        self._kube = dict(kube or {})
        self._faults = faults
        self._prepared = prepared
        self._clock = faults.clock if faults else clock
        self._environ = environ
        self._settings = settings
        self._watcher = watcher

    def run(self) -> Result:
        """Make the work dir and run the whole table in it.

        Raises:
            InputError: a retry policy is overridden by nonsense, and nothing is written; or no work dir can be made.
            LifecycleError: a run cannot be resumed now; it can be later, nothing has been done.
        """
        for phase in self._prepared.table.phases:
            phase.retry.overridden(self._environ, phase.state)
        objects = self._objects() if self._prepared.table is RESOURCE else None
        prepared, watcher = self._prepared, self._watcher
        workdir = prepared.workdir
        files = LocalFiles(workdir / POD_DIR, prepared.layout.host_mounts, prepared.secrets)
        with closing(self._kept(files)) as kept:
            file_journal = kept.journal
            observer = Outcomes(watcher, file_journal, prepared.notes, kept.known.stays)
            if self._resumed and not kept.known.ended:
                # Before the first phase: for who asks the wrong daemon, every container is lost.
                self._sandboxes.check(self._environ, workdir / POD_DIR)
            sandbox = self._sandboxes(workdir / POD_DIR, prepared.identity.pod, watcher.wrote if watcher else None)
            try:
                journal = _Told(file_journal, watcher) if watcher else file_journal
                pod = self._pod(files, journal, sandbox, objects, kept)
                if self._faults:
                    self._faults.inject(pod)
                if watcher:
                    watcher.begun(prepared)
                say = (lambda text: watcher.told("note", {"text": text})) if watcher else None
                with observed(pod, self._environ, observer, say=say) as seen, handle_signals(pod, seen.ask):
                    arm_deadline(pod)
                    Engine(prepared.table, pod, environ=self._environ, observer=seen).run()
            finally:
                left = _closed(sandbox)
        if kept.known.state and not pod.found.outputs:
            pod.found.outputs = reported(workdir / REPORT)
        notes = [kept.known.headline, *kept.known.notes, left]
        if file_journal.error is not None:
            notes.append(f"the journal is incomplete: {file_journal.error.strerror}")
        result = Result.of(pod, prepared, observer.records(), tuple(filter(None, notes)))
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


def _closed(sandbox: Sandbox) -> str:
    """End what still runs; what is left of it, if anything is."""
    try:
        sandbox.close()
    except LifecycleError as error:
        return str(error)
    return ""


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


class _Told:
    """A journal that a person can watch."""

    def __init__(self, journal: FileJournal, watcher: Watcher) -> None:
        self._journal = journal
        self._watcher = watcher

    def write(self, kind: str, **fields: Any) -> None:
        self._journal.write(kind, **fields)
        self._watcher.told(kind, fields)
