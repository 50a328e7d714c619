"""The time between the kubelet's SIGTERM and its SIGKILL, and who gets which part of it (ADR 0031)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.errors import Terminated

if TYPE_CHECKING:
    from lifecycle.context import Pod
    from lifecycle.errors import Cancelled

TO_ANSWER = 2.0
"""Seconds that the control plane has to say how much time is left; then the settings' grace is assumed."""

MAIN, GONE, MEASURED, SAVED = 0.5, 0.65, 0.05, 0.8
"""Shares of the whole: main's until SIGKILL, main's until its end is no longer waited for, for looking at what is
how large, and everything until saving ends. The rest is the report's."""

ALL, LAST = 0.9, 0.95
"""Main's two shares when it makes nothing that is saved."""

FOR_REPORT = 5.0
"""Seconds that are enough for the report, however long the grace."""


@dataclass(frozen=True, slots=True)
class Grace:
    """Moments of the clock's monotonic time.

    Attributes:
        began: when SIGTERM came.
        seconds: from then until SIGKILL.
        saves: whether there is something to save.
    """

    began: float
    seconds: float
    saves: bool = True

    @property
    def main_until(self) -> float:
        """When main is killed: the kubelet has told it to stop at the same moment as us."""
        return self.began + self.seconds * (MAIN if self.saves else ALL)

    @property
    def gone_until(self) -> float:
        """When main's end is not waited for any longer."""
        return self.began + self.seconds * (GONE if self.saves else LAST)

    @property
    def saved_until(self) -> float:
        """When what is not saved is abandoned."""
        return self.began + max(self.seconds * SAVED, self.seconds - FOR_REPORT)

    @property
    def ends(self) -> float:
        """When everything is killed."""
        return self.began + self.seconds

    def to_notice(self, now: float) -> float:
        """Seconds that tasks have to notice that they are abandoned: a quarter of what is left."""
        return max(0.0, self.ends - now) / 4


@dataclass(frozen=True, slots=True)
class GraceKnown:
    """In the inbox: the pod's :class:`Grace` is another."""


def share_out(pod: Pod, reason: Cancelled) -> None:
    """Ask how much time is left, tell everybody, and abandon what is not saved when its share is over.

    Without an answer the settings' grace is assumed; one that comes late is heeded. A control plane that has no kubelet
    says ``None``: then nobody is in a hurry.
    """
    began = pod.clock.monotonic()
    answers = pod.clock.inbox()

    def ask() -> None:
        try:
            left = pod.control.time_left()
            answers.put((None if left is None else pod.clock.monotonic() - began + left,))
        except Exception as error:  # noqa: BLE001 - a thread has no caller
            pod.journal.write("note", phase="stopping", text=f"nobody says how much time is left: {error}")
            answers.put((pod.settings.grace,))

    pod.clock.start(ask, "time left")
    answer = answers.get(TO_ANSWER)
    while True:
        seconds = pod.settings.grace if answer is None else answer[0]
        if seconds is None:
            return
        grace = pod.grace = Grace(began, max(0.0, seconds), _saves(pod))
        pod.hurry.set(reason)
        pod.inbox.put(GraceKnown())
        answer = answers.get(grace.saved_until - pod.clock.monotonic())
        if answer is None:
            break
    pod.abandon.set(
        Terminated(
            f"not done in {grace.saved_until - began:.3g} of the {grace.seconds:.3g} s that the pod has after SIGTERM",
            remedy="raise terminationGracePeriodSeconds, or save less",
        )
    )


def _saves(pod: Pod) -> bool:
    """Whether the template, or the controller, wants anything of main but its end."""
    outputs = pod.template.view.outputs
    return bool(
        outputs.parameters or outputs.artifacts or pod.template.archive_location.get("archiveLogs") or pod.result_wanted
    )
