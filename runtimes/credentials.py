"""Which API server, and as whom: kubectl's flags, a kubeconfig, or the pod's service account (spec 1.2).

A kubeconfig is the official client's to read, because it knows exec plugins and OIDC; in a pod nothing of it is
imported: 200 ms and 44 MiB for three files.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import BadRequest, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_OWN: Final = "~/.kube/config"


@dataclass(frozen=True, slots=True, eq=False)
class Credentials:
    """One server and one identity.

    Attributes:
        server: ``https://host:port``.
        namespace: the pod's, or the context's.
        who: the identity, for messages.
        authorization: the header's value, read anew for every request: tokens of service accounts are rotated.
        ca: the file of the authority to trust; ``None`` for the system's.
        certificate, key: files of a client certificate.
        verify: whether the server's certificate is looked at.
        server_name: what it must be for, where that is not the host of the URL.
        impersonate: headers of ``--as``, ``--as-group`` and ``--as-uid``.
        proxy: a URL, or ``None``.
        memory: where ``ca``, ``certificate`` and ``key`` may be: they are there as long as anybody has this.
    """

    server: str
    namespace: str
    who: str
    authorization: Callable[[], str] = lambda: ""
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True
    server_name: str | None = None
    impersonate: tuple[tuple[str, str], ...] = ()
    proxy: str | None = None
    memory: _Memory | None = None


def find(kube: Mapping[str, Any], environ: Mapping[str, str]) -> Credentials:
    """Those of the flags, else of a kubeconfig, else of the pod.

    ``--cluster`` and ``--user`` choose inside a kubeconfig; only ``--context`` does here.

    Raises:
        InputError: a file that is named is not there or is nonsense.
        BadRequest: there is no API server that could be asked.
    """
    path = str(kube.get("kubeconfig") or environ.get("KUBECONFIG", ""))
    own = Path(_OWN).expanduser()
    if not path and "KUBERNETES_SERVICE_HOST" not in environ and own.is_file():
        path = str(own)
    if path:
        found = _of_kubeconfig(path, kube)
    elif "KUBERNETES_SERVICE_HOST" in environ:
        found = _in_cluster(environ, SERVICE_ACCOUNT)
    elif kube.get("server"):
        found = Credentials(str(kube["server"]), "default", "anonymous")
    else:
        raise BadRequest(
            "there is no API server to ask: no KUBERNETES_SERVICE_HOST, no kubeconfig",
            remedy="run in a pod with a service account, or name a file with --kubeconfig",
        )
    return _overridden(found, kube)


def bearer(token: Path) -> Callable[[], str]:
    """The header of a token's file, as it is now.

    The returned callable raises:
        BadRequest: the file cannot be read.
    """

    def read() -> str:
        try:
            return f"Bearer {token.read_text(encoding='ascii').strip()}"
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequest(
                f"the token of the service account cannot be read: {token}",
                remedy="set automountServiceAccountToken, or executor.serviceAccountName of the workflow",
            ) from error

    return read


def _in_cluster(environ: Mapping[str, str], service_account: Path) -> Credentials:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    ca, namespace = service_account / "ca.crt", service_account / "namespace"
    return Credentials(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        who="the pod's service account",
        authorization=bearer(service_account / "token"),
        ca=str(ca) if ca.exists() else None,
    )


def _of_kubeconfig(path: str, kube: Mapping[str, Any]) -> Credentials:
    import yaml  # noqa: PLC0415 - 10 ms, and the client 200: not for a pod's service account
    from kubernetes import config as loader  # noqa: PLC0415
    from kubernetes.client.configuration import Configuration  # noqa: PLC0415

    config: Any = loader  # it has no types
    configuration: Any = Configuration()
    context = kube.get("context") or None
    try:
        config.load_kube_config(path, context=context, client_configuration=configuration)
        contexts, active = config.list_kube_config_contexts(path)
        chosen = next((one for one in contexts if one["name"] == context), active)
    except (config.ConfigException, OSError, ValueError, yaml.YAMLError) as error:
        # from None, and of what is no YAML only where: a parser quotes the line, and a line may be a token.
        raise InputError(
            _reason(error), place=path.split(os.pathsep, maxsplit=1)[0], remedy="correct the kubeconfig"
        ) from None
    memory = _Memory()
    files = _into_memory(configuration, memory)

    def authorization() -> str:
        # An exec plugin's or OIDC's token is renewed by the hook of the client.
        return str(configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or "")

    return Credentials(
        server=configuration.host,
        namespace=str(chosen["context"].get("namespace") or "default"),
        who=f"the user {chosen['context'].get('user', '')!r} of the kubeconfig",
        authorization=authorization,
        ca=files["ssl_ca_cert"],
        certificate=files["cert_file"],
        key=files["key_file"],
        verify=configuration.verify_ssl,
        server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
        memory=memory,
    )


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1} is no YAML"
    # A program's output and a field's value are in the text of a ValueError; the client's own errors name fields.
    return type(error).__name__ if isinstance(error, ValueError) else str(error)


class _Memory:
    """Files without a disk; gone with the last who has this."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def put(self, name: str, content: bytes) -> str:
        """Its path."""
        descriptor = os.memfd_create(name)
        self._descriptors.append(descriptor)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        return f"/proc/self/fd/{descriptor}"

    def __del__(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


def _into_memory(configuration: Any, memory: _Memory) -> dict[str, str | None]:
    """Take from the disk what the client has put there: keys of the kubeconfig.

    It would remove those files at the regular end of the process, which does not come where a transfer is left behind.
    """
    from kubernetes.config import kube_config  # noqa: PLC0415 - is loaded already

    files: Any = kube_config
    written = set(files._temp_files.values())  # noqa: SLF001 - nobody else knows their names
    paths: dict[str, str | None] = {}
    for name in ("ssl_ca_cert", "cert_file", "key_file"):
        path = getattr(configuration, name)
        paths[name] = memory.put(name, Path(path).read_bytes()) if path in written else path
    files._cleanup_temp_files()  # noqa: SLF001 - as above
    return paths


def _overridden(found: Credentials, kube: Mapping[str, Any]) -> Credentials:
    """With what kubectl's flags say."""
    changed: dict[str, Any] = {name: str(kube[flag]) for flag, name in _FLAGS.items() if kube.get(flag)}
    if str(kube.get("insecure-skip-tls-verify", "false")).lower() == "true":
        changed["verify"] = False
    if token := kube.get("token"):
        changed |= {"authorization": lambda: f"Bearer {token}", "who": "the token of --token"}
    elif kube.get("username"):
        pair = f"{kube['username']}:{kube.get('password') or ''}".encode()
        basic = base64.b64encode(pair).decode()
        changed |= {"authorization": lambda: f"Basic {basic}", "who": f"the user {kube['username']!r}"}
    if kube.get("as"):
        changed["impersonate"] = (
            ("Impersonate-User", str(kube["as"])),
            *(("Impersonate-Group", str(group)) for group in kube.get("as-group") or ()),
            *((("Impersonate-Uid", str(kube["as-uid"])),) if kube.get("as-uid") else ()),
        )
        changed["who"] = f"the user {kube['as']!r}"
    return replace(found, **changed)


_FLAGS = {
    "server": "server",
    "namespace": "namespace",
    "certificate-authority": "ca",
    "client-certificate": "certificate",
    "client-key": "key",
    "tls-server-name": "server_name",
    "proxy-url": "proxy",
}
