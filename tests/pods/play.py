"""What happens to a pod from outside while it runs: the controller's part, the user's, the node's."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.pods.layout import PREFIX, ZERO_TIME
from tests.servers.apiserver import container

if TYPE_CHECKING:
    from tests.pods.case import Case
    from tests.servers.apiserver import Namespace
    from tests.servers.kubernetes import Cluster

PATIENCE = 120.0
"""Seconds for what a busy machine does at its own pace."""

GO = "/tmp/go"
_AWAIT_JOURNAL = "until grep -qs 'main runs' /tmp/argo/wait.journal.jsonl; do sleep 0.1; done"

_USR2 = "kill -s USR2 $(pidof argoexec)"
"""The v2.3 controller's words, in ``sh -c`` (spec 1.9)."""


@dataclass(frozen=True, slots=True)
class Play:
    """One pod that runs, and who acts on it."""

    case: Case
    cluster: Cluster
    namespace: Namespace

    def await_line(self, text: str, name: str = "main") -> None:
        """Block until a container has written a line with this text.

        Raises:
            AssertionError: it has ended without one.
        """
        self.await_started(name)
        api = self.namespace.api
        answer = api._pool.request(
            "GET",
            f"{api.url}{self.namespace.pods}/{self.case.pod}/log?container={name}&follow=true",
            headers={"Authorization": f"Bearer {api.token}"},
            preload_content=False,
            timeout=PATIENCE,
        )
        written = b""
        try:
            for piece in answer.stream(1 << 12):
                written += piece
                if text.encode() in written:
                    return
        finally:
            answer.close()
        raise AssertionError(f"{name} ended without a line with {text!r}: {written!r}")

    def await_started(self, name: str = "main") -> None:
        """Block until a container runs, or has run."""
        self.namespace.wait_pod(self.case.pod, lambda pod: _has_started(pod, name), PATIENCE)

    def await_ended(self, name: str = "main") -> None:
        """Block until a container has ended."""
        self.namespace.wait_pod(
            self.case.pod, lambda pod: "terminated" in container(pod, name).get("state", {}), PATIENCE
        )

    def await_wait(self) -> None:
        """Block until ``wait`` is at work: it hears signals, and has found main."""
        self.await_started("wait")
        code, output = self.namespace.exec(self.case.pod, "wait", ["sh", "-c", _AWAIT_JOURNAL])
        assert code == 0, output

    def let_go(self) -> None:
        """Let a main go on that waits for :data:`GO`, now that ``wait`` is at work."""
        self.await_wait()
        self.await_started()
        code, output = self.namespace.exec(self.case.pod, "main", ["touch", GO])
        assert code == 0, output

    def push_deadline(self, deadline: str = ZERO_TIME, *, tell: bool = True) -> None:
        """Another workflow deadline in the pod's annotation, as controllers until v3.1 do it; zero terminates.

        Args:
            deadline: RFC 3339.
            tell: run ``kill -s USR2`` in ``wait``, as they do it; without, the kubelet brings the news by file.
        """
        annotations = {f"{PREFIX}/execution": json.dumps({"deadline": deadline})}
        self.namespace.patch_pod(self.case.pod, {"metadata": {"annotations": annotations}})
        if tell:
            code, output = self.namespace.exec(self.case.pod, "wait", ["sh", "-c", _USR2])
            assert code == 0, output

    def kill(self, name: str) -> None:
        """SIGKILL to a container's first process, from outside, as the kernel does it when there is no more memory."""
        [process] = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_executor(path, name, self.case.pod)]
        os.kill(process, signal.SIGKILL)
        self.namespace.wait_pod(self.case.pod, lambda pod: _has_died(pod, name), PATIENCE)

    def delete(self, grace: int) -> None:
        """As ``kubectl delete pod --grace-period``."""
        self.namespace.delete_pod(self.case.pod, grace)


def _has_started(pod: Any, name: str) -> bool:
    return bool({"running", "terminated"} & container(pod, name).get("state", {}).keys())


def _has_died(pod: Any, name: str) -> bool:
    """Whether the kubelet has noticed it, and has started it again where it is to."""
    found = container(pod, name)
    ended = "terminated" in found.get("state", {})
    again = found.get("restartCount") and "running" in found.get("state", {})
    return bool(ended if pod["spec"]["restartPolicy"] == "Never" else again)


def _is_executor(process: Path, command: str, pod: str) -> bool:
    """Whether a process of the machine is this pod's ``argoexec COMMAND``, whose parent is none."""
    try:
        argv = (process / "cmdline").read_bytes().split(b"\0")
        environ = (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended since
        return False
    return (
        f"ARGO_POD_NAME={pod}".encode() in environ
        and command.encode() in argv
        and any(word.endswith(b"argoexec") for word in argv)
    )


def in_seconds(seconds: float) -> str:
    """RFC 3339, whole seconds, from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251
