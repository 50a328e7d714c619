"""All of them, one after another."""

import os

from tests.benchmarks import archives, memory, objects, start_up, together, transfer

start_up.main()
print()
archives.main()
if "ARGOEXEC_WEED" in os.environ:
    for one in (transfer, objects, together, memory):
        print()
        one.main()
else:
    print("\ntransfers: left out, they need SeaweedFS (ARGOEXEC_WEED)")
