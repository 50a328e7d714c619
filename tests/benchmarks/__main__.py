"""All of them, one after another."""

import os

from tests.benchmarks import archives, start_up, transfer

start_up.main()
print()
archives.main()
if "ARGOEXEC_WEED" in os.environ:
    print()
    transfer.main()
else:
    print("\ntransfer: left out, it needs SeaweedFS (ARGOEXEC_WEED)")
