"""The API server's credentials, from a kubeconfig, flags or the pod's service account, against servers that echo."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from runtimes import credentials
from runtimes.api import ApiServer
from tests.faults.canaries.canary import Canaries, told
from tests.faults.canaries.echo import Echo

if TYPE_CHECKING:
    from pathlib import Path

ANSWERS = ("401", "500", "text 403", "reason 403", "garbage", "not http", "200", "redirect")
PATH = "/api/v1/namespaces/n/pods/p"


def kubeconfig(directory: Path, url: str, user: dict[str, Any], **cluster: Any) -> str:
    path = directory / "kubeconfig"
    config = {
        "apiVersion": "v1", "kind": "Config", "clusters": [{"name": "c", "cluster": {"server": url} | cluster}],
        "users": [{"name": "u", "user": user}], "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    path.write_text(json.dumps(config))
    return str(path)


def program(directory: Path, output: str) -> dict[str, Any]:
    """An exec plugin that prints this."""
    (directory / "output").write_text(output)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": "cat", "args": [str(directory / "output")],
                     "interactiveMode": "Never"}}  # fmt: skip


def ways(directory: Path, url: str, canaries: Canaries) -> dict[str, dict[str, Any]]:
    """Flags of kubectl, by where the credential is."""
    token, password, oidc = (canaries.plant(name) for name in ("token", "password", "id-token"))
    data = base64.b64encode(canaries.plant("client-key-data").encode()).decode()
    status = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": token}}
    broken = directory / "broken"
    broken.write_text(f"users: [{{token: {token}\n  - {password}")
    users: dict[str, dict[str, Any]] = {
        "token": {"token": token},
        "password": {"username": "u", "password": password},
        "client key": {"client-certificate-data": data, "client-key-data": data},
        "auth provider": {"auth-provider": {"name": "oidc", "config": {"id-token": oidc, "refresh-token": token}}},
        "exec": program(directory, json.dumps(status)),
    }
    found = {}
    for name, user in users.items():
        own = directory / name
        own.mkdir()
        found[name] = {"kubeconfig": kubeconfig(own, url, user)}
    for name, output in {"exec, no JSON": token, "exec, no credential": json.dumps({"token": token})}.items():
        own = directory / name
        own.mkdir()
        found[name] = {"kubeconfig": kubeconfig(own, url, program(own, output))}
    return found | {
        "broken": {"kubeconfig": str(broken)},
        "--token": {"server": url, "token": token},
        "--password": {"server": url, "username": "u", "password": password},
        "login in --server": {"server": url.replace("://", f"://u:{password.partition('+')[0]}@")},
        "--proxy-url": {"server": "http://far.invalid", "token": token,
                        "proxy-url": url.replace("://", f"://u:{password.partition('+')[0]}@")},
    }  # fmt: skip


@pytest.mark.parametrize("answer", ["403", *(pytest.param(one, marks=[pytest.mark.slow]) for one in ANSWERS)])
def test_no_text_has_a_credential_of_a_cluster(answer: str, tmp_path, caplog, capfd, monkeypatch):
    canaries = Canaries()
    monkeypatch.setenv("HOME", str(tmp_path))
    texts = []
    with caplog.at_level("DEBUG"), Echo(answer) as server:
        for kube in ways(tmp_path, server.url, canaries).values():
            try:
                api = ApiServer(credentials.find(kube, {}))
                texts.append(f"{api.place} {api.credentials.who}")
                api.call("patch", PATH, "pods", body={"metadata": {}})
            except Exception as error:
                texts.append(told(error))
    hits = canaries.found("\n".join([*texts, *server.children, caplog.text, *capfd.readouterr()]))
    assert not hits, hits


def test_no_text_has_the_token_of_the_service_account(tmp_path):
    canaries = Canaries()
    with Echo("403") as server:
        (tmp_path / "token").write_text(canaries.plant("service account"))
        found = credentials.Credentials(server.url, "n", "the pod", credentials.bearer(tmp_path / "token"))
        with pytest.raises(Exception) as caught:
            ApiServer(found).call("get", PATH, "pods")
    assert server.sent
    hits = canaries.found(told(caught.value))
    assert not hits, hits
