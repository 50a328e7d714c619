"""Between a store and the file system: load one artifact, save one source. Streams both ways, nothing in between.

A driver moves one object at a time; that an artifact may be a directory of objects, an archive or a tree is known here.
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar, cast

from lifecycle.archive.codec import compress
from lifecycle.archive.extract import install_tree, unpack
from lifecycle.archive.stream import ChunkReader, Counted
from lifecycle.archive.tar import TarStats
from lifecycle.errors import BadRequest, CorruptData, NotFound, Unavailable
from lifecycle.moved import Moved, Resumed
from lifecycle.ports import TreeDriver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from lifecycle.archive.extract import Limits
    from lifecycle.location import Location
    from lifecycle.ports import Driver, StoredObject

T = TypeVar("T")

_CHUNK = 256 * 1024
_SHOWN = 3
"""So many of what was not stored are named."""


class Source(Protocol):
    """What is saved: a path of main's, through a mirror or through the runtime."""

    def tar(self, found: TarStats) -> Iterator[bytes]:
        """As an uncompressed tar stream."""

    def files(self, found: TarStats) -> Iterator[tuple[str, int | None, Callable[[], BinaryIO]]]:
        """Its regular files: path relative to it (empty when it is a file itself), size if it is told, how to open."""

    def measure(self) -> TarStats | None:
        """What :meth:`tar` and :meth:`files` will give, as it is now; ``None`` where only reading it all would tell."""

    def reopen(self, below: str) -> BinaryIO:
        """A regular file that :meth:`tar` gave, by its path below the source."""

    @property
    def sequential(self) -> bool:
        """Whether each file must be read before the next one is asked for."""


def load(
    driver: Driver, location: Location, dest: Path, declared: str | None, *, limits: Limits, width: int, moved: Moved
) -> None:
    """Bring an artifact to ``dest``: all of it, or nothing.

    An object is unpacked while it comes, by what it is declared to be or by its first bytes; if there is no object of
    this key but there are some below it, they become a directory (spec 3.1).

    Raises:
        NotFound: neither an object nor a directory.
        LifecycleError: from the driver, or about the archive.
    """
    if isinstance(driver, TreeDriver):
        if abort := getattr(driver, "abort", None):
            moved.cancel.listen(abort)
        install_tree(lambda directory: driver.load_tree(location.key, directory), dest)
        return
    try:
        stream = Resumed(driver, location.key, moved)
    except NotFound:
        objects = driver.list(location.key)
        first = next(objects, None)
        if first is None:
            raise
        install_tree(
            lambda directory: _load_objects(driver, location, [first, *objects], directory, width, moved), dest
        )
        return
    with stream:
        moved.cancel.listen(stream.abort)  # a server that says nothing more is not waited for until its time-out
        moved.total = stream.size
        content = _checked(Counted(stream, moved.add))
        unpacked = unpack(content, dest, declared, limits, check=moved.cancel.check)
        moved.note = unpacked.note


def _checked(stream: Counted) -> BinaryIO:
    return cast("BinaryIO", stream)  # it has what readers use


def _load_objects(
    driver: Driver, location: Location, objects: Sequence[StoredObject], directory: Path, width: int, moved: Moved
) -> None:
    sizes = [entry.size for entry in objects if entry.size is not None]
    moved.total = sum(sizes) if len(sizes) == len(objects) else None

    made = {directory}

    def one(entry: StoredObject) -> None:
        path = entry.path
        target = directory / path
        # By the text alone: the directory is new, nobody but us can enter it, and there is no link in it.
        if path.startswith("/") or ".." in target.parts or target == directory:
            raise CorruptData(f"the key {path!r} below {location} leads out of its directory")
        with _listed(driver, location.join(path).key, moved) as stream, _created(target, made, path, location) as file:
            while chunk := stream.read(_CHUNK):
                moved.add(len(chunk))
                while chunk:
                    chunk = chunk[file.write(chunk) :]
            os.fchmod(file.fileno(), 0o644)  # main may run as any user, whatever our umask (spec 7.2, 39)

    _in_parallel(one, objects, width)


def _listed(driver: Driver, key: str, moved: Moved) -> Resumed:
    """An object that is known to be there."""
    try:
        return Resumed(driver, key, moved)
    except NotFound as error:
        # `optional` forgives a directory that is not there, never one that is being changed.
        raise Unavailable(f"it was there when it was listed: {error}") from error


def _created(target: Path, made: set[Path], path: str, location: Location) -> FileIO:
    try:
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        return target.open("xb", buffering=0)
    except (FileExistsError, NotADirectoryError) as error:  # the latter would be NotFound: see above
        raise BadRequest(
            f"the object {path!r} below {location} cannot be beside the others: one of them is a file where another "
            "needs a directory, or two have one path",
            remedy="rename one of them, or remove it",
        ) from error


