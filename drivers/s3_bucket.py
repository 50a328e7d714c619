"""``createBucketIfNotPresent`` of an s3 location: before the first object is saved."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from drivers.s3_errors import answer
from lifecycle.errors import Forbidden, Permanent, Transient, Unsupported

if TYPE_CHECKING:
    from drivers.s3_client import Connection

_OURS = {
    "BucketAlreadyOwnedByYou",
    "BucketAlreadyExists",
}  # made by somebody else in this moment; or no business of ours


class Bucket:
    """The bucket of a driver: looked for once, and made if the location says so."""

    def __init__(self, connection: Connection, options: dict[str, Any] | None) -> None:
        """``options`` is the location's field, ``None`` where it is not given. Nothing is asked."""
        self._connection = connection
        self._options = options
        self._lock = threading.Lock()

    def ensure(self) -> None:
        """Make the bucket if it is asked for and not there.

        Whoever may not look goes on: what the store says to the object itself is the answer then.

        Raises:
            Unsupported: the store makes buckets, but not with object lock; it was removed again.
            LifecycleError: what else the store answered.
        """
        with self._lock:
            if self._options is not None and not self._is_there():
                self._make(locked=self._options.get("objectLocking") is True)
            self._options = None

    def _is_there(self) -> bool:
        """By status alone: an answer to HEAD has no body, so no code."""
        try:
            self._connection.ask("head_bucket", "s3:ListBucket", "")
        except Transient:
            raise
        except Permanent as error:
            return answer(error)[1] != 404
        return True

    def _make(self, *, locked: bool) -> None:
        arguments: dict[str, Any] = {}
        region = self._connection.region
        if region != "us-east-1":  # which AWS wants left out
            arguments["CreateBucketConfiguration"] = {"LocationConstraint": region}
        if locked:
            arguments["ObjectLockEnabledForBucket"] = True
        try:
            self._connection.ask("create_bucket", "s3:CreateBucket", "", **arguments)
        except Permanent as error:
            if answer(error)[0] in _OURS:
                return
            raise
        if locked and not self._is_locked():
            self._connection.ask("delete_bucket", "s3:DeleteBucket", "")
            raise Unsupported(
                f"the store at {self._connection.place.endpoint} makes buckets without object lock",
                remedy="take `objectLocking` out of `createBucketIfNotPresent`, or use a store that has it",
            )

    def _is_locked(self) -> bool:
        try:
            found = self._connection.ask("get_object_lock_configuration", "s3:GetBucketObjectLockConfiguration", "")
        except (Transient, Forbidden):
            raise
        except Permanent:
            return False
        return bool((found.get("ObjectLockConfiguration") or {}).get("ObjectLockEnabled"))
