"""Outputs that the pod's runtime can never read: what main writes outside of its mounts (spec 2.1, ADR 0030)."""

from __future__ import annotations

import posixpath
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.errors import LifecycleError, Unsupported
from lifecycle.outcome import Failure
from lifecycle.template import check_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.context import Pod
    from lifecycle.stay import Stay


@dataclass(frozen=True, slots=True)
class Output:
    """An output that cannot be read.

    Attributes:
        kind: ``parameter`` or ``artifact``.
        name: the template's.
        path: where main writes it.
        forgiven: why that is no failure; empty when it is one.
    """

    kind: str
    name: str
    path: str
    forgiven: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.path})"


def unreachable(pod: Pod) -> list[Output]:
    """All of them. A path or an input that is wrong is named where it is used, not here."""
    if pod.reads_base_layer:
        return []
    outputs = pod.template.view.outputs
    found = []
    for parameter in outputs.parameters:
        if (source := parameter.value_from) is not None and source.path:
            default = "it has a default" if source.default is not None else ""
            found.append(Output("parameter", parameter.name, source.path, default))
    found += [
        Output("artifact", one.name, one.path, "it is optional" if one.optional else "") for one in outputs.artifacts
    ]
    return list(_not_mirrored(pod, found))


def refuse(pod: Pod, stay: Stay) -> bool:
    """Record that an output can never be read, all of them in one failure; whether there is one.

    Those that are optional or have a default are only noted.
    """
    found = unreachable(pod)
    forgiven = [one for one in found if one.forgiven]
    lost = [one for one in found if not one.forgiven]
    for one in forgiven:
        stay.note(f"{one} cannot be read by the runtime {pod.runtime_name!r}; {one.forgiven}")
    if lost:
        error = Unsupported(
            f"the runtime {pod.runtime_name!r} reads only what main writes to a volume, and these outputs are on none: "
            + ", ".join(map(str, lost)),
            remedy=_remedy(lost),
        )
        stay.fail(Failure.of(error, phase=stay.phase.state, item="outputs"))
    return bool(lost)


def _not_mirrored(pod: Pod, outputs: list[Output]) -> Iterator[Output]:
    for one in outputs:
        with suppress(LifecycleError):
            if not pod.template.is_mirrored(check_path(one.path, place="")):
                yield one


def _remedy(lost: list[Output]) -> str:
    directories = sorted({posixpath.dirname(one.path.rstrip("/")) for one in lost})
    if "/" in directories:
        where = "let main write below a directory of its own, and mount an emptyDir there"
    else:
        where = f"mount an emptyDir at {' and '.join(directories)}"
    return f"{where}, or choose a runtime that reads main's own layer: docker, pns"
