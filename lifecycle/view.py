"""The typed view of a template: the fields that the executor reads (spec 1.6, and section 3 for the stores).

For reading only: the raw dict is the truth, and nothing is ever encoded back from here.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _View(msgspec.Struct, rename="camel", kw_only=True):
    """Unknown fields are ignored here and kept in the raw dict."""


class SecretSelector(_View):
    """Which key of which mounted secret."""

    name: str = ""
    key: str = ""
    optional: bool | None = None


class ValueFrom(_View):
    """Where an output parameter's value comes from."""

    path: str = ""
    json_path: str = ""
    jq_filter: str = ""
    parameter: str = ""
    default: str | int | float | bool | None = None


class Parameter(_View):
    """A parameter; numbers and booleans are Kubernetes' IntOrString looseness."""

    name: str
    default: str | int | float | bool | None = None
    value: str | int | float | bool | None = None
    value_from: ValueFrom | None = None
    global_name: str = ""


class TarStrategy(_View):
    """``archive.tar``."""

    compression_level: int | None = None


class ArchiveStrategy(_View):
    """``archive``: absent is tar; an object with none of the keys is tar as well (spec 7.2 #23)."""

    tar: TarStrategy | None = None
    none: dict[str, Any] | None = None
    zip: dict[str, Any] | None = None


class Header(_View):
    """One HTTP header."""

    name: str
    value: str = ""


class CreateBucket(_View):
    """``s3.createBucketIfNotPresent``."""

    object_locking: bool = False


class Encryption(_View):
    """``s3.encryptionOptions``."""

    enable_encryption: bool = False
    kms_key_id: str = ""
    kms_encryption_context: str = ""
    server_side_customer_key_secret: SecretSelector | None = None


class S3(_View):
    """``s3``: spec 3.1 and 5.29."""

    endpoint: str = ""
    bucket: str = ""
    region: str = ""
    key: str = ""
    insecure: bool | None = None
    access_key_secret: SecretSelector | None = None
    secret_key_secret: SecretSelector | None = None
    session_token_secret: SecretSelector | None = None
    role_arn: str = msgspec.field(default="", name="roleARN")
    use_sdk_creds: bool = msgspec.field(default=False, name="useSDKCreds")
    ca_secret: SecretSelector | None = None
    addressing_style: str = ""
    create_bucket_if_not_present: CreateBucket | None = None
    encryption_options: Encryption | None = None


class Git(_View):
    """``git``: spec 3.3 and 5.29."""

    repo: str = ""
    revision: str = ""
    depth: int | None = None
    fetch: list[str] = []
    username_secret: SecretSelector | None = None
    password_secret: SecretSelector | None = None
    ssh_private_key_secret: SecretSelector | None = None
    insecure_ignore_host_key: bool = False
    insecure_skip_tls: bool = msgspec.field(default=False, name="insecureSkipTLS")
    disable_submodules: bool = False
    single_branch: bool = False
    branch: str = ""


class BasicAuth(_View):
    """``http.auth.basicAuth``."""

    username_secret: SecretSelector | None = None
    password_secret: SecretSelector | None = None


class EndpointParam(_View):
    """One more field of a token request."""

    key: str
    value: str = ""


class OAuth2(_View):
    """``http.auth.oauth2``: client credentials."""

    client_id_secret: SecretSelector | None = msgspec.field(default=None, name="clientIDSecret")
    client_secret_secret: SecretSelector | None = None
    token_url_secret: SecretSelector | None = msgspec.field(default=None, name="tokenURLSecret")
    scopes: list[str] = []
    endpoint_params: list[EndpointParam] = []


class ClientCert(_View):
    """``http.auth.clientCert``."""

    client_cert_secret: SecretSelector | None = None
    client_key_secret: SecretSelector | None = None


class HttpAuth(_View):
    """``http.auth``."""

    basic_auth: BasicAuth | None = None
    oauth2: OAuth2 | None = None
    client_cert: ClientCert | None = None


class Http(_View):
    """``http``: spec 3.2 and 5.29."""

    url: str = ""
    headers: list[Header] = []
    auth: HttpAuth | None = None
    save_stream_via_file: bool = False


class Artifactory(_View):
    """``artifactory``."""

    url: str = ""
    username_secret: SecretSelector | None = None
    password_secret: SecretSelector | None = None


