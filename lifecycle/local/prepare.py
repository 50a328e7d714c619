"""Flags and a file → everything that a local run needs, judged as a whole before anything is written.

It plays the controller (spec 1.7): chooses the template, names the pod, gives the inputs their values,
substitutes, sets the archive location, and lays the pod out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import manifest, registry
from lifecycle.data import DATA
from lifecycle.errors import InputError, LifecycleError, Unsupported
from lifecycle.local import arguments, stores, workflow
from lifecycle.local.identity import Identity, identify
from lifecycle.local.layout import Layout, lay_out
from lifecycle.local.paths import is_directory, mode_of
from lifecycle.local.substitution import substitute, template_variables, workflow_variables
from lifecycle.location import of_artifact, relocated
from lifecycle.phases import listing
from lifecycle.pod import POD
from lifecycle.resource import RESOURCE
from lifecycle.template import Template

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from lifecycle.location import Location
    from lifecycle.ports import Driver
    from lifecycle.table import Table

HOME = ".argoexec"
"""Where work dirs are made unless somebody names another place."""

JOURNAL, TEMPLATE, REPORT, POD_DIR, STORE = "journal.jsonl", "template.json", "report.json", "pod", "store"
RUN = "run.json"
_SUBSTITUTED = ("podMetadata", "securityContext", "activeDeadlineSeconds")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line; the fields are its flags."""

    file: str
    template: str | None = None
    parameters: Sequence[str] = ()
    artifacts: Sequence[str] = ()
    store: str | None = None
    workdir: str | None = None
    secrets: str | None = None
    runtime: str = "local"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can begin.

    Attributes:
        identity: the pod's names.
        template: substituted; what the executor gets.
        layout: the pod.
        workdir: where it will be; does not exist yet, or is empty of runs.
        secrets: where drivers read theirs.
        notes: what a person should know before it begins.
        basis: what the pod was laid out from, besides the template: JSON, for :mod:`lifecycle.local.again`.
    """

    identity: Identity
    template: Template
    layout: Layout
    workdir: Path
    secrets: Path | None
    notes: tuple[str, ...]
    basis: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> Table:
        """The lifecycle of a template of this kind."""
        if self.layout.launch is not None:
            return POD
        return DATA if "data" in self.template.raw else RESOURCE


def prepare(request: Request, environ: Mapping[str, str], now: datetime, rng: random.Random) -> Prepared:
    """Judge a request.

    Raises:
        InputError: anything about it that is wrong.
        Unsupported: it needs what this release does not have.
    """
    secrets = _secrets(request.secrets)
    flags = arguments.parse_flags(request.parameters, request.artifacts, environ)
    chosen = workflow.choose(workflow.load(request.file), request.template)
    identity = identify(chosen, now, rng)
    workdir = _workdir(request.workdir, identity.pod)
    spec = chosen.workflow.spec
    known = workflow_variables(identity, spec, arguments.workflow_parameters(chosen, flags))

    def with_workflow(value: Any, place: str) -> Any:
        return substitute(value, known, place=place)

    store = request.store or str(workdir / STORE)
    archive = stores.archive_location(
        chosen.raw, stores.store_location(store, f"{identity.workflow}/{identity.pod}", environ), chosen.place
    )
    raw = arguments.bind(chosen, flags, archive, lambda value: with_workflow(value, chosen.place))
    raw = _substituted(raw | {"archiveLocation": archive}, known, chosen.place)
    template = Template(arguments.with_flags(raw, flags), place=chosen.place)
    _check_alone(template, chosen.place)
    _check_drivers(template, secrets or workdir, chosen.place)
    of_pod = {key: with_workflow(spec[key], f"{chosen.workflow.place}.{key}") for key in _SUBSTITUTED if key in spec}
    basis = {
        "spec": {key: value for key, value in spec.items() if key != "templates"} | of_pod,
        "variables": dict(known),
        "place": chosen.place,
        "workflowPlace": chosen.workflow.place,
        "runtime": request.runtime,
    }
    layout = laid_out(template, identity, workdir, secrets, basis)
    return Prepared(identity, template, layout, workdir, secrets, (*chosen.notes, *layout.notes), basis)


def laid_out(
    template: Template, identity: Identity, workdir: Path, secrets: Path | None, basis: Mapping[str, Any]
) -> Layout:
    """The pod; the same from the same basis.

    Raises:
        InputError: as :func:`lay_out`.
    """
    return lay_out(
        template,
        basis["spec"],
        identity,
        pod_dir=workdir / POD_DIR,
        secrets=secrets,
        place=basis["place"],
        workflow_place=basis["workflowPlace"],
        substitute=lambda value, place: substitute(value, basis["variables"], place=place),
        images=basis["runtime"] != "local",
    )


def _substituted(raw: dict[str, Any], known: Mapping[str, str], place: str) -> dict[str, Any]:
    """Everything but the values of the input parameters: what a person gave is data."""
    variables = template_variables(raw, known)
    inputs = raw.get("inputs") or {}
    parameters = inputs.get("parameters")
    # Left in its place, so that the paths in messages count it.
    open_raw = raw | {"inputs": {**inputs, "parameters": None}} if parameters else raw
    result: dict[str, Any] = substitute(open_raw, variables, place=place)
    if parameters:
        result["inputs"]["parameters"] = parameters
    return result


def _secrets(given: str | None) -> Path | None:
    if given is None:
        return None
    path, place = Path(given).absolute(), f"--secrets {given}"
    if not is_directory(path, place):
        raise InputError("there is no such directory", place=place, remedy="it holds <name>/<key> files")
    return path


def _workdir(given: str | None, pod: str) -> Path:
    """Where the run will be: a name that is free, or a directory that holds no run yet."""
    if given is None:
        home = Path(HOME).absolute()
        path = home / pod
        number = 1
        while mode_of(path, f"--workdir {path}") is not None:  # a workflow with a fixed name, run again
            number += 1
            path = home / f"{pod}-{number}"
    else:
        path = Path(given).absolute()
    place = f"--workdir {given or path}"
    if set(str(path)) & set("?#"):
        raise InputError("its path cannot hold '?' or '#'", place=place)
    if mode_of(path, place) is not None and not is_directory(path, place):
        raise InputError("it is not a directory", place=place)
    for taken in (JOURNAL, POD_DIR, STORE):
        if mode_of(path / taken, place) is not None:
            raise InputError(f"it holds a run already: {taken}", place=place, remedy="name another, or remove it")
    _check_writable(path, place)
    return path


def _check_writable(path: Path, place: str) -> None:
    parent = next(one for one in (path, *path.parents) if mode_of(one, place) is not None)
    if not os.access(parent, os.W_OK | os.X_OK) or not is_directory(parent, place):
        raise InputError(f"nothing can be made in {parent}", place=place, remedy="name another place")


def _check_alone(template: Template, place: str) -> None:
    """Judge what the executor does by itself, as its first phase will: to a person here it is bad input."""
    try:
        if template.main is not None:
            return
        if "data" in template.raw:
            listing.judge(template)
        elif isinstance(resource := template.raw.get("resource"), dict) and not resource.get("manifestFrom"):
            manifest.read(template, str(resource.get("action") or ""), str(resource.get("manifest") or "").encode())
    except InputError as error:
        raise InputError(error.message.replace("$", place, 1), remedy=error.remedy) from error


def _check_drivers(template: Template, secrets: Path, place: str) -> None:
    """Make every driver once: a store that cannot be used is known before main has run for an hour."""
    make = registry.drivers(secrets)
    made: set[str] = set()
    for location, where in _locations(template, place):
        if location.store in made:
            continue
        made.add(location.store)
        try:
            driver = make(location)
            if location.type == "fsspec" and ".archiveLocation" in where:
                _check_store(driver, location.key)
        except (InputError, Unsupported) as error:
            raise type(error)(f"{where}: {error.message}", remedy=error.remedy) from error
        except LifecycleError as error:
            raise InputError(error.message, place=where, remedy=error.remedy) from error


def _check_store(driver: Driver, url: str) -> None:
    """Whether something of that URL could be stored, as far as can be said without doing it.

    Raises:
        InputError, Unsupported: there is no such kind of store, or nobody may write there.
    """
    if url.startswith("file://"):
        _check_writable(Path(url.removeprefix("file://")), url)
        return
    try:
        next(iter(driver.list(url)), None)
    except (InputError, Unsupported):
        raise
    except LifecycleError:
        pass  # it exists, and is not well just now: what is saved is tried again


def _locations(template: Template, place: str) -> Iterator[tuple[Location, str]]:
    archive = template.archive_location
    for side in ("inputs", "outputs"):
        for index, raw in enumerate(template.raw_artifacts(side)):
            where = f"{place}.{side}.artifacts[{index}]"
            found = of_artifact(relocated(raw, archive), place=where)
            if found is not None:
                yield found, where
    source = ((template.raw.get("data") or {}).get("source") or {}).get("artifactPaths")
    if isinstance(source, dict):
        where = f"{place}.data.source.artifactPaths"
        found = of_artifact(relocated(source, archive), place=where)
        if found is not None:
            yield found, where
    found = of_artifact(archive, place=f"{place}.archiveLocation")
    if found is not None:
        yield found, f"{place}.archiveLocation"
