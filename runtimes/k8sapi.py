"""The runtime port over the API server alone: the pod's watch, its logs, and exec for signals (spec 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lifecycle.ports import Container
from runtimes import exec as commands
from runtimes.api import ApiServer
from runtimes.pods import PodWatch, ended
from runtimes.remote import RemoteRuntime

if TYPE_CHECKING:
    from typing import Self

    from lifecycle.clock import Cancel
    from lifecycle.ports import ExitStatus, Surroundings
    from runtimes.pods import PodState


class KubernetesRuntime(RemoteRuntime):
    """The containers of a pod, as the API server shows them."""

    resource_exec: ClassVar[str] = "pods/exec"
    resource_log: ClassVar[str] = "pods/log"

    def __init__(self, api: ApiServer, watch: PodWatch) -> None:
        """Nothing is asked yet."""
        super().__init__()
        self._api = api
        self._watch = watch
        self._path = f"/api/v1/namespaces/{api.namespace}/pods/{watch.name}"

    @classmethod
    def from_pod(cls, here: Surroundings) -> Self:
        """The runtime of ``ARGO_CONTAINER_RUNTIME_EXECUTOR=k8sapi``.

        Raises:
            InputError, BadRequest: there is no API server to ask.
        """
        return cls(ApiServer.of(here), PodWatch.of(here))

    def find_main(self, cancel: Cancel) -> Container:
        """Block until main has started.

        Raises:
            MainNotStarted: it never will.
            Cancelled: the token was set.
            NotFound, Forbidden, Unauthorized: the pod cannot be watched.
        """
        main = self._watch.await_main(cancel)
        return Container(main.name, main.id)

    def wait(self, container: Container, cancel: Cancel, timeout: float | None = None) -> ExitStatus | None:
        """Block until the pod's status says that it has ended, and how.

        Raises:
            Cancelled: the token was set.
            NotFound: the pod is gone.
            Forbidden, Unauthorized: it cannot be watched.
        """
        return self._watch.wait_for(lambda pod: ended(pod, container.name), cancel, timeout)

    def _pod(self) -> PodState:
        return self._watch.get()

    def _server(self) -> ApiServer:
        return self._api

    def _log(self, container: Container) -> tuple[str, list[tuple[str, str]]]:
        return f"{self._path}/log", [("container", container.name)]

    def _exec(self, container: Container) -> tuple[str, list[tuple[str, str]]]:
        return f"{self._path}/exec", [("container", container.name), *commands.API_STREAMS]
