"""Logs of this pod's containers, by the API server."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Final

from lifecycle.clock import NEVER
from lifecycle.errors import Unavailable
from lifecycle.outcome import NOT_BEGUN

if TYPE_CHECKING:
    from lifecycle.ports import Container
    from runtimes.api import ApiServer
    from runtimes.pods import ContainerState, PodState, PodWatch

_TOLD: Final = 30.0
"""Seconds within which the kubelet tells that a container has started: it looks once a second."""


class PodLog:
    """What containers write, for who sees them begin and end before the kubelet does."""

    def __init__(self, api: ApiServer, watch: PodWatch) -> None:
        self._api = api
        self._watch = watch
        self._path = f"/api/v1/namespaces/{api.namespace}/pods/{watch.name}/log"

    def open(self, container: Container) -> BinaryIO:
        """The log of one, followed until the container has ended and all has been read.

        Raises:
            NotFound, Forbidden, Unauthorized: as the API server says.
            Unavailable: it, or the kubelet, is away.
        """
        from lifecycle.archive.stream import ChunkReader  # noqa: PLC0415 - only those who want a log pay

        def started(pod: PodState) -> ContainerState | None:
            state = pod.container(container.name)
            return state if state is not None and state.phase != "waiting" else None

        # The log of what has not started, as far as the kubelet knows, is refused for good (400).
        state = self._watch.wait_for(started, NEVER, _TOLD)
        if state is None:
            raise Unavailable(f"the kubelet has not told within {_TOLD:g} s that {container.name} has started")
        if state.reason in NOT_BEGUN:  # some nodes have no log of it, and say so by a 500
            return BytesIO()
        query = [("container", container.name), ("follow", "true")]
        # No limit to the silence: a node that is gone is found by the keepalive of the connection.
        answer = self._api.open("get", self._path, "pods/log", query=query, silence=None)
        return ChunkReader(iter(answer.read1, b""), answer.close)
