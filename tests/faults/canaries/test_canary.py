"""Canaries are found whatever became of them, and what is taken out of a text is gone in every form."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from lifecycle.redaction import redacted
from tests.faults.canaries.canary import Canaries, told

FORMS = {
    "plain": str,
    "twice in JSON": lambda value: json.dumps(json.dumps(value)),
    "in Go's JSON": lambda value: (
        json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    ),
    "quoted": lambda value: quote(value, safe=""),
    "in a query": quote_plus,
    "in XML": html.escape,
    "repr": repr,
    "hex": lambda value: value.encode().hex(),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 without padding": lambda value: base64.b64encode(value.encode()).decode().rstrip("="),
    "behind a name": lambda value: base64.b64encode(f"user:{value}".encode()).decode(),
    "behind a longer name": lambda value: base64.b64encode(f"users:{value}".encode()).decode(),
    "in a URL's base64": lambda value: base64.urlsafe_b64encode(f"me:{value}".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_canary_is_found_in_every_form(form):
    canaries = Canaries()
    value = canaries.plant("other.field"), canaries.plant("field")

    assert set(canaries.found(f"before {form(value[1])} after")) == {"field"}
    assert canaries.found("before and after") == {}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_a_far_end_quotes_is_taken_out_in_every_form(form):
    canaries = Canaries()
    value = canaries.plant("field")
    if form in (FORMS["twice in JSON"], repr):  # nobody escapes twice what comes by one protocol
        form = json.dumps
    text = redacted(f"before {form(value)} after", [value])

    assert canaries.found(text) == {}
    assert text.startswith("before ")
    assert text.endswith(" after")


def test_a_short_secret_leaves_a_text_readable():
    assert redacted("a man, a plan", ["a", "", None]) == "a man, a plan"


def test_all_of_an_error_is_looked_at():
    canaries = Canaries()
    error = RuntimeError("message")
    error.__cause__ = ValueError(canaries.plant("cause"))

    assert set(canaries.found(told(error))) == {"cause"}
