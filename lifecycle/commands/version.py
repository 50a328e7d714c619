"""``argoexec version``: the lines of the original (spec 1.2), with Python in the place of Go."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import lifecycle

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--short``."""
    parser.add_argument("--short", action="store_true", help="only the first line")


def main(args: argparse.Namespace) -> int:
    """Print it."""
    print(f"argoexec: v{lifecycle.__version__}")
    if not args.short:
        print(f"  PythonVersion: {platform.python_version()}")
        print(f"  Compiler: {sys.implementation.name}")
        print(f"  Platform: {sys.platform}/{platform.machine()}")
    return 0
