"""Config maps through the Kubernetes API: the krb5.conf of an HDFS artifact is in one (spec 3.5), and nobody mounts it.

The official client at the level of its ``ApiClient``, the answer raw: the generated models are not worth their import
for one string.
"""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes import config as kube
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.config import kube_config

from lifecycle.errors import BadRequest, Forbidden, LifecycleError, Throttled, Unauthorized, Unavailable

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT: Final = (10.0, 30.0)  # seconds to connect, and between two pieces of the answer
_REMEDY: Final = "grant `get` on `configmaps` to the pod's service account, in a Role of its namespace"


class ClusterConfigMaps:
    """Those of one namespace: the kubeconfig's, else the pod's own."""

    def __init__(self, kubeconfig: str = "", service_account: Path = _SERVICE_ACCOUNT) -> None:
        """Nothing is sent. Without a kubeconfig, ``KUBECONFIG`` counts, then the pod's service account.

        Raises:
            BadRequest: there is no cluster that could be asked.
        """
        path = kubeconfig or os.environ.get("KUBECONFIG", "")
        configuration = Configuration()
        configuration.retries = False  # the attempts that a person sees are the phase's
        config: Any = kube  # it has no types
        try:
            if path:
                config.load_kube_config(path, client_configuration=configuration)
                _, active = config.list_kube_config_contexts(path)
                self._namespace = str(active["context"].get("namespace") or "default")
            else:
                config.load_incluster_config(client_configuration=configuration)
                namespace = service_account / "namespace"
                self._namespace = namespace.read_text().strip() if namespace.exists() else "default"
        except (config.ConfigException, OSError, ValueError, yaml.YAMLError) as error:
            raise BadRequest(
                f"a config map is asked for, and there is no cluster to ask: {error}",
                remedy="run in a pod with a service account, or name a file with --kubeconfig",
            ) from error
        finally:
            self._into_memory(configuration)
        self._client: Any = ApiClient(configuration)

    def _into_memory(self, configuration: Configuration) -> None:
        """Take from the disk what the client has put there: keys of the kubeconfig.

        It would remove those files at the regular end of the process, which does not come where a transfer is left
        behind.
        """
        files: Any = kube_config
        written = set(files._temp_files.values())  # noqa: SLF001 - nobody else knows their names
        for name in ("ssl_ca_cert", "cert_file", "key_file"):
            path = getattr(configuration, name)
            if path in written:
                descriptor = os.memfd_create(name)
                weakref.finalize(self, os.close, descriptor)
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(Path(path).read_bytes())
                setattr(configuration, name, f"/proc/self/fd/{descriptor}")
        files._cleanup_temp_files()  # noqa: SLF001 - as above

    def read(self, name: str, key: str) -> str:
        """The value of one key.

        Raises:
            BadRequest: there is no such config map or key.
            Forbidden, Unauthorized: the service account may not read it.
            Unavailable, Throttled: the API server does not answer.
        """
        where = f"the config map {name!r} in the namespace {self._namespace!r}"
        request = self._client.param_serialize(
            "GET",
            "/api/v1/namespaces/{namespace}/configmaps/{name}",
            {"namespace": self._namespace, "name": name},
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=_TIMEOUT)
            body = answer.read()
        except Exception as error:  # every kind that the client's HTTP library has, which is not ours to know
            raise Unavailable(f"{where}: the API server does not answer: {type(error).__name__}") from error
        if answer.status != 200:
            raise _refused(where, answer.status)
        try:
            return str(json.loads(body)["data"][key])
        except (ValueError, KeyError, TypeError) as error:
            raise BadRequest(f"{where} has no key {key!r}", remedy="correct the selector, or add the key") from error


def _refused(where: str, status: int) -> LifecycleError:
    text = f"{where}: the API server answers {status}"
    if status == 404:
        return BadRequest(text, remedy="create it in the namespace of the workflow, or correct the name")
    if status == 401:
        return Unauthorized(text, remedy=_REMEDY)
    if status == 403:
        return Forbidden(text, remedy=_REMEDY)
    if status == 429:
        return Throttled(text)
    return Unavailable(text) if status >= 500 else BadRequest(text)
