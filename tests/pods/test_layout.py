"""Of the helper that lays pods out: what must be as controllers do it, or the pods prove nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.pods.layout import CONTRACTS, RUNTIMES, ZERO_TIME, Options, Side, overlapping, pod, written

HOME = {
    "endpoint": "s3:9000",
    "bucket": "b",
    "accessKeySecret": {"name": "cred", "key": "access"},
    "secretKeySecret": {"name": "cred", "key": "secret"},
    "key": "wf/p",
}
FULL: dict[str, Any] = {
    "name": "full",
    "inputs": {
        "artifacts": [
            {"name": "in", "path": "/in/file", "s3": HOME | {"key": "earlier/in.tgz"}},
            {"name": "kept", "path": "/vol/kept", "raw": {"data": "x"}},
        ]
    },
    "outputs": {"artifacts": [{"name": "out", "path": "/vol/out"}]},
    "container": {
        "image": "main:1",
        "command": ["true"],
        "volumeMounts": [{"name": "vol", "mountPath": "/vol", "subPath": "s"}],
    },
    "volumes": [{"name": "vol", "emptyDir": {}}],
    "sidecars": [{"name": "side", "image": "side:1", "mirrorVolumeMounts": True}],
    "archiveLocation": {"s3": HOME},
}
SCRIPT: dict[str, Any] = {"name": "s", "script": {"image": "main:1", "command": ["sh"], "source": "echo hi"}}


def laid_out(template: dict[str, Any], contract: str = "v2.3", runtime: str = "docker", **more: Any) -> dict[str, Any]:
    return pod(template, Options(name="p", executor_image="exec:1", wait=Side(contract, runtime), **more))


def containers(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    spec = manifest["spec"]
    return {one["name"]: one for one in [*spec.get("initContainers", []), *spec["containers"]]}


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", [])}


def mounts(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["mountPath"]: one for one in container["volumeMounts"]}


def test_containers_come_in_the_order_wait_main_sidecars() -> None:
    assert [one["name"] for one in laid_out(FULL)["spec"]["containers"]] == ["wait", "main", "side"]


@pytest.mark.parametrize(("template", "there"), [(FULL, True), (SCRIPT, True), ({"container": {"image": "i"}}, False)])
def test_there_is_an_init_container_only_for_artifacts_and_scripts(template: dict[str, Any], there: bool) -> None:
    assert ("init" in containers(laid_out(template))) is there


def test_main_s_mounts_are_mirrored_in_wait_and_the_user_s_in_init() -> None:
    found = containers(laid_out(FULL))
    assert mounts(found["init"]).keys() >= {"/argo/inputs/artifacts", "/mainctrfs/vol"}
    assert mounts(found["wait"])["/mainctrfs/vol"] == {
        "name": "vol", "mountPath": "/mainctrfs/vol", "subPath": "s", "readOnly": False,
    }  # fmt: skip
    assert mounts(found["wait"])["/mainctrfs/in/file"]["subPath"] == "in"


def test_an_input_is_mounted_by_its_name_unless_it_lies_in_a_volume_of_the_user_s() -> None:
    found = mounts(containers(laid_out(FULL))["main"])
    assert found["/in/file"] == {"name": "input-artifacts", "mountPath": "/in/file", "subPath": "in"}
    assert "/vol/kept" not in found


def test_a_sidecar_may_mirror_main_s_mounts() -> None:
    found = containers(laid_out(FULL))
    assert mounts(found["side"]).keys() == {"/vol", "/in/file"}
    assert "mirrorVolumeMounts" not in found["side"]


def test_a_script_is_staged_and_its_path_is_the_last_argument() -> None:
    found = containers(laid_out(SCRIPT))
    assert found["main"]["args"] == ["/argo/staging/script"]
    assert "source" not in found["main"]
    assert {mounts(found[name]).get("/argo/staging", {}).get("name") for name in ("init", "main")} == {"argo-staging"}
    assert "/mainctrfs/argo/staging" in mounts(found["wait"])


def test_each_secret_is_one_volume_with_the_keys_that_are_asked_for() -> None:
    manifest = laid_out(FULL)
    volumes = {one["name"]: one for one in manifest["spec"]["volumes"]}
    assert [one["path"] for one in volumes["cred"]["secret"]["items"]] == ["access", "secret"]
    assert mounts(containers(manifest)["wait"])["/argo/secret/cred"]["readOnly"]
    assert mounts(containers(manifest)["init"])["/argo/secret/cred"]["readOnly"]


def test_until_v3_2_the_template_is_an_annotation_and_then_it_is_an_environment_variable() -> None:
    for contract in ("v2.3", "v3.0"):
        manifest = laid_out(FULL, contract)
        assert json.loads(manifest["metadata"]["annotations"]["workflows.argoproj.io/template"])["name"] == "full"
        assert "/argo/podmetadata" in mounts(containers(manifest)["wait"])
        assert "ARGO_TEMPLATE" not in env(containers(manifest)["wait"])
    for contract in ("v3.2", "v3.3"):
        manifest = laid_out(FULL, contract)
        assert "workflows.argoproj.io/template" not in manifest["metadata"]["annotations"]
        assert not any(one["name"] == "podmetadata" for one in manifest["spec"]["volumes"])
        found = env(containers(manifest)["wait"])
        assert json.loads(found["ARGO_TEMPLATE"])["name"] == "full"
        assert (found["ARGO_DEADLINE"], found["ARGO_INCLUDE_SCRIPT_OUTPUT"]) == (ZERO_TIME, "true")


def test_every_container_knows_its_name_from_v3_0_on() -> None:
    assert "ARGO_CONTAINER_NAME" not in env(containers(laid_out(FULL))["main"])
    for name, one in containers(laid_out(FULL, "v3.0")).items():
        assert env(one)["ARGO_CONTAINER_NAME"] == name


def test_task_results_need_what_v3_3_tells() -> None:
    told = {"ARGO_NODE_ID", "ARGO_WORKFLOW_NAME", "ARGO_WORKFLOW_UID", "ARGO_POD_UID"}
    for contract in CONTRACTS:
        found = env(containers(laid_out(FULL, contract))["wait"])
        assert (told <= found.keys()) is (contract == "v3.3")
        assert told.isdisjoint(found) is (contract != "v3.3")


def test_artifacts_of_the_repository_have_only_a_key_from_v3_0_on() -> None:
    assert written(FULL, "v2.3")["inputs"]["artifacts"][0]["s3"]["bucket"] == "b"
    assert written(FULL, "v3.0")["inputs"]["artifacts"][0]["s3"] == {"key": "earlier/in.tgz"}
    assert written(FULL, "v3.0")["archiveLocation"]["s3"] == HOME


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_runtime_has_what_it_needs_and_nothing_of_another_s(contract: str, runtime: str) -> None:
    manifest = laid_out(FULL, contract, runtime, docker_socket="/node/docker.sock")
    wait = containers(manifest)["wait"]
    volumes = {one["name"]: one for one in manifest["spec"]["volumes"]}
    assert ("docker-sock" in volumes) is (runtime == "docker")
    if runtime == "docker":
        assert volumes["docker-sock"]["hostPath"] == {"path": "/node/docker.sock", "type": "Socket"}
        assert mounts(wait)["/var/run/docker.sock"]["readOnly"]
    assert env(wait).get("ARGO_CONTAINER_RUNTIME_EXECUTOR", "docker") == runtime
    assert ("ARGO_KUBELET_HOST" in env(wait)) is (runtime == "kubelet")
    assert manifest["spec"].get("shareProcessNamespace", False) is (runtime == "pns")
    added = wait.get("securityContext", {}).get("capabilities", {}).get("add", [])
    assert ("SYS_PTRACE" in added) is (runtime == "pns")
    assert ("SYS_CHROOT" in added) is (runtime == "pns" and contract != "v2.3")


def test_a_deadline_is_the_execution_annotation_or_a_variable() -> None:
    old = laid_out(FULL, deadline="2030-01-01T00:00:00Z")["metadata"]["annotations"]
    assert json.loads(old["workflows.argoproj.io/execution"]) == {"deadline": "2030-01-01T00:00:00Z"}
    assert "workflows.argoproj.io/execution" not in laid_out(FULL)["metadata"]["annotations"]
    new = containers(laid_out(FULL, "v3.2", deadline="2030-01-01T00:00:00Z"))
    assert {env(one)["ARGO_DEADLINE"] for one in new.values()} == {"2030-01-01T00:00:00Z"}


def test_init_and_wait_may_be_of_different_releases_and_runtimes() -> None:
    manifest = laid_out(FULL, "v3.3", "pns", init=Side("v2.3", "docker"))
    found = containers(manifest)
    assert "/argo/podmetadata" in mounts(found["init"])
    assert "/argo/podmetadata" not in mounts(found["wait"])
    assert "ARGO_TEMPLATE" in env(found["wait"])
    assert "ARGO_TEMPLATE" not in env(found["init"])
    assert manifest["spec"]["shareProcessNamespace"] is True


def test_what_a_webhook_injects_is_no_part_of_the_template() -> None:
    manifest = laid_out(FULL, injected=({"name": "istio-proxy", "image": "i"},))
    assert [one["name"] for one in manifest["spec"]["containers"]] == ["istio-proxy", "wait", "main", "side"]
    assert "istio-proxy" not in manifest["metadata"]["annotations"]["workflows.argoproj.io/template"]


def test_the_deepest_mount_counts_by_whole_elements_after_v2_3() -> None:
    template = {"container": {"volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a/b"}]}}
    assert (overlapping(template, "/a/b/c", "v3.0") or {})["name"] == "b"
    assert overlapping(template, "/ab", "v3.0") is None
    assert (overlapping(template, "/ab", "v2.3") or {})["name"] == "a"


def test_laying_out_leaves_the_template_as_it_was() -> None:
    before = json.dumps(FULL)
    laid_out(FULL, "v3.3", "pns")
    assert json.dumps(FULL) == before
