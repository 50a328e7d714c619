"""The command line of ``argoexec``. Called by the console script and by ``python -m lifecycle.cli``.

argparse, because this runs in every pod (19 ms; click 33, typer 116). A command's module is imported when it is called.
The flags are the original's (spec 1.2): all of them parse, whether this command looks at them or not.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from lifecycle import early, logs
from lifecycle.errors import InputError, LifecycleError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "init": "prepare the inputs of a pod: the init container",
    "wait": "wait for main, then save what it made: the wait container",
    "resource": "create, change or await an object of the cluster: a resource template",
    "data": "list the objects of a store and transform the list: a data template",
    "run": "run one template of a Workflow file on this machine",
    "explain": "tell what a pod did, from its journal",
    "diagram": "draw a lifecycle, or the way a pod took through it",
    "version": "print the version",
}

_PLAIN = ("init", "wait", "resource", "data")
"""Those that take flags of the original alone."""

_IN_PODS = (*_PLAIN, "version")
"""Commands of the original: a usage error exits with its status, 1; with our own it is 2."""

LATER = ("emissary", "agent")
"""Commands of the original that are still to come; a controller calls them for templates of their own kinds."""

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)

# client-go's standard flags; the adapters that ask an API server honour them.
KUBECTL = (
    "as", "as-group", "as-uid", "certificate-authority", "client-certificate", "client-key", "cluster", "context",
    "password", "proxy-url", "request-timeout", "server", "tls-server-name", "token", "user", "username",
)  # fmt: skip
KUBECTL_SWITCHES = ("insecure-skip-tls-verify", "disable-compression")
_WITH_VALUE = ("namespace", "kubeconfig", "pod-annotations", "loglevel", "gloglevel", "log-format", *KUBECTL)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        status = 1 if self.prog.rpartition(" ")[2] in (*_IN_PODS, "argoexec") else 2
        self.print_usage(sys.stderr)
        self.exit(status, f"{self.prog}: error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status.

    0 done · 1 an error, reported · 2 bad input or usage · 3 (``run``) main failed.
    """
    early.begin()
    _set_up_streams()
    # A switch of Go's may stand alone or as --switch=true, and never takes the next word.
    switches = {f"--{flag}" for flag in KUBECTL_SWITCHES}
    words = [f"{word}=true" if word in switches else word for word in (sys.argv[1:] if argv is None else argv)]
    parser = _parser(words)
    args, unknown = parser.parse_known_args(words)
    if args.command in LATER:
        remedy = "give such templates to a controller that has the original's executor"
        return _complain(Unsupported(f"argoexec {args.command} comes with a later release", remedy=remedy), 1)
    if unknown:
        parser.prog = f"argoexec {args.command or ''}".rstrip()
        parser.error(f"unknown: {' '.join(unknown)}")
    if args.command is None:
        parser.print_help()
        return 0
    logs.set_up(args.loglevel, args.log_format)
    if args.command not in ("init", "wait"):  # those have a pod that a signal stops
        early.release()
    status = _run(args)
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        # A transfer was left behind in a pool whose threads the interpreter would wait for: the pod has its verdict.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _run(args: argparse.Namespace) -> int:
    module = importlib.import_module(f"lifecycle.commands.{args.command}")
    try:
        status: int = module.main(args)
        sys.stdout.flush()
        return status
    except (InputError, Unsupported) as error:
        return _complain(error, 1 if args.command in _IN_PODS else 2)
    except LifecycleError as error:
        return _complain(error, 1)
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`: nobody is left to be told.
        _drop_stdout()
        return 1
    except OSError as error:
        # Commands classify their own; what is left is that of stdout, as with `> /dev/full`.
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        _drop_stdout()
        return _complain(LifecycleError(f"the output cannot be written: {error.strerror or error}"), 1)
    except KeyboardInterrupt:
        return 130


def _set_up_streams() -> None:
    """What a locale cannot say is escaped, never an error; a stream that was closed for us swallows."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open to the end
        else:
            with contextlib.suppress(AttributeError):  # a test's, which is no file
                stream.reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """What is still in its buffer goes nowhere: the interpreter would fail to write it at its end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _complain(error: LifecycleError, status: int) -> int:
    print(f"argoexec: error: {error}", file=sys.stderr)  # noqa: T201
    if error.remedy:
        print(f"  → {error.remedy}", file=sys.stderr)  # noqa: T201
    return status


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="argoexec", description="The executor of Argo pods, and of one template on your machine.")
    _add_globals(parser, suppress=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    chosen = _chosen(words)
    for name, about in COMMANDS.items():
        sub = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        _add_globals(sub, suppress=True)
        if name in _IN_PODS and name != "version":
            sub.add_argument("ignored", nargs="*", help=argparse.SUPPRESS)  # the original ignores them (spec 1.2)
        if name not in _PLAIN and (chosen is None or chosen == name):
            importlib.import_module(f"lifecycle.commands.{name}").add_arguments(sub)
    for name in LATER:
        commands.add_parser(name, add_help=False)  # without help it is not listed
    return parser


def _chosen(words: Sequence[str]) -> str | None:
    """The command on the command line, so that only its module is imported; ``None`` when there is none."""
    waiting = iter(words)
    for word in waiting:
        if word in COMMANDS:
            return word
        # The next word is its value, as argparse takes it: also when the flag is cut short.
        if word == "-n" or (len(word) > 2 and any(f"--{flag}".startswith(word) for flag in _WITH_VALUE)):
            next(waiting, None)
    return None


def _add_globals(parser: argparse.ArgumentParser, *, suppress: bool) -> None:
    """Persistent flags: before or after the command. After it they have no default, so as not to undo those before."""

    def default(value: object) -> object:
        return argparse.SUPPRESS if suppress else value

    group = parser.add_argument_group("global flags")
    # `run` and its like have short help; the client-go overrides are for `init`, `wait` and `resource`.
    hidden = argparse.SUPPRESS
    group.add_argument("--kubeconfig", default=default(""), metavar="PATH", help=hidden if suppress else None)
    group.add_argument("-n", "--namespace", default=default(""), help=hidden if suppress else None)
    for flag in KUBECTL:
        group.add_argument(f"--{flag}", default=default(None), action="append" if flag == "as-group" else "store",
                           help=hidden)  # fmt: skip
    for flag in KUBECTL_SWITCHES:
        group.add_argument(f"--{flag}", default=default("false"), help=hidden)
    group.add_argument(
        "--pod-annotations", default=default("/argo/podmetadata/annotations"), metavar="PATH",
        help=hidden if suppress else "the downward-API annotations file (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--loglevel", default=default("info"), choices=("debug", "info", "warn", "error"),
        help=hidden if suppress else "what is logged to stderr (%(default)s)",
    )  # fmt: skip
    group.add_argument("--gloglevel", default=default("0"), help=hidden)
    group.add_argument("--log-format", default=default("text"), choices=("text", "json"),
                       help=hidden if suppress else "the shape of what is logged (%(default)s)")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
