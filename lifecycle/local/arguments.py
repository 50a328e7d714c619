"""What a template's inputs get: from flags, from the file's ``spec.arguments``, from the inputs themselves.

Everything that is missing is said at once, each with the flag that gives it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.errors import InputError
from lifecycle.local.stores import is_url, location_of_url
from lifecycle.local.workflow import suggestion
from lifecycle.location import KEY_FIELDS, of_artifact, relocated
from lifecycle.template import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from lifecycle.local.workflow import Chosen


@dataclass(frozen=True, slots=True)
class Flags:
    """``-p`` and ``-a`` as they were given, taken apart: parameters as text, artifacts as raw locations."""

    parameters: Mapping[str, str]
    artifacts: Mapping[str, dict[str, Any]]


def parse_flags(parameters: Sequence[str], artifacts: Sequence[str], environ: Mapping[str, str]) -> Flags:
    """Read ``NAME=VALUE``, ``NAME=@FILE`` and ``NAME=PATH|URL``; the last of several of one name counts.

    Raises:
        InputError: no ``=``, or a file that cannot be read.
    """
    return Flags(
        {name: _parameter_value(name, value) for name, value in _pairs(parameters, "-p", "NAME=VALUE")},
        {name: _artifact_location(name, value, environ) for name, value in _pairs(artifacts, "-a", "NAME=PATH|URL")},
    )


def workflow_parameters(chosen: Chosen, flags: Flags) -> dict[str, str]:
    """``spec.arguments.parameters`` with what the flags say: what ``workflow.parameters`` stands for.

    Raises:
        InputError: a value of theirs has a type that no parameter has.
    """
    place = f"{chosen.workflow.place}.arguments.parameters"
    result: dict[str, str] = {}
    for index, raw in enumerate(_arguments(chosen, "parameters")):
        name, where = text_of(raw["name"]), f"{place}[{index}]"
        value = flags.parameters.get(name)
        if value is None:
            value = _text(raw.get("value"), f"{where}.value")
        if value is None:
            value = _text(raw.get("default"), f"{where}.default")
        if value is not None:
            result[name] = _one_of(value, raw, name, where)
    return result


def bind(chosen: Chosen, flags: Flags, archive: Mapping[str, Any], substituted: Callable[[Any], Any]) -> dict[str, Any]:
    """The raw template with a value for every input parameter, and the file's locations for its artifacts.

    The locations of ``-a`` are not in it yet: they are no templates, see :func:`with_flags`.

    Args:
        chosen: the template and its workflow.
        flags: what was given by hand; it wins.
        archive: the archive location, which completes artifacts that have only a key.
        substituted: resolves ``{{workflow…}}`` in what the file says.

    Raises:
        InputError: something required is missing, a flag names nothing, a value is not one of its ``enum``.
    """
    raw = dict(chosen.raw)
    inputs = raw.get("inputs") or {}
    if not isinstance(inputs, dict):
        raise InputError("expected an object", place=f"{chosen.place}.inputs")
    parameters = _named(inputs.get("parameters"), f"{chosen.place}.inputs.parameters")
    artifacts = _named(inputs.get("artifacts"), f"{chosen.place}.inputs.artifacts")
    declared = [text_of(one["name"]) for one in _arguments(chosen, "parameters")]
    _check_known("-p", flags.parameters, [*(text_of(one["name"]) for one in parameters), *declared])
    _check_known("-a", flags.artifacts, [text_of(one["name"]) for one in artifacts])

    bound, missing = _bind_parameters(chosen, flags, parameters, substituted)
    placed = _bind_artifacts(chosen, artifacts)
    for one in placed:
        name = text_of(one["name"])
        has_location = of_artifact(relocated(one, archive), place=chosen.place) is not None
        if not (has_location or name in flags.artifacts or one.get("optional") is True):
            missing.append(f"the input artifact {name!r}: -a {name}=PATH")
    if missing:
        raise InputError("required and not given: " + "; ".join(missing), place=f"{chosen.place}.inputs")
    if inputs:
        raw["inputs"] = inputs | {"parameters": bound, "artifacts": placed}
    return raw


def with_flags(raw: Mapping[str, Any], flags: Flags) -> dict[str, Any]:
    """The substituted template with the locations of ``-a`` in place of any other."""
    inputs = raw.get("inputs")
    if not flags.artifacts or not inputs:
        return dict(raw)
    artifacts = [
        _without_location(one) | flags.artifacts[one["name"]] if one["name"] in flags.artifacts else one
        for one in inputs["artifacts"]
    ]
    return dict(raw) | {"inputs": inputs | {"artifacts": artifacts}}


def _bind_parameters(
    chosen: Chosen, flags: Flags, parameters: Iterable[dict[str, Any]], substituted: Callable[[Any], Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every parameter with its value, and what to say of those that have none."""
    given = workflow_parameters(chosen, Flags({}, {}))
    bound: list[dict[str, Any]] = []
    missing: list[str] = []
    for index, raw in enumerate(parameters):
        name, place = text_of(raw["name"]), f"{chosen.place}.inputs.parameters[{index}]"
        value = flags.parameters.get(name)
        if value is None:
            value = given.get(name)
            if value is None:
                value = _own_value(raw, place)
            value = substituted(value)
        if value is None:
            missing.append(f"the input parameter {name!r}: -p {name}=VALUE")
            continue
        # Its source is no longer of interest, and may be one that only a cluster has.
        kept = {key: one for key, one in raw.items() if key != "valueFrom"}
        bound.append(kept | {"value": _one_of(value, raw, name, place)})
    return bound, missing


