"""What ``init`` and ``wait`` have in common: the pod around them, from flags, environment and files (spec 1.3, 1.5)."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import registry
from lifecycle.archive.extract import Limits
from lifecycle.cli import KUBECTL, KUBECTL_SWITCHES
from lifecycle.clock import SystemClock
from lifecycle.context import KNOWN_PROXIES, Pod, Settings
from lifecycle.engine import Engine
from lifecycle.errors import InputError
from lifecycle.files import LocalFiles, PodFiles
from lifecycle.outcome import MESSAGE_LIMIT, Failure, clip
from lifecycle.policy import parse_duration
from lifecycle.ports import Surroundings
from lifecycle.resume import Whose, begin, pod_uid
from lifecycle.stopping import arm_deadline, handle_signals, held_back
from lifecycle.table import Verdict
from lifecycle.template import Template

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from lifecycle.clock import Clock
    from lifecycle.files import Files
    from lifecycle.ports import ControlPlane, RuntimeFactory
    from lifecycle.resume import Kept
    from lifecycle.table import Table

log = logging.getLogger("argoexec")

_FAILED = {"data": 64}

ZERO_TIME = "0001-01-01T00:00:00Z"


def run(table: Table, args: argparse.Namespace, *, action: str = "") -> int:
    """Run one table in this pod.

    Args:
        table: a segment of the pod's, or that of a `resource` or `data` template.
        args: the command line.
        action: of a `resource` template, as the controller has put it there.

    Returns:
        0 when it did all of its work; for ``wait`` also when main was stopped by a deadline or a signal and everything
        there was has been saved (spec 5.18). 64 when ``data`` failed (spec 5.21), 1 otherwise.
    """
    environ = os.environ
    termination_log = Path(environ.get("ARGOEXEC_TERMINATION_LOG", "/dev/termination-log"))
    with held_back() as release:
        try:
            tell = partial(_terminate_with, termination_log)
            pod = _pod(table, args, environ, tell, action)
            with handle_signals(pod):
                release()
                arm_deadline(pod)
                verdict = Engine(table, pod, environ=environ).run()
        except Exception as error:
            # Also a defect's: a controller that finds no message guesses at the service account (spec 1.7.9).
            _terminate_with(termination_log, str(Failure.of(error, phase=table.name)))
            raise
    message = pod.record.message()
    if message:
        log.log(logging.ERROR if pod.record.failures else logging.WARNING, "%s", message)
        _terminate_with(termination_log, message)
    log.info("%s %s", table.name, verdict.value)
    return status(table, verdict, pod)


def status(table: Table, verdict: Verdict, pod: Pod) -> int:
    """The exit status (ADR 0008)."""
    saved_all = table.name == "wait" and not pod.record.failures
    return 0 if verdict is Verdict.SUCCEEDED or saved_all else _FAILED.get(table.name, 1)


def _pod(
    table: Table, args: argparse.Namespace, environ: Mapping[str, str], tell: Callable[[str], None], action: str
) -> Pod:
    name = environ.get("ARGO_POD_NAME", "")
    if not name:
        raise InputError("it is not set", place="ARGO_POD_NAME", remedy="the controller sets it from metadata.name")
    here = surroundings(name, args, environ)
    runtime_name = environ.get("ARGO_CONTAINER_RUNTIME_EXECUTOR") or "docker"
    runtime: RuntimeFactory = registry.resolve("runtime", runtime_name)
    clock = SystemClock()
    local = environ.get("ARGOEXEC_LOCAL_POD")
    # The termination message is this module's, not the control plane's: it is left also when no report can be sent.
    if local:
        control: ControlPlane = registry.resolve("control plane", "local")(
            here.annotations, Path(local) / "reported.json"
        )
    else:
        control = registry.resolve("control plane", "kubernetes").from_pod(here)
    raw = control.template()
    if action:
        raw = raw | {"resource": (raw.get("resource") or {}) | {"action": action}}
    template = Template(raw)
    secrets = environ.get("ARGOEXEC_SECRETS")
    files: Files = LocalFiles.read(Path(local), Path(secrets) if secrets else None) if local else PodFiles()
    default = f"/tmp/argo/{table.name}.journal.jsonl"  # noqa: S108 - the container's own layer, as spec 5.1
    whose = Whose.of(name, table, template, "" if local else pod_uid(environ))
    kept = _kept(Path(environ.get("ARGOEXEC_JOURNAL") or default), clock, table, whose)
    return Pod(
        name=name,
        template=template,
        files=files,
        control=control,
        drivers=registry.drivers(files.secrets, None if local else here),
        clock=clock,
        journal=kept.journal if kept else _NullJournal(),
        known=kept.known if kept else None,
        findings_file=kept.findings if kept else None,
        runtime=lambda: runtime.from_pod(here),
        reads_base_layer=runtime.reads_base_layer,
        runtime_name=runtime_name,
        objects=lambda: registry.resolve("objects", "kubernetes").from_pod(here),
        deadline=deadline(environ),
        settings=settings(environ),
        tell=tell,
    )


def surroundings(pod: str, args: argparse.Namespace, environ: Mapping[str, str]) -> Surroundings:
    """What adapters are made from, out of the command line and the environment."""
    return Surroundings(pod, environ, Path(args.pod_annotations), kubectl_flags(args))


def kubectl_flags(args: argparse.Namespace) -> dict[str, Any]:
    """Those of kubectl's flags that were given."""
    flags = ("kubeconfig", "namespace", *KUBECTL, *KUBECTL_SWITCHES)
    return {flag: value for flag in flags if (value := getattr(args, flag.replace("-", "_")))}


