"""A headless Chromium, spoken to by the DevTools protocol over a pair of pipes: no port, no driver program."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

from tests.servers.process import needs

if TYPE_CHECKING:
    from pathlib import Path

_ANSWER = 60.0
"""Seconds for one answer: a browser that has two cores to itself needs a tenth of one."""

_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-default-apps",
    "--hide-scrollbars", "--disable-dev-shm-usage", "--no-proxy-server", "--remote-debugging-pipe",
)  # fmt: skip


class Chromium:
    """The browser. Its pages share its pipes, so only one test speaks to it at a time."""

    def __init__(self, home: Path) -> None:
        program = needs("chromium", "chromium")
        self._log = home / "chromium.log"
        # It reads commands from descriptor 3 and answers on 4.
        argv = ["sh", "-c", 'exec "$@" 3<&0 4>&1 0</dev/null 1>&2', "sh", program, *_QUIET]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*argv, f"--user-data-dir={home / 'profile'}", "about:blank"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True, bufsize=0,
                env={"PATH": os.environ["PATH"], "HOME": str(home)},
            )  # fmt: skip
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def call(self, method: str, session: str = "", /, **params: Any) -> dict[str, Any]:
        """The answer to one command; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return answer["result"]
            self.events.append(answer)

    def until(self, method: str, session: str) -> dict[str, Any]:
        """The next event of that name, or one that has come already."""
        while True:
            for event in self.events:
                if event.get("method") == method and event.get("sessionId") == session:
                    self.events.remove(event)
                    return event
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        until = time.monotonic() + _ANSWER
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(self._process.stdout.fileno(), 1 << 20) if ready else b""
            if not chunk:
                log = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"chromium {'is silent' if not ready else 'has ended'}:\n{log}")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)


class Page:
    """A tab, and everything that it complained of or asked the network for."""

    def __init__(self, browser: Chromium, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self.width = width
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)
        self._browser.events.clear()

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        """One command to this page."""
        return self._browser.call(method, self._session, **params)

    def open(self, file: Path) -> None:
        """Load a file, and wait until everything of it has been."""
        self._browser.events.clear()
        self.call("Page.navigate", url=file.resolve().as_uri())
        self._browser.until("Page.loadEventFired", self._session)

    def run(self, expression: str) -> Any:
        """The value of an expression, as JSON has it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """A real click, with the mouse, in the middle of what a selector finds."""
        where = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{where}.scrollIntoView({{block: 'center'}})")
        x, y = self.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({where}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """A key, wherever the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """What it looks like, as a PNG; to its end, or what a window shows."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))

    @property
    def complaints(self) -> list[str]:
        """Console errors and warnings, exceptions, violations of the page's policy."""
        self.run("0")  # what was on its way has come
        told = []
        for event in self._mine():
            params = event["params"]
            if event["method"] == "Log.entryAdded":
                told.append(params["entry"]["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                told.append(str(params["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled":
                told.append(str(params["args"]))
        return told

    @property
    def requests(self) -> list[str]:
        """Everything it asked for, itself among it."""
        self.run("0")
        return [one["params"]["request"]["url"] for one in self._mine() if one["method"] == "Network.requestWillBeSent"]

    def _mine(self) -> list[dict[str, Any]]:
        return [event for event in self._browser.events if event.get("sessionId") == self._session]
