"""The lifecycle of a `resource` template's pod: staging → applying → watching → extracting → annotating (spec 4)."""

from __future__ import annotations

from lifecycle.pod import ANNOTATING, REPORT, RUNTIME, STAGING, then
from lifecycle.policy import ONCE, RetryPolicy
from lifecycle.table import END, Event, Phase, Table

APPLYING, WATCHING, EXTRACTING = "applying", "watching", "extracting"

APPLY = RetryPolicy(attempts=5, first=0.5, factor=2.0, cap=15.0, jitter=0.2, budget=120.0)

RESOURCE = Table(
    name="resource",
    about="The lifecycle of a resource template's pod",
    phases=(
        Phase(
            STAGING,
            does="reads the manifest, and judges all that is asked for",
            work="lifecycle.phases.staging:stage_manifest",
            to=then(APPLYING, failed=ANNOTATING),
            retry=ONCE,
            cancellable=True,
        ),
        Phase(
            APPLYING,
            does="does the action with each document of the manifest",
            work="lifecycle.phases.applying:apply",
            to=then(WATCHING, failed=ANNOTATING),
            retry=APPLY,
            cancellable=True,
        ),
        Phase(
            WATCHING,
            does="follows the object until a condition is met",
            work="lifecycle.phases.watching:watch",
            to=then(EXTRACTING, failed=ANNOTATING),
            retry=RUNTIME,
            cancellable=True,
            blocking=True,
            ended_by=(Event.DONE, Event.DEADLINE, Event.TERMINATED),
        ),
        Phase(
            EXTRACTING,
            does="takes the output parameters out of the object",
            work="lifecycle.phases.extracting:extract",
            to=then(ANNOTATING),
            retry=RUNTIME,
            cancellable=True,
        ),
        Phase(
            ANNOTATING,
            does="reports the outputs and the failures",
            work="lifecycle.phases.annotating:annotate",
            to=then(END),
            retry=REPORT,
            insists=True,
        ),
    ),
)
