"""``argoexec resource ACTION``: does what a `resource` template asks for, in its main container (spec 4)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lifecycle.commands import in_pod
from lifecycle.resource import RESOURCE

if TYPE_CHECKING:
    import argparse


def main(args: argparse.Namespace) -> int:
    """Run it; as with the original, any other number of arguments than one is answered by the usage, and 1."""
    if len(args.ignored) != 1:
        print("usage: argoexec resource ACTION\n\nACTION: get, create, apply, replace, patch, delete", file=sys.stderr)
        return 1
    return in_pod.run(RESOURCE, args, action=args.ignored[0])
