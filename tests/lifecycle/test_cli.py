"""Flags and exit statuses of the command line, as a process."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle import cli
from lifecycle.clock import VirtualClock
from lifecycle.commands import in_pod
from lifecycle.errors import InputError
from lifecycle.journal import FileJournal
from lifecycle.pod import WAIT_TABLE
from lifecycle.resume import Whose
from lifecycle.template import Template

GLOBAL = """--kubeconfig=x --as=a --as-group=g --as-group=h --as-uid=1 --certificate-authority=c --client-certificate=c
--client-key=k --cluster=c --context=c --insecure-skip-tls-verify --insecure-skip-tls-verify=true -n ns --namespace=ns
--password=p --request-timeout=1s --server=s --token=t --user=u --username=u --pod-annotations=/nowhere --loglevel=debug
--gloglevel=5 --log-format=json --tls-server-name=t --proxy-url=p --disable-compression""".split()


def argoexec(*argv, **env):
    return subprocess.run(
        [sys.executable, "-m", "lifecycle.cli", *argv],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_command_the_help_is_printed():
    done = argoexec()

    assert done.returncode == 0
    assert "wait" in done.stdout


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["nonsense"], 1), (["--nonsense"], 1), (["wait", "--nonsense"], 1), (["init", "--nonsense"], 1),
        (["run"], 2), (["run", "--nonsense", "x"], 2), (["explain"], 2), (["diagram", "--format=nonsense"], 2),
    ],
)  # fmt: skip
def test_a_usage_error_exits_with_the_originals_status_or_with_2(argv, status):
    done = argoexec(*argv)

    assert done.returncode == status
    assert "error" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", [["agent", "main"], ["emissary", "--loglevel=info", "--", "sh", "-c", "x"]])
def test_a_command_of_the_original_that_is_still_to_come_says_so(argv):
    done = argoexec(*argv)

    assert done.returncode == 1
    assert f"argoexec {argv[0]} comes with a later release" in done.stderr


def test_every_flag_of_the_original_parses_before_and_after_the_command():
    assert argoexec(*GLOBAL, "version", "--short").returncode == 0
    assert argoexec("version", "--short", *GLOBAL).returncode == 0


def test_version():
    assert argoexec("version", "--short").stdout.startswith("argoexec: v")
    assert len(argoexec("version").stdout.splitlines()) > 1


def test_init_and_wait_ignore_positional_arguments_and_want_a_pod_name():
    for command in ("init", "wait"):
        done = argoexec(command, "ignored", "words", ARGO_POD_NAME="")
        assert done.returncode == 1
        assert "ARGO_POD_NAME: it is not set" in done.stderr


def test_a_runtime_that_comes_later_says_so():
    done = argoexec("wait", ARGO_POD_NAME="p", ARGO_CONTAINER_RUNTIME_EXECUTOR="emissary")

    assert done.returncode == 1
    assert "the runtime 'emissary' comes with a later release" in done.stderr


def test_explain_of_what_is_no_journal_exits_2_and_names_the_place(tmp_path):
    (tmp_path / "j").write_text("nonsense\n")
    done = argoexec("explain", str(tmp_path / "j"))

    assert done.returncode == 2
    assert "j:1: this is not a line of a journal" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error_with_a_traceback():
    process = subprocess.Popen(
        [sys.executable, "-m", "lifecycle.cli", "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, stderr = process.communicate(timeout=60) if process.stdout is None else (None, process.stderr.read())
    process.wait(timeout=60)
    process.stderr.close()

    assert b"Traceback" not in stderr


@pytest.fixture
def journal(tmp_path):
    file = FileJournal(tmp_path / "j", VirtualClock())
    file.write("pod", version=1, table="pod", pod="p", template="é")
    file.write("end", verdict="succeeded", message="")
    file.close()
    return str(tmp_path / "j")


@pytest.mark.parametrize("flag", ["-n", "--namespace", "--names", "--user", "--as", "--context"])
def test_a_flags_value_is_not_taken_for_the_command(flag, journal):
    assert "SUCCEEDED" in argoexec(flag, "init", "explain", journal).stdout
    assert "SUCCEEDED" in argoexec("--insecure-skip-tls-verify", f"{flag}=wait" if flag != "-n" else "-nwait",
                                   "explain", journal).stdout  # fmt: skip


@pytest.mark.parametrize("flag", cli._WITH_VALUE)
def test_every_flag_with_a_value_is_known_to_have_one(flag):
    assert cli._chosen([f"--{flag}", "init", "run", "wait"]) == "run"


@pytest.mark.parametrize("words", [[], ["-n"], ["-n", "run"], ["nonsense"], ["--help"]])
def test_there_may_be_no_command(words):
    assert cli._chosen(words) is None


def test_output_that_cannot_be_written_is_said_with_1(journal):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lifecycle.cli", "explain", journal], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == "argoexec: error: the output cannot be written: No space left on device\n"


def test_stdout_may_be_closed(journal):
    command = f"'{sys.executable}' -m lifecycle.cli explain '{journal}' >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_what_a_locale_cannot_say_is_escaped(env, journal):
    done = argoexec("explain", journal, **env)

    assert (done.returncode, done.stderr) == (0, "")
    assert "pod p" in done.stdout


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400", "1e10", "nonsense"])
@pytest.mark.parametrize("name", ["ARGOEXEC_PARALLELISM", "ARGO_TERMINATION_GRACE_PERIOD_SECONDS"])
def test_a_number_that_cannot_be_waited_for_is_refused(name, value):
    with pytest.raises(InputError, match=name):
        in_pod.settings({name: value})


def test_a_journal_that_cannot_be_made_does_not_keep_a_pod_from_its_work(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(in_pod.log, "propagate", True)
    (tmp_path / "file").touch()

    whose = Whose.of("p", WAIT_TABLE, Template({"name": "t"}))
    assert in_pod._kept(tmp_path / "file/j", VirtualClock(), WAIT_TABLE, whose) is None

    (said,) = [record.getMessage() for record in caplog.records]
    assert all(part in said for part in (str(tmp_path / "file/j"), "ARGOEXEC_JOURNAL"))
    assert os.strerror(20) in said or os.strerror(17) in said


@pytest.mark.parametrize(
    "logger", ["drivers.s3:log", "drivers.s3_fast:log", "drivers.s3_upload:log", "runtimes.downward:_log"]
)
def test_what_adapters_warn_of_is_shown(logger):
    module, _, name = logger.partition(":")
    program = f"""
from lifecycle.cli import set_up_logging
set_up_logging("info", "text")
import {module} as adapter
adapter.{name}.warning("parts stay")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert "parts stay" in done.stderr


@pytest.mark.parametrize("shape", [cli._TextFormat(), cli._JsonFormat()])
def test_a_traceback_is_logged_in_the_line_it_belongs_to(shape):
    try:
        raise KeyError("gone")
    except KeyError:
        record = logging.LogRecord("argoexec", logging.DEBUG, "f", 1, 'it "failed"', None, sys.exc_info())

    line = shape.format(record)

    assert "\n" not in line
    if isinstance(shape, cli._JsonFormat):
        assert json.loads(line)["msg"] == 'it "failed"'
        assert json.loads(line)["trace"].endswith("KeyError: 'gone'")
    else:
        assert 'msg="it \\"failed\\"\\nTraceback (most recent call last):\\n' in line
        assert line.endswith("KeyError: 'gone'\"")


def test_a_transfer_that_was_left_behind_does_not_keep_the_process():
    code = (
        "import threading\n"
        "from lifecycle.cli import main\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "raise SystemExit(main(['version', '--short']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert done.stdout.startswith("argoexec: v")
