"""A substituted template → the pod: what is mounted where, what each container is given (spec 1.7).

Pure: it reads the secrets that environments name, and writes nothing. What it refuses is refused before a
work dir exists; what it cannot honour and can do without, it says in a note.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle.context import Launch
from lifecycle.errors import InputError
from lifecycle.files import INPUT_ARTIFACTS, STAGED_SCRIPT, STAGING, HostMount
from lifecycle.local.environment import PATH, Facts, declared, expand
from lifecycle.local.ignored import ignored
from lifecycle.local.volumes import Volumes, in_order
from lifecycle.location import of_artifact, relocated
from lifecycle.policy import parse_duration
from lifecycle.ports import ContainerSpec, Mount
from lifecycle.template import Template, check_path, lies_below, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from lifecycle.local.identity import Identity
    from lifecycle.local.volumes import Substitute
    from lifecycle.view import ContainerView, VolumeMount

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ARTIFACT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_OURS = ("main", "wait", "init")
_PULL = ("", "Always", "IfNotPresent", "Never")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Layout:
    """A pod that can be made.

    Attributes:
        launch: what the sandbox starts; nothing for a `data` or `resource` template.
        host_mounts: main's mounts, for the executor's side of them.
        volumes: makes the directories behind them.
        seconds: how long the pod may take, if that is limited.
        notes: what a person should know.
    """

    launch: Launch | None
    host_mounts: tuple[HostMount, ...]
    volumes: Volumes
    seconds: float | None
    notes: tuple[str, ...]


def lay_out(
    template: Template,
    spec: Mapping[str, Any],
    identity: Identity,
    *,
    pod_dir: Path,
    secrets: Path | None,
    place: str,
    workflow_place: str,
    substitute: Substitute,
    images: bool = False,
) -> Layout:
    """Judge everything about the pod that can be judged before it is made.

    Args:
        template: substituted.
        spec: the workflow's; its volumes are not substituted yet.
        identity: the pod's names.
        pod_dir: where its volumes will be.
        secrets: what ``--secrets`` names.
        place: where the template stands, for messages.
        workflow_place: where the workflow's spec stands.
        substitute: resolves ``{{workflow…}}`` in those of the workflow's volumes that are used.
        images: containers are of their images, which then give what a container leaves open.

    Raises:
        InputError: it cannot be; the message names the place.
    """
    volumes = Volumes(pod_dir / "volumes", secrets)
    volumes.declare(spec.get("volumes"), f"{workflow_place}.volumes", substitute=substitute)
    volumes.declare(spec.get("volumeClaimTemplates"), f"{workflow_place}.volumeClaimTemplates", claims=True)
    volumes.declare(template.raw.get("volumes"), f"{place}.volumes")
    facts = _facts(template, spec, identity, secrets)
    return _Maker(template, spec, identity, volumes, facts, (place, workflow_place), images=images).layout()


class _Maker:
    """One pod in the making."""

    def __init__(
        self,
        template: Template,
        spec: Mapping[str, Any],
        identity: Identity,
        volumes: Volumes,
        facts: Facts,
        places: tuple[str, str],
        *,
        images: bool,
    ) -> None:
        self._template = template
        self._view = template.view
        self._spec = spec
        self._identity = identity
        self._volumes = volumes
        self._facts = facts
        self._place, self._workflow_place = places
        self._images = images

    def layout(self) -> Layout:
        view = self._view
        kind = "container" if view.container is not None else "script"
        container = self._template.main
        if container is None:
            return self._without_containers()
        where = f"{self._place}.{kind}"
        raw = self._template.raw[kind]
        own = self._user_mounts(container, raw, where)
        mounts = in_order([*own, *self._artifact_mounts(own), *self._staging(kind, own, where)])
        directories = self._output_directories(mounts)
        staged = (STAGED_SCRIPT,) if kind == "script" else ()
        main = self._container("main", container, raw, where, mounts=mounts, staged=staged, directories=directories)
        names = set(_OURS)
        others = {
            field: [
                self._companion(one, self._template.raw[field][index], mounts, names, f"{self._place}.{field}[{index}]")
                for index, one in enumerate(views)
            ]
            for field, views in (("initContainers", view.init_containers), ("sidecars", view.sidecars))
        }
        notes = [*self._volumes.notes, *ignored(self._template.raw, self._spec)]
        return Layout(
            launch=Launch(others["initContainers"], main, others["sidecars"]),
            host_mounts=tuple(HostMount(mount.target, mount.source) for mount in mounts),
            volumes=self._volumes,
            seconds=self._seconds(),
            notes=tuple(notes),
        )

    def _without_containers(self) -> Layout:
        """Of a template that the executor does by itself."""
        raw = self._template.raw
        if not raw.get("data") and not raw.get("resource"):
            raise InputError("it has none of container, script, resource and data", place=self._place)
        if (raw.get("resource") or {}).get("manifestFrom"):
            raise InputError(
                "a manifest from an artifact does not run here yet", place=f"{self._place}.resource.manifestFrom",
                remedy="put the manifest into the template",
            )  # fmt: skip
        notes = (*self._volumes.notes, *ignored(raw, self._spec))
        return Layout(launch=None, host_mounts=(), volumes=self._volumes, seconds=self._seconds(), notes=notes)

    # --- mounts ---------------------------------------------------------------------------------------------

    def _user_mounts(self, container: ContainerView, raw: Mapping[str, Any], place: str) -> list[Mount]:
        wanted: Sequence[VolumeMount] = container.volume_mounts
        return self._volumes.mounts(wanted, raw.get("volumeMounts") or [], f"{place}.volumeMounts")

    def _artifact_mounts(self, own: Sequence[Mount]) -> list[Mount]:
        """One for each input artifact but those below a user's mount, which are loaded into that volume."""
        found: list[Mount] = []
        raws = self._template.raw_artifacts("inputs")
        for index, artifact in enumerate(self._view.inputs.artifacts):
            place = f"{self._place}.inputs.artifacts[{index}]"
            _check_artifact_name(artifact.name, place)
            path = check_path(artifact.path, place=f"{place}.path")
            if path == "/":
                raise InputError("nothing can be mounted over the root", place=f"{place}.path")
            below = [mount for mount in own if lies_below(path, mount.target)]
            if below:
                if self._is_secret(below[-1]):
                    raise InputError(f"{path} lies in a secret, which is read-only", place=f"{place}.path")
                continue
            if any(mount.target == path for mount in found):
                raise InputError(f"two input artifacts at {path}", place=f"{place}.path")
            if of_artifact(relocated(raws[index], self._template.archive_location), place=place) is not None:
                source = self._volumes.root / INPUT_ARTIFACTS / artifact.name
                found.append(Mount(source, path))
        return found

    def _is_secret(self, mount: Mount) -> bool:
        return mount.read_only and not mount.source.is_relative_to(self._volumes.root)

    def _staging(self, kind: str, own: Sequence[Mount], place: str) -> list[Mount]:
        if kind != "script":
            return []
        target = posixpath.dirname(STAGED_SCRIPT)
        if any(mount.target == target for mount in own):
            raise InputError(f"{target} is where the script is staged", place=f"{place}.volumeMounts")
        return [Mount(self._volumes.root / STAGING, target)]

    def _output_directories(self, mounts: Sequence[Mount]) -> tuple[str, ...]:
        """The parents of outputs outside of any mount: images have them, an empty root does not."""
        paths: list[str] = []
        for index, parameter in enumerate(self._view.outputs.parameters):
            place = f"{self._place}.outputs.parameters[{index}].valueFrom"
            source = parameter.value_from
            if source is not None and source.path:
                paths.append(check_path(source.path, place=f"{place}.path"))
            elif parameter.value is None and (source is None or source.default is None):
                raise InputError("a container's output parameter needs a path", place=f"{place}.path")
        names: set[str] = set()
        for index, artifact in enumerate(self._view.outputs.artifacts):
            place = f"{self._place}.outputs.artifacts[{index}]"
            _check_artifact_name(artifact.name, place)
            if artifact.name in names:
                raise InputError(f"the name {artifact.name!r} stands twice", place=f"{place}.name")
            names.add(artifact.name)
            paths.append(check_path(artifact.path, place=f"{place}.path"))
        outside = (path for path in paths if not any(lies_below(path, mount.target) for mount in mounts))
        if self._images:
            return ()  # an image has them or has not, here as in a cluster
        parents = (posixpath.dirname(path) for path in outside)
        # One that is an output itself is main's to make: a `mkdir` of it must not fail.
        return tuple(dict.fromkeys(parent for parent in parents if parent not in {"/", *paths}))

    # --- containers -----------------------------------------------------------------------------------------

    def _companion(
        self, view: ContainerView, raw: Mapping[str, Any], main: Sequence[Mount], names: set[str], place: str
    ) -> ContainerSpec:
        """An init container or a sidecar."""
        if not _LABEL.fullmatch(view.name) or len(view.name) > 63:
            raise InputError(f"{view.name!r} cannot name a container", place=f"{place}.name")
        if view.name in names:
            ours = " by the executor" if view.name in _OURS else ""
            raise InputError(f"the name {view.name!r} is taken{ours}", place=f"{place}.name")
        names.add(view.name)
        mounts = self._user_mounts(view, raw, place)
        if view.mirror_volume_mounts:
            taken = {mount.target for mount in mounts}
            mounts = in_order([*mounts, *(mount for mount in main if mount.target not in taken)])
        return self._container(view.name, view, raw, place, mounts=mounts)

    def _container(
        self,
        name: str,
        view: ContainerView,
        raw: Mapping[str, Any],
        place: str,
        *,
        mounts: Sequence[Mount],
        staged: tuple[str, ...] = (),
        directories: tuple[str, ...] = (),
    ) -> ContainerSpec:
        if self._images and not view.image:
            raise InputError(f"the container {name!r} has no image", place=f"{place}.image")
        if not self._images and not view.command:
            raise InputError(
                f"the container {name!r} has no command, and the entrypoint of its image is not known here",
                place=f"{place}.command",
                remedy="write the command: a local run starts programs of this machine, never the image; or run it "
                "with --runtime docker",
            )
        given = {
            "ARGO_CONTAINER_NAME": name,
            "ARGO_NODE_ID": self._identity.pod,
            "ARGO_WORKFLOW_NAME": self._identity.workflow,
        }
        variables = declared(view, self._facts, given, place)
        user, group = self._user(raw, place)
        base = {"PATH": PATH, "HOME": "/" if user else "/root", "HOSTNAME": self._identity.pod}
        if self._images:
            base = {}
        workdir = view.working_dir or ("" if self._images else "/")
        argv = (*(expand(one, variables) for one in (*view.command, *view.args)), *staged)
        env = base | variables
        if any("\0" in text for text in (*argv, *env.values())):
            raise InputError("a null character cannot be given to a program", place=place)
        return ContainerSpec(
            name=name,
            argv=argv,
            env=env,
            image=view.image,
            pull=_pull(raw, place),
            entrypoint=not view.command,
            workdir=workdir and check_path(workdir, place=f"{place}.workingDir"),
            mounts=tuple(mounts),
            directories=directories,
            user=user,
            group=group,
        )

    def _user(self, raw: Mapping[str, Any], place: str) -> tuple[int | None, int | None]:
        """The container's own user, else the pod's, else that of every pod of the workflow."""
        found: list[int | None] = []
        contexts = [
            (raw.get("securityContext"), f"{place}.securityContext"),
            (self._template.raw.get("securityContext"), f"{self._place}.securityContext"),
            (self._spec.get("securityContext"), f"{self._workflow_place}.securityContext"),
        ]
        for key in ("runAsUser", "runAsGroup"):
            value, where = next(
                (
                    (context[key], where)
                    for context, where in contexts
                    if isinstance(context, dict) and context.get(key) is not None
                ),
                (None, ""),
            )
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31):
                raise InputError(f"{value!r} is no number of a user or group", place=f"{where}.{key}")
            found.append(value)
        return found[0], found[1]

    # --- time -----------------------------------------------------------------------------------------

    def _seconds(self) -> float | None:
        """The shortest of the limits: the template's, its timeout, the workflow's."""
        limits = (
            (self._template.raw.get("activeDeadlineSeconds"), f"{self._place}.activeDeadlineSeconds"),
            (self._template.raw.get("timeout"), f"{self._place}.timeout"),
            (self._spec.get("activeDeadlineSeconds"), f"{self._workflow_place}.activeDeadlineSeconds"),
        )
        return min((_positive(value, place) for value, place in limits if value is not None), default=None)


