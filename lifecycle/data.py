"""The lifecycle of a `data` template's pod: listing → transforming → annotating (spec 5.21)."""

from __future__ import annotations

from lifecycle.pod import ANNOTATING, REPORT, TRANSFER, then
from lifecycle.policy import ONCE
from lifecycle.table import END, Phase, Table

LISTING, TRANSFORMING = "listing", "transforming"

DATA = Table(
    name="data",
    about="The lifecycle of a data template's pod",
    phases=(
        Phase(
            LISTING,
            does="lists the objects below the source",
            work="lifecycle.phases.listing:list_source",
            to=then(TRANSFORMING, failed=ANNOTATING),
            retry=TRANSFER,
            cancellable=True,
        ),
        Phase(
            TRANSFORMING,
            does="applies each expression to what the last one gave",
            work="lifecycle.phases.transforming:transform",
            to=then(ANNOTATING),
            retry=ONCE,
            cancellable=True,
        ),
        Phase(
            ANNOTATING,
            does="reports the result and the failures",
            work="lifecycle.phases.annotating:annotate",
            to=then(END),
            retry=REPORT,
            insists=True,
        ),
    ),
)
