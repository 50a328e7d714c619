"""``argoexec run`` as a process, on templates that do what people's templates do, good and bad."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from textwrap import dedent, indent

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(os.environ.get("ARGO_EXAMPLES") or ROOT.parent / "shared/argo-examples")

pytestmark = pytest.mark.sandbox
NEEDED = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="ARGO_EXAMPLES names no directory of Argo's examples")


def needs_examples(test):
    """Argo's own examples are not ours to copy nor to install: without them a test is skipped everywhere."""
    return pytest.mark.argo_examples(NEEDED(test))


class Here:
    """A directory to run in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ = os.environ | {
            "ARGO_TERMINATION_GRACE_PERIOD_SECONDS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "TERM": "dumb",
        }

    def write(self, template: str, spec: str = "", name: str = "wf.yaml") -> Path:
        """A Workflow with one template."""
        head = (
            "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {generateName: wf-}\nspec:\n  entrypoint: t\n"
        )
        path = self.directory / name
        text = head + indent(dedent(spec), "  ") + "  templates:\n  - name: t\n" + indent(dedent(template), "    ")
        path.write_text(text)
        return path

    def command(self, *argv: object) -> list[str]:
        return [sys.executable, "-m", "lifecycle.cli", "run", *map(str, argv)]

    def run(self, *argv: object, status: int | None = None, **more: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*argv), cwd=self.directory, env=self.environ, capture_output=True, text=True, timeout=60,
            check=False, **more,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        if status is not None:
            assert done.returncode == status, done.stdout + done.stderr
        return done

    def result(self, *argv: object, status: int = 0) -> dict:
        done = self.run(*argv, "-o", "json", status=status)
        assert done.stderr == ""
        return json.loads(done.stdout)

    def run_template(self, template: str, *argv: object, spec: str = "", status: int = 0) -> dict:
        return self.result(self.write(template, spec), *argv, status=status)


@pytest.fixture
def here(tmp_path):
    return Here(tmp_path)


def parameters(result):
    return {one["name"]: one.get("value") for one in result["outputs"].get("parameters", ())}


def stored(result, name):
    (found,) = [one for one in result["outputs"]["artifacts"] if one["name"] == name]
    return Path(found["fsspec"]["url"].removeprefix("file://"))


def phase(result, name):
    (found,) = [one for one in result["lifecycle"] if one["phase"] == name]
    return found


# --- what works -------------------------------------------------------------------------------------------------------


def test_a_container_runs_and_its_outputs_are_reported(here):
    result = here.run_template(
        """
        inputs: {parameters: [{name: who}]}
        container:
          command: [sh, -c]
          args: ["echo hi {{inputs.parameters.who}}; echo 41 > /tmp/n; mkdir /d; echo x > /d/f"]
        outputs:
          parameters: [{name: n, valueFrom: {path: /tmp/n}}]
          artifacts: [{name: d, path: /d}, {name: f, path: /d/f, archive: {none: {}}}]
        """,
        "-p", "who=you",
    )  # fmt: skip

    assert (result["phase"], result["exitCode"], result["message"]) == ("Succeeded", 0, "")
    assert parameters(result) == {"n": "41"}
    assert stored(result, "main-logs").read_text() == "hi you\n"
    assert stored(result, "f").read_text() == "x\n"
    with tarfile.open(stored(result, "d")) as archive:
        assert archive.getnames() == ["d", "d/f"]
    assert [one["phase"] for one in result["lifecycle"]][:3] == ["staging", "loading", "starting"]
    assert Path(result["journal"]).is_file()


def test_a_script_gives_its_stdout_as_the_result(here):
    result = here.run_template(
        "script: {command: [python3], source: 'import sys; print(6 * 7); sys.stderr.write(\"e\")'}"
    )

    assert result["outputs"]["result"] == "42"


def test_inputs_come_from_files_directories_and_the_workflow(here):
    (here.directory / "in").mkdir()
    (here.directory / "in/a").write_text("A")
    (here.directory / "one").write_text("1")
    result = here.run_template(
        """
        inputs:
          artifacts: [{name: tree, path: /x/tree}, {name: one, path: /tmp/one}, {name: raw, path: /etc/r, mode: 0600},
                      {name: none, path: /none, optional: true}]
        script: {command: [sh], source: "cat /x/tree/a /tmp/one /etc/r; ls -l /etc/r | cut -c1-10; ls /none"}
        """,
        "-a", "tree=in", "-a", "one=one", status=3,
        spec="arguments: {artifacts: [{name: raw, raw: {data: R}}]}\n",
    )  # fmt: skip

    assert result["outputs"]["result"] == "A1R-rw-------"
    assert {item["name"]: item["state"] for item in phase(result, "loading")["items"]}["none"] == "skipped"


def test_an_optional_input_that_its_store_does_not_have_is_an_empty_directory(here):
    result = here.run_template(
        """
        inputs: {artifacts: [{name: gone, path: /in/gone, optional: true, fsspec: {url: 'memory://nowhere/x'}}]}
        initContainers: [{name: first, command: [ls, /in/gone], mirrorVolumeMounts: true}]
        container: {command: [sh, -c, "ls -A /in/gone && echo made > /in/gone/x"]}
        outputs: {artifacts: [{name: x, path: /in/gone/x, archive: {none: {}}}]}
        """
    )

    assert phase(result, "loading")["items"][0]["state"] == "skipped"
    assert stored(result, "main-logs").read_text() == ""
    assert stored(result, "x").read_text() == "made\n"


def test_volumes_working_directory_and_environment(here):
    (here.directory / "secrets/db").mkdir(parents=True)
    (here.directory / "secrets/db/password").write_text("hunter2")
    result = here.run_template(
        """
        container:
          command: [sh, -c, "pwd; echo $A; echo $(B); cat /run/db/password | wc -c; echo x > out; touch /run/db/y"]
          workingDir: /work/dir
          env: [{name: A, value: $(B)c}, {name: B, value: b}]
          volumeMounts: [{name: v, mountPath: /work/dir}, {name: s, mountPath: /run/db}]
        volumes: [{name: v, emptyDir: {}}, {name: s, secret: {secretName: db}}]
        outputs: {artifacts: [{name: out, path: /work/dir/out, archive: {none: {}}}]}
        """,
        "--secrets", "secrets", status=3,
    )  # fmt: skip

    assert stored(result, "main-logs").read_text().splitlines()[:4] == ["/work/dir", "$(B)c", "b", "7"]
    assert "Read-only" in stored(result, "main-logs").read_text()
    assert stored(result, "out").read_text() == "x\n"
    assert not (here.directory / "secrets/db/y").exists()
    kept = [path for path in (here.directory / ".argoexec").rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in kept if b"hunter2" in path.read_bytes()]


def test_an_artifact_below_a_volume_is_loaded_into_it(here):
    result = here.run_template(
        """
        inputs: {artifacts: [{name: a, path: /v/deep/a, raw: {data: hi}}]}
        script:
          command: [sh]
          source: ls /v/deep; cat /v/deep/a; mount | grep -c " /v" | grep -qx 1
          volumeMounts: [{name: v, mountPath: /v}]
        volumes: [{name: v}]
        """
    )

    assert result["outputs"]["result"] == "a\nhi"


def test_init_containers_run_first_and_sidecars_beside(here):
    result = here.run_template(
        """
        initContainers: [{name: prepare, command: [sh, -c, "echo ready > /v/init"], mirrorVolumeMounts: true}]
        sidecars:
        - name: helper
          command: [sh, -c, "while ! test -e /v/ask; do sleep .02; done; echo 42 > /v/answer; sleep 60"]
          mirrorVolumeMounts: true
        container:
          command: [sh, -c, "touch /v/ask; while ! test -s /v/answer; do sleep .02; done; cat /v/init /v/answer"]
          volumeMounts: [{name: v, mountPath: /v}]
        volumes: [{name: v, emptyDir: {}}]
        """
    )

    assert stored(result, "main-logs").read_text() == "ready\n42\n"


def test_a_sidecar_that_ignores_term_is_killed_after_the_grace(here):
    result = here.run_template(
        """
        sidecars: [{name: stubborn, command: [sh, -c, "trap '' TERM; touch /v/up; while :; do sleep 60; done"],
                    mirrorVolumeMounts: true}]
        container:
          command: [sh, -c, "while ! test -e /v/up; do sleep .02; done"]
          volumeMounts: [{name: v, mountPath: /v}]
        volumes: [{name: v, emptyDir: {}}]
        """
    )

    killing = phase(result, "killing sidecars")
    assert result["phase"] == "Succeeded"
    assert 0.9 < killing["seconds"] < 15


def test_two_runs_of_a_workflow_with_a_fixed_name_do_not_meet(here):
    path = here.write("container: {command: ['true']}")
    path.write_text(path.read_text().replace("generateName: wf-", "name: fixed"))

    first, second = here.result(path), here.result(path)

    assert first["pod"] == second["pod"] == "fixed"
    assert first["workdir"] != second["workdir"]
    assert (here.directory / ".argoexec/.gitignore").read_text() == "*\n"


def test_outputs_go_to_the_store_that_is_named(here):
    result = here.run_template("container: {command: [echo, hi]}", "--store", "kept")

    assert (here.directory / "kept" / result["pod"] / result["pod"] / "main.log").read_text() == "hi\n"


def test_what_has_no_effect_here_is_said(here):
    path = here.write("container: {command: ['true'], resources: {limits: {cpu: 1}}}")

    result = here.result(path)
    shown = here.run(path, status=0).stdout

    assert result["notes"] == ["without effect here: container.resources"]
    assert "container.resources" in Path(result["journal"]).read_text()
    assert shown.count("container.resources") == 1


# --- what fails, and how it is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [("[sh, -c, exit 7]", 7, "exited with code 7"), ("[sh, -c, kill -9 $$$$]", 137, "SIGKILL")],
)
def test_main_that_fails_is_failed_with_3(here, command, code, says):
    result = here.run_template(f"container: {{command: {command}}}", status=3)

    assert (result["phase"], result["exitCode"]) == ("Failed", code)
    assert says in result["message"]


def test_a_required_output_that_is_missing_is_an_error_and_the_others_are_kept(here):
    result = here.run_template(
        """
        container: {command: [sh, -c, "echo 1 > /tmp/there"]}
        outputs: {parameters: [{name: a, valueFrom: {path: /tmp/there}}, {name: b, valueFrom: {path: /tmp/not}},
                               {name: c, valueFrom: {path: /tmp/not, default: d}}],
                  artifacts: [{name: x, path: /tmp/no}, {name: o, path: /tmp/no2, optional: true}]}
        """,
        status=1,
    )

    assert result["phase"] == "Error"
    assert "/tmp/no" in result["message"]
    assert parameters(result) == {"a": "1", "b": None, "c": "d"}
    assert [one["name"] for one in result["outputs"]["artifacts"]] == ["main-logs"]


@pytest.mark.parametrize("command", ["no-such-program", "/etc/passwd", "/"])
def test_a_command_that_cannot_be_executed_is_an_error_that_names_it(here, command):
    result = here.run_template(f"container: {{command: [{command}]}}", status=1)

    assert (result["phase"], result["exitCode"]) == ("Error", None)
    assert command in result["message"]


def test_an_init_container_that_fails_keeps_main_from_starting(here):
    result = here.run_template(
        """
        initContainers: [{name: broken, command: [sh, -c, exit 4]}]
        container: {command: [echo, never]}
        """,
        status=1,
    )

    assert "'broken' exited with code 4" in result["message"]
    assert result["exitCode"] is None


def test_an_input_that_is_not_there_keeps_main_from_starting(here):
    result = here.run_template(
        f"""
        inputs: {{artifacts: [{{name: a, path: /a, fsspec: {{url: "file://{here.directory}/gone"}}}}]}}
        container: {{command: [echo, never]}}
        """,
        status=1,
    )

    assert "loading: input a" in result["message"]
    assert "starting" not in [one["phase"] for one in result["lifecycle"]]


def test_a_deadline_ends_main_and_keeps_what_there_is(here):
    result = here.run_template(
        """
        container: {command: [sh, -c, "echo begun; exec sleep 60"]}
        activeDeadlineSeconds: 1
        """,
        status=3,
    )

    assert (result["phase"], result["exitCode"]) == ("Failed", 143)
    assert "deadline" in result["message"]
    assert stored(result, "main-logs").read_text() == "begun\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_main_and_keeps_what_there_is(here, number):
    path = here.write("container: {command: [sh, -c, \"trap 'echo bye; exit 5' TERM; echo begun; sleep 60 & wait\"]}")
    with subprocess.Popen(
        here.command(path), cwd=here.directory, env=here.environ, stdout=subprocess.PIPE, text=True
    ) as run:
        shown = []
        for line in run.stdout:
            shown.append(line)
            if line.startswith("main │ begun"):
                run.send_signal(number)

    assert run.returncode == 3
    assert "main │ bye\n" in shown
    assert any(f"terminated by {number.name}" in line for line in shown)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "argv", "says"),
    [
        ("", [], "empty"),
        ("a: [", [], "wf.yaml:2:1: not YAML"),
        ("kind: Pod\napiVersion: v1", [], "not an Argo manifest"),
        (None, ["--template", "u"], "no template 'u'"),
        (None, ["-p", "x=1"], "no parameter 'x'"),
        (None, ["-a", "x=/"], "no input artifact 'x'"),
        (None, ["--fault", "x"], "'x' is no fault"),
        (None, ["--store", "http://x/"], "stored there"),
        (None, ["--store", "nonsense://x"], "nonsense"),
        (None, ["--store", "wf.yaml/x"], "nothing can be made"),
        (None, ["--workdir", "wf.yaml"], "not a directory"),
        (None, ["--secrets", "nowhere"], "no such directory"),
    ],
)
@pytest.mark.parametrize("output", ["text", "json"])
def test_bad_input_is_said_with_2_and_leaves_nothing_written(here, text, argv, says, output):
    path = here.write("container: {command: [echo]}")
    if text is not None:
        path.write_text(text)

    done = here.run("wf.yaml", *argv, "-o", output, status=2)

    assert done.stdout == ""
    assert says in done.stderr
    assert [one.name for one in here.directory.iterdir()] == ["wf.yaml"]


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("container: {image: nginx}", "no command"),
        ("container: {command: [echo, '{{steps.a.ip}}']}", "{{steps.a.ip}}"),
        ("container: {command: [echo, '{{=1+1}}']}", "expression"),
        ("container: {command: echo}", "$.spec.templates[0].container.command"),
        ("steps: [[]]", "steps"),
        ("http: {url: 'http://h'}", "later release"),
        ("resource: {action: get}", "$.spec.templates[0].resource.manifest: a manifest is needed"),
        ("resource: {action: scale}", "$.spec.templates[0].resource.action: there is no action 'scale'"),
        ("data: {source: {artifactPaths: {raw: {data: x}}}}", "$.spec.templates[0].data.source.artifactPaths: raw"),
        ("inputs: {parameters: [{name: a}]}\ncontainer: {command: [echo]}", "-p a=VALUE"),
        (
            "inputs: {artifacts: [{name: g, path: /g, plugin: {name: no-such, key: r}}]}\ncontainer: {command: [echo]}",
            "no-such",
        ),
        ("inputs: {artifacts: [{name: g, path: g, raw: {data: r}}]}\ncontainer: {command: [echo]}", "absolute"),
    ],
)
def test_a_template_that_cannot_run_is_bad_input(here, template, says):
    done = here.run(here.write(template), status=2)

    assert says in done.stderr
    assert not (here.directory / ".argoexec").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXECUTOR_RETRY_BACKOFF_STEPS", "x"),
        ("ARGOEXEC_RETRY_SAVING_BUDGET", "soon"),
        ("ARGOEXEC_PARALLELISM", "nan"),
    ],
)
def test_an_environment_that_is_wrong_leaves_nothing_written(here, name, value):
    path = here.write("container: {command: ['true']}")
    here.environ |= {name: value}

    done = here.run(path, "--workdir", "w", "-o", "json", status=2)

    assert name in done.stderr
    assert [one.name for one in here.directory.iterdir()] == ["wf.yaml"]


def test_a_result_that_cannot_be_written_is_said_with_1(here):
    path = here.write("container: {command: ['true']}")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            here.command(path, "-o", "json"), cwd=here.directory, env=here.environ, stdout=full,
            stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == "argoexec: error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_journal_that_is_incomplete_is_said(here, output):
    path = here.write("container: {command: [echo, hi]}")
    code = (
        "import os, sys, lifecycle.journal\n"
        "def full(_): raise OSError(28, os.strerror(28))\n"
        "os.fdatasync = full\n"
        "from lifecycle.cli import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", path, "-o", output], cwd=here.directory, env=here.environ,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert "the journal is incomplete: No space left on device" in done.stdout
    if output == "json":
        assert "the journal is incomplete: No space left on device" in json.loads(done.stdout)["notes"]


def test_a_work_dir_that_holds_a_run_is_not_run_in_again(here):
    path = here.write("container: {command: ['true']}")
    here.result(path, "--workdir", "w")

    done = here.run(path, "--workdir", "w", status=2)

    assert "holds a run already" in done.stderr


# --- for a person -----------------------------------------------------------------------------------------------------


def test_a_person_sees_phases_output_and_where_things_are(here):
    path = here.write(
        """
        container: {command: [sh, -c, "printf '\\\\033[31mred\\\\rx\\\\n'; echo 5 > /tmp/n"]}
        outputs: {parameters: [{name: five, valueFrom: {path: /tmp/n}}]}
        """
    )

    done = here.run(path, status=0)

    assert "main │ ␛[31mred␍x\n" in done.stdout
    assert "\x1b" not in done.stdout
    assert "✓ saving" in done.stdout
    assert "Succeeded after" in done.stdout
    assert "five" in done.stdout
    assert "argoexec explain .argoexec/" in done.stdout


def test_a_reader_that_goes_away_does_not_end_the_run(here):
    path = here.write("container: {command: [sh, -c, 'for i in $(seq 500); do echo $i; done; echo end > /tmp/e']}\n"
                      "outputs: {artifacts: [{name: e, path: /tmp/e, archive: {none: {}}}]}")  # fmt: skip
    with subprocess.Popen(
        [*here.command(path), "--workdir", "w"], cwd=here.directory, env=here.environ, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        run.stdout.readline()
        run.stdout.close()
        errors = run.stderr.read()

    assert b"Traceback" not in errors
    assert json.loads((here.directory / "w/report.json").read_text())["outputs"]["artifacts"]


def test_a_workflow_from_standard_input(here):
    text = here.write("container: {command: [echo, piped]}").read_text()

    assert "main │ piped" in here.run("-", status=0, input=text).stdout


# --- the examples -----------------------------------------------------------------------------------------------------


def test_our_own_examples_run(here):
    demo = here.result(ROOT / "examples/demo.yaml")

    assert demo["outputs"]["result"] == "5 the, 3 a, 3 table"
    assert parameters(demo) == {"words": "28"}
    assert stored(demo, "ranking").read_text().startswith("5 the\n")
    assert "hello you" in here.run(ROOT / "examples/hello.yaml", "-p", "name=you", status=0).stdout


@needs_examples
@pytest.mark.parametrize(
    ("file", "argv", "log"),
    [
        ("artifact-path-placeholders", [], ""),
        ("init-container", [], "bye\n"),
        ("input-artifact-raw", [], "this is\nthe raw file\ncontents\n"),
        ("volumes-emptydir", [], "Volume mounted and found\n"),
        ("output-parameter", ["--template", "whalesay"], ""),
        ("scripts-bash", ["--template", "print-message", "-p", "message=7"], "result was: 7\n"),
    ],
)
def test_argos_examples_run_as_they_are(here, file, argv, log):
    result = here.result(EXAMPLES / f"{file}.yaml", *argv)

    assert stored(result, "main-logs").read_text() == log


@needs_examples
def test_argos_example_scripts_give_a_result(here):
    for file in ("scripts-bash", "scripts-python"):
        result = here.result(EXAMPLES / f"{file}.yaml", "--template", "gen-random-int")
        assert 1 <= int(result["outputs"]["result"]) <= 100


@needs_examples
def test_argos_placeholders_example_gives_its_outputs(here):
    result = here.result(EXAMPLES / "artifact-path-placeholders.yaml")

    assert parameters(result)["actual-lines-count"].strip() == "3"
    with tarfile.open(stored(result, "text")) as archive:
        assert archive.extractfile("data").read() == b"1\n2\n3\n"


@needs_examples
@pytest.mark.parametrize(
    ("file", "argv", "says"),
    [
        ("artifact-passing", [], "whalesay, print-message"),
        ("artifact-passing", ["--template", "print-message"], "-a message=PATH"),
        ("artifactory-artifact", ["--template", "print-message"], "my-artifactory-credentials"),
        ("input-artifact-s3", [], "my-s3-credentials"),
        ("output-artifact-s3", [], "my-s3-credentials"),
        ("data-transformations", [], "process-logs"),
        ("k8s-jobs", [], "there is no API server to ask"),
        ("resource-flags", [], "steps"),
        ("sidecar", [], "entrypoint of its image"),
        ("sidecar-nginx", [], "entrypoint of its image"),
    ],
)
def test_argos_examples_that_cannot_run_here_say_what_to_do(here, file, argv, says):
    assert says in here.run(EXAMPLES / f"{file}.yaml", *argv, status=2).stderr
    assert not list(here.directory.iterdir())


@needs_examples
def test_argos_passing_example_takes_the_artifact_from_here(here):
    (here.directory / "m").write_text("hello\n")

    result = here.result(EXAMPLES / "artifact-passing.yaml", "--template", "print-message", "-a", "message=m")

    assert stored(result, "main-logs").read_text() == "hello\n"


@needs_examples
def test_argos_disable_archive_example_stores_etc_file_by_file_and_no_secret_of_this_machine(here):
    text = (EXAMPLES / "artifact-disable-archive.yaml").read_text().replace("cowsay hello world", "echo hello world")
    (here.directory / "t.yaml").write_text(text)

    result = here.result("t.yaml", "--template", "whalesay")

    assert stored(result, "hello-txt").read_text() == "hello world\n"
    assert stored(result, "hello-txt").name == "hello_world.txt"
    assert (stored(result, "etc") / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()
    assert not (stored(result, "etc") / "shadow").exists() or not (stored(result, "etc") / "shadow").read_bytes()


@needs_examples
def test_argos_timeout_example_ends_by_its_deadline(here):
    text = (
        (EXAMPLES / "timeouts-step.yaml").read_text().replace("activeDeadlineSeconds: 10", "activeDeadlineSeconds: 1")
    )
    (here.directory / "t.yaml").write_text(text)

    assert "deadline" in here.result("t.yaml", status=3)["message"]
