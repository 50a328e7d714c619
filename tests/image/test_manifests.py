"""What `deploy/` gives a cluster: permissions, the controller's configuration, and the Dockerfile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from deploy import rootfs, tarball
from lifecycle import __version__, registry
from tests.servers import rbac

DEPLOY = Path(rootfs.__file__).parent
CONTROLLERS = sorted(DEPLOY.glob("controller/*.yaml"))
RUNTIMES = ("docker", "k8sapi", "kubelet", "pns")

GRANTED = {
    "docker": {("pods", "get"), ("pods", "watch"), ("pods", "patch")},
    "k8sapi": {
        ("pods", "get"), ("pods", "watch"), ("pods", "patch"), ("pods/log", "get"),
        ("pods/exec", "get"), ("pods/exec", "create"),
    },
    "kubelet": {("pods", "get"), ("pods", "watch"), ("pods", "patch"), ("nodes/proxy", "get")},
    "pns": {("pods", "get"), ("pods", "watch"), ("pods", "patch"), ("pods/log", "get")},
    "taskresults": {("workflowtaskresults", "create"), ("workflowtaskresults", "patch")},
    "configmaps": {("configmaps", "get")},
}  # fmt: skip
"""All that is granted: who adds to a file adds here, and says in the file what for."""


@pytest.mark.parametrize("name", GRANTED)
def test_the_permissions_of_a_file_are_these_and_no_more(name):
    rules = [rule for one in rbac.documents(name, "ns") for rule in one.get("rules", ())]

    assert {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]} == GRANTED[
        name
    ]


@pytest.mark.parametrize("name", GRANTED)
def test_what_is_bound_is_there_and_bound_to_the_account(name):
    documents = rbac.documents(name, "ns")
    made = {(one["kind"], one["metadata"]["name"]) for one in documents}

    for one in documents:
        if one["kind"].endswith("Binding"):
            assert (one["roleRef"]["kind"], one["roleRef"]["name"]) in made
            assert [subject["name"] for subject in one["subjects"]] == [rbac.ACCOUNT]
            assert {subject.get("namespace", "ns") for subject in one["subjects"]} == {"ns"}
    if name in RUNTIMES:
        assert ("ServiceAccount", rbac.ACCOUNT) in made


def test_every_runtime_has_its_file():
    assert {path.stem for path in rbac.DIRECTORY.iterdir()} == set(GRANTED)
    assert set(RUNTIMES) == set(registry.RUNTIMES) - {"local"}


@pytest.mark.parametrize("path", CONTROLLERS, ids=lambda path: path.stem)
def test_a_controllers_configuration_names_this_release_and_a_runtime_that_there_is(path):
    data = yaml.safe_load(path.read_text())["data"]
    config = yaml.safe_load(data["config"]) if "config" in data else data
    executor = yaml.safe_load(config.get("executor", "{}"))

    assert config["executorImage"] == executor.get("image", config["executorImage"]) == f"argoexec:{__version__}"
    assert config["containerRuntimeExecutor"] in RUNTIMES


# --- the Dockerfile ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def of(instructions, kind):
    return [rest for name, rest in instructions if name == kind]


def test_bases_are_named_without_a_registry_and_the_image_has_none(instructions):
    bases = [rest.split()[0] for rest in of(instructions, "FROM")]

    assert bases == ["python:${PYTHON}-slim-${DEBIAN}", "scratch", "root", "root"]


def test_what_it_copies_is_in_the_tree(instructions):
    copied = [rest.split()[0] for rest in of(instructions, "COPY") if not rest.startswith("--from")]

    assert {"pyproject.toml", "requirements.lock", "lifecycle", "runtimes", "drivers", "deploy"} <= set(copied)
    assert [one for one in copied if not (DEPLOY.parent / one).exists()] == []


def test_it_makes_the_image_that_the_tests_use(instructions):
    assert [rest for rest in of(instructions, "RUN") if "python -m deploy.rootfs --directory" in rest]
    assert dict(one.split("=", 1) for one in of(instructions, "ENV")[0].split()) == tarball.ENVIRONMENT
    assert of(instructions, "CMD") == ['["argoexec"]']
    assert f"STORES={','.join(rootfs.STORES)}" in of(instructions, "ARG")


def test_its_variant_without_root_has_the_user_that_is_inside(instructions):
    assert of(instructions, "USER") == [f"{rootfs.UID}:{rootfs.UID}"]
    assert f":{rootfs.UID}:{rootfs.UID}:" in rootfs.TEXTS["etc/passwd"]


def test_it_installs_what_the_root_file_system_is_made_of(instructions):
    """The packages that a failure names, which every other machine is told to install."""
    named = set(re.findall(r'"(busybox-static|git|openssh-client|ca-certificates|media-types)"',
                           (DEPLOY / "rootfs.py").read_text()))  # fmt: skip
    installed = next(rest for rest in of(instructions, "RUN") if "apt-get install" in rest).split()

    assert len(named) == 5
    assert named <= set(installed)
