"""Where a report goes: annotations of the pod (up to v3.2), or a WorkflowTaskResult (from v3.3), spec 1.15 and 5.19."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from lifecycle.errors import AlreadyExists, BadRequest, LifecycleError, NotFound, Transient, Unavailable
from lifecycle.report import encoded, size
from runtimes.downward import ANNOTATIONS, NODE_MESSAGE, OUTPUTS, AnnotationsFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.ports import Report, Surroundings
    from runtimes.thispod import ThisPod

_UNKNOWN: Final = 8 * 1024
"""Bytes left for the annotations of a pod that does not show them; a guess that was too small costs an attempt."""
_MESSAGE: Final = 4096
"""Bytes of the longest message of a report."""
_SMALLER: Final = "save large parameters as artifacts, and report fewer artifacts"

API: Final = "argoproj.io/v1alpha1"
RESULT_ROOM: Final = 1024 * 1024
"""Bytes of a task result's outputs. etcd took 1572192 of them (ADR 29); the controller copies them into the workflow,
which has the same limit and much else in it."""


class LessRoom(Transient):
    """What was offered as room is not there: say again what fits, and report that."""


class Sink(Protocol):
    """One place for the report."""

    @property
    def room(self) -> int:
        """Bytes of JSON that the outputs may have there; asks nobody."""

    def report(self, report: Report) -> None:
        """Deliver; twice is the same as once, and nothing to say is no request.

        Raises:
            LifecycleError: as the API server says.
        """


class PodAnnotations:
    """Annotations of this pod, by one merge patch."""

    def __init__(self, pod: ThisPod, *, message: bool) -> None:
        """Nothing is asked yet; ``message``: whether the controller reads node messages (before v3.0)."""
        self._pod = pod
        self._file = AnnotationsFile(pod.here.annotations)
        self._message = message
        self._offered = ANNOTATIONS
        self._counted: int | None = None

    @property
    def room(self) -> int:
        """What the other annotations leave; those of the file when nobody has shown the pod."""
        self._offered = self._room(self._others())
        return self._offered

    def report(self, report: Report) -> None:
        """Patch the pod.

        Raises:
            LessRoom: there are more annotations than were known of.
            LifecycleError: as :meth:`ApiServer.call`.
        """
        annotations = {}
        if report.outputs:
            annotations[OUTPUTS] = encoded(report.outputs)
        if self._message and report.message:
            annotations[NODE_MESSAGE] = report.message
        if not annotations:
            return
        try:
            self._pod.annotate(annotations)
        except BadRequest as error:
            meaning = self._too_large(annotations)
            if meaning is None:
                raise
            raise meaning from error

    def _room(self, others: int) -> int:
        message = len(NODE_MESSAGE) + _MESSAGE if self._message else 0
        return max(0, ANNOTATIONS - others - message - len(OUTPUTS))

    def _others(self) -> int:
        """Bytes of the annotations that stay, keys and values."""
        if self._counted is not None:
            return self._counted
        if (seen := self._pod.seen) is not None:
            return _total({key: len(value.encode(errors="replace")) for key, value in seen.annotations.items()})
        try:
            return _total(self._file.sizes())
        except LifecycleError:
            return _UNKNOWN

    def _too_large(self, annotations: Mapping[str, str]) -> LifecycleError | None:
        """Whether that is why the patch was refused: told by the pod itself, not by the words of the refusal."""
        try:
            now = self._pod.get().annotations
        except LifecycleError:
            return None
        sizes = {key: len(value.encode(errors="replace")) for key, value in (dict(now) | dict(annotations)).items()}
        over = sum(len(key) + each for key, each in sizes.items()) - ANNOTATIONS
        if over <= 0:
            return None
        self._counted = _total(sizes)
        room = self._room(self._counted)
        message = f"the outputs have {sizes.get(OUTPUTS, 0)} bytes, and the pod's annotations leave {room} for them"
        if room < self._offered:
            return LessRoom(message)
        return BadRequest(message, remedy=_SMALLER)


class TaskResult:
    """A WorkflowTaskResult of this pod's node: created, or patched where it is there."""

    room: int = RESULT_ROOM

    def __init__(self, pod: ThisPod) -> None:
        """Nothing is asked yet."""
        self._pod = pod
        self._node = pod.here.environ["ARGO_NODE_ID"]
        self._made = False

    def report(self, report: Report) -> None:
        """Create or patch it. A message has no place in it: the termination log is its only way (spec 5.7).

        Raises:
            Forbidden, NotFound: this cluster has no such resource, or not for us.
            BadRequest: it is too large; nothing is sent, because etcd's refusal is a 500 like any other.
            LifecycleError: as :meth:`ApiServer.call`.
        """
        if not report.outputs:
            return
        if (amount := size(report.outputs)) > self.room:
            raise BadRequest(f"the outputs have {amount} bytes, and a task result takes {self.room}", remedy=_SMALLER)
        from runtimes.api import MERGE_PATCH  # noqa: PLC0415 - 40 ms, for who has something to report

        api, resource = self._pod.api, "workflowtaskresults"
        path = f"/apis/{API}/namespaces/{api.namespace}/{resource}"
        metadata = _metadata(self._pod.here)
        body: dict[str, Any]
        said = {"outputs": dict(report.outputs)}
        if not self._made:
            body = {"apiVersion": API, "kind": "WorkflowTaskResult", "metadata": metadata, **said}
            try:
                api.call("create", path, resource, body=body)
            except AlreadyExists:
                # An attempt whose answer was lost, or somebody before us. From now on it is patched at once.
                self._made = True
            else:
                self._made = True
                return
        body = {"metadata": {"labels": metadata["labels"]}, **said}
        try:
            api.call("patch", f"{path}/{self._node}", resource, body=body, content_type=MERGE_PATCH)
        except NotFound as error:
            self._made = False
            raise Unavailable(f"{error.message}: it has been removed meanwhile") from error


def _metadata(here: Surroundings) -> dict[str, Any]:
    """Of a task result: labels by which the controller finds it, and the owner it is removed with.

    It is complete when it is made, so the label of v3.5.2 says so at once; older controllers do not look at it.
    """
    environ = here.environ
    labels = {
        "workflows.argoproj.io/workflow": environ["ARGO_WORKFLOW_NAME"],
        "workflows.argoproj.io/report-outputs-completed": "true",
    }
    if instance := environ.get("ARGO_INSTANCE_ID"):
        labels["workflows.argoproj.io/controller-instanceid"] = instance
    metadata: dict[str, Any] = {"name": environ["ARGO_NODE_ID"], "labels": labels}
    if uid := environ.get("ARGO_WORKFLOW_UID"):
        owner = {"apiVersion": API, "kind": "Workflow", "name": environ["ARGO_WORKFLOW_NAME"]}
    elif uid := environ.get("ARGO_POD_UID"):
        # Results of a pod that is removed before the controller looks are lost (spec 7.4 #97): only without a workflow.
        owner = {"apiVersion": "v1", "kind": "Pod", "name": here.pod}
    if uid:
        metadata["ownerReferences"] = [owner | {"uid": uid}]
    return metadata


def _total(sizes: Mapping[str, int]) -> int:
    """Bytes of keys and values but those that a report replaces."""
    return sum(len(key) + each for key, each in sizes.items() if key not in {OUTPUTS, NODE_MESSAGE})
