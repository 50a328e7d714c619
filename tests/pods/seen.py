"""What became of a pod: collected once, before it is deleted; a failing test shows all of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.pods.case import entries
from tests.pods.layout import PREFIX, Json
from tests.servers.apiserver import container

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.pods.case import Case, Expected


@dataclass(slots=True)
class Seen:
    """One pod, after its end.

    Attributes:
        pod: the object, as it was last.
        task_result: the WorkflowTaskResult, if there is one.
        logs: of every container.
        objects: what the store has below the pod's key.
        seconds: from its creation to its end.
        error: what kept the fleet from seeing it to its end.
    """

    case: Case
    pod: Json = field(default_factory=dict)
    task_result: Json | None = None
    logs: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""

    @property
    def annotations(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.pod.get("metadata", {}).get("annotations", {})
        return found

    @property
    def outputs(self) -> Any:
        """The Outputs where this contract has them; None when none are reported."""
        if self.case.contract == "v3.3":
            return (self.task_result or {}).get("outputs") or None
        text = self.annotations.get(f"{PREFIX}/outputs")
        return None if text is None else json.loads(text)

    def ended(self, name: str) -> Json:
        """How a container ended; {} if it has not, or never was."""
        found: Json = container(self.pod, name).get("state", {}).get("terminated", {})
        return found

    def code(self, name: str) -> int | None:
        found: int | None = self.ended(name).get("exitCode")
        return found

    @property
    def message(self) -> str:
        """What the executor says to people: the termination messages, and the annotation of the old contract."""
        found = [self.ended(name).get("message", "") for name in ("init", "wait")]
        return "\n".join(filter(None, [*found, self.annotations.get(f"{PREFIX}/node-message", "")]))

    def check(self, expected: Expected) -> None:
        """Compare with what must have become of it.

        Raises:
            AssertionError: with all that is known of the pod.
        """
        wrong = list(self._differences(expected))
        if not wrong and expected.also is not None:
            try:
                expected.also(self)
            except AssertionError as error:
                wrong = [str(error)]
        assert not wrong, "\n".join([*wrong, self.tell()])

    def _differences(self, expected: Expected) -> Iterator[str]:
        if self.error:
            yield self.error
        codes = {"init": expected.init, "wait": expected.wait, "main": expected.main, **expected.others}
        for name, code in codes.items():
            # A kubelet may forget a deleted pod before it has written down how its containers ended.
            unknown = self.case.scenario.deleted and self.code(name) is None
            if code is not None and self.code(name) != code and not unknown:
                yield f"{name} exited with {self.code(name)}, not with {code}"
        if not _same(self.outputs, expected.outputs, ordered=self.case.contract != "v3.3"):
            yield f"outputs are {_shown(self.outputs)}\nnot {_shown(expected.outputs)}"
        yield from self._differing_objects(expected)
        wanted = expected.message or ()
        yield from (f"no {words!r} in the message {self.message!r}" for words in wanted if words not in self.message)
        if expected.message == () and self.message:
            yield f"there is a message: {self.message}"

    def _differing_objects(self, expected: Expected) -> Iterator[str]:
        for name in sorted(self.objects.keys() | expected.objects.keys()):
            wanted, found = expected.objects.get(name), self.objects.get(name)
            shown = entries(found) if found is not None and isinstance(wanted, list) else found
            if shown != wanted:
                yield f"the object {name} is {shown!r}\nnot {wanted!r}"

    def tell(self) -> str:
        """Everything."""
        parts = [f"--- {self.case.pod} ({self.case.stage.flavour}), {self.seconds:.1f} s"]
        status = self.pod.get("status", {})
        parts.append(json.dumps(status.get("initContainerStatuses", []) + status.get("containerStatuses", [])))
        parts += [f"--- log of {name}\n{text[-6000:]}" for name, text in self.logs.items()]
        return "\n".join(parts)


def _same(found: Any, wanted: Any, *, ordered: bool) -> bool:
    """Equal; ``...`` stands for anything. The order of keys counts where the text itself is compared."""
    if wanted is ...:
        return True
    if isinstance(wanted, dict) and isinstance(found, dict):
        if ordered and list(found) != list(wanted):
            return False
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key], ordered=ordered) for key in wanted)
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = zip(found, wanted, strict=False)
        return len(found) == len(wanted) and all(_same(one, other, ordered=ordered) for one, other in pairs)
    return bool(found == wanted)


def _shown(value: Any) -> str:
    return json.dumps(value, default=lambda _: "…")[:4000]
