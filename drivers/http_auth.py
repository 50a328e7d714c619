"""Who we are to an HTTP server: ``headers``, and ``auth`` with its three kinds (spec 5.29).

All of it goes with requests to the origin of the artifact's URL, and to no other.
"""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from urllib3.util.ssl_ import create_urllib3_context

from drivers.http_oauth2 import Tokens
from drivers.http_url import basic
from lifecycle.errors import BadRequest
from lifecycle.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.secret import SecretReader

# What frames the message is this driver's; a second opinion about it would let one request pass for two.
_FRAMING: Final = {"content-length", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade"}
_HEADERS: Final = "the credentials in `headers` or in the URL"
_KINDS: Final = {"basicAuth", "oauth2", "clientCert"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an artifact says about who asks.

    Attributes:
        headers: those that a person configured, in their order.
        basic: the value of an Authorization header.
        tokens: where the value of one comes from.
        tls: a context with the client's certificate.
        source: for remedies: where a person gave them.
    """

    headers: tuple[tuple[str, str], ...] = ()
    basic: Secret | None = None
    tokens: Tokens | None = None
    tls: ssl.SSLContext | None = None
    source: str = _HEADERS


def credentials(config: Mapping[str, Any], secrets: SecretReader) -> Credentials:
    """Those of an ``http`` location.

    Raises:
        BadRequest: `headers` or `auth` cannot work.
        Unauthorized: a secret they name is not there.
    """
    headers = _headers(config.get("headers"))
    auth = _object(config.get("auth"), "auth")
    if unknown := sorted(set(auth) - _KINDS):
        raise BadRequest(f"`auth` of an http artifact has basicAuth, oauth2 or clientCert, not {unknown[0]!r}")
    pair = _object(auth.get("basicAuth"), "auth.basicAuth")
    user = basic_auth(pair, secrets, "auth.basicAuth.")
    tokens = _tokens(_object(auth.get("oauth2"), "auth.oauth2"), secrets)
    if user and tokens:
        raise BadRequest("`auth` has both basicAuth and oauth2: a request can be authorized only once")
    if (user or tokens) and any(name.lower() == "authorization" for name, _ in headers):
        raise BadRequest("`headers` has an Authorization, and so would `auth`", remedy="remove one of them")
    source = _HEADERS
    if user:
        source = f"auth.basicAuth ({_named(pair, 'usernameSecret')}, {_named(pair, 'passwordSecret')})"
    if tokens:
        source = f"auth.oauth2: the token of {tokens.source} is not accepted there; are its scopes right?"
    certificate = _object(auth.get("clientCert"), "auth.clientCert")
    return Credentials(headers, user, tokens, _tls(certificate, secrets), source)


def basic_auth(config: Mapping[str, Any], secrets: SecretReader, place: str = "") -> Secret | None:
    """The Authorization of ``usernameSecret`` and ``passwordSecret``; ``None`` when neither is given.

    Raises:
        BadRequest: only one of them is given.
        Unauthorized: a secret is not there.
    """
    user, password = _both(config, secrets, ("usernameSecret", "passwordSecret"), place)
    return None if user is None or password is None else Secret(basic(user.reveal(), password.reveal()))


def _both(
    config: Mapping[str, Any], secrets: SecretReader, fields: tuple[str, str], place: str
) -> tuple[Secret | None, Secret | None]:
    first, second = (secrets.read(_object(config.get(name), place + name)) for name in fields)
    if (first is None) != (second is None):
        given, missing = fields if second is None else fields[::-1]
        raise BadRequest(f"`{place}{given}` needs `{place}{missing}` beside it")
    return first, second


def _tokens(config: Mapping[str, Any], secrets: SecretReader) -> Tokens | None:
    fields = ("clientIDSecret", "clientSecretSecret", "tokenURLSecret")
    found = {name: secrets.read(_object(config.get(name), f"auth.oauth2.{name}")) for name in fields}
    if not any(found.values()):
        if config:
            raise BadRequest("`auth.oauth2` needs clientIDSecret, clientSecretSecret and tokenURLSecret")
        return None
    for name, secret in found.items():
        if secret is None:
            raise BadRequest(f"`auth.oauth2` needs `{name}`")
    scopes, params = config.get("scopes") or [], config.get("endpointParams") or []
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise BadRequest("`auth.oauth2.scopes` is a list of strings")
    if not isinstance(params, list) or not all(
        isinstance(one, dict) and isinstance(one.get("key"), str) and isinstance(one.get("value", ""), str)
        for one in params
    ):
        raise BadRequest("`auth.oauth2.endpointParams` is a list of objects with key and value")
    ids, words, url = (found[name] or Secret("") for name in fields)
    form = [("scope", " ".join(scopes))] if scopes else []
    form += [(one["key"], one.get("value", "")) for one in params]
    source = f"auth.oauth2 ({', '.join(_named(config, name) for name in fields)})"
    return Tokens(ids, words, url, tuple(form), source)


def _tls(config: Mapping[str, Any], secrets: SecretReader) -> ssl.SSLContext | None:
    certificate, key = _both(config, secrets, ("clientCertSecret", "clientKeySecret"), "auth.clientCert.")
    if certificate is None or key is None:
        return None
    context = create_urllib3_context()
    context.load_default_certs()  # urllib3 does this only to a context it has made itself
    try:
        with _in_memory(certificate) as first, _in_memory(key) as second:
            context.load_cert_chain(first, second, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "the key is encrypted"
        raise BadRequest(
            f"auth.clientCert cannot be used: {reason}",
            remedy=f"{_named(config, 'clientCertSecret')} is a PEM certificate, with those of the issuers behind it, "
            f"and {_named(config, 'clientKeySecret')} its PEM key without a pass phrase",
        ) from None
    return context


@contextmanager
def _in_memory(secret: Secret) -> Iterator[str]:
    """A path for OpenSSL, which reads keys only from files, to memory of this process: on no disk."""
    descriptor = os.memfd_create("argoexec", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(secret.reveal().encode() + b"\n")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")


def _headers(raw: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw or [], list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("value", ""), str)
        for one in raw or []
    ):
        raise BadRequest("`headers` of an http artifact is a list of objects with name and value")
    found = tuple((one["name"], one.get("value", "")) for one in raw or [])
    for name, _ in found:
        if name.lower() in _FRAMING:
            raise BadRequest(f"`headers` of an http artifact cannot set {name}: the executor does")
    return found


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value or {}, dict):
        raise BadRequest(f"`{place}` is an object")
    return value or {}


def _named(config: Mapping[str, Any], name: str) -> str:
    selector = config.get(name) or {}
    return f"{name}: key {selector.get('key', '')!r} of secret {selector.get('name', '')!r}"
