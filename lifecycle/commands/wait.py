"""``argoexec wait``: a segment of the pod's table, run in the ``wait`` container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.commands import in_pod
from lifecycle.pod import WAIT_TABLE

if TYPE_CHECKING:
    import argparse


def main(args: argparse.Namespace) -> int:
    """Run it; the exit status is what the controller looks at."""
    return in_pod.run(WAIT_TABLE, args)
