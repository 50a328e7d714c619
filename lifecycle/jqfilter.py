"""``valueFrom.jqFilter``: jq's own library (spec 4.1.4; as from v3.4.7 each result on a line of its own)."""

from __future__ import annotations

import json
from typing import Any

from lifecycle.errors import InputError, Unsupported


def check(program: str, *, place: str) -> None:
    """Judge a filter before anything is done.

    Raises:
        InputError: it is none.
        Unsupported: jq is not installed.
    """
    _compiled(program, place)


def run(program: str, found: Any, *, place: str) -> str:
    """What ``jq -rc`` would print of an object, without the last newline.

    Raises:
        InputError: it is no filter, or does not fit the object.
        Unsupported: jq is not installed.
    """
    compiled = _compiled(program, place)
    try:
        results = compiled.input_value(found).all()
    except ValueError as error:
        raise InputError(f"jq: {error}", place=place) from error
    return "\n".join(one if isinstance(one, str) else _compact(one) for one in results)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _compiled(program: str, place: str) -> Any:
    try:
        import jq  # noqa: PLC0415 - an extra: those who filter
    except ImportError as error:
        raise Unsupported(f"{place}: jq is not installed", remedy="install argoexec[jq], or use jsonPath") from error
    try:
        return jq.compile(program)
    except ValueError as error:
        first = str(error).splitlines()[0] if str(error) else "it cannot be compiled"
        raise InputError(f"jq: {first}", place=place) from error