def _pull(raw: Mapping[str, Any], place: str) -> str:
    policy = raw.get("imagePullPolicy") or ""
    if policy not in _PULL:
        raise InputError(f"{policy!r} is none of {', '.join(_PULL[1:])}", place=f"{place}.imagePullPolicy")
    return str(policy)


def _positive(value: Any, place: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError(f"{value} is no duration")  # noqa: TRY004 - told with the others
        seconds = parse_duration(text_of(value))
    except ValueError as error:
        raise InputError(str(error), place=place) from error
    if not 0 < seconds < 1e9:
        raise InputError(f"{value} is no number of seconds that could be waited for", place=place)
    return seconds


def _check_artifact_name(name: str, place: str) -> None:
    if not _ARTIFACT.fullmatch(name):
        raise InputError(f"{name!r} cannot name an artifact", place=f"{place}.name")


def _facts(template: Template, spec: Mapping[str, Any], identity: Identity, secrets: Path | None) -> Facts:
    fields = {
        "metadata.name": identity.pod,
        "metadata.namespace": identity.namespace,
        "metadata.uid": identity.uid,
        "spec.nodeName": "localhost",
        "spec.serviceAccountName": identity.service_account,
        "status.podIP": _LOOPBACK,
        "status.podIPs": _LOOPBACK,
        "status.hostIP": _LOOPBACK,
        "status.hostIPs": _LOOPBACK,
    }
    holders = (spec.get("podMetadata"), template.raw.get("metadata"))
    labels = _texts(holders, "labels") | {"workflows.argoproj.io/workflow": identity.workflow}
    annotations = _texts(holders, "annotations") | {"workflows.argoproj.io/node-name": identity.node}
    return Facts(fields, labels, annotations, secrets)


def _texts(holders: Iterable[Any], key: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for holder in holders:
        if isinstance(holder, dict) and isinstance(holder.get(key), dict):
            found |= {name: text_of(value) for name, value in holder[key].items()}
    return found
