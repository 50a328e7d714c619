"""``argoexec`` as it is, but for the time-outs of its S3 driver: 1 and 2 s in place of 10 and 60 s."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from drivers.s3 import S3Driver
from lifecycle import registry
from lifecycle.cli import main
from runtimes import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.secret import SecretReader


class ImpatientS3Driver(S3Driver):
    """By the options that every driver takes."""

    def __init__(self, config: Mapping[str, Any], secrets: SecretReader) -> None:
        super().__init__(config, secrets, connect_timeout=1.0, read_timeout=float(os.environ.get("READ_TIMEOUT", "2")))


if __name__ == "__main__":
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # a test that is killed leaves nobody in its network
    registry.DRIVERS["s3"] = "tests.e2e.impatient:ImpatientS3Driver"
    sys.exit(main())
