"""listing: the keys of all objects below a source, as the first value of a `data` template (spec 5.21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lifecycle import location as locations
from lifecycle.errors import BadRequest, InputError
from lifecycle.outcome import ItemState
from lifecycle.stay import Task

if TYPE_CHECKING:
    from lifecycle.context import Pod
    from lifecycle.location import Location
    from lifecycle.stay import Stay
    from lifecycle.template import Template

LISTED = 1_000_000
"""Keys of one source; their list is in memory as a whole, about 150 MiB."""

LISTING_TYPES = ("s3", "gcs", "oss", "azure", "hdfs", "fsspec", "plugin")
"""Locations that have a listing by nature."""


def list_source(pod: Pod, stay: Stay) -> None:
    """List the source. What is wrong with the template is found before anything is asked of a store."""
    judge(pod.template)
    source = _source(pod.template)
    item = stay.item("source", source[0])

    def work() -> None:
        keys: list[str] = []
        for found in stay.driver(source[1], item).list(source[1].key):
            stay.cancel.check()
            keys.append(source[1].join(found.path).key)
            if len(keys) > LISTED:
                raise BadRequest(f"there are more than {LISTED} objects", remedy="give the source a longer key")
        item.note = f"{len(keys)} objects"
        pod.found.data, pod.found.ran = keys, True

    stay.perform(Task(item, work, ItemState.LOADED))


def judge(template: Template) -> None:
    """All that can be said of a `data` template before it is run.

    Raises:
        InputError: there is no source with a listing, or an expression cannot be parsed.
    """
    from lifecycle.expression import parse  # noqa: PLC0415 - lark: only `data` templates pay for it

    _source(template)
    for number, expression in enumerate(expressions(template)):
        try:
            parse(expression)
        except InputError as error:
            raise InputError(error.message, place=place_of(number), remedy=error.remedy) from error


def expressions(template: Template) -> list[str]:
    """Those of the template's transformations, in their order.

    Raises:
        InputError: one is not there.
    """
    found = []
    for number, step in enumerate(_data(template).get("transformation") or []):
        expression = step.get("expression") if isinstance(step, dict) else None
        if not isinstance(expression, str) or not expression.strip():
            raise InputError("an expression is needed", place=place_of(number))
        found.append(expression)
    return found


def place_of(number: int) -> str:
    """Where an expression stands in the template."""
    return f"$.data.transformation[{number}].expression"


def _data(template: Template) -> dict[str, Any]:
    found = template.raw.get("data")
    if not isinstance(found, dict):
        raise InputError("the template is no `data` template", place="$.data")
    return found


def _source(template: Template) -> tuple[str, Location]:
    place = "$.data.source.artifactPaths"
    raw = (_data(template).get("source") or {}).get("artifactPaths")
    if not isinstance(raw, dict):
        raise InputError("a source is needed", place=place, remedy="name an artifact's location, such as `s3`")
    # A key-only artifact is completed by the archive location; upstream lists an empty bucket (spec 7.1 #16).
    found = locations.of_artifact(locations.relocated(raw, template.archive_location), place=place)
    if found is None:
        raise InputError("it names no location", place=place, remedy="such as `s3: {bucket: …}`")
    if found.type not in LISTING_TYPES:
        raise InputError(f"{found.type} has no listing", place=place, remedy=f"these have: {', '.join(LISTING_TYPES)}")
    return str(raw.get("name", "")), found
