"""A run as a person sees it: what happens while it happens, and a summary at the end.

The only module that knows rich, imported for ``-o text`` alone (44 ms). Without a terminal it writes plain
lines. What containers write is data: control characters in it are made visible and never reach the terminal.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lifecycle.local import summary
from lifecycle.wording import MARKS, WORTH_A_RATE, duration, harmless, rate, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.local.prepare import Prepared
    from lifecycle.local.result import Result
    from lifecycle.stay import Stay
    from lifecycle.table import Event

_STYLES = {"done": "green", "failed": "red", "terminated": "yellow", "deadline": "yellow"}
_COLUMNS = ("cyan", "magenta", "blue", "yellow")
_NAME_WIDTH = 17
_SHOWN_ITEMS = 6
_MOVING = 3
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class _Console(Console):
    """A reader who goes away, as with ``| head``, must not end the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Display:
    """Watches a run; see :class:`lifecycle.local.runner.Watcher`."""

    def __init__(self, console: Console | None = None) -> None:
        """``console`` is for tests."""
        with contextlib.suppress(AttributeError):
            sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # a terminal without Unicode
        self._console = console or _Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._line = _LiveLine()
        self._styles: dict[str, str] = {}
        self._width = 4
        self._broken = False

    def begun(self, prepared: Prepared) -> None:
        """The header."""
        launch = prepared.layout.launch
        specs = (launch.main, *launch.init_containers, *launch.sidecars) if launch else ()
        names = [spec.name for spec in specs]
        self._styles = {name: _COLUMNS[index % len(_COLUMNS)] for index, name in enumerate(names)}
        self._width = max(map(len, names), default=4)
        with self._printing():
            self._print(Text.assemble((prepared.template.name, "bold"), " in the pod ", prepared.identity.pod))
            self._print(Text(f"work dir {summary.shown_path(prepared.workdir)}", "dim"))
            for note in prepared.notes:
                self._print(Text(f"note: {harmless(note)}", "yellow"))
            self._print(Text())
            if self._console.is_terminal and not self._console.is_dumb_terminal:
                self._live = Live(self._line, console=self._console, transient=True, refresh_per_second=10)
                self._live.start()

    def entered(self, stay: Stay) -> None:
        """The line at the bottom of a terminal shows it."""
        self._line.begin(stay)

    def left(self, stay: Stay, event: Event, to: str) -> None:  # noqa: ARG002 - the next line tells
        """One line for the phase."""
        self._line.end()
        style = _STYLES[event.value]
        text = Text.assemble(
            (MARKS[event.value], style),
            f" {stay.phase.state:<{_NAME_WIDTH}}",
            (f"{duration(stay.seconds):>8}  ", "dim"),
            harmless(", ".join(_items(stay))),
        )
        with self._printing():
            self._print(text)

    def told(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Failed attempts, failures and notes, at once."""
        match kind:
            case "attempt" if fields["wait"] is not None:
                text = f"  ! {fields['item']}: attempt {fields['attempt']}: {fields['message']}"
                line = Text(harmless(f"{text}; again in {duration(fields['wait'])}"), "yellow")
            case "failure":
                failure = fields["failure"]
                item = f"{failure['item']}: " if failure["item"] else ""
                line = Text(harmless(f"  ✗ {item}{failure['message']}"), "red")
            case "note":
                line = Text(harmless(f"  · {fields['text']}"), "dim")
            case _:
                return
        with self._printing():
            self._print(line)

    def wrote(self, container: str, line: bytes) -> None:
        """A line of a container's."""
        prefix = f"{container:<{self._width}} │ "
        with self._printing():
            self._print(Text.assemble((prefix, self._styles.get(container, "")), harmless(line)))

    def moved(self, item: str, done: int, total: int | None) -> None:
        """Bytes of an item, for the line at the bottom."""
        self._line.moved(item, done, total)

    def ended(self, result: Result) -> None:
        """The summary."""
        self.close()
        with self._printing():
            self._print(Text())
            for line in summary.lines(result):
                self._print(Text.assemble(*((harmless(text), style) for text, style in line)))

    def close(self) -> None:
        """Leave the terminal as it was, however the run has ended."""
        with self._printing():
            if self._live is not None:
                self._live.stop()
                self._live = None

    @contextlib.contextmanager
    def _printing(self) -> Iterator[None]:
        """One at a time; a terminal that fails is given up on, the run goes on."""
        with self._lock:
            try:
                yield
            except (OSError, ValueError):  # ValueError: the file is closed
                self._broken = True

    def _print(self, text: Text) -> None:
        text.rstrip()
        if not self._broken:
            self._console.print(text, soft_wrap=True)


class _LiveLine:
    """What a terminal shows below everything else while a phase lasts."""

    def __init__(self) -> None:
        self._stay: Stay | None = None
        self._moved: dict[str, tuple[int, int | None, float]] = {}

    def begin(self, stay: Stay) -> None:
        self._moved = {}
        self._stay = stay

    def end(self) -> None:
        self._stay = None

    def moved(self, item: str, done: int, total: int | None) -> None:
        began = self._moved[item][2] if item in self._moved else self._seconds()
        self._moved[item] = (done, total, began)

    def __rich__(self) -> Text:
        stay = self._stay
        if stay is None:
            return Text()
        spinner = _SPINNER[int(stay.seconds * 10) % len(_SPINNER)]
        moved = [self._shown(item, *what) for item, what in list(self._moved.items())[-_MOVING:]]
        parts = [f"{spinner} {stay.phase.state}", f"{stay.seconds:.0f} s", *moved]
        return Text(harmless(" · ".join(parts)), "dim", no_wrap=True, overflow="ellipsis")

    def _seconds(self) -> float:
        stay = self._stay
        return stay.seconds if stay is not None else 0.0

    def _shown(self, item: str, done: int, total: int | None, began: float) -> str:
        """Done, of how much, and how fast; a rate over less than a second would only flicker."""
        text = f"{item} {size(done)}" + (f" of {size(total)}" if total is not None else "")
        taken = self._seconds() - began
        return text + (f" at {rate(done, taken)}" if taken >= WORTH_A_RATE else "")


def _items(stay: Stay) -> Iterator[str]:
    """What a phase's line says of its items: the first few, or how many there were."""
    if len(stay.items) > _SHOWN_ITEMS:
        total = sum(item.size or 0 for item in stay.items)
        yield f"{len(stay.items)} items" + (f" with {size(total)}" if total else "")
        return
    for item in stay.items:
        details = [] if item.state in summary.GOOD else [item.state.value]
        details += [f"{item.attempts} attempts"] if item.attempts > 1 else []
        details += [size(item.size)] if item.size is not None else []
        if item.size and item.seconds >= WORTH_A_RATE:
            details.append(rate(item.size, item.seconds))
        # How main ended; other notes stand in the summary.
        details += [item.note] if stay.phase.state == "waiting" and item.note else []
        name = item.name or item.kind
        yield f"{name} ({', '.join(details)})" if details else name