def _own_value(raw: Mapping[str, Any], place: str) -> str | None:
    """The default before the value, as the controller takes them; then the default of ``valueFrom``."""
    for field in ("default", "value"):
        if raw.get(field) is not None:
            return _text(raw[field], f"{place}.{field}")
    source = raw.get("valueFrom")
    return _text(source.get("default"), f"{place}.valueFrom.default") if isinstance(source, dict) else None


def _bind_artifacts(chosen: Chosen, artifacts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every artifact with the location that the workflow's arguments give it."""
    given = {text_of(one["name"]): one for one in _arguments(chosen, "artifacts")}
    placed: list[dict[str, Any]] = []
    for raw in artifacts:
        argument = given.get(text_of(raw["name"]), {})
        location = {kind: argument[kind] for kind in KEY_FIELDS if argument.get(kind) is not None}
        if location:
            archive = {"archive": argument["archive"]} if "archive" in argument else {}
            placed.append(archive | _without_location(raw) | location)
        else:
            placed.append(dict(raw))
    return placed


def _without_location(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in KEY_FIELDS and key != "from"}


def _arguments(chosen: Chosen, kind: str) -> list[dict[str, Any]]:
    place = f"{chosen.workflow.place}.arguments"
    arguments = chosen.workflow.spec.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise InputError("expected an object", place=place)
    return _named(arguments.get(kind), f"{place}.{kind}")


def _named(value: Any, place: str) -> list[dict[str, Any]]:
    """A list of objects with names, each once."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError("expected a list", place=place)
    seen: set[str] = set()
    for index, one in enumerate(value):
        if not isinstance(one, dict):
            raise InputError("expected an object", place=f"{place}[{index}]")
        name = one.get("name")
        if not isinstance(name, str) or not name:
            raise InputError("a name is needed", place=f"{place}[{index}].name")
        if name in seen:
            raise InputError(f"the name {name!r} stands twice", place=f"{place}[{index}].name")
        seen.add(name)
    return value


def _text(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return text_of(value)
    raise InputError(
        f"a parameter's value cannot be {'a list' if isinstance(value, list) else 'an object'}",
        place=place,
        remedy="write it as JSON text in quotes",
    )


def _one_of(value: str, raw: Mapping[str, Any], name: str, place: str) -> str:
    allowed = raw.get("enum")
    if isinstance(allowed, list) and value not in [text_of(one) for one in allowed]:
        shown = ", ".join(text_of(one) for one in allowed)
        raise InputError(f"the parameter {name!r} cannot be {value!r}", place=place, remedy=f"it is one of: {shown}")
    return value


def _check_known(flag: str, given: Iterable[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            listed = ", ".join(dict.fromkeys(known)) or "none"
            what = "parameter" if flag == "-p" else "input artifact"
            raise InputError(
                f"the template has no {what} {name!r}{suggestion(name, known)}",
                place=f"{flag} {name}",
                remedy=f"it has: {listed}",
            )


def _pairs(texts: Iterable[str], flag: str, form: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"expected {form}, got {text!r}", place=flag)
        if flag == "-p" and any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError("the value is not UTF-8 text", place=f"{flag} {name}", remedy="make it an artifact")
        pairs.append((name, value))
    return pairs


def _parameter_value(name: str, value: str) -> str:
    """``@FILE`` is the file's content, ``@@x`` is the text ``@x``."""
    if value.startswith("@@") or not value.startswith("@"):
        return value.removeprefix("@")
    place = f"-p {name}"
    try:
        return Path(value[1:]).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{value[1:]} is not UTF-8 text", place=place, remedy="make it an artifact") from error
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{value[1:]} cannot be read: {text}",
            place=place,
            remedy="write @@ for a value that begins with @",
        ) from error


def _artifact_location(name: str, value: str, environ: Mapping[str, str]) -> dict[str, Any]:
    place = f"-a {name}"
    if is_url(value):
        return location_of_url(value, environ, place=place)
    path = Path(value).absolute()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{value!r} cannot be read: {text}", place=place) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{value!r} is neither a file nor a directory", place=place)
    if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise InputError(f"{value!r} may not be read by you", place=place)
    return {"fsspec": {"url": f"file://{path}"}}
