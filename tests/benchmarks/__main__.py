"""All of them, one after another."""

import os

from tests.benchmarks import archives, memory, objects, pods, start_up, together, transfer

start_up.main()
print()
archives.main()
if "ARGOEXEC_WEED" in os.environ:
    for one in (transfer, objects, together, memory):
        print()
        one.main()
else:
    print("\ntransfers: left out, they need SeaweedFS (ARGOEXEC_WEED)")
if "ARGOEXEC_KUBERNETES" in os.environ and os.geteuid() == 0:
    print()
    pods.main()
else:
    print("\npods: left out, they need Kubernetes (ARGOEXEC_KUBERNETES) and root")
