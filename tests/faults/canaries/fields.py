"""Where a secret can be given: derived from what the executor reads of a template, driver by driver."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import drivers
from lifecycle.registry import DRIVERS
from lifecycle.view import ArtifactLocation, SecretSelector

if TYPE_CHECKING:
    from collections.abc import Iterator

_SELECTOR = re.compile(r"[a-z]\w*Secret")

OPEN = {
    "s3.endpoint", "s3.bucket", "s3.region", "s3.key", "s3.roleARN", "s3.addressingStyle",
    "s3.encryptionOptions.kmsKeyId", "s3.encryptionOptions.kmsEncryptionContext",
    "git.revision", "git.fetch", "git.branch",
    "http.headers.name", "http.auth.oauth2.scopes", "http.auth.oauth2.endpointParams.key",
    "hdfs.addresses", "hdfs.path", "hdfs.hdfsUser", "hdfs.krbUsername", "hdfs.krbRealm", "hdfs.krbServicePrincipalName",
    "hdfs.dataTransferProtection",
    "gcs.bucket", "gcs.key", "oss.endpoint", "oss.bucket", "oss.key", "oss.lifecycleRule",
    "azure.endpoint", "azure.container", "azure.blob",
}  # fmt: skip
"""Texts of a location that are no secret: names, and what messages have to say. A new one has to be judged, here or by
planting one."""

NOT_IN_THE_VIEW = {"plugin.configuration"}
"""Read by no view, because its shape is the plugin's."""

CONTENT = {"raw.data", "script.source", "container.env.value"}
"""What a person wrote for a container. It goes where it is meant to go, a file or main; no log or record has it."""


def selectors() -> set[str]:
    """Every field of a location that names a secret or a config map, such as ``s3.accessKeySecret``."""
    return {path for path, kind in _leaves() if kind is SecretSelector}


def texts() -> set[str]:
    """Every other field of a location that a person can write a text into."""
    return {path for path, kind in _leaves() if kind is not SecretSelector}


def read_by_drivers() -> set[str]:
    """The last name of every selector that a driver's module knows, whether or not the view has it."""
    found = set()
    for module in Path(drivers.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SELECTOR.fullmatch(node.value):
                found.add(node.value)
    return found


def unseen_drivers() -> set[str]:
    """Drivers of the registry whose location no view describes."""
    return set(DRIVERS) - set(_fields(ArtifactLocation))


def _leaves() -> Iterator[tuple[str, Any]]:
    fields = _fields(ArtifactLocation)
    for name in DRIVERS:
        if name in fields:
            yield from _below(name, fields[name])


def _below(path: str, kind: Any) -> Iterator[tuple[str, Any]]:
    if kind is SecretSelector or kind in {str, dict}:
        yield path, kind
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for name, inner in _fields(kind).items():
            yield from _below(f"{path}.{name}", inner)


def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """By the name in the template, with the type that counts: of `list[X]` and `X | None` it is X."""
    return {one.encode_name: _inner(one.type) for one in msgspec.structs.fields(struct)}


def _inner(kind: Any) -> Any:
    arguments = [one for one in getattr(kind, "__args__", ()) if one is not type(None)]
    origin = getattr(kind, "__origin__", None)
    if origin is dict:
        return dict
    return _inner(arguments[0]) if arguments else kind
