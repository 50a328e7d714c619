"""This pod as an object of the API server, for who reads and patches it; nothing is imported before it is asked for.

An ``init`` that has nothing to report never loads urllib3: 40 ms of each such pod.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import LifecycleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lifecycle.ports import Surroundings
    from runtimes.api import ApiServer
    from runtimes.pods import PodState, PodWatch

_ANSWER: Final = 30.0


class ThisPod:
    """The pod of this process."""

    def __init__(self, here: Surroundings) -> None:
        """Nothing is asked yet."""
        self.here = here
        self.got: PodState | None = None

    @property
    def api(self) -> ApiServer:
        """The API server.

        Raises:
            InputError, BadRequest: there is none that could be asked.
        """
        from runtimes.api import ApiServer  # noqa: PLC0415 - see above

        return ApiServer.of(self.here)

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"the pod {self.api.namespace}/{self.here.pod}"

    @property
    def watched(self) -> PodState | None:
        """As the runtime's watch saw it last; ``None`` without one, and without a request."""
        # Whoever watches has imported it, and whoever has not shall not pay for it.
        # Another thread may be in the middle of that: then the module is there, and what is in it is not.
        watch = getattr(sys.modules.get("runtimes.pods"), "PodWatch", None)
        if watch is None:
            return None
        try:
            state: PodState | None = watch.of(self.here).seen
        except LifecycleError:  # there is no API server to watch it by
            return None
        return state

    @property
    def seen(self) -> PodState | None:
        """As the watch saw it, else as it was last asked for; without a request."""
        return self.watched or self.got

    def get(self, within: float = _ANSWER) -> PodState:
        """As it is now; one request.

        Raises:
            LifecycleError: as :meth:`ApiServer.call`.
        """
        from runtimes.pods import PodState  # noqa: PLC0415 - see above

        self.got = PodState(self.api.call("get", self._path, "pods", within=within))
        return self.got

    def annotate(self, annotations: Mapping[str, str]) -> None:
        """Set these, and leave the others as they are; one request.

        Raises:
            LifecycleError: as :meth:`ApiServer.call`.
        """
        from runtimes.api import MERGE_PATCH  # noqa: PLC0415 - see above

        body: dict[str, Any] = {"metadata": {"annotations": dict(annotations)}}
        self.api.call("patch", self._path, "pods", body=body, content_type=MERGE_PATCH)

    def follow(self) -> PodWatch:
        """The watch that runtimes of this process share; this begins none.

        Raises:
            InputError, BadRequest: as :attr:`api`.
        """
        from runtimes.pods import PodWatch  # noqa: PLC0415 - see above

        return PodWatch.of(self.here)

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.api.namespace}/pods/{self.here.pod}"
