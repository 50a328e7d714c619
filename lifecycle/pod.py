"""The lifecycle of a pod, as one table. ``init`` and ``wait`` run segments of it, ``run`` the whole.

    staging → loading → (starting) → waiting → killing sidecars → capturing → saving → annotating → releasing

``starting`` is the kubelet's work in a cluster; the local runner plays the kubelet and does it itself (ADR 0003).
Where each failure leads: before main there is nothing to save, so straight to annotating; after it, on to the next
phase, because nothing that succeeded may be lost.
"""

from __future__ import annotations

from lifecycle.policy import ONCE, RetryPolicy
from lifecycle.table import END, Event, Phase, Table

INIT, WAIT, RUN = "init", "wait", "run"

STAGING = "staging"
LOADING = "loading"
STARTING = "starting"
WAITING = "waiting"
KILLING_SIDECARS = "killing sidecars"
CAPTURING = "capturing"
SAVING = "saving"
ANNOTATING = "annotating"
RELEASING = "releasing"

TRANSFER = RetryPolicy(attempts=5, first=1.0, factor=1.6, cap=30.0, jitter=0.5, budget=600.0)
"""The later releases' ExecutorRetry (spec 5.5), with a cap and a budget."""

RUNTIME = RetryPolicy(attempts=5, first=0.2, factor=2.0, cap=5.0, jitter=0.5, budget=60.0)
REPORT = RetryPolicy(attempts=None, first=0.5, factor=2.0, cap=30.0, jitter=0.2, budget=600.0)
ATTACH = RetryPolicy(attempts=None, first=0.5, factor=2.0, cap=30.0, jitter=0.2)
KILL = RetryPolicy(attempts=3, first=0.5, factor=2.0, cap=5.0, jitter=0.2, budget=120.0)


def then(done: str, *, failed: str | None = None, stopped: str | None = None) -> dict[Event, str]:
    """Where the events lead; a phase that is not told otherwise goes on."""
    return {
        Event.DONE: done,
        Event.FAILED: failed or done,
        Event.TERMINATED: stopped or failed or done,
        Event.DEADLINE: stopped or failed or done,
    }


POD = Table(
    name="pod",
    about="The lifecycle of a pod",
    phases=(
        Phase(
            STAGING,
            does="writes the script or the manifest to its file",
            work="lifecycle.phases.staging:stage",
            to=then(LOADING, failed=ANNOTATING),
            retry=ONCE,
            runs_in=frozenset({INIT, RUN}),
            cancellable=True,
        ),
        Phase(
            LOADING,
            does="loads every input artifact, several at a time",
            work="lifecycle.phases.loading:load",
            to=then(STARTING, failed=ANNOTATING),
            retry=TRANSFER,
            runs_in=frozenset({INIT, RUN}),
            cancellable=True,
        ),
        Phase(
            STARTING,
            does="runs the init containers, starts main and the sidecars",
            work="lifecycle.phases.starting:start",
            to=then(WAITING, failed=KILLING_SIDECARS),
            retry=ONCE,
            runs_in=frozenset({RUN}),
            cancellable=True,
            blocking=True,
            ended_by=(Event.DEADLINE, Event.TERMINATED),
        ),
        Phase(
            WAITING,
            does="finds main, holds its root, waits for its end",
            work="lifecycle.phases.waiting:wait",
            to=then(KILLING_SIDECARS),
            retry=ATTACH,
            runs_in=frozenset({WAIT, RUN}),
            cancellable=True,
            blocking=True,
            ended_by=(Event.DONE, Event.DEADLINE, Event.TERMINATED),
        ),
        Phase(
            KILLING_SIDECARS,
            does="TERM, grace, KILL to every container but main, wait and the late sidecars",
            work="lifecycle.phases.sidecars:kill",
            to=then(CAPTURING),
            retry=KILL,
            runs_in=frozenset({WAIT, RUN}),
            insists=True,
        ),
        Phase(
            CAPTURING,
            does="captures main's stdout as the result",
            work="lifecycle.phases.capturing:capture",
            to=then(SAVING),
            retry=RUNTIME,
            runs_in=frozenset({WAIT, RUN}),
        ),
        Phase(
            SAVING,
            does="saves parameters, logs and artifacts, several at a time",
            work="lifecycle.phases.saving:save",
            to=then(ANNOTATING),
            retry=TRANSFER,
            runs_in=frozenset({WAIT, RUN}),
        ),
        Phase(
            ANNOTATING,
            does="reports the outputs and the failures",
            work="lifecycle.phases.annotating:annotate",
            to=then(RELEASING),
            retry=REPORT,
            runs_in=frozenset({INIT, WAIT, RUN}),
            insists=True,
        ),
        Phase(
            RELEASING,
            does="kills the late sidecars, such as the mesh proxy that the upload went through",
            work="lifecycle.phases.sidecars:release",
            to=then(END),
            retry=KILL,
            runs_in=frozenset({WAIT, RUN}),
            insists=True,
        ),
    ),
)

INIT_TABLE = POD.segment(INIT, about="argoexec init: prepares the inputs")
WAIT_TABLE = POD.segment(WAIT, about="argoexec wait: waits for main and saves what it made")
