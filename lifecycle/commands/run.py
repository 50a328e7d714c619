"""``argoexec run FILE``: one template of a Workflow file, run whole on this machine."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from lifecycle import registry
from lifecycle.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from lifecycle.clock import Clock
    from lifecycle.faults.injection import Faults
    from lifecycle.local.prepare import Prepared, Request
    from lifecycle.local.runner import Watcher

_OF_A_NEW_RUN = ("file", "template", "parameter", "artifact", "store", "workdir", "secrets")

_EPILOG = """exit status: 0 Succeeded · 1 Error · 2 bad input or usage · 3 main failed, or was stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``run``."""
    parser.epilog = _EPILOG
    add = parser.add_argument
    add(
        "file",
        metavar="FILE",
        nargs="?",
        help="a file with a Workflow, WorkflowTemplate or CronWorkflow; - is standard input",
    )
    add("--template", metavar="NAME", help="the template to run; the workflow's entrypoint unless given")
    add("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE",
        help="an input parameter; NAME=@FILE takes the content of a file")  # fmt: skip
    add("-a", "--artifact", action="append", default=[], metavar="NAME=PATH|URL",
        help="an input artifact: a file, a directory or a URL")  # fmt: skip
    add(
        "--runtime",
        choices=("local", "docker"),
        default="local",
        help="what runs the containers: programs of this machine, or images in docker (%(default)s)",
    )
    add("--store", metavar="URL",
        help="where outputs go: a directory, s3://, gs://, hdfs:// or any fsspec URL (the work dir)")  # fmt: skip
    add("--workdir", metavar="DIR", help="where everything of this run is kept (.argoexec/<pod>)")
    add("--resume", metavar="DIR", help="go on with a run that was killed, from the work dir it has left")
    add("--secrets", metavar="DIR", help="a directory with the secrets the template names: DIR/<name>/<key>")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="SPEC",
        help="make something go wrong: 'saving:driver.save(model):throttled×2', a YAML file of such lines, random:SEED",
    )
    add(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        help="for a person or a program (%(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Judge the request, run it, show the result.

    Returns:
        0 when the step Succeeded, 1 for an Error, 3 when main failed or was stopped.

    Raises:
        InputError: the request is wrong; nothing has been written.
        Unsupported: it asks for what comes with a later release.
    """
    from lifecycle.clock import SystemClock
    from lifecycle.commands.in_pod import kubectl_flags, settings
    from lifecycle.local.runner import LocalRun

    clock, environ = SystemClock(), os.environ
    faults = _faults(args.fault, clock)
    if args.resume is None:
        registry.resolve("sandbox", args.runtime).check(environ)
    chosen = settings(environ)
    prepared = _prepared(args, environ, clock)
    watcher = _watcher(args.output)
    if watcher:
        chosen = replace(chosen, progress=watcher.moved)
    if args.loglevel != "debug":
        # What is logged in a pod is shown here by the display, or is in the object.
        logging.getLogger("argoexec").setLevel(logging.CRITICAL)
    try:
        result = LocalRun(
            prepared,
            clock=clock,
            environ=environ,
            settings=chosen,
            watcher=watcher,
            runtime=prepared.basis["runtime"],
            kube=kubectl_flags(args),
            resumed=args.resume is not None,
            faults=faults,
        ).run()
    finally:
        if watcher:
            watcher.close()
    told = _told(faults, args.file or f"--resume {args.resume}") if faults else []
    if args.output == "json":
        record = result.record()
        json.dump(record | {"notes": [*record["notes"], *told]}, sys.stdout)
        print()
    else:
        print(*told, sep="\n", end="\n" if told else "")
    return result.exit_status


def _prepared(args: argparse.Namespace, environ: Mapping[str, str], clock: Clock) -> Prepared:
    """What was asked for, judged.

    Raises:
        InputError: it is wrong.
    """
    from lifecycle.local.again import prepared_again
    from lifecycle.local.prepare import prepare

    if args.resume is None:
        if args.file is None:
            raise InputError("a file is needed", place="FILE", remedy="or --resume DIR")
        return prepare(_request(args), environ, clock.now(), random.SystemRandom())
    given = [name for name in _OF_A_NEW_RUN if getattr(args, name)]
    if given or args.runtime != "local":
        raise InputError(
            f"with it, {given[0] if given else 'runtime'} cannot be given", place="--resume",
            remedy="a run goes on with the template, the store and the secrets it has begun with",
        )  # fmt: skip
    return prepared_again(args.resume, clock.now())


def _faults(given: Sequence[str], clock: Clock) -> Faults | None:
    """The plan of the flags, in their order."""
    if not given:
        return None
    from pathlib import Path

    from lifecycle.faults import plan
    from lifecycle.faults.injection import Faults

    plans = [plan.read(Path(one)) if one.endswith((".yaml", ".yml")) else plan.parse([one]) for one in given]
    return Faults(plan.Plan(tuple(fault for one in plans for fault in one.faults)), clock)


def _told(faults: Faults, what: str) -> list[str]:
    """What has come of the plan, and the command that repeats it; what other flags gave is not printed again."""
    happened = [f"injected {faults.happened[one]}×: {one}" for one in faults.plan.faults]
    return [*happened, f"to repeat it, with the other flags as they were: argoexec run {what} {faults.plan.command()}"]


def _request(args: argparse.Namespace) -> Request:
    from lifecycle.local.prepare import Request

    return Request(
        file=args.file,
        template=args.template,
        parameters=args.parameter,
        artifacts=args.artifact,
        store=args.store,
        workdir=args.workdir,
        secrets=args.secrets,
        runtime=args.runtime,
    )


def _watcher(output: str) -> Watcher | None:
    if output == "json":
        return None
    from lifecycle.local.display import Display

    display: Watcher = Display()
    return display
