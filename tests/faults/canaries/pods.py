"""A location of every kind with every credential it can have, and a canary in each of them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.faults.canaries.canary import Canaries
from tests.servers.fixtures import Secrets
from tests.servers.gcs import service_account

Location = dict[str, Any]
LOCATIONS: dict[str, Callable[..., Location]] = {}
"""By name; it begins with that of the driver."""

ENCRYPTED = {"s3-customer-key", "http-client-certificate"}
"""Those whose far end has to speak TLS."""

FTP = {"fsspec-plain-options", "fsspec-url", "fsspec-chain"}
"""Those whose client waits for the server to say something."""
SSH = {"git-ssh", "fsspec-options"}
OTHER_PROTOCOLS = {"hdfs-keytab", "hdfs-cache"}
"""Those to which HTTP is noise, whatever it says."""
FEW = {
    "s3-environment", "s3-customer-key", "s3-role", "s3-web-identity", "s3-container", "s3-shared-file",
    "s3-login-in-the-endpoint",
    "gcs-default", "azure-environment", "azure-signature", "artifactory-keys", "hdfs-web-keytab", "http-tunnel",
}  # fmt: skip
"""Those that differ from another in where their credentials are, and not in how they ask: a few answers will do."""
NOWHERE = {
    "fsspec-wrong-options", "fsspec-nobody", "fsspec-http", "git-query", "git-no-key", "raw-data",
    "http-wrong-certificate",
    "http-header-of-two-lines", "gcs-no-key", "azure-no-key", "s3-broken-file", "s3-process",
    "plugin-configuration", "plugin-list", "plugin-unknown",
}  # fmt: skip
"""Those that come to no far end."""


@dataclass
class Pod:
    """What a location is made with: ``plant`` writes a secret and gives its selector."""

    canaries: Canaries
    secrets: Secrets
    url: str
    patch: pytest.MonkeyPatch
    room: Path
    certificate: tuple[Path, Path]

    @property
    def endpoint(self) -> str:
        """The host and the port."""
        return self.url.partition("://")[2]

    def select(self, field: str, value: str = "") -> dict[str, str]:
        """A secret for a field, and the selector that names it."""
        key = field.replace(".", "-")
        self.secrets.write("canaries", **{key: value or self.canaries.plant(field)})
        return {"name": "canaries", "key": key}

    def keep(self, field: str, value: bytes) -> dict[str, str]:
        """The same with a secret that has a form, such as a private key."""
        return self.select(field, self.canaries.keep(field, value).decode())

    def variable(self, name: str, value: str = "") -> str:
        """A secret in the environment."""
        made = value or self.canaries.plant(name)
        self.patch.setenv(name, made)
        return made


def location(make: Callable[[Pod], Location]) -> Callable[[Pod], Location]:
    """Register one by its name."""
    LOCATIONS[make.__name__.replace("_", "-")] = make
    return make


# --- s3 ---------------------------------------------------------------------------------------------------------------


def _s3(pod: Pod, **more: Any) -> Location:
    return {"s3": {"endpoint": pod.endpoint, "bucket": "bucket", "region": "r", "insecure": True, "key": "it"} | more}


@location
def s3_keys(pod: Pod) -> Location:
    names = ("accessKeySecret", "secretKeySecret", "sessionTokenSecret")
    return _s3(pod, **{name: pod.select(f"s3.{name}") for name in names})


@location
def s3_customer_key(pod: Pod) -> Location:
    """The key that goes with every request is derived from the secret, and one, too."""
    ca = pod.keep("s3.caSecret", pod.certificate[0].read_bytes())
    customer = pod.select("s3.encryptionOptions.serverSideCustomerKeySecret")
    options = {"enableEncryption": True, "serverSideCustomerKeySecret": customer}
    keys = s3_keys(pod)["s3"]
    return {"s3": keys | {"insecure": False, "caSecret": ca, "encryptionOptions": options}}


@location
def s3_environment(pod: Pod) -> Location:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        pod.variable(name)
    return _s3(pod, useSDKCreds=True)


@location
def s3_role(pod: Pod) -> Location:
    pod.patch.setenv("AWS_ENDPOINT_URL_STS", pod.url)
    s3_environment(pod)
    return _s3(pod, roleARN="arn:aws:iam::123456789012:role/r")


@location
def s3_web_identity(pod: Pod) -> Location:
    """The token of the pod's service account, given for a role's credentials."""
    token = pod.room / "web-identity"
    token.write_text(pod.canaries.plant("AWS_WEB_IDENTITY_TOKEN_FILE"))
    pod.patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    pod.patch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
    pod.patch.setenv("AWS_ENDPOINT_URL_STS", pod.url)
    return _s3(pod, useSDKCreds=True)


@location
def s3_container(pod: Pod) -> Location:
    """As in EKS with pod identity, and in ECS."""
    pod.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN", pod.canaries.plant("AWS_CONTAINER_AUTHORIZATION_TOKEN"))
    pod.patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{pod.url}/credentials")
    return _s3(pod, useSDKCreds=True)


@location
def s3_shared_file(pod: Pod) -> Location:
    path = pod.room / "aws-credentials"
    key, secret = (pod.canaries.plant(f"AWS_SHARED_CREDENTIALS_FILE {name}") for name in ("key", "secret"))
    path.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    pod.patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return _s3(pod, useSDKCreds=True)


@location
def s3_broken_file(pod: Pod) -> Location:
    """A file that is none: its parser says which line it does not understand."""
    path = pod.room / "aws-credentials"
    path.write_text(f"{pod.canaries.plant('AWS_SHARED_CREDENTIALS_FILE broken')}\n")
    pod.patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return _s3(pod, useSDKCreds=True)


@location
def s3_process(pod: Pod) -> Location:
    """A program that prints credentials, in a form that is none."""
    path, output = pod.room / "aws-config", pod.room / "output"
    output.write_text(json.dumps({"Version": 7, "SecretAccessKey": pod.canaries.plant("credential_process")}))
    path.write_text(f"[default]\ncredential_process = cat {output}\n")
    pod.patch.setenv("AWS_CONFIG_FILE", str(path))
    return _s3(pod, useSDKCreds=True)


@location
def s3_login_in_the_endpoint(pod: Pod) -> Location:
    secret = quote(pod.canaries.plant("s3.endpoint with a login"), safe="")
    return _s3(pod, **s3_keys(pod)["s3"] | {"endpoint": f"user:{secret}@{pod.endpoint}"})


# --- http and artifactory ---------------------------------------------------------------------------------------------


def _http(url: str, **more: Any) -> Location:
    return {"http": {"url": f"{url}/it"} | more}


def _with_login(pod: Pod, field: str, query: str) -> str:
    user, password, word = (
        quote(pod.canaries.plant(name), safe="") for name in (f"{field} user", field, f"{field} query")
    )
    return f"{pod.url.replace('://', f'://{user}:{password}@')}/it" + (f"?{query}={word}" if query else "")


@location
def http_basic(pod: Pod) -> Location:
    names = ("usernameSecret", "passwordSecret")
    return _http(pod.url, auth={"basicAuth": {name: pod.select(f"http.auth.basicAuth.{name}") for name in names}})


@location
def http_url(pod: Pod) -> Location:
    return {"http": {"url": _with_login(pod, "http.url", "X-Amz-Signature")}}


@location
def http_headers(pod: Pod) -> Location:
    values = pod.canaries.plant("http.headers.value"), pod.canaries.plant("http.headers.value of another")
    headers = [{"name": "Authorization", "value": f"Bearer {values[0]}"}, {"name": "X-Api-Key", "value": values[1]}]
    return _http(pod.url, headers=headers)


@location
def http_header_of_two_lines(pod: Pod) -> Location:
    value = f"Bearer\r\n{pod.canaries.plant('http.headers.value')}"
    return _http(pod.url, headers=[{"name": "Authorization", "value": value}])


@location
def http_oauth2(pod: Pod) -> Location:
    field = "http.auth.oauth2"
    value = pod.canaries.plant(f"{field}.endpointParams.value")
    auth: dict[str, Any] = {name: pod.select(f"{field}.{name}") for name in ("clientIDSecret", "clientSecretSecret")}
    word = quote(pod.canaries.plant(f"{field}.tokenURLSecret"), safe="")
    auth["tokenURLSecret"] = pod.select(f"{field}.tokenURLSecret of it", f"{pod.url}/token?code={word}")
    return _http(pod.url, auth={"oauth2": auth | {"endpointParams": [{"key": "assertion", "value": value}]}})


@location
def http_client_certificate(pod: Pod) -> Location:
    field = "http.auth.clientCert"
    pair = [
        pod.keep(f"{field}.{name}", path.read_bytes())
        for name, path in zip(("clientCertSecret", "clientKeySecret"), pod.certificate, strict=True)
    ]
    pod.patch.setenv("SSL_CERT_FILE", str(pod.certificate[0]))
    return _http(pod.url, auth={"clientCert": {"clientCertSecret": pair[0], "clientKeySecret": pair[1]}})


@location
def http_wrong_certificate(pod: Pod) -> Location:
    field = "http.auth.clientCert"
    names = ("clientCertSecret", "clientKeySecret")
    return _http(pod.url, auth={"clientCert": {name: pod.select(f"{field}.{name}") for name in names}})


@location
def http_proxy(pod: Pod) -> Location:
    for name in ("http_proxy", "https_proxy"):
        word = quote(pod.canaries.plant(name), safe="")
        pod.variable(name, f"http://user:{word}@{pod.endpoint}")
    return _http("http://far.invalid")


@location
def http_tunnel(pod: Pod) -> Location:
    http_proxy(pod)
    return _http("https://far.invalid")


@location
def artifactory_keys(pod: Pod) -> Location:
    keys = {name: pod.select(f"artifactory.{name}") for name in ("usernameSecret", "passwordSecret")}
    return {"artifactory": {"url": _with_login(pod, "artifactory.url", "token")} | keys}


# --- gcs, oss, azure --------------------------------------------------------------------------------------------------


@cache
def _account() -> str:
    """An RSA key takes as long to make as ten tests."""
    return service_account("TOKEN")


def _gcs(pod: Pod, **more: Any) -> Location:
    pod.patch.setenv("STORAGE_EMULATOR_HOST", pod.url)
    return {"gcs": {"bucket": "bucket", "key": "it"} | more}


@location
def gcs_key(pod: Pod) -> Location:
    key = json.loads(_account()) | {"token_uri": f"{pod.url}/token"}
    pod.canaries.keep("gcs.serviceAccountKeySecret", key["private_key"].encode())
    return _gcs(pod, serviceAccountKeySecret=pod.select("gcs.key in JSON", json.dumps(key)))


@location
def gcs_no_key(pod: Pod) -> Location:
    """Not JSON, which its parser could say something about."""
    return _gcs(pod, serviceAccountKeySecret=pod.select("gcs.serviceAccountKeySecret"))


@location
def gcs_default(pod: Pod) -> Location:
    """A person's own credentials, found by Google's library."""
    names = ("client_secret", "refresh_token")
    values = {name: pod.canaries.plant(f"GOOGLE_APPLICATION_CREDENTIALS {name}") for name in names}
    path = pod.room / "google.json"
    path.write_text(json.dumps({"type": "authorized_user", "client_id": "c", "token_uri": f"{pod.url}/token"} | values))
    pod.patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    pod.patch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{pod.url}/token")
    pod.patch.setattr("drivers.gcs._token", lambda _: "google_default")
    return _gcs(pod)


@location
def oss_keys(pod: Pod) -> Location:
    keys = {name: pod.select(f"oss.{name}") for name in ("accessKeySecret", "secretKeySecret")}
    token = pod.canaries.plant("oss.securityToken")
    return {"oss": {"endpoint": pod.url, "bucket": "bucket", "key": "it", "securityToken": token} | keys}


def _azure(pod: Pod, **more: Any) -> Location:
    return {"azure": {"endpoint": f"{pod.url}/account", "container": "container", "blob": "it"} | more}


@location
def azure_key(pod: Pod) -> Location:
    key = base64.b64encode(pod.canaries.plant("azure.accountKeySecret").encode())
    return _azure(pod, accountKeySecret=pod.select("azure.key in base64", key.decode()))


@location
def azure_no_key(pod: Pod) -> Location:
    """Not base64, which the client would say something about."""
    return _azure(pod, accountKeySecret=pod.select("azure.accountKeySecret"))


@location
def azure_signature(pod: Pod) -> Location:
    word = quote(pod.canaries.plant("azure.accountKeySecret"), safe="")
    return _azure(pod, accountKeySecret=pod.select("azure.token", f"sv=2022-11-02&sp=rw&sig={word}"))


@location
def azure_environment(pod: Pod) -> Location:
    pod.variable("AZURE_CLIENT_SECRET")
    pod.patch.setenv("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000001")
    pod.patch.setenv("AZURE_TENANT_ID", "00000000-0000-0000-0000-000000000002")
    pod.patch.setenv("AZURE_AUTHORITY_HOST", pod.url.replace("http://", "https://"))
    return _azure(pod, useSDKCreds=True)


# --- git --------------------------------------------------------------------------------------------------------------


@location
def git_password(pod: Pod) -> Location:
    keys = {name: pod.select(f"git.{name}") for name in ("usernameSecret", "passwordSecret")}
    return {"git": {"repo": f"{pod.url}/r.git"} | keys}


@location
def git_repo(pod: Pod) -> Location:
    return {"git": {"repo": _with_login(pod, "git.repo", "")}}


@location
def git_query(pod: Pod) -> Location:
    return {"git": {"repo": _with_login(pod, "git.repo", "private_token")}}


@location
def git_ssh(pod: Pod) -> Location:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen")
    path = pod.room / "made-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    key = pod.keep("git.sshPrivateKeySecret", path.read_bytes())
    path.unlink()
    repo = f"ssh://git@{pod.endpoint}/r.git"
    return {"git": {"repo": repo, "sshPrivateKeySecret": key, "insecureIgnoreHostKey": True}}


@location
def git_no_key(pod: Pod) -> Location:
    return {"git": {"repo": "git@host.invalid:r.git", "sshPrivateKeySecret": pod.select("git.sshPrivateKeySecret")}}


# --- hdfs -------------------------------------------------------------------------------------------------------------


def _hdfs(pod: Pod, **more: Any) -> Location:
    pod.patch.setenv("JAVA_HOME", str(pod.room))
    return {"hdfs": {"addresses": [pod.endpoint], "path": "/d/it", "krbServicePrincipalName": "hdfs/_HOST"} | more}


@location
def hdfs_keytab(pod: Pod) -> Location:
    who = {"krbUsername": "u", "krbRealm": "R.INVALID"}
    return _hdfs(
        pod,
        krbKeytabSecret=pod.select("hdfs.krbKeytabSecret"),
        krbConfigConfigMap=pod.select("hdfs.krbConfigConfigMap"),
        **who,
    )


@location
def hdfs_cache(pod: Pod) -> Location:
    return _hdfs(pod, krbCCacheSecret=pod.select("hdfs.krbCCacheSecret"))


@location
def hdfs_web(pod: Pod) -> Location:
    word = quote(pod.canaries.plant("hdfs.addresses with a login"), safe="")
    return {"hdfs": {"addresses": [pod.url.replace("://", f"://u:{word}@")], "path": "/d/it", "hdfsUser": "u"}}


@location
def hdfs_web_keytab(pod: Pod) -> Location:
    return {"hdfs": hdfs_keytab(pod)["hdfs"] | {"addresses": [pod.url]}}


# --- fsspec, raw and plugin -------------------------------------------------------------------------------------------


@location
def fsspec_options(pod: Pod) -> Location:
    host, _, port = pod.endpoint.rpartition(":")
    password = {"secretKeyRef": pod.select("fsspec.options")}
    return {"fsspec": {"url": "sftp:///it", "options": {"host": host, "port": int(port), "password": password}}}


@location
def fsspec_plain_options(pod: Pod) -> Location:
    host, _, port = pod.endpoint.rpartition(":")
    options = {"host": host, "port": int(port), "username": "u", "password": pod.canaries.plant("fsspec.options")}
    return {"fsspec": {"url": "ftp:///it", "options": options}}


@location
def fsspec_wrong_options(pod: Pod) -> Location:
    options = {"nobody": pod.canaries.plant("fsspec.options"), "port": pod.canaries.plant("fsspec.options of another")}
    return {"fsspec": {"url": "ftp://127.0.0.1/it", "options": options}}


@location
def fsspec_url(pod: Pod) -> Location:
    url = _with_login(pod, "fsspec.url", "token").replace("http://", "ftp://")
    return {"fsspec": {"url": url}}


@location
def fsspec_chain(pod: Pod) -> Location:
    url = _with_login(pod, "fsspec.url", "").replace("http://", "ftp://")
    return {"fsspec": {"url": f"simplecache::{url}", "options": {"simplecache": {"cache_storage": str(pod.room)}}}}


@location
def fsspec_nobody(pod: Pod) -> Location:
    """A scheme that nobody knows, and one that belongs to another kind of location."""
    return {"fsspec": {"url": _with_login(pod, "fsspec.url", "token").replace("http://", "nobody://")}}


@location
def fsspec_http(pod: Pod) -> Location:
    return {"fsspec": {"url": _with_login(pod, "fsspec.url", "token")}}


@location
def raw_data(pod: Pod) -> Location:
    return {"raw": {"data": pod.canaries.plant("raw.data")}}


@location
def plugin_configuration(pod: Pod) -> Location:
    """Text that is no YAML."""
    text = f"token: [{pod.canaries.plant('plugin.configuration')}\n}}"
    return {"plugin": {"name": "somebody", "key": "it", "configuration": text}}


@location
def plugin_list(pod: Pod) -> Location:
    return {"plugin": {"name": "somebody", "key": "it", "configuration": [pod.canaries.plant("plugin.configuration")]}}


@location
def plugin_unknown(pod: Pod) -> Location:
    token = {"token": pod.canaries.plant("plugin.configuration")}
    return {"plugin": {"name": "nobody-has-this", "key": "it", "configuration": token}}
