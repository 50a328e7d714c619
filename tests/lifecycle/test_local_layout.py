"""A template's pod: volumes, mounts, environments, and everything a local run refuses before it writes anything."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lifecycle.errors import InputError
from lifecycle.local.environment import expand
from lifecycle.local.identity import Identity
from lifecycle.local.layout import lay_out
from lifecycle.local.prepare import Request, prepare
from lifecycle.local.runner import _Kubelet
from lifecycle.ports import ContainerSpec, Mount
from lifecycle.template import Template

WHO = Identity("wf", "wf-pod", "wf.t", "ns", "u", "sa", datetime(2026, 1, 1, tzinfo=UTC), {})
MAIN = {"command": ["sh", "-c"], "args": ["echo"]}
EMPTY = {"name": "v", "emptyDir": {}}
STORE = {"archiveLocation": {"fsspec": {"url": "file:///s"}}}


@pytest.fixture
def secrets(tmp_path):
    directory = tmp_path / "secrets"
    (directory / "db").mkdir(parents=True)
    (directory / "db/password").write_text("hunter2\n")
    return directory


@pytest.fixture
def pod(tmp_path):
    def make(spec=None, secrets=None, images=False, **template):
        raw = {"name": "t", "container": MAIN} | STORE | template
        if "script" in template:
            del raw["container"]
        return lay_out(
            Template(raw, place="f: $.t"),
            spec or {},
            WHO,
            pod_dir=tmp_path / "pod",
            secrets=secrets,
            place="f: $.t",
            workflow_place="f: $.spec",
            substitute=lambda raw, _: raw,
            images=images,
        )

    return make


def mounted(*mounts):
    return MAIN | {"volumeMounts": [{"name": name, "mountPath": path, **more} for name, path, more in mounts]}


def test_the_smallest_pod(pod):
    layout = pod()

    main = layout.launch.main
    assert main.argv == ("sh", "-c", "echo")
    assert main.workdir == "/"
    assert main.env["HOME"] == "/root"
    assert main.env["HOSTNAME"] == "wf-pod"
    assert main.env["PATH"].endswith("/bin")
    assert main.env["ARGO_CONTAINER_NAME"] == "main"
    assert (layout.host_mounts, layout.seconds, layout.notes) == ((), None, ())


def test_an_image_gives_what_the_template_leaves_open(pod):
    outputs = {"artifacts": [{"name": "o", "path": "/out/deep/file"}]}
    main = pod(images=True, container={"image": "i:1", "args": ["$(OWN)"], "env": [{"name": "OWN", "value": "x"}]},
               outputs=outputs).launch.main  # fmt: skip

    assert (main.entrypoint, main.argv, main.image) == (True, ("x",), "i:1")
    assert (main.workdir, main.user, main.directories, main.pull) == ("", None, (), "")
    assert set(main.env) == {"ARGO_CONTAINER_NAME", "ARGO_NODE_ID", "ARGO_WORKFLOW_NAME", "OWN"}


def test_a_template_s_command_takes_the_place_of_the_image_s(pod):
    container = MAIN | {"image": "i:1", "workingDir": "/w", "imagePullPolicy": "Always"}
    main = pod(images=True, container=container).launch.main

    assert (main.entrypoint, main.argv, main.workdir, main.pull) == (False, ("sh", "-c", "echo"), "/w", "Always")


@pytest.mark.parametrize(
    ("container", "place"),
    [({"command": ["sh"]}, "container.image"), (MAIN | {"image": "i", "imagePullPolicy": "now"}, "imagePullPolicy")],
)
def test_images_have_names_and_known_policies(pod, container, place):
    with pytest.raises(InputError, match=place):
        pod(images=True, container=container)


def test_nothing_is_made_before_the_run(pod, tmp_path):
    layout = pod(volumes=[EMPTY], container=mounted(("v", "/v", {"subPath": "a/b"})))
    assert not (tmp_path / "pod").exists()

    layout.volumes.make()

    assert (tmp_path / "pod/volumes/v/a/b").stat().st_mode & 0o7777 == 0o777
    assert (tmp_path / "pod/volumes/input-artifacts").is_dir()


def test_volumes_of_workflow_and_template_are_directories(pod, tmp_path):
    volumes = tmp_path / "pod/volumes"
    spec = {
        "volumes": [{"name": "w", "emptyDir": None}, {"name": "unused", "hostPath": {"path": "/"}}],
        "volumeClaimTemplates": [{"metadata": {"name": "c"}}],
    }
    layout = pod(
        spec,
        volumes=[EMPTY],
        container=mounted(("w", "/w/", {}), ("v", "/w/deep", {"readOnly": True}), ("c", "/c", {"subPath": "x"})),
    )

    assert layout.launch.main.mounts == (
        Mount(volumes / "w", "/w"), Mount(volumes / "c/x", "/c"), Mount(volumes / "v", "/w/deep", read_only=True),
    )  # fmt: skip
    assert {mount.target: mount.source for mount in layout.host_mounts}["/w"] == volumes / "w"
    assert any("'c'" in note for note in layout.notes)


def test_an_input_artifact_is_mounted_at_its_path_unless_a_volume_covers_it(pod, tmp_path):
    raw = {"raw": {"data": ""}}
    layout = pod(
        volumes=[EMPTY],
        container=mounted(("v", "/v", {})),
        inputs={"artifacts": [
            {"name": "a", "path": "/a/"} | raw, {"name": "in-v", "path": "/v/x"} | raw,
            {"name": "not-v", "path": "/vv"} | raw, {"name": "opt", "path": "/o", "optional": True},
        ]},
    )  # fmt: skip

    inputs = tmp_path / "pod/volumes/input-artifacts"
    targets = {mount.target: mount.source for mount in layout.launch.main.mounts}
    assert targets == {"/v": tmp_path / "pod/volumes/v", "/a": inputs / "a", "/vv": inputs / "not-v"}


def test_a_script_is_staged_and_its_path_appended(pod, tmp_path):
    layout = pod(script={"command": ["python3"], "args": ["-u"], "source": "x"})

    assert layout.launch.main.argv == ("python3", "-u", "/argo/staging/script")
    assert layout.launch.main.mounts == (Mount(tmp_path / "pod/volumes/argo-staging", "/argo/staging"),)


def test_the_parents_of_outputs_outside_of_mounts_are_made(pod):
    layout = pod(
        volumes=[EMPTY],
        container=mounted(("v", "/v", {})),
        outputs={
            "parameters": [
                {"name": "p", "valueFrom": {"path": "/outputs/p/data"}},
                {"name": "q", "valueFrom": {"path": "/q"}},
            ],
            "artifacts": [
                {"name": "a", "path": "/outputs/p/a"},
                {"name": "b", "path": "/v/b"},
                {"name": "tree", "path": "/tree"},
                {"name": "leaf", "path": "/tree/leaf"},
            ],
        },
    )

    assert layout.launch.main.directories == ("/outputs/p",)


def test_sidecars_and_init_containers_see_mains_mounts_only_when_they_ask(pod):
    companion = {"image": "i", "command": ["x"]}
    layout = pod(
        volumes=[EMPTY],
        container=mounted(("v", "/v", {})),
        initContainers=[companion | {"name": "prepare", "mirrorVolumeMounts": True}],
        sidecars=[companion | {"name": "s"}, companion | {"name": "m", "mirrorVolumeMounts": True} |
                  {"volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": True}]}],
    )  # fmt: skip

    (init,), (plain, mirrored) = layout.launch.init_containers, layout.launch.sidecars
    assert [mount.target for mount in init.mounts] == ["/v"]
    assert plain.mounts == ()
    assert [mount.read_only for mount in mirrored.mounts] == [True]
    assert plain.env["ARGO_CONTAINER_NAME"] == "s"


def test_environments_are_resolved(pod, secrets):
    container = MAIN | {
        "command": ["$(A)", "$(NOPE)", "$$(A)"],
        "env": [
            {"name": "A", "value": "a"}, {"name": "B", "value": "$(A)b $(LATER)"}, {"name": "LATER", "value": 1},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "TEAM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "no", "optional": True}}},
            {"name": "MAP", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": True}}},
            {"name": "PATH", "value": "/mine"},
        ],
        "envFrom": [{"configMapRef": {"name": "c", "optional": True}}],
    }  # fmt: skip
    main = pod(container=container, metadata={"labels": {"team": "x"}}, secrets=secrets).launch.main

    wanted = {
        "A": "a",
        "B": "ab $(LATER)",
        "LATER": "1",
        "POD": "wf-pod",
        "TEAM": "x",
        "SECRET": "hunter2",
        "PATH": "/mine",
    }
    assert wanted.items() <= main.env.items()
    assert not {"NONE", "MAP"} & set(main.env)
    assert main.argv == ("a", "$(NOPE)", "$(A)", "echo")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(X)", "1"), ("$$(X)", "$(X)"), ("$$$(X)", "$1"), ("$X $", "$X $"), ("$(", "$("), ("$(Y)", "$(Y)"), ("$$", "$")],
)
def test_references_expand_as_in_kubernetes(text, expected):
    assert expand(text, {"X": "1"}) == expected


def test_secret_volumes_are_read_only(pod, secrets, tmp_path):
    volumes = [
        {"name": "all", "secret": {"secretName": "db"}},
        {"name": "some", "secret": {"secretName": "db", "items": [{"key": "password", "path": "p/w"}]}},
        {"name": "none", "secret": {"secretName": "no", "optional": True}},
    ]
    layout = pod(volumes=volumes, secrets=secrets, container=mounted(
        ("all", "/all", {}), ("some", "/some", {}), ("none", "/none", {}), ("all", "/one", {"subPath": "password"}),
        ("some", "/two", {"subPath": "p/w"}),
    ))  # fmt: skip

    found = {mount.target: mount for mount in layout.launch.main.mounts}
    password = secrets / "db/password"
    assert found["/all"].source == secrets / "db"
    assert found["/one"].source == found["/two"].source == found["/some/p/w"].source == password
    assert all(mount.read_only for mount in found.values())
    layout.volumes.make()
    assert (tmp_path / "pod/volumes/some/p/w").read_text() == ""


def test_the_user_comes_from_the_container_else_from_the_pod(pod):
    spec = {"securityContext": {"runAsUser": 1, "runAsGroup": 2}}

    main = pod(spec, container=MAIN | {"securityContext": {"runAsUser": 7}}).launch.main

    assert (main.user, main.group, main.env["HOME"]) == (7, 2, "/")


@pytest.mark.parametrize(
    ("template", "spec", "expected"),
    [({"activeDeadlineSeconds": 10}, {}, 10), ({"activeDeadlineSeconds": "7"}, {}, 7), ({"timeout": "1m"}, {}, 60),
     ({}, {"activeDeadlineSeconds": 3}, 3), ({"activeDeadlineSeconds": 10}, {"activeDeadlineSeconds": 3}, 3)],
)  # fmt: skip
def test_the_shortest_limit_counts(pod, template, spec, expected):
    assert pod(spec, **template).seconds == expected


def test_what_has_no_effect_is_said_in_one_note(pod):
    layout = pod({"onExit": "x"}, daemon=True, container=MAIN | {"resources": {"limits": {"cpu": 1}}, "ports": [1]})

    assert layout.notes == ("without effect here: daemon, container.resources, spec.onExit",)


SIDE = {"name": "s", "command": ["x"]}


def over(volume):
    return {"container": mounted(("v", "/x", {})), "volumes": [{"name": "v"} | volume]}


def variable(**source):
    return {"container": MAIN | {"env": [{"name": "A", "valueFrom": source}]}}


IN = {"name": "a", "path": "/a", "raw": {"data": ""}}


@pytest.mark.parametrize(
    ("template", "place", "says"),
    [
        ({"container": {"image": "nginx"}}, "$.t.container.command", "entrypoint of its image"),
        ({"container": mounted(("w", "/x", {})), "volumes": [EMPTY]}, "volumeMounts[0].name", "no volume 'w'"),
        ({"container": mounted(("v", "x", {})), "volumes": [EMPTY]}, "volumeMounts[0].mountPath", "absolute"),
        ({"container": mounted(("v", "/x/../y", {})), "volumes": [EMPTY]}, "mountPath", "without '..'"),
        ({"container": mounted(("v", "/", {})), "volumes": [EMPTY]}, "mountPath", "over the root"),
        ({"container": mounted(("v", "/x", {}), ("v", "/x/", {})), "volumes": [EMPTY]}, "[1].mountPath", "two mounts"),
        ({"container": mounted(("v", "/x", {"subPath": "../y"})), "volumes": [EMPTY]}, "subPath", "without '..'"),
        ({"container": mounted(("v", "/x", {"subPath": "/y"})), "volumes": [EMPTY]}, "subPath", "relative"),
        ({"volumes": [EMPTY, EMPTY]}, "volumes[1]", "there already"),
        ({"volumes": [{"name": "input-artifacts"}]}, "volumes[0]", "there already"),
        ({"volumes": [{"name": "../x"}]}, "volumes[0]", "cannot name a volume"),
        (over({"hostPath": {"path": "/"}}), "hostPath", "'v'"),
        (over({"configMap": {}}), "configMap", "'v'"),
        (over({"secret": {"secretName": "no"}}), "secret", "'no'"),
        ({"container": MAIN | {"workingDir": "x"}}, "workingDir", "absolute"),
        ({"container": MAIN | {"args": ["\0"]}}, "container", "null character"),
        ({"container": MAIN | {"env": [{"name": "A=B", "value": ""}]}}, "env[0].name", "cannot name"),
        (variable(configMapKeyRef={}), "configMapKeyRef", "cluster"),
        (variable(secretKeyRef={"name": "s"}), "secretKeyRef", "'s'"),
        (variable(fieldRef={"fieldPath": "x"}), "fieldPath", "'x'"),
        ({"container": MAIN | {"envFrom": [{"secretRef": {"name": "s"}}]}}, "envFrom[0]", "'s'"),
        ({"container": MAIN | {"securityContext": {"runAsUser": "root"}}}, "runAsUser", "'root'"),
        ({"sidecars": [SIDE, SIDE]}, "sidecars[1].name", "taken"),
        ({"sidecars": [SIDE | {"name": "wait"}]}, "sidecars[0].name", "by the executor"),
        ({"sidecars": [SIDE | {"name": "a/b"}]}, "sidecars[0].name", "cannot name"),
        ({"sidecars": [SIDE], "initContainers": [SIDE]}, "sidecars[0].name", "taken"),
        ({"sidecars": [{"name": "s"}]}, "sidecars[0].command", "no command"),
        ({"inputs": {"artifacts": [IN, IN | {"name": "b"}]}}, "artifacts[1].path", "two input artifacts"),
        ({"inputs": {"artifacts": [IN | {"path": ""}]}}, "artifacts[0].path", "needed"),
        ({"inputs": {"artifacts": [IN | {"path": "/"}]}}, "artifacts[0].path", "root"),
        ({"inputs": {"artifacts": [IN | {"name": "../x"}]}}, "artifacts[0].name", "cannot name"),
        ({"outputs": {"artifacts": [{"name": "a", "path": "x"}]}}, "artifacts[0].path", "absolute"),
        ({"outputs": {"artifacts": [{"name": "a", "path": "/x"}] * 2}}, "artifacts[1].name", "twice"),
        ({"outputs": {"parameters": [{"name": "a"}]}}, "parameters[0].valueFrom.path", "needs a path"),
        ({"activeDeadlineSeconds": 0}, "activeDeadlineSeconds", "0"),
        ({"activeDeadlineSeconds": "soon"}, "activeDeadlineSeconds", "soon"),
        ({"timeout": "-1s"}, "timeout", "-1s"),
        ({"script": mounted(("v", "/argo/staging", {})), "volumes": [EMPTY]}, "volumeMounts", "staged"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(pod, template, place, says):
    with pytest.raises(InputError) as caught:
        pod(**template)

    assert place in caught.value.place
    assert says in str(caught.value)


def test_an_artifact_cannot_be_loaded_into_a_secret(pod, secrets):
    with pytest.raises(InputError, match="read-only"):
        pod(
            secrets=secrets,
            volumes=[{"name": "s", "secret": {"secretName": "db"}}],
            container=mounted(("s", "/s", {})),
            inputs={"artifacts": [IN | {"path": "/s/x"}]},
        )


def test_no_message_holds_a_secrets_value(pod, secrets):
    with pytest.raises(InputError) as caught:
        pod(secrets=secrets, container=MAIN | {"env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "db", "key": "other"}}},
        ]})  # fmt: skip

    assert "hunter2" not in f"{caught.value} {caught.value.remedy}"
    assert "'other'" in str(caught.value)


def test_a_mount_of_an_input_that_was_not_loaded_gets_an_empty_directory(tmp_path):
    class Sandbox:
        started = ()

        def start(self, spec, cancel):
            self.started += (spec.name,)

        def run_init(self, spec, cancel):
            self.start(spec, cancel)

    inputs = tmp_path / "input-artifacts"
    inputs.mkdir()
    (inputs / "there").write_text("x")
    (inputs / "link").symlink_to("nowhere")
    mounts = [Mount(inputs / name, f"/{name}") for name in ("there", "link", "absent")]
    mounts.append(Mount(tmp_path / "other", "/other"))
    sandbox = Sandbox()
    kubelet = _Kubelet(sandbox, inputs)

    kubelet.run_init(ContainerSpec(name="first", argv=("x",), env={}, mounts=tuple(mounts[:2])), None)
    assert not (inputs / "absent").exists()
    kubelet.start(ContainerSpec(name="main", argv=("x",), env={}, mounts=tuple(mounts)), None)

    assert sandbox.started == ("first", "main")
    assert (inputs / "absent").stat().st_mode & 0o7777 == 0o777
    assert (inputs / "there").read_text() == "x"
    assert (inputs / "link").is_symlink()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("flag", ["workdir", "secrets"])
def test_a_path_that_nobody_lets_us_look_at_is_bad_input(tmp_path, monkeypatch, flag):
    (tmp_path / "wf.yaml").write_text(
        "{apiVersion: argoproj.io/v1alpha1, kind: Workflow, metadata: {name: w},"
        " spec: {templates: [{name: t, container: {command: [x]}}]}}"
    )
    plain = Path.stat

    def stat(path, **more):
        if str(path).startswith("/closed/"):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, **more)

    monkeypatch.setattr(Path, "stat", stat)
    request = Request(file=str(tmp_path / "wf.yaml"), **{flag: "/closed/x/y"})

    with pytest.raises(InputError, match=f"--{flag} /closed/x/y: .*Permission denied"):
        prepare(request, {}, WHO.created, random.Random(1))
