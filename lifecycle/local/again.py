"""What a run leaves in its work dir so that ``argoexec run --resume`` can go on with it, and what that makes of it.

The values of secrets are not in it: the pod is laid out again, from the same template and the secrets of now.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError
from lifecycle.local.identity import Identity
from lifecycle.local.paths import is_directory
from lifecycle.local.prepare import RUN, TEMPLATE, Prepared, laid_out
from lifecycle.phases.staging import write_whole
from lifecycle.template import Template

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
_NO_RUN = "name the work dir of an `argoexec run`, which says at its end where that is"


def leave(prepared: Prepared, now: datetime) -> None:
    """Write it, for nobody but its owner: a person may have given something private by -p.

    Raises:
        OSError: it cannot be written.
    """
    seconds = prepared.layout.seconds
    left = {
        "version": VERSION,
        "identity": asdict(prepared.identity),
        "secrets": None if prepared.secrets is None else str(prepared.secrets),
        "deadline": None if seconds is None else now + timedelta(seconds=seconds),
        "basis": dict(prepared.basis),
    }
    text = json.dumps(left, ensure_ascii=False, default=_text)
    write_whole(prepared.workdir / RUN, text.encode(errors="surrogatepass"), 0o600)


def prepared_again(given: str, now: datetime) -> Prepared:
    """A run that was left in a work dir.

    Raises:
        InputError: there is none.
    """
    workdir, place = Path(given).absolute(), f"--resume {given}"
    if not is_directory(workdir, place):
        raise InputError("there is no such directory", place=place, remedy=_NO_RUN)
    left, raw = _read(workdir / RUN, place), _read(workdir / TEMPLATE, place)
    if left.get("version") != VERSION:
        raise InputError(f"it was made by another release: {RUN} is not of version {VERSION}", place=place)
    try:
        return _prepared(workdir, left, raw, now)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{RUN} is not what a run leaves: {type(error).__name__}: {error}", place=place) from error


def _prepared(workdir: Path, left: Mapping[str, Any], raw: dict[str, Any], now: datetime) -> Prepared:
    basis, identity = left["basis"], left["identity"]
    who = Identity(**(identity | {"created": datetime.fromisoformat(identity["created"])}))
    secrets = None if left["secrets"] is None else Path(left["secrets"])
    template = Template(raw, place=basis["place"])
    layout = laid_out(template, who, workdir, secrets, basis)
    if left["deadline"] is not None:
        layout = replace(layout, seconds=(datetime.fromisoformat(left["deadline"]) - now).total_seconds())
    return Prepared(who, template, layout, workdir, secrets, (), basis)


def _read(path: Path, place: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"it holds no run: {path.name}: {error.strerror}", place=place, remedy=_NO_RUN) from error
    except ValueError as error:
        raise InputError(f"{path.name} is not JSON: {error}", place=place) from error
    if not isinstance(found, dict):
        raise InputError(f"{path.name} is not what a run leaves", place=place)
    return found


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no JSON")
