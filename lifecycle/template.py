"""The template: the raw dict is the truth, a typed view is for reading (spec 1.6).

Nothing is ever encoded back from the view, so a field this executor does not know survives into the report. A wrong
type is found when the view is made, and named by its place: ``$.inputs.artifacts[3].s3.insecure``.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Any

import msgspec

from lifecycle.errors import InputError
from lifecycle.location import of_artifact, relocated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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


class Template:
    """One template: ``raw`` is the truth, ``view`` is for reading."""

    def __init__(self, raw: Mapping[str, Any], *, place: str = "$") -> None:
        """Make the typed view.

        Raises:
            InputError: a field has the wrong type; the message names its place.
        """
        self.raw = dict(raw)
        self.view: TemplateView = convert(_without_nulls(self.raw), TemplateView, place=place)

    @classmethod
    def parse(cls, text: str | bytes, *, place: str = "template") -> Template:
        """Decode JSON.

        Raises:
            InputError: not JSON (line and column are named), or not an object.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise InputError(f"not JSON: {error}", place=place) from error
        if not isinstance(raw, dict):
            raise InputError(f"expected an object, got {type(raw).__name__}", place=place)
        return cls(raw)

    @property
    def name(self) -> str:
        """The template's name."""
        return self.view.name

    @property
    def main(self) -> ContainerView | None:
        """The container or the script's container (spec 1.6: container wins)."""
        return self.view.container or self.view.script

    def raw_artifacts(self, side: str) -> list[dict[str, Any]]:
        """The raw artifacts of ``inputs`` or ``outputs``, in template order."""
        return list((self.raw.get(side) or {}).get("artifacts") or [])

    @property
    def archive_location(self) -> dict[str, Any]:
        """The raw archive location, empty when there is none."""
        return dict(self.raw.get("archiveLocation") or {})

    def mounts(self) -> Iterator[VolumeMount]:
        """Main's own volume mounts, of a script too (spec 1.8, as from v2.4.0)."""
        if self.main is not None:
            yield from self.main.volume_mounts

    def overlapping_mount(self, path: str) -> VolumeMount | None:
        """The deepest of main's mounts that ``path`` equals or lies below, by whole path elements."""
        found = [mount for mount in self.mounts() if lies_below(path, mount.mount_path)]
        return max(found, key=lambda mount: len(normal(mount.mount_path)), default=None)

    def is_mirrored(self, path: str) -> bool:
        """Whether ``wait`` sees an output path through its mirror rather than main's base layer (spec 1.12, 5.1).

        True below a volume mount, and below an input artifact that was supplied: one that is optional and was not is
        not mounted either.
        """
        if self.overlapping_mount(path) is not None:
            return True
        supplied = (one for one in self.raw_artifacts("inputs") if of_artifact(relocated(one, self.archive_location)))
        return any(one.get("path") and lies_below(path, one["path"]) for one in supplied)


def convert(raw: Any, kind: type[Any], *, place: str = "$") -> Any:
    """A typed view of decoded JSON.

    Raises:
        InputError: naming the place by a JSON path that begins with ``place``.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        raise InputError(text, place=place + path.rstrip("`").removeprefix("$")) from error


def check_path(path: str, *, place: str) -> str:
    """An artifact's path: absolute and without ``..`` (spec 5.10, CleanPath).

    Raises:
        InputError: it is not.
    """
    if not path:
        raise InputError("a path is needed", place=place)
    if not path.startswith("/") or ".." in path.split("/"):
        raise InputError(f"{path!r} is not an absolute path without '..'", place=place)
    return normal(path)


def normal(path: str) -> str:
    """Without trailing and doubled slashes and ``.`` elements."""
    return re.sub(r"^/+", "/", posixpath.normpath(path))


def lies_below(path: str, root: str) -> bool:
    """Whether ``path`` is ``root`` or below it, compared by whole elements (``/foobar`` is not below ``/foo``)."""
    path, root = normal(path), normal(root)
    return path == root or path.startswith(root.rstrip("/") + "/")


def text_of(value: str | float | bool | None) -> str:
    """A parameter's value as a string, booleans and numbers as YAML and JSON write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _without_nulls(value: Any) -> Any:
    """Kubernetes treats a null field as an absent one, and so do people's files (``emptyDir:``)."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
