"""A template → the pod that an Argo controller makes of it (spec 1.7), for the tests: the other side of the contract.

Written from what controllers do, on purpose without anything of the product, so that a mistake there is not made here
a second time. ``contract`` is the release whose controller lays the pod out; ``init`` and ``wait`` may have different
ones, which no controller does, and which must not matter.
"""

from __future__ import annotations

import copy
import json
import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTRACTS = ("v2.3", "v3.0", "v3.2", "v3.3")
RUNTIMES = ("docker", "kubelet", "k8sapi", "pns")

PREFIX = "workflows.argoproj.io"
ZERO_TIME = "0001-01-01T00:00:00Z"
MAIN_ROOT = "/mainctrfs"
SCRIPT = "/argo/staging/script"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """What one executor container is told: by which release's controller, and of which container runtime."""

    contract: str = "v3.3"
    runtime: str = "docker"

    @property
    def has_annotations(self) -> bool:
        """The template is an annotation, in a file of the downward API; until v3.2 (spec 5.9)."""
        return self.contract in {"v2.3", "v3.0"}

    @property
    def names_containers(self) -> bool:
        """Containers are known by ``ARGO_CONTAINER_NAME``; from v3.0 on (spec 5.7)."""
        return self.contract != "v2.3"

    @property
    def has_task_results(self) -> bool:
        """From v3.3 on (spec 5.10)."""
        return self.contract == "v3.3"


@dataclass(frozen=True, slots=True)
class Options:
    """What a controller knows beside the template: its configuration, and the workflow.

    Attributes:
        name: the pod's, and so the node's id.
        executor_image: the controller's ``executorImage``.
        wait, init: by whom these are laid out; ``init`` is as ``wait`` unless it is given.
        deadline: the workflow's, RFC 3339; :data:`ZERO_TIME` is none from v3.2 on, and the end at once before.
        executor_env: the controller's ``executor.env``.
        docker_socket: the node's.
        kubelet_port, kubelet_insecure: the controller's ``kubeletPort`` and ``kubeletInsecure``.
        workflow, workflow_uid: of the Workflow object; without the uid nothing refers to it as its owner.
        grace: ``terminationGracePeriodSeconds``.
        injected: containers that are not the template's: a webhook has added them, first of all.
        extra: more of the pod's spec, as ``podSpecPatch`` would add it: ``nodeName``, ``hostNetwork``, ….
    """

    name: str
    executor_image: str
    wait: Side
    init: Side | None = None
    namespace: str = "default"
    deadline: str = ""
    include_script_output: bool = True
    executor_env: Mapping[str, str] = field(default_factory=dict)
    executor_args: tuple[str, ...] = ()
    docker_socket: str = "/var/run/docker.sock"
    kubelet_port: int = 10250
    kubelet_insecure: bool = False
    workflow: str = "wf"
    workflow_uid: str = ""
    service_account: str = ""
    pull_policy: str = "Never"
    grace: int | None = None
    injected: tuple[Json, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[Side, Side]:
        """Of ``init`` and ``wait``."""
        return self.init or self.wait, self.wait


def pod(template: Mapping[str, Any], options: Options) -> Json:
    """The manifest: ``init`` if it has work, then ``wait``, main, the sidecars, in this order."""
    template = copy.deepcopy(dict(template))
    init, wait = _executor("init", options, template), _executor("wait", options, template)
    main = _main(template, options)
    volumes = [*_standard_volumes(options), *template.get("volumes", [])]
    volumes += _inputs(template, options, init, main)
    volumes += _script(template, init, main)
    init_containers = [_user_container(one, main) for one in template.get("initContainers", [])]
    sidecars = [_user_container(one, main) for one in template.get("sidecars", [])]
    # After main's mounts are final: what is mounted there is where wait reads it (spec 1.7.5).
    wait["volumeMounts"] += [_mirrored(mount) | {"readOnly": False} for mount in main["volumeMounts"]]
    for volume, mount in _secrets(template):
        volumes.append(volume)
        wait["volumeMounts"].append(mount)
        init["volumeMounts"].append(mount)
    if template.get("inputs", {}).get("artifacts") or "script" in template:
        init_containers.insert(0, init)
    containers = [wait, main, *sidecars]
    if options.wait.names_containers:
        _name(options, [*init_containers, *containers])
    containers = [*copy.deepcopy(list(options.injected)), *containers]
    spec: Json = {"restartPolicy": "Never", "volumes": volumes, "containers": containers}
    if init_containers:
        spec["initContainers"] = init_containers
    if options.wait.runtime == "pns":
        spec["shareProcessNamespace"] = True
    if options.service_account:
        spec["serviceAccountName"] = options.service_account
    if options.grace is not None:
        spec["terminationGracePeriodSeconds"] = options.grace
    if "activeDeadlineSeconds" in template:  # the kubelet's business, not the executor's
        spec["activeDeadlineSeconds"] = template["activeDeadlineSeconds"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(template, options),
        "spec": spec | dict(options.extra),
    }


def written(template: Mapping[str, Any], contract: str) -> Json:
    """The template as that controller passes it on: from v3.0 on artifacts of the repository have only a key."""
    shown = copy.deepcopy(dict(template))
    home = shown.get("archiveLocation", {}).get("s3", {})
    if contract != "v2.3":
        for side in ("inputs", "outputs"):
            for artifact in shown.get(side, {}).get("artifacts", []):
                own = artifact.get("s3", {})
                if own.get("key") and own | {"key": ""} == home | {"key": ""}:
                    artifact["s3"] = {"key": own["key"]}
    shown.setdefault("inputs", {})
    shown.setdefault("outputs", {})
    return shown


def overlapping(template: Mapping[str, Any], path: str, contract: str) -> Json | None:
    """The deepest of the template's mounts that the path lies in (spec 1.8); v2.3 looks at containers only."""
    found: Json | None = None
    for mount in _user_mounts(template, contract):
        at = mount["mountPath"].rstrip("/")
        inside = path.startswith(at) if contract == "v2.3" else f"{path.rstrip('/')}/".startswith(f"{at}/")
        if inside and (found is None or len(found["mountPath"]) < len(mount["mountPath"])):
            found = mount
    return found


def _metadata(template: Json, options: Options) -> Json:
    annotations = {f"{PREFIX}/node-name": options.name}
    for side in options.sides:
        if side.has_annotations:
            annotations[f"{PREFIX}/template"] = _compact(written(template, side.contract))
            if options.deadline:
                annotations[f"{PREFIX}/execution"] = _compact(
                    {"deadline": options.deadline}
                    | ({} if side.contract == "v2.3" else {"includeScriptOutput": options.include_script_output})
                )
            elif side.contract == "v3.0":
                annotations[f"{PREFIX}/execution"] = _compact({"includeScriptOutput": options.include_script_output})
    own = template.get("metadata", {})
    metadata: Json = {
        "name": options.name,
        "namespace": options.namespace,
        "labels": {f"{PREFIX}/workflow": options.workflow, f"{PREFIX}/completed": "false"} | own.get("labels", {}),
        "annotations": annotations | own.get("annotations", {}),
    }
    if options.workflow_uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": options.workflow,
                "uid": options.workflow_uid, "controller": True, "blockOwnerDeletion": True,
            }
        ]  # fmt: skip
    return metadata


