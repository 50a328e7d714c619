"""A container's first process, as it is found and signalled by a command that runs inside the container (ADR 24).

Mostly it is PID 1. In a pod that shares its processes PID 1 is the pause container's; then it is the oldest process
of the command's own cgroup that came from outside of the pod.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

KILL: Final = int(signal.SIGKILL)
OWN: Final = "own"
"""What the script says when the first process is PID 1."""
PROGRAM: Final = "kill"
"""What is tried in an image without a shell; it can be told of PID 1 alone."""

# Only what a shell has built in: an image may have nothing else. Of /proc/PID/stat everything behind the name, which
# is in brackets, is numbers: the second is the parent, 0 for who came from outside; the twentieth its start.
_SCRIPT: Final = """
text() { t=; while IFS= read -r l; do t="$t$l;"; done <"$1"; }
text /proc/$$/cgroup; mine=$t
text /proc/1/cgroup
if [ "$t" = "$mine" ]; then
  echo own
  kill -NUMBER 1 || exit 1
  OTHERS
  exit 0
fi
first=
for p in /proc/[0-9]*; do
  pid=${p#/proc/}
  [ "$pid" != $$ ] || continue
  text "$p/cgroup" && [ "$t" = "$mine" ] && read -r s <"$p/stat" || continue
  set -- ${s##*) }
  [ "$2" = 0 ] || continue
  if [ -z "$first" ] || [ "${20}" -lt "$age" ]; then first=$pid age=${20}; fi
done 2>/dev/null
if [ -z "$first" ]; then echo "its first process is in another control group than its commands"; exit 1; fi
echo shared
kill -NUMBER "$first"
"""
_OTHERS: Final = "kill -9 -1 2>/dev/null"


def commands(number: int, *, shared: bool) -> tuple[tuple[str, ...], ...]:
    """What sends the signal: the first of these whose program is in the image.

    Args:
        number: of the signal.
        shared: whether PID 1 may be another container's; without a shell nothing finds the right one then.
    """
    script = _SCRIPT.replace("NUMBER", str(number)).replace("OTHERS", _OTHERS if number == KILL else "")
    by_shell = ("/bin/sh", "-c", script.strip())
    if shared:
        return (by_shell,)
    return by_shell, (PROGRAM, f"-{number}", "-1" if number == KILL else "1")


def is_shared(spec: Mapping[str, Any]) -> bool:
    """Whether the pod's containers see each other's processes."""
    return bool(spec.get("shareProcessNamespace"))


def check(spec: Mapping[str, Any]) -> None:
    """Refuse the pods in which a signal would reach others, or be answered by a restart (spec 2.5).

    Raises:
        Unsupported: it is one of them.
    """
    if spec.get("hostPID"):
        raise Unsupported(
            "the pod shares the processes of its node: a signal sent by exec might reach one of the node's",
            remedy="remove hostPID, or choose the docker or pns runtime",
        )
    if spec.get("restartPolicy", "Always") != "Never":
        raise Unsupported("the pod starts its containers again when they end", remedy="set restartPolicy: Never")


def survived(name: str) -> Unsupported:
    """After SIGKILL."""
    return Unsupported(
        f"{name} still runs: its first process is PID 1 of its own namespace, where the kernel lets no SIGKILL "
        "from inside through, and this runtime has no other way",
        remedy="let its command handle SIGTERM, or set shareProcessNamespace: true in the podSpecPatch, "
        "or choose the docker or pns runtime, or bound the pod by activeDeadlineSeconds",
    )


def no_program(name: str, number: int, *, shared: bool) -> Unsupported:
    """Neither a shell nor a ``kill``."""
    missing = "no /bin/sh" if shared else "neither /bin/sh nor a program `kill`"
    return Unsupported(
        f"signal {number} cannot be sent to {name}: there is {missing} in its image",
        remedy="add a shell to the image, or choose the docker or pns runtime, or bound the pod by "
        "activeDeadlineSeconds",
    )