class Hdfs(_View):
    """``hdfs``: spec 3.5 and 5.29."""

    addresses: list[str] = []
    path: str = ""
    hdfs_user: str = ""
    force: bool = False
    krb_c_cache_secret: SecretSelector | None = None
    krb_keytab_secret: SecretSelector | None = None
    krb_username: str = ""
    krb_realm: str = ""
    krb_config_config_map: SecretSelector | None = None
    krb_service_principal_name: str = ""
    data_transfer_protection: str = ""


class Gcs(_View):
    """``gcs``: spec 5.3."""

    bucket: str = ""
    key: str = ""
    service_account_key_secret: SecretSelector | None = None


class Oss(_View):
    """``oss``: spec 5.3."""

    endpoint: str = ""
    bucket: str = ""
    key: str = ""
    access_key_secret: SecretSelector | None = None
    secret_key_secret: SecretSelector | None = None
    security_token: str = ""
    create_bucket_if_not_present: bool = False
    lifecycle_rule: dict[str, Any] | None = None
    use_sdk_creds: bool = msgspec.field(default=False, name="useSDKCreds")


class Azure(_View):
    """``azure``: spec 5.29."""

    endpoint: str = ""
    container: str = ""
    blob: str = ""
    account_key_secret: SecretSelector | None = None
    use_sdk_creds: bool = msgspec.field(default=False, name="useSDKCreds")


class Raw(_View):
    """``raw``."""

    data: str = ""


class Fsspec(_View):
    """``fsspec``: a location of ours."""

    url: str = ""
    options: dict[str, Any] = {}


class ArtifactLocation(_View):
    """What an artifact and an ``archiveLocation`` have in common."""

    archive_logs: bool | None = None
    s3: S3 | None = None
    git: Git | None = None
    http: Http | None = None
    artifactory: Artifactory | None = None
    hdfs: Hdfs | None = None
    raw: Raw | None = None
    gcs: Gcs | None = None
    oss: Oss | None = None
    azure: Azure | None = None
    fsspec: Fsspec | None = None


class Artifact(ArtifactLocation, kw_only=True):
    """An input or output artifact."""

    name: str
    path: str = ""
    mode: int | None = None
    recurse_mode: bool = False
    archive: ArchiveStrategy | None = None
    optional: bool = False
    global_name: str = ""

    @property
    def archive_kind(self) -> str:
        """``tar``, ``none`` or ``zip``: how an output is packed."""
        if self.archive is not None and self.archive.none is not None:
            return "none"
        if self.archive is not None and self.archive.zip is not None:
            return "zip"
        return "tar"

    @property
    def declared_archive(self) -> str | None:
        """What an input is declared to be; ``None``: look at its first bytes (spec 5.5)."""
        return self.archive_kind if self.archive is not None else None

    @property
    def compression_level(self) -> int | None:
        """The gzip level that the template asks for."""
        return self.archive.tar.compression_level if self.archive and self.archive.tar else None


class Inputs(_View):
    """``inputs``."""

    parameters: list[Parameter] = []
    artifacts: list[Artifact] = []


class Outputs(_View):
    """``outputs``."""

    parameters: list[Parameter] = []
    artifacts: list[Artifact] = []


class VolumeMount(_View):
    """One entry of ``volumeMounts``."""

    name: str
    mount_path: str
    sub_path: str = ""
    read_only: bool = False


class EnvVar(_View):
    """One entry of ``env``."""

    name: str
    value: str | int | float | bool | None = None
    value_from: dict[str, Any] | None = None


class ContainerView(_View):
    """What the executor reads of a Kubernetes container."""

    name: str = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[EnvVar] = []
    env_from: list[dict[str, Any]] = []
    working_dir: str = ""
    volume_mounts: list[VolumeMount] = []
    mirror_volume_mounts: bool | None = None
    security_context: dict[str, Any] | None = None


class Script(ContainerView):
    """``script``."""

    source: str = ""


class Resource(_View):
    """``resource``."""

    action: str = ""
    manifest: str = ""


class TemplateView(_View):
    """The fields the executor reads."""

    name: str = ""
    inputs: Inputs = msgspec.field(default_factory=Inputs)
    outputs: Outputs = msgspec.field(default_factory=Outputs)
    container: ContainerView | None = None
    script: Script | None = None
    resource: Resource | None = None
    sidecars: list[ContainerView] = []
    init_containers: list[ContainerView] = []
    volumes: list[dict[str, Any]] = []
    archive_location: ArtifactLocation | None = None
    active_deadline_seconds: int | str | None = None
    daemon: bool | None = None
