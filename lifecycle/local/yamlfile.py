"""A file of YAML or JSON documents, read as Kubernetes reads it: what comes out is what JSON can say.

Kubernetes turns YAML into JSON with Go's parser. PyYAML knows three things that one does not, and makes of
`2024-01-01` a date, of `12:30:00` a number and of `=` an error; here all three stay text. Keys become text.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lifecycle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable

STDIN = "-"
LIMIT = 16 * 1024 * 1024
"""Bytes of a file; etcd takes 1.5 MiB of a workflow."""

_NODES = 1_000_000
_DEPTH = 100

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast; not every wheel has it
_NOT_GO = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}


class _Loader(_BASE):  # type: ignore[misc] # its base is found at run time
    """Keys are text; one that stands twice is refused, as the first would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            key.tag = "tag:yaml.org,2002:str"  # 1 and true are equal in Python, and one key of a dict
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int | str:
    text = loader.construct_scalar(node)
    return text if ":" in text else yaml.SafeLoader.construct_yaml_int(loader, node)


def _construct_float(loader: Any, node: yaml.ScalarNode) -> float | str:
    text = loader.construct_scalar(node)
    return text if ":" in text else yaml.SafeLoader.construct_yaml_float(loader, node)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag not in _NOT_GO]
    for first, rules in _BASE.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def source_name(path: str) -> str:
    """What messages call the file."""
    return "<stdin>" if path == STDIN else path


def read_documents(path: str) -> list[Any]:
    """The documents of a file, empty ones left out; ``-`` is standard input.

    Raises:
        InputError: it cannot be read, or is neither YAML nor JSON; the place is ``FILE:line:col``.
    """
    return parse_documents(_read(path), source_name(path))


def parse_documents(data: bytes, name: str) -> list[Any]:
    """The documents of a text, empty ones left out.

    Args:
        data: UTF-8.
        name: what messages call it.

    Raises:
        InputError: it is neither YAML nor JSON; the place is ``NAME:line:col``.
    """
    if data.lstrip()[:1] == b"{":
        # JSON has escapes that YAML lacks (`\/`, surrogate pairs); what is no JSON may still be YAML.
        try:
            return [_plain(json.loads(data), name)]
        except (ValueError, RecursionError):
            pass
    try:
        _check_depth(data, name)
        documents = list(yaml.load_all(data, Loader=_Loader))
    except yaml.YAMLError as error:
        raise _not_yaml(error, data, name) from error
    except RecursionError as error:
        raise InputError("it is nested too deep", place=name) from error
    except ValueError as error:  # a tag whose text does not fit it, such as `!!int x`
        raise InputError(f"not YAML: {error}", place=name) from error
    return [_plain(document, name) for document in documents if document is not None]


def _check_depth(data: bytes, name: str) -> None:
    """Before anything is composed: libyaml's composer calls itself for each level, and overflows the C stack."""
    depth = 0
    for event in yaml.parse(data, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            if depth > _DEPTH:
                mark: Any = event.start_mark
                raise InputError("it is nested too deep", place=f"{name}:{mark.line + 1}:{mark.column + 1}")
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _read(path: str) -> bytes:
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(LIMIT + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        text = (getattr(error, "strerror", None) or str(error)).lower()
        raise InputError(f"cannot be read: {text}", place=source_name(path)) from error
    if len(data) > LIMIT:
        raise InputError(f"it is larger than {LIMIT // 1024 // 1024} MiB", place=source_name(path))
    return data


def _not_yaml(error: yaml.YAMLError, data: bytes, name: str) -> InputError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    place = name
    if mark is not None:
        place = f"{name}:{mark.line + 1}:{mark.column + 1}"
    elif isinstance(error, yaml.reader.ReaderError):
        *lines, last = data[: max(0, int(error.position))].split(b"\n")
        place = f"{name}:{len(lines) + 1}:{len(last) + 1}"
    twice = "stands twice" in problem
    return InputError(("" if twice else "not YAML: ") + (f"{context}, {problem}" if context else problem), place=place)


def _plain(document: Any, name: str) -> Any:
    """Only what JSON can say, keys as text; aliases that make it endless or enormous are refused."""
    count = 0

    def walk(value: Any, path: str, depth: int) -> Any:
        nonlocal count
        count += 1
        if depth > _DEPTH or count > _NODES:
            raise InputError("it is nested too deep, or its aliases make it too large", place=f"{name}: $")
        if isinstance(value, dict):
            return {str(key): walk(inner, f"{path}.{key}", depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, f"{path}[{index}]", depth + 1) for index, inner in enumerate(value)]
        if isinstance(value, str) and not value.isascii():
            _check_text(value, f"{name}: {path}")
        if value is None or isinstance(value, (str, bool, int)):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        shown = f"the number {value}" if isinstance(value, float) else f"a {type(value).__name__}"
        raise InputError(f"{shown} cannot stand in a manifest", place=f"{name}: {path}")

    return walk(document, "$", 0)


def _check_text(value: str, place: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can escape half of a surrogate pair
        raise InputError("this is not text: it holds half of a surrogate pair", place=place) from error
