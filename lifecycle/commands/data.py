"""``argoexec data``: lists and transforms, in the main container of a `data` template (spec 5.21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.commands import in_pod
from lifecycle.data import DATA

if TYPE_CHECKING:
    import argparse


def main(args: argparse.Namespace) -> int:
    """Run it. Its argument is not looked at: the template is in the environment."""
    return in_pod.run(DATA, args)
