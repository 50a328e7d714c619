"""What is logged, and in which of two shapes: the original's ``key=value`` lines, or an object a line."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lifecycle.stay import Stay
    from lifecycle.table import Event

FIELDS: Final = ("pod", "template", "phase", "item", "attempt", "record")
"""What a line may say beside its message, where it is known."""

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING}
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class TextFormat(logging.Formatter):
    """``time=… level=… msg=…``, the shape of the original's logs."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; of the fields only the failure record, as a message names the others by itself."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        line = f'time="{self.formatTime(record, _TIME)}" level={record.levelname.lower()} msg="{_quoted(message)}"'
        whole = getattr(record, "record", None)
        if whole is None:
            return line
        return line + f' record="{_quoted(json.dumps(whole, ensure_ascii=False))}"'


class JsonFormat(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``msg``, and what is known of :data:`FIELDS`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": self.formatTime(record, _TIME),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


class About(logging.Filter):
    """Adds to every line which pod it is about, and in which phase it was: an observer of the engine."""

    def __init__(self, pod: str, template: str) -> None:
        super().__init__()
        self._known = {"pod": pod, "template": template}

    def entered(self, stay: Stay) -> None:
        """A phase begins."""
        self._known["phase"] = stay.phase.state

    def left(self, stay: Stay, event: Event, to: str) -> None:  # noqa: ARG002 - an observer's signature
        """A phase has ended."""
        self._known.pop("phase", None)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it pass, with what is known; what the caller says counts more."""
        for name, value in self._known.items():
            if getattr(record, name, None) is None:
                setattr(record, name, value)
        return True


def set_up(level: str, shape: str) -> None:
    """Log to stderr; only our own logger, as client libraries log requests with their headers."""
    handler = logging.StreamHandler()
    formatter: logging.Formatter = JsonFormat() if shape == "json" else TextFormat()
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger("argoexec")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(_LEVELS.get(level, logging.ERROR))
    logging.getLogger().addHandler(logging.NullHandler())


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
