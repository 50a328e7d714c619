"""A person's logins at registries, from docker's configuration and its helpers; and an answer's words without secrets.

Only who pulls an image or is refused imports it.
"""

from __future__ import annotations

import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from lifecycle.errors import BadRequest
from lifecycle.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOGIN: Final = "X-Registry-Auth"
_ORDINARY: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
)

_SECRET: Final = frozenset({"password", "identitytoken", "registrytoken", "auth"})


def header(client: Any, image: str) -> dict[str, str]:
    """The login that goes with a request to pull an image, or nothing.

    Args:
        client: of the SDK, which has read the configuration.
        image: without its tag.

    Raises:
        BadRequest: that is no name of an image, or the configuration or a helper gives what is no login.
    """
    from docker import auth, errors  # noqa: PLC0415 - is loaded: it made the client

    try:
        registry, _ = auth.resolve_repository_name(image)
    except errors.DockerException as error:
        raise BadRequest(f"{image!r} cannot name an image: {error}") from error
    try:
        value = auth.get_config_header(client, registry)
    except Exception:  # noqa: BLE001 - whatever the SDK makes of a wrong form; its texts quote what a helper printed
        raise BadRequest(
            f"the login at {registry} cannot be had from docker's configuration",
            remedy="log in there again: docker login; see whether the credential helper that config.json names works",
        ) from None
    return {LOGIN: value.decode() if isinstance(value, bytes) else value} if value else {}


def quoted(response: Any, text: str) -> str:
    """What an answer says, without the secrets that the request had: a daemon, or who guards it, may quote it."""
    request = response.request
    return redacted(text, [*_of_headers(request.headers), *_of_body(request.body)])


def _of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """Values of headers that are not on every request; config.json adds some to each (``HttpHeaders``)."""
    for name, value in headers.items():
        if name.lower() not in _ORDINARY:
            yield value
        if name == LOGIN:
            with contextlib.suppress(ValueError):
                login = json.loads(base64.urlsafe_b64decode(value))
                # A message that does not name the registry helps nobody.
                yield from (str(one) for key, one in login.items() if key.lower() in _SECRET)


def _of_body(body: Any) -> Iterator[str]:
    """The environment of a container that is to be made: it has the values of secrets."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        yield from (pair.partition("=")[2] for pair in json.loads(body).get("Env") or ())
