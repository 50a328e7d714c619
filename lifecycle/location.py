"""Where an artifact is: its location's type, configuration and key (spec 1.6, 1.11, 1.13).

The raw dict of the template stays the truth. A location is split into what says *which store* (the configuration, by
which drivers are shared) and what says *which object* (the key).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The driver's choice when several are present is this order (spec 1.6); the later types follow, ours is last.
KEY_FIELDS = {
    "s3": "key",
    "http": "url",
    "git": "repo",
    "artifactory": "url",
    "hdfs": "path",
    "raw": "data",
    "gcs": "key",
    "oss": "key",
    "azure": "blob",
    "plugin": "key",
    "fsspec": "url",
}
_REQUIRED = {
    "s3": "bucket",
    "hdfs": "addresses",
    "gcs": "bucket",
    "oss": "bucket",
    "azure": "container",
    "plugin": "name",
}
_URL_KEYS = {"http", "artifactory", "fsspec"}
_QUOTED = {"http", "artifactory"}
# user:password@host without a scheme, or with a slash too few: to urlsplit the password is part of the path.
_LOOSE = re.compile(r"(?:\w+:)?/?[^/@]*:[^/@]*@(?P<rest>[^?#]*)")
_CHAIN = re.compile(r"[A-Za-z][\w+.-]*::|[A-Za-z][\w+.-]*://(?!\[)[^?#]*?::[A-Za-z]")
ARCHIVE_TYPES = ("s3", "artifactory", "hdfs", "gcs", "oss", "azure", "plugin", "fsspec")
"""The types an ``archiveLocation`` may have: those that can be saved to."""


@dataclass(frozen=True, slots=True)
class Location:
    """One object, or one directory, of one store.

    Attributes:
        type: the key of the artifact it stood under, such as ``s3``; also the driver's name.
        config: everything but the key.
        key: what names the object; for http a URL, for git the repository, for raw the data itself.
    """

    type: str
    config: Mapping[str, Any]
    key: str

    @property
    def store(self) -> str:
        """Equal for two locations of one store: what a driver is shared by. Holds no secret, only selectors."""
        return f"{self.type}:{json.dumps(self.config, sort_keys=True, default=str)}"

    def join(self, name: str) -> Location:
        """The location of ``name`` below this one; in a URL the path is joined, its query stays.

        A name is quoted in an http URL: that of a file may hold a ``#`` or a ``?``, and would be cut there.

        Raises:
            InputError: the URL cannot be parsed.
        """
        if self.type not in _URL_KEYS:
            return Location(self.type, self.config, f"{self.key.rstrip('/')}/{name}" if self.key else name)
        try:
            scheme, netloc, path, query, fragment = urlsplit(self.key)
        except ValueError:  # from None: it names the URL
            raise InputError("the URL cannot be parsed", place=f"{self.type}.{KEY_FIELDS[self.type]}") from None
        if self.type in _QUOTED:
            name = quote(name)
        url = urlunsplit((scheme, netloc, f"{path.rstrip('/')}/{name}", query, fragment))
        if not netloc and self.key.startswith(f"{scheme}://") and not url.startswith(f"{scheme}://"):
            url = f"{scheme}://" + url.removeprefix(f"{scheme}:")  # memory://a: urlunsplit drops an empty authority
        return Location(self.type, self.config, url)

    def raw(self) -> dict[str, Any]:
        """As it stands in an artifact: ``{"s3": {…, "key": …}}``."""
        return {self.type: dict(self.config) | {KEY_FIELDS[self.type]: self.key}}

    def key_only(self, artifact: Mapping[str, Any]) -> dict[str, Any]:
        """As it stands in an artifact whose reader knows the store: its own fields and the key (spec 5.7)."""
        return {self.type: dict(artifact.get(self.type) or {}) | {KEY_FIELDS[self.type]: self.key}}

    def __str__(self) -> str:
        """For messages: the store and the key, never credentials, never a raw artifact's data."""
        if self.type == "raw":
            return f"raw ({len(self.key)} characters)"
        if self.type in _URL_KEYS | {"git"}:
            return f"{self.type} {without_userinfo(self.key)}"
        store = next((self.config[field] for field in ("bucket", "container", "name") if self.config.get(field)), "")
        return f"{self.type}://{store}/{self.key.lstrip('/')}"


def without_userinfo(url: str) -> str:
    """The URL without user, password and query: the three places where people put secrets.

    In a chain of fsspec's, such as ``simplecache::ftp://…``, each part is a URL.
    """
    if "::" in url and _CHAIN.match(url):
        return "::".join(without_userinfo(part) for part in url.split("::"))
    try:
        scheme, netloc, path, query, _ = urlsplit(url)
    except ValueError:  # whose text may have the password in it
        return "a URL that cannot be parsed"
    if not netloc and (loose := _LOOSE.match(url)):
        return loose["rest"]
    return urlunsplit((scheme, netloc.rpartition("@")[2], path, "…" if query else "", ""))


def of_artifact(artifact: Mapping[str, Any], *, place: str = "") -> Location | None:
    """The location an artifact names, or ``None``: the "has a location" test (spec 1.6).

    Raises:
        InputError: it has one whose key is not a string.
    """
    for kind, key_field in KEY_FIELDS.items():
        config = artifact.get(kind)
        if not isinstance(config, dict) or not _names_something(kind, config):
            continue
        key = config.get(key_field, "")
        if not isinstance(key, str):
            raise InputError("expected a string", place=f"{place}.{kind}.{key_field}")
        return Location(kind, {name: value for name, value in config.items() if name != key_field}, key)
    return None


def relocated(artifact: Mapping[str, Any], archive: Mapping[str, Any] | None) -> dict[str, Any]:
    """A key-only artifact (spec 5.7) with the store of the archive location; any other as it is."""
    for kind in ARCHIVE_TYPES:
        config = artifact.get(kind)
        store = (archive or {}).get(kind)
        if isinstance(config, dict) and isinstance(store, dict) and not _names_something(kind, config):
            merged = store | config
            if KEY_FIELDS[kind] not in config:
                merged.pop(KEY_FIELDS[kind], None)  # the archive's own key is a prefix, not this artifact's place
            return dict(artifact) | {kind: merged}
    return dict(artifact)


def _names_something(kind: str, config: Mapping[str, Any]) -> bool:
    if kind == "raw":
        return True
    return bool(config.get(_REQUIRED.get(kind, KEY_FIELDS[kind])))