class _NullJournal:
    """Drops every line."""

    def write(self, kind: str, **fields: Any) -> None:
        """Drop it."""


def _kept(path: Path, clock: Clock, table: Table, whose: Whose) -> Kept | None:
    """The journal; one that cannot be made, as below a read-only root, does not keep a pod from its work."""
    try:
        return begin(path, clock, table, whose)
    except OSError as error:
        log.warning(
            "there will be no journal: %s cannot be written: %s; name a writable place in ARGOEXEC_JOURNAL",
            path,
            error.strerror,
        )
        return None


def settings(environ: Mapping[str, str]) -> Settings:
    """What the environment sets (spec 1.3, 5.17, and ours with the prefix ``ARGOEXEC_``).

    Raises:
        InputError: a value of the wrong kind; the variable is named.
    """
    late = environ.get("ARGOEXEC_LATE_SIDECARS")
    asked = environ.get("ARGO_INCLUDE_SCRIPT_OUTPUT")
    grace = _number(environ, "ARGO_TERMINATION_GRACE_PERIOD_SECONDS", 30.0)
    return Settings(
        parallelism=max(1, int(_number(environ, "ARGOEXEC_PARALLELISM", 8))),
        grace=grace if grace > 0 else 30.0,
        late_sidecars=KNOWN_PROXIES + tuple(name.strip() for name in (late or "").split(",") if name.strip()),
        include_script_output=None if asked is None else asked.lower() == "true",
        limits=Limits.from_environ(environ),
    )


def deadline(environ: Mapping[str, str]) -> datetime | None:
    """``ARGO_DEADLINE`` (spec 5.9); the zero time is none.

    Raises:
        InputError: it is no RFC 3339 time: a start-up failure, as upstream.
    """
    text = environ.get("ARGO_DEADLINE", "")
    if not text or text == ZERO_TIME:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no RFC 3339 time", place="ARGO_DEADLINE") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    try:
        number = parse_duration(text) if text else default
    except ValueError as error:
        raise InputError(str(error), place=name) from error
    if not abs(number) < 1e9:  # 31 years: no thread can wait for much longer
        raise InputError(f"{text} is too large or no number at all", place=name)
    return number


def _terminate_with(path: Path, message: str) -> None:
    """Leave the message where the kubelet looks for it; a pod without that file is none of the kubelet's."""
    try:
        if path.exists():
            # In place: the kubelet has mounted this very file. It reads 4096 bytes of it, and may cut a character.
            path.write_text(clip(message, MESSAGE_LIMIT), encoding="utf-8")
    except OSError as error:
        log.warning("the termination message could not be written: %s", error.strerror)
