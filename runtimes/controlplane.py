"""The control plane of a pod in a cluster: what an Argo controller of v2.3 to v3.3 tells it, and is told by it.

Which contract it is, is seen from what the pod gives, never from a version number (ADR 28)::

    template, execution control     ARGO_TEMPLATE: from the environment (v3.2); else the annotations (v2.3)
    report                          ARGO_NODE_ID and ARGO_WORKFLOW_NAME: a task result (v3.3); else annotations
    node message, whole locations   neither ARGO_TEMPLATE nor ARGO_CONTAINER_NAME (v3.0)
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import Forbidden, InputError, LifecycleError, NotFound
from lifecycle.policy import parse_duration
from lifecycle.ports import ExecutionControl
from lifecycle.report import size
from runtimes.downward import EXECUTION, TEMPLATE, Annotation, AnnotationsFile
from runtimes.sinks import LessRoom, PodAnnotations, TaskResult
from runtimes.thispod import ThisPod

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from lifecycle.clock import Cancel
    from lifecycle.ports import Report, Surroundings
    from runtimes.pods import PodState
    from runtimes.sinks import Sink

log = logging.getLogger("argoexec")

OFFLOADED: Final = Path("/argo/config/ARGO_TEMPLATE")
"""Where a template of more than 128 KiB is, whose variable only says so (spec 5.13)."""

_GRACE: Final = "ARGO_TERMINATION_GRACE_PERIOD_SECONDS"
_FRESH: Final = 5.0
"""Seconds that the question for the execution control may take: while it is asked, a SIGTERM waits."""
_SOON: Final = 1.0
"""Seconds that the question how long we live may take."""


class PodControlPlane:
    """The controller, as this pod sees it."""

    def __init__(self, here: Surroundings) -> None:
        """Nothing is read or asked yet."""
        environ = here.environ
        self._here = here
        self._pod = ThisPod(here)
        self._file = AnnotationsFile(here.annotations)
        self._by_environment = bool(environ.get("ARGO_TEMPLATE"))
        before_v3 = not self._by_environment and not environ.get("ARGO_CONTAINER_NAME")
        self._key_only = not before_v3
        self._annotations = PodAnnotations(self._pod, message=before_v3)
        names_node = environ.get("ARGO_NODE_ID") and environ.get("ARGO_WORKFLOW_NAME")
        self._sink: Sink = TaskResult(self._pod) if names_node else self._annotations
        self._control = _ExecutionAnnotation(self._pod, self._file)

    @classmethod
    def from_pod(cls, here: Surroundings) -> Self:
        """Of the pod this process is in."""
        return cls(here)

    def template(self) -> dict[str, Any]:
        """The template as the controller wrote it.

        Raises:
            NotFound: nobody has it; the message says who was asked.
            InputError: it is not the JSON of an object.
        """
        if self._by_environment:
            return _of_environment(self._here.environ["ARGO_TEMPLATE"])
        try:
            annotation = self._file.annotation(TEMPLATE)
            where = f"{self._file.path} has no annotation {TEMPLATE}"
        except NotFound:
            annotation, where = None, f"{self._file.path} is not mounted"
        if annotation is None:
            annotation = self._of_api(where)
        found = annotation.json()
        if found is None:
            raise InputError(f"the annotation {TEMPLATE} is null", place=annotation.place)
        return found

    def _of_api(self, where: str) -> Annotation:
        """The annotation on the pod itself: beside a kubeconfig secret, v2.3 forgets to mount them (spec 1.7.1)."""
        remedy = "mount the pod's annotations there (volume podmetadata), or grant `get` on `pods`"
        try:
            state = self._pod.get()
        except LifecycleError as error:
            raise NotFound(
                f"there is no template: ARGO_TEMPLATE is not set, {where}, and the pod cannot be read: {error.message}",
                remedy=error.remedy or remedy,
            ) from error
        text = state.annotations.get(TEMPLATE)
        if text is None:
            raise NotFound(
                f"there is no template: ARGO_TEMPLATE is not set, {where}, and {self._pod.place} has none either",
                remedy="is this a pod of a workflow? Its controller writes the template",
            )
        log.warning("%s: the template is read from %s", where, self._pod.place)
        return Annotation(TEMPLATE, text, self._pod.place)

    def execution(self) -> ExecutionControl:
        """The execution control as it is now; with ``ARGO_TEMPLATE`` there is none but ``ARGO_DEADLINE`` (spec 5.9).

        Raises:
            NotFound: neither the file nor the pod can be read.
            InputError: it is not what a controller writes.
        """
        return ExecutionControl() if self._by_environment else self._control.now()

    def watch_execution(self, changed: Callable[[], None], cancel: Cancel) -> None:
        """Call ``changed`` whenever the execution control may be another; until ``cancel``."""
        if self._by_environment:
            cancel.wait(None)
        else:
            self._control.watch(changed, cancel)

    @property
    def room(self) -> int:
        """Bytes that the outputs may have as JSON, where they go; asks nobody."""
        return self._sink.room

    @property
    def key_only(self) -> bool:
        """From v3.0 on the controller knows the store (spec 5.7)."""
        return self._key_only

    def report(self, report: Report) -> None:
        """Deliver; doing it twice is the same as once.

        Raises:
            LessRoom: it goes elsewhere now, and does not fit there.
            LifecycleError: as the API server says.
        """
        try:
            self._sink.report(report)
        except (Forbidden, NotFound) as error:
            if self._sink is self._annotations:
                raise
            log.warning("the outputs go into the pod's annotations: %s%s", error.message,
                        f" — {error.remedy}" if error.remedy else "")  # fmt: skip
            self._sink = self._annotations
            if size(report.outputs) > (room := self._sink.room):
                raise LessRoom(f"the pod's annotations have room for {room} bytes of outputs") from error
            self._sink.report(report)

    def time_left(self) -> float | None:
        """Seconds until the kubelet kills this pod, now that it has been told to stop; at most one short request."""
        began = time.monotonic()
        try:
            state = self._pod.seen
            if state is None or "deletionTimestamp" not in state.raw["metadata"]:
                state = self._pod.get(within=_SOON)
        except LifecycleError as error:
            log.info("nobody says how long this pod lives: %s", error.message)
            return _grace(self._here.environ.get(_GRACE))
        grace = _grace_of(state)
        # The kubelet counts from its SIGTERM, as we do; the server's clock may be another.
        return None if grace is None else max(0.0, grace - (time.monotonic() - began))


class _ExecutionAnnotation:
    """The annotation by which controllers before v3.2 set a deadline (spec 1.9).

    They patch it and send SIGUSR2 at once; the file shows it up to a minute later. So whoever asks because of the file
    is told what the file says, and whoever asks for another reason what the API server says.
    """

    def __init__(self, pod: ThisPod, file: AnnotationsFile) -> None:
        self._pod = pod
        self._file = file
        self._asked_before = False
        self._told = Event()

    def now(self) -> ExecutionControl:
        told = self._told.is_set()
        self._told.clear()
        first, self._asked_before = not self._asked_before, True
        if first:
            state = self._pod.seen  # where the template had to be asked for; else the file saves a request
        elif told and self._pod.watched is not None:
            state = self._pod.watched
        elif told and self._pod.got is None:
            state = None
        else:
            state = self._ask()
        if state is None:
            found = self._file.annotation(EXECUTION)
        else:
            text = state.annotations.get(EXECUTION)
            found = None if text is None else Annotation(EXECUTION, text, self._pod.place)
        return found.execution() if found else ExecutionControl()

    def _ask(self) -> PodState | None:
        """The pod as it is now; ``None`` when it cannot be asked for, and the file is all there is."""
        try:
            return self._pod.get(within=_FRESH)
        except LifecycleError as error:
            log.warning("the execution control is read from %s, which may be a minute old: %s", self._file.path, error)
            return None

    def watch(self, changed: Callable[[], None], cancel: Cancel) -> None:
        def tell() -> None:
            self._told.set()
            changed()

        last: list[str | None] = []

        def look(state: PodState) -> None:
            text = state.annotations.get(EXECUTION)
            if last != [text] and cancel.reason is None:
                last[:] = [text]
                tell()

        try:
            # Runtimes watch the pod anyway, and tell of the annotation long before the kubelet does.
            self._pod.follow().listen(look)
        except LifecycleError as error:
            log.warning("the pod cannot be watched: %s", error)
        try:
            self._file.watch(tell, cancel)
        except NotFound as error:
            # SIGUSR2 still works, and the watch of the pod.
            log.warning("%s is not watched: %s", self._file.path, error)
            cancel.wait(None)


def _of_environment(text: str) -> dict[str, Any]:
    """The template in ``ARGO_TEMPLATE``, as JSON, or as the JSON of a string of JSON; or where it says.

    Raises:
        NotFound: it is offloaded, and not there.
        InputError: it is not the JSON of an object.
    """
    place = "ARGO_TEMPLATE"
    if text == "offloaded":
        place = str(OFFLOADED)
        try:
            text = OFFLOADED.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(f"the template is offloaded, and cannot be read: {OFFLOADED}",
                           remedy="mount the config map that the controller made there") from error  # fmt: skip
    try:
        found = json.loads(text)
        if isinstance(found, str):
            found = json.loads(found)
    except ValueError as error:
        raise InputError(f"it is no JSON: {error}", place=place) from error
    if not isinstance(found, dict):
        raise InputError("it is not a JSON object", place=place)
    return found


def _grace_of(state: PodState) -> float | None:
    """Seconds between SIGTERM and SIGKILL for a pod that ends; ``None`` for one that does not."""
    metadata, spec = state.raw["metadata"], state.spec
    asked = spec.get("terminationGracePeriodSeconds")
    if "deletionTimestamp" in metadata:
        given = metadata.get("deletionGracePeriodSeconds", asked)
        return None if given is None else float(given)
    # The kubelet stops a pod that nobody has deleted: evicted, or beyond its activeDeadlineSeconds.
    if state.status.get("phase") == "Failed" or _overdue(state):
        return None if asked is None else float(asked)
    return None


def _overdue(state: PodState) -> bool:
    """Whether its active deadline has passed; by the node's clock, which is ours."""
    limit, started = state.spec.get("activeDeadlineSeconds"), state.status.get("startTime")
    if limit is None or started is None:
        return False
    # Whole seconds: the deadline may seem one second away.
    lived = datetime.fromtimestamp(time.time(), UTC) - datetime.fromisoformat(started)
    return lived.total_seconds() >= float(limit) - 1


def _grace(text: str | None) -> float | None:
    try:
        seconds = parse_duration(text) if text else 0.0
    except ValueError:  # reported at the start already
        return None
    return seconds if seconds > 0 else None
