"""A store whose keys are URLs, for the conformance suite."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from drivers.conformance import Store


@dataclass(frozen=True, slots=True)
class UrlStore(Store):
    """What means something in a URL is quoted, as the lifecycle does when it joins a name."""

    def key(self, name: str) -> str:
        return f"{self.root}/{quote(name)}"
