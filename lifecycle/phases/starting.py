"""starting: what the kubelet does in a cluster. Init containers one after another, then the sidecars and main."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

from lifecycle.errors import LifecycleError, Permanent
from lifecycle.outcome import ItemState
from lifecycle.stay import Task

if TYPE_CHECKING:
    from lifecycle.clock import Cancel
    from lifecycle.context import Pod
    from lifecycle.ports import ContainerSpec, Sandbox
    from lifecycle.stay import Stay


class InitContainerFailed(Permanent):
    """An init container of the user's ended with another code than 0: main is not started."""


def start(pod: Pod, stay: Stay) -> None:
    """Run and start what the launch says, and stop at the first that cannot be.

    Main comes last, so that a sidecar that cannot be started is known before main has done anything. A kubelet begins
    with main (spec 1.7), but promises no order either.
    """
    if pod.sandbox is None or pod.launch is None:
        raise LifecycleError("this lifecycle was given no sandbox to start containers in")
    if pod.known.was_begun(stay.phase.state, "container", pod.launch.main.name):
        stay.note("main was begun by a process that was killed: it is not begun again")
        return
    for spec in pod.launch.init_containers:
        _run_init(pod.sandbox, stay, spec)
        if stay.items[-1].state is not ItemState.DONE:
            return
    for spec in (*pod.launch.sidecars, pod.launch.main):
        item = stay.item("container", spec.name)
        work = partial(_start, pod.sandbox, spec, stay.cancel)
        if spec is pod.launch.main:
            pod.keep_item(item)  # before it begins: main never runs twice
        # A sidecar may have died with the process that had started it; the sandbox knows.
        stay.perform(Task(item, work, ItemState.DONE, there=lambda: False))
        if item.state is not ItemState.DONE:
            return


def _start(sandbox: Sandbox, spec: ContainerSpec, cancel: Cancel) -> None:
    sandbox.start(spec, cancel)


def _run_init(sandbox: Sandbox, stay: Stay, spec: ContainerSpec) -> None:
    def work() -> None:
        status = sandbox.run_init(spec, stay.cancel)
        if status.code != 0:
            raise InitContainerFailed(f"the init container {spec.name!r} {how_it_ended(status.code)}")

    stay.perform(Task(stay.item("init container", spec.name), work, ItemState.DONE))


def how_it_ended(code: int) -> str:
    """``exited with code 3``, or ``was killed by SIGKILL (137)``."""
    if code > 128:
        try:
            return f"was killed by {signal.Signals(code - 128).name} ({code})"
        except ValueError:
            pass
    return f"exited with code {code}"
