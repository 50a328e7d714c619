"""Raw artifacts: the data stands in the template (spec 3.6)."""
# ruff: noqa: ARG002 - the signatures are the port's

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from lifecycle.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lifecycle.ports import StoredObject
    from lifecycle.secret import SecretReader


class RawDriver:
    """The key is the data."""

    def __init__(self, config: Mapping[str, Any], secrets: SecretReader) -> None:
        """There is nothing to configure."""

    def open(self, key: str) -> BinaryIO:
        """The text of the template as UTF-8, verbatim."""
        return io.BytesIO(key.encode())

    def save(self, key: str, stream: BinaryIO, size_hint: int | None) -> None:
        """Not possible.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("a raw artifact cannot be saved to", remedy="give the output artifact another location")

    def list(self, key: str) -> Iterator[StoredObject]:
        """Nothing: data has no objects below it."""
        return iter(())

    def delete(self, key: str) -> None:
        """Not possible.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("a raw artifact cannot be deleted: it stands in the template")
