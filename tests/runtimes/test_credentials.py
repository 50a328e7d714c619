"""Which API server, and as whom: a service account, a kubeconfig, kubectl's flags; told by what a server is sent."""

from __future__ import annotations

import base64
import gc
import json
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.errors import InputError, LifecycleError
from runtimes import credentials
from runtimes.api import ApiServer
from tests.runtimes.apiserver_by_script import account, found
from tests.servers.httpd import Httpd

if TYPE_CHECKING:
    from pathlib import Path

PATH = "/api/v1/namespaces/n/pods/p"


@pytest.fixture
def server(certificate):
    with Httpd(certificate) as one:
        one.on(PATH, found({}))
        yield one


@pytest.fixture
def strict(certificate, client_certificate):
    """A server that wants to see a client's certificate."""
    with Httpd(certificate, clients=client_certificate[0]) as one:
        one.on(PATH, found({}))
        yield one


def kubeconfig(directory: Path, server: Httpd, certificate: tuple[Path, Path], **user: Any) -> str:
    """Of a user, in the namespace `flows`; a second context is somebody else's, in another."""
    path = directory / "kubeconfig"
    cluster = {"server": server.url, "certificate-authority-data": _in_text(certificate[0])}
    config = {
        "apiVersion": "v1", "kind": "Config", "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}, {"name": "v", "user": {"token": "of-v"}}],
        "contexts": [
            {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "flows"}},
            {"name": "y", "context": {"cluster": "c", "user": "v", "namespace": "others"}},
        ],
        "current-context": "x",
    }  # fmt: skip
    path.write_text(json.dumps(config))
    return str(path)


def _in_text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def asked(server: Httpd, kube: dict[str, Any], **environ: str) -> tuple[ApiServer, Any]:
    """The server as these flags see it, and the headers it has got."""
    api = ApiServer(credentials.find(kube, environ))
    api.call("get", PATH, "pods")
    return api, server.requests[-1].headers


def test_a_kubeconfig_in_the_environment_is_read(server, certificate, tmp_path):
    api, headers = asked(server, {}, KUBECONFIG=kubeconfig(tmp_path, server, certificate, token="of-u"))

    assert (api.namespace, headers["Authorization"]) == ("flows", "Bearer of-u")


def test_a_context_chooses_the_user_and_the_namespace(server, certificate, tmp_path):
    path = kubeconfig(tmp_path, server, certificate, token="of-u")
    api, headers = asked(server, {"kubeconfig": path, "context": "y"})

    assert (api.namespace, headers["Authorization"]) == ("others", "Bearer of-v")


def test_a_context_that_is_not_there_is_an_input_error(server, certificate, tmp_path):
    path = kubeconfig(tmp_path, server, certificate)

    with pytest.raises(InputError, match="kubeconfig"):
        credentials.find({"kubeconfig": path, "context": "z"}, {})


def test_a_client_certificate_of_a_kubeconfig_is_shown(strict, certificate, client_certificate, tmp_path):
    user = {
        "client-certificate-data": _in_text(client_certificate[0]),
        "client-key-data": _in_text(client_certificate[1]),
    }
    api, _ = asked(strict, {"kubeconfig": kubeconfig(tmp_path, strict, certificate, **user)})

    for path in (api.credentials.ca, api.credentials.certificate, api.credentials.key):
        assert str(path).startswith("/proc/self/fd/")


def test_a_client_certificate_lasts_as_long_as_it_is_asked_with(strict, certificate, client_certificate, tmp_path):
    user = {
        "client-certificate-data": _in_text(client_certificate[0]),
        "client-key-data": _in_text(client_certificate[1]),
    }
    path = kubeconfig(tmp_path, strict, certificate, **user)
    api = ApiServer(credentials.find({"kubeconfig": path, "token": "t"}, {}))
    gc.collect()

    api.call("get", PATH, "pods")
    assert strict.requests[0].headers["Authorization"] == "Bearer t"


def test_client_certificates_may_be_flags(strict, certificate, client_certificate):
    asked(strict, {
        "server": strict.url, "certificate-authority": str(certificate[0]),
        "client-certificate": str(client_certificate[0]), "client-key": str(client_certificate[1]),
    })  # fmt: skip


def test_without_a_client_certificate_the_strict_server_says_nothing(strict, certificate):
    with pytest.raises(LifecycleError):
        asked(strict, {"server": strict.url, "certificate-authority": str(certificate[0])})


def test_flags_come_before_the_service_account(server, certificate, tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", account(tmp_path / "account", certificate))
    kube = {"server": server.url, "token": "of-flags", "namespace": "mine"}
    api, headers = asked(server, kube, KUBERNETES_SERVICE_HOST="192.0.2.1")

    assert (api.namespace, headers["Authorization"]) == ("mine", "Bearer of-flags")


def test_somebody_else_may_be_played(server, certificate):
    kube = {
        "server": server.url, "certificate-authority": str(certificate[0]), "token": "t", "as": "jane",
        "as-group": ["a", "b"], "as-uid": "7",
    }  # fmt: skip
    api, headers = asked(server, kube)

    assert (headers["Impersonate-User"], headers["Impersonate-Uid"]) == ("jane", "7")
    assert headers.get_all("Impersonate-Group") == ["a", "b"]
    assert api.credentials.who == "the user 'jane'"


@pytest.mark.parametrize("switched", ["true", "True", True])
def test_a_certificate_is_not_looked_at_where_somebody_says_so(server, switched):
    asked(server, {"server": server.url, "insecure-skip-tls-verify": switched})


def test_a_certificate_may_be_for_another_name(server, certificate):
    kube = {"server": server.url, "certificate-authority": str(certificate[0])}
    asked(server, kube | {"tls-server-name": "localhost"})

    with pytest.raises(LifecycleError, match="not trusted"):
        asked(server, kube | {"tls-server-name": "elsewhere.example"})


def test_a_user_may_have_a_password(server, certificate):
    kube = {
        "server": server.url, "certificate-authority": str(certificate[0]), "username": "jane", "password": "p:w",
    }  # fmt: skip
    _, headers = asked(server, kube)

    assert headers["Authorization"] == "Basic " + base64.b64encode(b"jane:p:w").decode()


def test_the_address_of_a_server_may_have_colons(tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", tmp_path)
    found = credentials.find({}, {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})

    assert (found.server, found.namespace) == ("https://[fd00::1]:6443", "default")
