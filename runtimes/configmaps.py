"""Config maps through the API server: the krb5.conf of an HDFS artifact is in one (spec 3.5), and nobody mounts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lifecycle.errors import BadRequest, NotFound
from runtimes.api import ApiServer

if TYPE_CHECKING:
    from lifecycle.ports import Surroundings


class ClusterConfigMaps:
    """Those of the pod's namespace."""

    def __init__(self, here: Surroundings) -> None:
        """Nothing is sent.

        Raises:
            BadRequest: there is no cluster that could be asked.
        """
        self._api = ApiServer.of(here)

    def read(self, name: str, key: str) -> str:
        """The value of one key.

        Raises:
            BadRequest: there is no such config map or key.
            Forbidden, Unauthorized: the service account may not read it.
            Unavailable, Throttled: the API server does not answer.
        """
        where = f"the config map {name!r} in the namespace {self._api.namespace!r}"
        path = f"/api/v1/namespaces/{self._api.namespace}/configmaps/{name}"
        try:
            found = self._api.call("get", path, "configmaps")
        except NotFound as error:
            # No NotFound: `optional` would forgive it as a missing artifact.
            raise BadRequest(f"there is no {where}", remedy="create it there, or correct the name") from error
        try:
            return str(found["data"][key])
        except (KeyError, TypeError) as error:
            raise BadRequest(f"{where} has no key {key!r}", remedy="correct the selector, or add the key") from error
