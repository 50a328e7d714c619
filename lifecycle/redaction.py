"""What of a far end's words may be in a message (ADR 40). Only adapters that quote one import it: 5 ms."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CODE: Final = re.compile(r"[\w.-]{1,64}")
_GO: Final = {ord(one): f"\\u{ord(one):04x}" for one in "<>&"}
"""What Go's JSON escapes beside what must be."""
_SHORTEST: Final = 4
"""Characters of what is taken out of a text: less would be found in any, and shortens nobody's search."""


def redacted(text: str, secrets: Iterable[str | None]) -> str:
    """What a far end said, without what it was told: a store may quote the request that it refuses.

    Each secret is looked for as it is, and as it is escaped in JSON (Go's, too), XML and URLs, in hex, and in base64
    wherever it begins there, such as behind a user's name.
    """
    every = {form for secret in secrets if secret for form in _forms(secret) if len(form) >= _SHORTEST}
    for form in sorted(every, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def code_alone(code: str) -> str:
    """The code of a refusal, if it looks like one; else nothing: it may be anything that was sent."""
    return code if _CODE.fullmatch(code) else ""


def _forms(secret: str) -> Iterator[str]:
    yield from (secret, secret.strip(), html.escape(secret), html.escape(secret, quote=False))
    in_json = json.dumps(secret)[1:-1]
    yield from (in_json, in_json.translate(_GO), quote(secret), quote(secret, safe=""), quote_plus(secret))
    raw = secret.encode(errors="surrogatepass")
    if len(raw) < _SHORTEST:
        return
    yield from (raw.hex(), raw.hex().upper())
    for before in range(3):
        # The letters at the ends share bits with what is around it.
        end = None if (before + len(raw)) % 3 == 0 else -1
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + raw).decode().rstrip("=")[(0, 2, 3)[before] : end]