def save_archive(driver: Driver, location: Location, source: Source, level: int | None, moved: Moved) -> None:
    """Save a source as one tar+gzip object, made while it is sent.

    Raises:
        NotFound: the source is not there.
        LifecycleError: from the driver, or about the source.
    """
    found = TarStats()
    expected = _measured(source, moved)
    chunks = compress(_counted(_steady(source.tar(found)), moved, found if expected else None), level)
    with ChunkReader(chunks) as stream:
        _save(driver, location.key, stream, expected.archived if expected else None)
    moved.note = _left_out(found)


def save_zip(driver: Driver, location: Location, source: Source, moved: Moved) -> None:
    """Save a source as one zip object, made while it is sent.

    Raises:
        NotFound: the source is not there.
        Unsupported: a path is longer than a zip can tell.
        LifecycleError: from the driver, or about the source.
    """
    from lifecycle.archive.zip import zip_chunks  # noqa: PLC0415 - 5 ms, on the first zip

    found = TarStats()
    expected = _measured(source, moved)
    chunks = _steady(zip_chunks(source.tar(found), source.reopen, found, moved.add))
    with ChunkReader(chunks) as stream:
        _save(driver, location.key, stream, expected.archived if expected else None)
    links = f"hard links stored as files of their own: {found.hard_links}" if found.hard_links else ""
    moved.note = "; ".join(note for note in (_left_out(found), links) if note)


def _measured(source: Source, moved: Moved) -> TarStats | None:
    """What there will be, which is also the total; ``None`` where only reading it all would tell."""
    expected = source.measure()
    moved.total = expected.bytes if expected else None
    return expected


def save_files(driver: Driver, location: Location, source: Source, *, width: int, moved: Moved) -> None:
    """Save a source as it is: a file as one object, a directory as one object for each of its files.

    Raises:
        BadRequest: a name is no UTF-8, which keys are.
        NotFound, LifecycleError: as ``save_archive``. The objects of a directory that failed half-way stay: the store
            has no transaction; the artifact is not reported.
    """
    found = TarStats()
    _measured(source, moved)

    def one(file: tuple[str, int | None, Callable[[], BinaryIO]]) -> None:
        path, size, opened = file
        _check_name(path)
        target = location.join(path) if path else location
        with opened() as stream:
            _save(driver, target.key, _checked(Counted(stream, moved.add)), size)

    _in_parallel(one, source.files(found), 1 if source.sequential else width)
    moved.note = _left_out(found)


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(
            f"the file {os.fsencode(path)!r} cannot be an object: its name is no UTF-8",
            remedy="rename it, or save the directory as an archive",
        ) from error


def save_stream(driver: Driver, location: Location, stream: BinaryIO, moved: Moved) -> None:
    """Save a stream of unknown length as one object.

    Raises:
        LifecycleError: from the driver.
    """
    _save(driver, location.key, _checked(Counted(stream, moved.add)), None)


def _save(driver: Driver, key: str, stream: BinaryIO, size_hint: int | None) -> None:
    try:
        driver.save(key, stream, size_hint)
    except NotFound as error:
        # `optional` forgives an output that is not there, never a store that is not.
        raise BadRequest(f"the store does not take it: {error}", remedy=error.remedy) from error


def _left_out(found: TarStats) -> str:
    """What a store cannot hold is said, never silent."""
    if not found.skipped:
        return ""
    more = f", … ({len(found.skipped)} in all)" if len(found.skipped) > _SHOWN else ""
    return f"not stored: {', '.join(found.skipped[:_SHOWN])}{more}"


def _steady(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The first chunk at once, before a store is asked: that the source is not there must not look like its answer.

    What is not found later was there at first.
    """
    first = next(chunks, b"")

    def run() -> Iterator[bytes]:
        try:
            yield first
            yield from chunks
        except NotFound as error:
            raise Unavailable(f"it changed while it was read: {error}") from error

    return run()


def _counted(chunks: Iterator[bytes], moved: Moved, found: TarStats | None) -> Iterator[bytes]:
    """The chunks; counted is their content, as in the total, or all of a stream that does not tell it apart."""
    for chunk in chunks:
        moved.add(found.bytes - moved.size if found else len(chunk))
        yield chunk


def _in_parallel(work: Callable[[T], None], things: Iterable[T], width: int) -> None:
    """Call ``work`` for each thing, at most ``width`` at a time; the first error ends it, when those begun are done.

    With a width of 1 each is done before the next is asked for: a stream cannot go back to one it has passed.
    """
    if width == 1:
        for thing in things:
            work(thing)
        return
    with ThreadPoolExecutor(max_workers=width, thread_name_prefix="transfer") as pool:
        running: set[Future[None]] = set()
        try:
            for thing in things:
                running.add(pool.submit(work, thing))
                if len(running) >= width * 2:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