def _standard_volumes(options: Options) -> Iterator[Json]:
    if any(side.has_annotations for side in options.sides):
        item = {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}
        yield {"name": "podmetadata", "downwardAPI": {"items": [item]}}
    if options.wait.runtime == "docker":
        yield {"name": "docker-sock", "hostPath": {"path": options.docker_socket, "type": "Socket"}}


def _executor(command: str, options: Options, template: Json) -> Json:
    """``init`` or ``wait`` (spec 1.7.1, 1.7.2)."""
    side = options.sides[command == "wait"]
    env: list[Json] = [{"name": "ARGO_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    env += [{"name": name, "value": value} for name, value in options.executor_env.items()]
    if side.runtime != "docker":
        env.append({"name": "ARGO_CONTAINER_RUNTIME_EXECUTOR", "value": side.runtime})
    if side.runtime == "kubelet":
        env += [
            {"name": "ARGO_KUBELET_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "ARGO_KUBELET_PORT", "value": str(options.kubelet_port)},
            {"name": "ARGO_KUBELET_INSECURE", "value": "true" if options.kubelet_insecure else "false"},
        ]
    mounts: list[Json] = []
    if side.has_annotations:
        mounts.append({"name": "podmetadata", "mountPath": "/argo/podmetadata"})
    else:
        include = "true" if options.include_script_output else "false"
        env += [
            {"name": "ARGO_TEMPLATE", "value": _compact(written(template, side.contract))},
            {"name": "ARGO_INCLUDE_SCRIPT_OUTPUT", "value": include},
            {"name": "ARGO_DEADLINE", "value": options.deadline or ZERO_TIME},
        ]
    if side.has_task_results:
        env += [
            {"name": "ARGO_NODE_ID", "value": options.name},
            {"name": "ARGO_WORKFLOW_NAME", "value": options.workflow},
            {"name": "ARGO_WORKFLOW_UID", "value": options.workflow_uid},
            {"name": "ARGO_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        ]
    container: Json = {
        "name": command,
        "image": options.executor_image,
        "imagePullPolicy": options.pull_policy,
        "command": ["argoexec", command],
        "env": env,
        "volumeMounts": mounts,
    }
    if options.executor_args:
        container["args"] = list(options.executor_args)
    if command == "wait":
        container |= _privileges(side, template, container)
    return container


def _privileges(side: Side, template: Json, container: Json) -> Json:
    """What ``wait`` may do beyond the ordinary, by its runtime."""
    if side.runtime == "docker":
        socket = {"name": "docker-sock", "mountPath": "/var/run/docker.sock", "readOnly": True}
        return {"volumeMounts": [*container["volumeMounts"], socket]}
    if side.runtime == "pns":
        added = ["SYS_PTRACE"] if side.contract == "v2.3" else ["SYS_PTRACE", "SYS_CHROOT"]
        context: Json = {"capabilities": {"add": added}}
        users = [template.get("container", {}), *template.get("sidecars", [])]
        if any(one.get("securityContext", {}).get("privileged") for one in users):
            context["privileged"] = True
        return {"securityContext": context}
    return {}


def _main(template: Json, options: Options) -> Json:
    own = dict(template.get("container") or template["script"])
    own.pop("source", None)
    return _with_policy(own | {"name": "main"}, options) | {"volumeMounts": list(own.get("volumeMounts", []))}


def _user_container(own: Json, main: Json) -> Json:
    """A sidecar or an init container of the user's (spec 1.7.7)."""
    own = dict(own)
    if own.pop("mirrorVolumeMounts", False):
        own["volumeMounts"] = [*own.get("volumeMounts", []), *main["volumeMounts"]]
    own.setdefault("imagePullPolicy", main["imagePullPolicy"])
    return own


def _with_policy(container: Json, options: Options) -> Json:
    return {"imagePullPolicy": options.pull_policy} | container


def _inputs(template: Json, options: Options, init: Json, main: Json) -> Iterator[Json]:
    """Input artifacts: from where ``init`` leaves them to where main looks for them (spec 1.7.3)."""
    artifacts = template.get("inputs", {}).get("artifacts", [])
    if not artifacts:
        return
    yield {"name": "input-artifacts", "emptyDir": {}}
    contract = options.sides[0].contract
    init["volumeMounts"].append({"name": "input-artifacts", "mountPath": "/argo/inputs/artifacts"})
    init["volumeMounts"] += [_mirrored(mount) for mount in _user_mounts(template, contract)]
    for artifact in artifacts:
        if overlapping(template, artifact["path"], contract) is None:
            mount = {"name": "input-artifacts", "mountPath": artifact["path"], "subPath": artifact["name"]}
            main["volumeMounts"].append(mount)


def _script(template: Json, init: Json, main: Json) -> Iterator[Json]:
    """The script's way from ``init`` to main (spec 1.7.4)."""
    if "script" not in template:
        return
    yield {"name": "argo-staging", "emptyDir": {}}
    mount = {"name": "argo-staging", "mountPath": "/argo/staging"}
    init["volumeMounts"].append(mount)
    main["volumeMounts"].append(mount)
    main["args"] = [*main.get("args", []), SCRIPT]


def _user_mounts(template: Mapping[str, Any], contract: str) -> list[Json]:
    own = template.get("container") or (template.get("script") if contract != "v2.3" else None) or {}
    return list(own.get("volumeMounts", []))


def _mirrored(mount: Json) -> Json:
    return mount | {"mountPath": posixpath.join(MAIN_ROOT, mount["mountPath"].lstrip("/"))}


def _secrets(template: Json) -> Iterator[tuple[Json, Json]]:
    """One volume a secret, with the keys that are asked for (spec 1.7.6)."""
    wanted: dict[str, set[str]] = {}
    places = [template.get("archiveLocation", {})]
    places += [one for side in ("inputs", "outputs") for one in template.get(side, {}).get("artifacts", [])]
    for place in places:
        for store in place.values():
            for name, selector in store.items() if isinstance(store, dict) else ():
                if name.endswith("Secret") and isinstance(selector, dict) and selector.get("name"):
                    wanted.setdefault(selector["name"], set()).add(selector["key"])
    for name, keys in wanted.items():
        items = [{"key": key, "path": key} for key in sorted(keys)]
        mount = {"name": name, "mountPath": f"/argo/secret/{name}", "readOnly": True}
        yield {"name": name, "secret": {"secretName": name, "items": items}}, mount


def _name(options: Options, containers: list[Json]) -> None:
    """``ARGO_CONTAINER_NAME`` in every container, and from v3.2 on the deadline, too (spec 5.7, 5.9)."""
    for container in containers:
        env = [{"name": "ARGO_CONTAINER_NAME", "value": container["name"]}]
        known = {one["name"] for one in container.get("env", [])}
        if not options.wait.has_annotations and "ARGO_DEADLINE" not in known:
            env.append({"name": "ARGO_DEADLINE", "value": options.deadline or ZERO_TIME})
        container["env"] = [*env, *container.get("env", [])]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
