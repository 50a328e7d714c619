"""OAuth2 client credentials (RFC 6749, 4.4): one token for all threads of a driver, fetched when it is needed."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

import urllib3
import urllib3.exceptions

from drivers.http_errors import refused
from drivers.http_url import basic
from lifecycle.errors import BadRequest, Forbidden, LifecycleError, NotFound, Unauthorized
from lifecycle.network import broken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lifecycle.secret import Secret

    Post = Callable[[str, Mapping[str, str], bytes], urllib3.BaseHTTPResponse]

_EARLY: Final = 10.0  # seconds before its end a token is not used any more, as Go's oauth2 does
_ANSWER: Final = 1 << 20  # bytes; a token of a fat directory has some tens of KiB
_REFUSALS: Final = {  # RFC 6749, 5.2; any other word may be an echo of what was sent
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope",
}  # fmt: skip


class Tokens:
    """The current token. Nothing of a request for one is in an error: its URL, too, is a secret."""

    def __init__(
        self, client: Secret, secret: Secret, url: Secret, form: tuple[tuple[str, str], ...], source: str
    ) -> None:
        """Nothing is sent.

        Args:
            client: the client's identifier.
            secret: the client's secret.
            url: of the token endpoint.
            form: more fields of the request, such as ``scope``.
            source: for messages: where a person gave all this.
        """
        self.source = source
        self._client = client
        self._secret = secret
        self._url = url
        self._form = form
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def current(self, post: Post) -> tuple[str, bool]:
        """The value of an Authorization header, and whether it is a new one; others wait while one is fetched.

        Raises:
            Unauthorized: the client is unknown, or its secret is wrong.
            LifecycleError: what else the token endpoint answered.
        """
        with self._lock:
            if self._token and time.monotonic() < self._until:
                return self._token, False
            self._token, self._until = self._fetched(post)
            return self._token, True

    def drop(self, token: str) -> None:
        """It was refused: the next one who asks gets another."""
        with self._lock:
            if self._token == token:
                self._token = ""

    def _fetched(self, post: Post) -> tuple[str, float]:
        where = "the request for a token"
        began = time.monotonic()
        for way in self._ways():
            status, answer, meaning = self._asked(where, post, *way)
            if status not in {400, 401} or answer.get("error") not in {"invalid_client", "invalid_request", None}:
                break
        if not 200 <= status < 300:
            raise self._refused(where, status, answer.get("error"), meaning)
        token, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
        if not isinstance(token, str) or not token or str(kind).lower() != "bearer":
            raise BadRequest(f"{where}: the answer has no bearer token", remedy=f"is the URL right in {self.source}?")
        try:
            lasts = float(answer.get("expires_in") or "inf")
        except (TypeError, ValueError):
            lasts = float("inf")
        return f"Bearer {token}", began + lasts - _EARLY

    def _ways(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """To show the client's secret: as an Authorization, or as fields of the form. Servers take one of them.

        RFC 6749, 2.3.1, and Go's oauth2 encode the two parts of the Authorization as a form is; Authlib, among others,
        does not decode them.
        """
        client, secret = self._client.reveal(), self._secret.reveal()
        encoded = basic(quote_plus(client), quote_plus(secret))
        yield encoded, []
        yield "", [("client_id", client), ("client_secret", secret)]
        if (plain := basic(client, secret)) != encoded:
            yield plain, []

    def _asked(
        self, where: str, post: Post, authorization: str, fields: list[tuple[str, str]]
    ) -> tuple[int, Mapping[str, Any], LifecycleError]:
        form = [("grant_type", "client_credentials"), *self._form, *fields]
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        try:
            response = post(self._url.reveal(), headers, urlencode(form).encode())
            try:
                body = response.read(_ANSWER, decode_content=True)
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise broken(where, error, remedy=f"the token URL is in {self.source}") from None
        except (ValueError, BadRequest) as error:
            raise BadRequest(
                f"{where}: {type(error).__name__}: the URL or a value in {self.source} cannot be sent"
            ) from None
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {}
        meaning = refused(where, response, credentials=self.source)
        return response.status, answer if isinstance(answer, dict) else {}, meaning

    def _refused(self, where: str, status: int, word: object, meaning: LifecycleError) -> LifecycleError:
        text = f"{where}: {status} {word}" if word in _REFUSALS else meaning.message
        if status == 401 or word in {"invalid_client", "unauthorized_client", "invalid_grant"}:
            return Unauthorized(text, remedy=f"correct {self.source}")
        if word == "invalid_scope":
            return Forbidden(text, remedy="correct auth.oauth2.scopes, or allow them to this client")
        if isinstance(meaning, NotFound):  # never of a token: `optional` would forgive it
            return BadRequest(text, remedy=f"is the URL right in {self.source}?")
        return meaning
