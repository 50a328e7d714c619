"""URLs a person gives → locations: of an artifact (``-a``), of the store that outputs go to (``--store``)."""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lifecycle.errors import InputError
from lifecycle.location import ARCHIVE_TYPES, Location, of_artifact, without_userinfo

if TYPE_CHECKING:
    from collections.abc import Mapping

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_USERINFO = re.compile(r"://[^/]*@")
_PASSWORD = re.compile(r"://[^/]*:[^/]*@")


def is_url(text: str) -> bool:
    """Whether it is a URL, one of fsspec's chains (``simplecache::s3://…``) included, rather than a path."""
    return _URL.match(text) is not None


def location_of_url(url: str, environ: Mapping[str, str], *, place: str) -> dict[str, Any]:
    """The raw location of one object or directory.

    Raises:
        InputError: a URL of s3 or gs without a bucket or key, of hdfs without a name node or path.
    """
    scheme = url.split(":", 1)[0].lower()
    if scheme in ("http", "https"):
        return {"http": {"url": url}}
    if scheme in ("s3", "gs"):
        bucket, key = _bucket_and_key(url, place)
        if not key:
            raise InputError(f"{_shown(url)!r} names no object", place=place, remedy=f"give {scheme}://BUCKET/KEY")
        return _s3(bucket, key, environ, place) if scheme == "s3" else _gcs(bucket, key)
    if scheme == "hdfs":
        return _hdfs(url, environ, place)
    return {"fsspec": {"url": url}}


def store_location(store: str, below: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The raw location of the relative path ``below`` in the store that ``--store`` names, a URL or a path.

    Raises:
        InputError: nothing can be stored there, or it holds a password: the URL is reported and journaled.
    """
    place = f"--store {_shown(store) if is_url(store) else store}"
    if is_url(store) and _PASSWORD.search(store):
        raise InputError(
            "a password cannot stand in the URL of a store, which is reported with every output",
            place=place,
            remedy="say --secrets DIR, and name its keys in the options of the template's archiveLocation",
        )
    scheme = store.split(":", 1)[0].lower() if is_url(store) else "file"
    if scheme in ("http", "https"):
        raise InputError(
            "outputs cannot be stored there",
            place=place,
            remedy="give a directory, s3://, gs://, hdfs:// or an fsspec URL",
        )
    if scheme in ("s3", "gs"):
        bucket, prefix = _bucket_and_key(store, place)
        key = f"{prefix.rstrip('/')}/{below}".lstrip("/")
        return _s3(bucket, key, environ, place) if scheme == "s3" else _gcs(bucket, key)
    if scheme == "hdfs":
        return _hdfs(f"{store.rstrip('/')}/{below}", environ, place)
    if scheme == "file":
        path = store[len("file://") :] if is_url(store) else str(Path(store).absolute())
        if not path.startswith("/"):
            raise InputError("a file URL needs an absolute path", place=place, remedy=f"write file:///{path}")
        if set(path) & set("?#"):
            raise InputError("the path of a store cannot hold '?' or '#'", place=place)
        store = f"file://{path}"
    return Location("fsspec", {}, store).join(below).raw()


def archive_location(raw: Mapping[str, Any], store: dict[str, Any], place: str) -> dict[str, Any]:
    """The template's archive location: its own where it names a store (spec 1.7.8), else ``store``.

    Raises:
        InputError: it is not an object.
    """
    own = raw.get("archiveLocation")
    if own is None:
        own = {}
    if not isinstance(own, dict):
        raise InputError("expected an object", place=f"{place}.archiveLocation")
    own = {key: value for key, value in own.items() if value is not None}
    # A cluster takes archiveLogs from its configuration; a person at a terminal wants the log.
    logs = {"archiveLogs": own.get("archiveLogs", True)}
    found = of_artifact(own)
    if found is not None and found.type in ARCHIVE_TYPES:
        return own | logs
    return store | logs


def _shown(url: str) -> str:
    """The URL without its secrets; in a chain of fsspec's each part is one."""
    parts = [_USERINFO.sub("://", part) for part in url.split("::")]
    try:
        for part in parts:
            urlsplit(part)
    except ValueError:  # such as half of an IPv6 address; from None: it may name a password
        raise InputError("this is no URL", place="--store") from None
    return "::".join(map(without_userinfo, parts))


def _bucket_and_key(url: str, place: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if not parts.netloc:
        raise InputError(f"{_shown(url)!r} names no bucket", place=place, remedy=f"give {parts.scheme}://BUCKET/…")
    return parts.netloc, url.split("://", 1)[1].partition("/")[2]


def _s3(bucket: str, key: str, environ: Mapping[str, str], place: str) -> dict[str, Any]:
    """Credentials as the AWS tools find them; the endpoint by their variables."""
    config: dict[str, Any] = {"bucket": bucket, "key": key, "useSDKCreds": True}
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    if endpoint:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            shown = without_userinfo(endpoint)
            raise InputError(f"AWS_ENDPOINT_URL is {shown!r}, not an http or https URL", place=place)
        config |= {"endpoint": parts.netloc, "insecure": parts.scheme == "http"}
    else:
        config["endpoint"] = "s3.amazonaws.com"
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return {"s3": config | ({"region": region} if region else {})}


def _gcs(bucket: str, key: str) -> dict[str, Any]:
    """Credentials as Google's tools find them."""
    return {"gcs": {"bucket": bucket, "key": key}}


def _hdfs(url: str, environ: Mapping[str, str], place: str) -> dict[str, Any]:
    """The user is that of the URL, else the one that Hadoop's tools take. Kerberos needs a location in the template."""
    authority, _, path = url.partition("://")[2].partition("/")
    user, _, address = authority.rpartition("@")
    if not path or not re.fullmatch(r".+:\d+", address) or ":" in user:
        raise InputError(
            f"{_shown(url)!r} is no URL of a file in HDFS",
            place=place,
            remedy="give hdfs://HOST:PORT/PATH or hdfs://USER@HOST:PORT/PATH",
        )
    user = user or environ.get("HADOOP_USER_NAME") or getpass.getuser()
    return {"hdfs": {"addresses": [address], "hdfsUser": user, "path": f"/{path}"}}
