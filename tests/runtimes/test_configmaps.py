"""Config maps, asked of a scripted API server over TLS."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

import pytest

from lifecycle.errors import BadRequest, Forbidden, InputError, Throttled, Unauthorized, Unavailable
from lifecycle.ports import Surroundings
from lifecycle.secret import SecretReader
from runtimes import credentials
from runtimes.configmaps import ClusterConfigMaps
from tests.servers.httpd import Answer, Httpd

PATH = "/api/v1/namespaces/flows/configmaps/kerberos"
SELECTOR = {"name": "kerberos", "key": "krb5.conf"}


@pytest.fixture
def api(certificate):
    with Httpd(certificate) as server:
        yield server


@pytest.fixture
def kubeconfig(api, certificate, tmp_path):
    """Of a user who has a token, in the namespace `flows`."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "c", "cluster": {"server": api.url, "certificate-authority": str(certificate[0])}}
                ],
                "users": [{"name": "u", "user": {"token": "t0ken"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "flows"}}],
                "current-context": "x",
            }
        )
    )
    return str(path)


def config_maps(kubeconfig: str = "", **environ: str) -> ClusterConfigMaps:
    kube = {"kubeconfig": kubeconfig} if kubeconfig else {}
    return ClusterConfigMaps(Surroundings("pod", environ, Path("annotations"), kube))


def found(value: str) -> Answer:
    return Answer(body=json.dumps({"kind": "ConfigMap", "data": {"krb5.conf": value}}).encode())


def test_a_value_is_read_with_the_token_and_the_ca_of_the_kubeconfig(api, kubeconfig):
    api.on(PATH, found("[libdefaults]\n"))

    assert config_maps(kubeconfig).read("kerberos", "krb5.conf") == "[libdefaults]\n"
    assert api.requests[0].headers["Authorization"] == "Bearer t0ken"


def test_the_keys_of_a_kubeconfig_are_on_no_disk(api, certificate, kubeconfig, tmp_path, monkeypatch):
    pem, key = (base64.b64encode(path.read_bytes()).decode() for path in certificate)
    raw = json.loads((tmp_path / "kubeconfig").read_text())
    raw["clusters"][0]["cluster"] = {"server": api.url, "certificate-authority-data": pem}
    raw["users"][0]["user"] = {"client-certificate-data": pem, "client-key-data": key}
    (tmp_path / "kubeconfig").write_text(json.dumps(raw))
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    api.on(PATH, found("x"))

    for _ in range(2):
        assert config_maps(kubeconfig).read("kerberos", "krb5.conf") == "x"
        assert list(directory.iterdir()) == []


def test_a_pod_uses_its_service_account(api, certificate, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("p0d\n")
    (tmp_path / "namespace").write_text("flows")
    (tmp_path / "ca.crt").write_bytes(certificate[0].read_bytes())
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", tmp_path)
    port = api.endpoint.rpartition(":")[2]
    api.on(PATH, found("x"))

    asked = config_maps(KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT=port)
    assert asked.read("kerberos", "krb5.conf") == "x"
    assert api.requests[0].headers["Authorization"] == "Bearer p0d"


@pytest.mark.parametrize("data", ["{", '"client-key-data": "a"'])
def test_a_kubeconfig_that_cannot_be_read_is_a_bad_request(kubeconfig, tmp_path, data):
    text = (tmp_path / "kubeconfig").read_text()
    (tmp_path / "kubeconfig").write_text(text.replace('"token": "t0ken"', data))
    with pytest.raises(InputError, match=r"/kubeconfig: "):
        config_maps(kubeconfig)


def test_without_a_cluster_it_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(BadRequest, match="no API server to ask") as caught:
        config_maps()

    assert "--kubeconfig" in caught.value.remedy


@pytest.mark.parametrize(
    ("status", "error", "remedy"),
    [
        (401, Unauthorized, "the user 'u'"),
        (403, Forbidden, "grant `get` on `configmaps`"),
        (404, BadRequest, "create it there"),
        (429, Throttled, ""),
        (503, Unavailable, ""),
    ],
)
def test_what_the_api_server_answers_is_told(api, kubeconfig, status, error, remedy):
    api.on(PATH, Answer(status, b"{}"))
    with pytest.raises(error, match="kerberos") as caught:
        config_maps(kubeconfig).read("kerberos", "krb5.conf")

    assert remedy in caught.value.remedy
    assert api.asked[PATH] == 1


def test_a_key_that_is_not_there_is_named(api, kubeconfig):
    api.on(PATH, found("x"))
    with pytest.raises(BadRequest, match="has no key 'other'"):
        config_maps(kubeconfig).read("kerberos", "other")


def test_an_api_server_that_is_gone_is_unavailable(api, kubeconfig):
    asked = config_maps(kubeconfig)
    api.__exit__()
    with pytest.raises(Unavailable, match="Connection refused"):
        asked.read("kerberos", "krb5.conf")


class Counted:
    """Config maps that count how often they are asked."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self, name: str, key: str) -> str:
        self.asked += 1
        return f"{name}/{key}"


def test_a_reader_asks_the_cluster_once_and_only_when_it_must(tmp_path):
    cluster = Counted()
    reader = SecretReader(tmp_path, lambda: cluster)
    assert reader.config_map(None) is None
    assert cluster.asked == 0

    assert [reader.config_map(SELECTOR) for _ in range(2)] == ["kerberos/krb5.conf"] * 2
    assert cluster.asked == 1


def test_a_directory_serves_config_maps_without_a_cluster(tmp_path):
    reader = SecretReader(tmp_path)
    with pytest.raises(BadRequest, match=r"'kerberos' has no key 'krb5\.conf'") as caught:
        reader.config_map(SELECTOR)
    assert str(tmp_path / "kerberos/krb5.conf") in caught.value.remedy

    (tmp_path / "kerberos").mkdir()
    (tmp_path / "kerberos/krb5.conf").write_text("[realms]\n")
    assert reader.config_map(SELECTOR) == "[realms]\n"


@pytest.mark.parametrize("selector", [{"name": "a"}, {"name": "a/b", "key": "c"}, {"name": "..", "key": "c"}])
def test_a_selector_cannot_leave_the_directory(tmp_path, selector):
    reader = SecretReader(tmp_path)
    for ask in (reader.read, reader.read_bytes, reader.config_map):
        with pytest.raises(InputError, match="needs a key"):
            ask(selector)


def test_bytes_of_a_secret_are_as_they_are(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/keytab").write_bytes(b"\x05\x02\xff \n")
    reader = SecretReader(tmp_path)

    assert reader.read_bytes({"name": "s", "key": "keytab"}) == b"\x05\x02\xff \n"
    with pytest.raises(Unauthorized, match="is not text") as caught:
        reader.read({"name": "s", "key": "keytab"})
    assert caught.value.__cause__ is None
