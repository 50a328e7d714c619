"""URLs of http artifacts: their parts, their origin, and what in them is a credential."""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urljoin, urlsplit, urlunsplit

from lifecycle.errors import BadRequest
from lifecycle.location import without_userinfo

_WEBHDFS: Final = "/webhdfs/v1/"  # behind a gateway something stands before it


def split(url: str) -> SplitResult:
    """The parts of a URL that can be asked for.

    Raises:
        BadRequest: it cannot be parsed, or is neither http nor https.
    """
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an IPv6 address that is none; from None: it names the URL
        raise BadRequest("the URL of an http artifact cannot be parsed") from None
    if parts.scheme not in {"http", "https"} or not usable:
        raise BadRequest(
            f"an http artifact has an http or https URL, not {without_userinfo(url)}",
            remedy="for files and other stores use an `fsspec` location",
        )
    return parts


def joined(url: str, target: str) -> str:
    """Where a redirect leads.

    Raises:
        BadRequest: nowhere.
    """
    try:
        return urljoin(url, target)
    except ValueError:  # from None: it may name a credential
        raise BadRequest(f"{without_userinfo(url)} redirects to what is no URL") from None


def bare(parts: SplitResult) -> str:
    """The URL as it is sent: without user, password and fragment."""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def origin(parts: SplitResult) -> tuple[str, str | None, int]:
    """What credentials belong to: scheme, host and port (RFC 6454)."""
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def is_webhdfs(parts: SplitResult) -> bool:
    """Whether the URL is one of WebHDFS, where the operation is a field of the query."""
    return _WEBHDFS in parts.path


def overwrites(parts: SplitResult) -> bool:
    """Whether a WebHDFS URL is one that replaces a file: there is none left then that could be kept."""
    return is_webhdfs(parts) and ("overwrite", "true") in {
        (name.lower(), value.lower()) for name, value in parse_qsl(parts.query)
    }


def with_operation(parts: SplitResult, operation: str) -> str:
    """The URL of another operation of WebHDFS on the same file."""
    fields = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name.lower() != "op"]
    return urlunsplit(parts._replace(query=urlencode([*fields, ("op", operation)])))


def userinfo(parts: SplitResult) -> str | None:
    """The Authorization of a URL's own user and password; ``None`` when it has none."""
    if parts.username is None:
        return None
    return basic(unquote(parts.username), unquote(parts.password or ""))


def basic(user: str, password: str) -> str:
    """The value of an Authorization header (RFC 7617, in UTF-8)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
